"""The HTTP trigger: POST events, get the hourly report back as CSV. `python server.py --port 8080`."""

import sys
from collections.abc import Sequence

from pipeline.serving.settings import parse_settings
from pipeline.serving.supervisor import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is stopped; returns the status, 2 for wrong usage."""
    return serve(parse_settings(arguments))


if __name__ == "__main__":
    sys.exit(main())
