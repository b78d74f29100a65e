"""What the Flex Template's launcher runs: the command line. A subscription makes it a stream."""

import sys

from pipeline.__main__ import run_program

if __name__ == "__main__":
    if any(argument.startswith("--subscription") for argument in sys.argv):
        sys.argv.append("--streaming")
    sys.exit(run_program())
