"""`python -m pipeline`, and the console command `hourly-report`: the command line."""

import sys


def main() -> int:
    """Runs the command line; the status, 130 where Ctrl-C comes while it is still being imported (0.5 s)."""
    try:
        from pipeline.engine.imports import lean

        with lean(sys.argv[1:]):
            from pipeline.cli.main import run_program

        return run_program()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
