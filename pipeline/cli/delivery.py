"""Stages outputs that rename cannot replace: standard output, pipes, devices, and bind-mounted files.

The run writes them to its scratch folder; they are copied once it has succeeded.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping

from pipeline.cli.stdio import STANDARD, copy_file, is_stream_output, open_in_place, open_stream
from pipeline.errors import OutputError, UsageError
from pipeline.storage.files import printable_path
from pipeline.storage.outputs import atomic_file, check_writable

REPORT = "output"


class StagedOutputs:
    """The outputs of a run, staged if they cannot be replaced atomically; opens pipes, devices and descriptors.

    If any output is staged, the report is too, so that it appears last.

    Args:
      outputs: paths given by the user, by option name; the report's is REPORT.
      folder: the run's scratch folder.

    Raises:
      UsageError: an output cannot be written; the message begins with the option.
    """

    def __init__(self, outputs: Mapping[str, str], folder: str) -> None:
        self._outputs = outputs
        self._streams: dict[str, int | None] = {}
        self._in_place: set[str] = set()
        for name, path in outputs.items():
            self._check(name, path)
        self._staged = {name: _staged_path(folder, name, outputs[name]) for name in {*self._streams, *self._in_place}}
        if self._staged and REPORT not in self._staged:
            self._staged[REPORT] = os.path.join(folder, REPORT)

    def _check(self, name: str, path: str) -> None:
        try:
            if is_stream_output(path):
                self._streams[name] = open_stream(path)
            elif not check_writable(path):
                self._in_place.add(name)
        except UsageError as error:
            raise UsageError(f"--{name} {error}") from None
        except OSError as error:
            raise UsageError(f"--{name} {printable_path(path)}: cannot be written: {error.strerror}") from None

    @property
    def paths(self) -> dict[str, str]:
        """Paths for the run to write to, by option name."""
        return {**self._outputs, **self._staged}

    def deliver(self) -> None:
        """Copies the staged outputs, the report last.

        Raises:
          BrokenPipeError: the report's reader closed its end.
          OutputError: an output cannot be written.
        """
        for name in sorted(self._staged, key=lambda name: name == REPORT):
            with contextlib.suppress(*() if name == REPORT else (BrokenPipeError,)):
                self._deliver(name)

    def _deliver(self, name: str) -> None:
        source, path = self._staged[name], self._outputs[name]
        if name in self._streams:
            copy_file(source, "standard output" if path == STANDARD else printable_path(path), self._streams[name])
        elif name in self._in_place:
            copy_file(source, printable_path(path), _open_in_place(path))
        else:
            with atomic_file(path, durable=True) as target, open(source, "rb") as file:
                shutil.copyfileobj(file, target)


def _open_in_place(path: str) -> int:
    try:
        return open_in_place(path)
    except OSError as error:
        raise OutputError(f"{printable_path(path)}: cannot be written: {error.strerror}") from None


def _staged_path(folder: str, name: str, path: str) -> str:
    """Returns a path in the scratch folder that keeps the suffix, which selects compression."""
    return os.path.join(folder, name + os.path.splitext(path)[1])
