"""`python -m pipeline`, and the console command `hourly-report`: the command line."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

_REMEDY = "activate the environment of this project (after make run: `. .venv/bin/activate`), or pip install it"


def main() -> int:
    """Runs the command line; returns the exit code, 130 where Ctrl-C comes before it runs."""
    try:
        with _ctrl_c_ends_it():
            from pipeline.engine.imports import trimmed_imports

            with trimmed_imports(sys.argv[1:]):
                from pipeline.cli.main import run_program

        return run_program()
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        if not str(error).startswith("No module named") or str(error.name).startswith("pipeline"):
            raise
        sys.stderr.write(f"error: this Python ({sys.executable}) has no {error.name}: {_REMEDY}\n")
        return 1


@contextlib.contextmanager
def _ctrl_c_ends_it() -> Iterator[None]:
    """Ends the process at once on Ctrl-C while libraries are imported (0.5 s): there is nothing to clean up yet.

    numpy takes a KeyboardInterrupt for a failed import, and raises that instead: it did in 2 of 12 tries.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, as in a shell's background job
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit(main())
