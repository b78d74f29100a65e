"""The HTTP trigger: POST events, get the hourly report back as CSV. `python server.py --port 8080`."""

import sys

from pipeline.cli.server import main

if __name__ == "__main__":
    sys.exit(main())
