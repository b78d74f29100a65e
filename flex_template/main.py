"""What the Flex Template's launcher runs: the command line. A subscription makes it a stream; flags have values."""

import sys

from pipeline.cli.main import run_program

if __name__ == "__main__":
    if any(argument.startswith("--subscription") for argument in sys.argv):
        sys.argv.append("--streaming")
    names = ("--deduplicate", "--skip_rejects")
    flags = {f"{name}=true": [name] for name in names} | {f"{name}=false": [] for name in names}
    sys.argv[1:] = [word for argument in sys.argv[1:] for word in flags.get(argument, [argument])]
    sys.exit(run_program())
