"""What a worker process may use: open files, and with them connections; memory that is given back."""

import contextlib
import os
import resource

_CONNECTIONS = 1000
_FILES_A_CONNECTION = 2  # its socket, and its body or its report
_FILES_A_SLOT = 32
_FILES = 160  # of the process itself: about 70 for Beam, and room for more


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def connections(slots: int) -> int:
    """Connections for which there are files, so that none fails for want of one; more wait to be accepted.

    Raises the limit of open files as far as that needs, and as the system allows.
    """
    own = _FILES + slots * _FILES_A_SLOT
    wanted = own + _CONNECTIONS * _FILES_A_CONNECTION
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < files:
        with contextlib.suppress(ValueError, OSError):  # macOS has another limit below
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
            soft = files
    available = _CONNECTIONS if soft == resource.RLIM_INFINITY else (soft - own) // _FILES_A_CONNECTION
    return max(16, min(_CONNECTIONS, available))


def bound_memory() -> None:
    """For processes that are started from here: two arenas of glibc, between which threads leave no freed memory.

    By default there are eight a core: a worker grew from 256 to 392 MiB over thousands of requests.
    """
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
