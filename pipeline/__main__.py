"""`python -m pipeline`: the command line."""

import sys

from pipeline.cli.main import run_program

if __name__ == "__main__":
    sys.exit(run_program())
