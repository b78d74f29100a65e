"""Counts a block's records independently of the decoders, whose results are checked against it."""

import json
import re

import numpy as np

from pipeline.native import loader as native

_LINE = re.compile(rb"[^ \t\r\n][^\n]*")
_VALUES = json.JSONDecoder(object_pairs_hook=len, parse_int=len, parse_float=len)


def count_lines(data: bytes | memoryview) -> int:
    """How many lines are not blank. The last byte must be a newline."""
    if not native.worth_compiling("count_lines", len(data)):
        return len(_LINE.findall(data))
    return native.invoke("count_lines", np.frombuffer(data, np.uint8), 1, len(data))


def count_elements(data: bytes | memoryview) -> int:
    """How many elements the inside of a JSON array has, each of them known to be JSON."""
    if not native.worth_compiling("last_comma", len(data)):
        return len(_VALUES.decode(f"[{bytes(data).decode()}]"))
    found = np.empty(2, np.int64)
    native.invoke("last_comma", np.frombuffer(data, np.uint8), len(data), found)
    return int(found[0]) + 1
