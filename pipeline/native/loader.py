"""Compiled functions, loaded without numba: 0.06 s, where importing numba takes 0.4 s and compiling some seconds.

Callers ask `try_load` first, and have plain Python for where nothing can be compiled.

What was compiled is kept as an object file in the user's cache; where there is none it is compiled in each process.
"""

import ctypes
import hashlib
import logging
import threading
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.native.object_cache import keep_object, read_object

_HERE = Path(__file__).parent
_SOURCES = (
    "compiler.py",
    "memory.py",
    "strings.py",
    "names.py",
    "values.py",
    "layout.py",
    "scanner.py",
    "array_splitter.py",
    "lines.py",
    "id_sets.py",
    "loader.py",
    "object_cache.py",
    "../schema.py",
)
"""What compiled code is made of: these modules, and those whose values they use (event types, limits)."""

_MODULES = {
    "pipeline.native.scanner": ("scan",),
    "pipeline.native.array_splitter": ("last_comma",),
    "pipeline.native.lines": ("count_lines",),
    "pipeline.native.id_sets": ("hash_ids", "sort_ids", "take_ids", "join_lines"),
}
"""What is compiled together, when first one of them is needed: who wants no ids waits 3 s, else 5 s."""

SCRATCH_WORDS = 4224
"""Words (8 bytes) of memory that `scan` works in, its last argument."""

MAX_PROBES = 32
"""How many slots behind its own `sort_ids` may put an id into."""

SMALL_BYTES = 64 * 1024
"""Bytes of work that a process leaves to plain Python before it loads a compiled function, which takes 60 ms."""

_TINY_BYTES = 256  # up to which plain Python is faster also once it is loaded

_work_seen: Counter[str] = Counter()  # bytes so far, by function

_lock = threading.Lock()


def should_use(name: str, size: int) -> bool:
    """Whether a compiled function is available and the faster way for this much more work, in bytes."""
    _work_seen[name] += size
    return size > _TINY_BYTES and _work_seen[name] > SMALL_BYTES and try_load(name)


@cache
def try_load(name: str) -> bool:
    """Whether a compiled function can be had on this machine; where not, a warning tells that Python does its work."""
    with _lock:
        try:
            _function(name)
        except Exception as error:  # of a compiler that is broken, or does not fit Python, numpy or the processor
            _warn(f"{type(error).__name__}: {error}".partition("\n")[0])
            return False
    return True


@cache
def _warn(reason: str) -> None:
    logging.getLogger(__name__).warning("compiled code does not work here, plain Python is far slower: %s", reason)


def invoke(name: str, *arguments: Any) -> int:
    """Calls a compiled function without the interpreter lock. arguments: whole numbers, or arrays for their address.

    Nothing is checked: it must be one that `try_load`, and arrays as large as it expects.
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
    """This machine's, and what it can do, in LLVM's words."""
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _load_or_compile(module: str, target: str, machine: Any) -> bytes:
    """The object file of a module for a processor; its name is a digest of both and of _SOURCES."""
    sources = b"".join((_HERE / name).read_bytes() for name in _SOURCES)
    name = hashlib.sha256(f"{module} {target}".encode() + sources).hexdigest()[:24] + ".o"
    code = read_object(name)
    if code:
        return code
    from pipeline.native.compiler import build

    _announce()
    code = build(module, _MODULES[module], machine)
    keep_object(name, code)
    return code


@cache
def _announce() -> None:
    logging.getLogger(__name__).info("compiling for this machine, once: this takes some seconds")


def compile_all() -> None:
    """Compiles what was not compiled yet."""
    for module in _MODULES:
        _engine(module)


if __name__ == "__main__":
    compile_all()
