"""Files that other tools leave beside data: markers, checksums and settings, which hold no events."""

import posixpath
import re

from pipeline.storage.patterns import has_magic

_SIDECARS = (
    ("_", re.compile(r"_SUCCESS|_metadata|_common_metadata|_(committed|started)_.*")),  # Spark, Hadoop, Databricks
    (".crc", re.compile(r".*\.crc", re.IGNORECASE)),  # Hadoop
    (".ini", re.compile(r"desktop\.ini", re.IGNORECASE)),  # Windows
    (".db", re.compile(r"Thumbs\.db", re.IGNORECASE)),
    ("Zone.Identifier", re.compile(r".*:Zone\.Identifier")),
)
"""What a glob must begin or end with to name such files, as it must begin with a dot to name hidden ones."""


def is_left_out(path: str, pattern: str) -> bool:
    """Returns whether a path that a pattern matches is a sidecar file that the pattern does not name."""
    name, last = posixpath.basename(path), posixpath.basename(pattern)
    if name == last:
        return False
    return any(
        sidecar.fullmatch(name)
        and not (has_magic(last) and (last.startswith(text) or last.lower().endswith(text.lower())))
        for text, sidecar in _SIDECARS
    )
