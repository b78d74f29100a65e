"""Imports Beam without optional libraries that a local batch does not use.

Of `import apache_beam` (0.8 s; Beam 2.77, Python 3.11), pyarrow takes 0.06 s, pymongo and bson 0.06 s, BigQuery's
connector with requests 0.08 s, and cloud file systems, if installed, 0.3 s. Beam imports each in a `try` block.
HOURLY_REPORT_ALL_IMPORTS=1 in the environment imports them all.
"""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from typing import Any

SWITCH = "HOURLY_REPORT_ALL_IMPORTS"

SKIPPED = frozenset(
    (
        *("pyarrow", "pyarrow_hotfix", "pymongo", "bson", "apitools", "apache_beam.io.gcp.bigquery"),
        *("google.cloud", "google.cloud.dataflow"),  # a .pth file of theirs loads the first
        *("apache_beam.io.gcp.gcsfilesystem", "apache_beam.io.aws.s3filesystem"),
        *("apache_beam.io.azure.blobstoragefilesystem", "apache_beam.io.hadoopfilesystem"),
    )
)
"""Modules that appear as not installed to Beam."""

_NOT_LOCAL = re.compile("://|^-.*(runn|stream|expansion|environment)")


def can_trim(arguments: Sequence[str]) -> bool:
    """Whether the arguments are those of a local batch on Beam's embedded runner."""
    return not os.environ.get(SWITCH) and not any(_NOT_LOCAL.search(text) for text in arguments)


@contextlib.contextmanager
def trimmed_imports(arguments: Sequence[str]) -> Iterator[None]:
    """Skips SKIPPED modules while the block imports Beam; afterwards everything can be imported.

    Args:
      arguments: arguments of the command line; nothing is skipped unless they are those of a local batch.
    """
    if not can_trim(arguments) or "apache_beam" in sys.modules:
        yield
        return
    finder = _SkippingFinder()
    sys.meta_path.insert(0, finder)
    logging.getLogger("apache_beam.io.mongodbio").addFilter(lambda record: "bson" not in record.getMessage())
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _SkippingFinder:
    """Reports SKIPPED modules as missing. None in sys.modules would do, but Cython's imports (pandas) return it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Called by importlib; None continues with the other finders."""
        if name in SKIPPED:
            raise ModuleNotFoundError(f"{name} is not imported by this program ({SWITCH}=1 imports it)", name=name)
        return None
