"""Loads compiled functions without numba, in 0.06 s; importing numba takes 0.4 s, and compiling some seconds.

Object files are cached in the user's cache folder; without one, each process compiles. Callers of `should_use` have a
fallback in pure Python.
"""

import contextlib
import ctypes
import hashlib
import logging
import os
import stat
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

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

_DIGEST_BYTES = 32  # before the code in a cache file

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
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _load_or_compile(module: str, target: str, machine: Any) -> bytes:
    """Returns the object file of a module for a CPU; its name is a digest of both and of _SOURCES."""
    sources = b"".join((_HERE / name).read_bytes() for name in _SOURCES)
    name = hashlib.sha256(f"{module} {target}".encode() + sources).hexdigest()[:24] + ".o"
    code = _read_object(name)
    if code:
        return code
    from pipeline.native.compiler import build

    _log_compiling()
    code = build(module, _MODULES[module], machine)
    _write_object(name, code)
    return code


@cache
def _log_compiling() -> None:
    logging.getLogger(__name__).info("compiling native code (once per machine)")


def compile_all() -> None:
    """Compiles all modules that are not cached."""
    for module in _MODULES:
        _engine(module)


def _read_object(name: str) -> bytes | None:
    """Returns the code of a cache file, or None if there is none that is trusted and intact.

    Code of another user would run as this one. Damaged code would crash the process.
    """
    try:
        with _open_folder() as folder, open(_open_private(name, folder), "rb") as file:
            content = file.read()
    except OSError:
        return None
    code = content[_DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == content[:_DIGEST_BYTES] else None


def _write_object(name: str, code: bytes) -> None:
    """Writes code to a cache file atomically; does nothing without a trusted cache folder."""
    with contextlib.suppress(OSError), _open_folder() as folder:
        temporary = f"{name}.{uuid.uuid4().hex}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=folder)
        try:
            with open(descriptor, "wb") as file:
                file.write(hashlib.sha256(code).digest() + code)
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(temporary, dir_fd=folder)


def _cache_folder() -> str | None:
    """Returns the cache folder, which need not exist; None without a home. Ignores relative paths."""
    home = os.environ.get("HOME", "")
    for base in (os.environ.get("XDG_CACHE_HOME", ""), os.path.join(home, ".cache")):
        if os.path.isabs(base):
            return os.path.join(base, "hourly-report")
    return None


@contextlib.contextmanager
def _open_folder() -> Iterator[int]:
    """Opens or creates the folder; raises OSError if it is not trusted."""
    path = _cache_folder()
    if path is None:
        raise FileNotFoundError("no home")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o755)
    descriptor = _open_private(path, None, os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_private(path: str, folder: int | None, flags: int = os.O_NONBLOCK) -> int:
    """Opens a file or folder that only root or this user can write to, and that is not a link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    status = os.fstat(descriptor)
    if status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return descriptor
    os.close(descriptor)
    raise PermissionError(f"{path}: others can write to it")
