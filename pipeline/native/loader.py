"""Loads compiled functions without numba, in 0.06 s; importing numba takes 0.4 s, and compiling some seconds.

Object files are cached in the user's cache folder; without one, each process compiles. Callers of `should_use` have a
fallback in pure Python.
"""

import ctypes
import hashlib
import logging
import threading
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.native.object_cache import read_object, write_object

_HERE = Path(__file__).parent
_SOURCES = (
    "compiler.py",
    "memory.py",
    "strings.py",
    "names.py",
    "values.py",
    "layout.py",
    "scanner.py",
    "boundaries.py",
    "id_sets.py",
    "loader.py",
    "object_cache.py",
    "../schema.py",
)
"""Sources of compiled code, and modules whose constants it uses (event types, limits): the cache key."""

_MODULES = {
    "pipeline.native.scanner": ("scan",),
    "pipeline.native.boundaries": ("count_lines", "last_comma"),
    "pipeline.native.id_sets": ("hash_ids", "sort_ids", "take_ids", "join_lines"),
}
"""Functions compiled together on first use. Compiling takes 3 s without the id functions, 5 s with them."""

SCRATCH_WORDS = 4224
"""Size of the scratch memory of `scan`, its last argument, in words of 8 bytes."""

MAX_PROBES = 32
"""Maximum distance of an id from its slot in the table of `sort_ids`."""

LOAD_AFTER_BYTES = 64 * 1024
"""Input bytes per function that a process handles in pure Python before it loads the compiled one, in 60 ms."""

_MIN_CALL_BYTES = 256  # per call; pure Python is faster up to this size

_bytes_seen: Counter[str] = Counter()  # bytes so far, by function

_lock = threading.Lock()


def should_use(name: str, size: int) -> bool:
    """Returns whether to call the compiled function; loads or compiles it if necessary.

    Args:
      name: name of the function.
      size: size of this call's input in bytes; added to the function's total.
    """
    _bytes_seen[name] += size
    return size > _MIN_CALL_BYTES and _bytes_seen[name] > LOAD_AFTER_BYTES and try_load(name)


@cache
def try_load(name: str) -> bool:
    """Loads a compiled function, compiling it if necessary; warns and returns False if that fails."""
    with _lock:
        try:
            _function(name)
        except Exception as error:  # numba or LLVM is broken or incompatible with Python, numpy or the CPU
            _warn(f"{type(error).__name__}: {error}".partition("\n")[0])
            return False
    return True


@cache
def _warn(reason: str) -> None:
    logging.getLogger(__name__).warning("native code unavailable (%s); falling back to much slower pure Python", reason)


def invoke(name: str, *arguments: Any) -> int:
    """Calls a compiled function without the GIL. arguments: integers, or arrays, whose address is passed.

    Unchecked: the function must be loaded, and arrays as large as it expects.
    """
    result = ctypes.c_int64()
    numbers = (a if isinstance(a, int) else a.ctypes.data for a in arguments)
    _function(name)(ctypes.byref(result), None, *map(ctypes.c_int64, numbers))
    return result.value


@cache
def _function(name: str) -> Any:
    module = next(module for module, names in _MODULES.items() if name in names)
    return ctypes.CFUNCTYPE(ctypes.c_int32)(_engine(module).get_function_address(name))


@cache
def _engine(module: str) -> Any:
    import llvmlite
    import llvmlite.binding as llvm

    cpu, features = _host_cpu()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=3, jit=True)
    code = _load_or_compile(module, f"{llvmlite.__version__} {machine.triple} {cpu} {features}", machine)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def _host_cpu() -> tuple[str, str]:
    """Returns the host CPU name and its feature string for LLVM."""
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _load_or_compile(module: str, target: str, machine: Any) -> bytes:
    """Returns the object file of a module for a CPU; its name is a digest of both and of _SOURCES."""
    sources = b"".join((_HERE / name).read_bytes() for name in _SOURCES)
    name = hashlib.sha256(f"{module} {target}".encode() + sources).hexdigest()[:24] + ".o"
    code = read_object(name)
    if code:
        return code
    from pipeline.native.compiler import build

    _log_compiling()
    code = build(module, _MODULES[module], machine)
    write_object(name, code)
    return code


@cache
def _log_compiling() -> None:
    logging.getLogger(__name__).info("compiling native code (once per machine)")


def compile_all() -> None:
    """Compiles all modules that are not cached."""
    for module in _MODULES:
        _engine(module)


if __name__ == "__main__":
    compile_all()
