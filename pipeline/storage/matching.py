"""Finds the local files and objects that patterns match.

A pattern is first tried as a literal file or folder name. A match that cannot be accessed is an error, never silently
omitted.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NoReturn

from pipeline.errors import UsageError
from pipeline.storage.compression import codec_of_name
from pipeline.storage.files import InputFile, explain, is_io_error, is_local, printable_path
from pipeline.storage.objects import check_object_path, store_of
from pipeline.storage.patterns import (
    ANY_DEPTH,
    Part,
    has_magic,
    literal_prefix,
    parse,
    sidecar_names,
    whole_expression,
)

OnError = Callable[[UsageError], None]

_REQUESTS = 32  # to a bucket at once
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


def _refuse(error: UsageError) -> NoReturn:
    raise error


def find_files(patterns: list[str] | str, sidecars: list[str] | None = None) -> list[InputFile]:
    """Returns the files that patterns (files, globs, folders) match, without duplicates, sorted by path.

    Hidden files and folders, and sidecar files, are omitted unless a pattern names them.

    Args:
      patterns: one or several.
      sidecars: an empty list, to which the paths of omitted sidecar files are added.

    Raises:
      UsageError: no match, a match that cannot be accessed, or an unsupported compression.
    """
    files: dict[str, InputFile] = {}
    resolve = partial(real_path, folders={}, links=set())
    patterns = [patterns] if isinstance(patterns, str) else patterns
    for pattern, found in zip(patterns, _match_all(patterns, sidecars), strict=True):
        if not found:
            raise UsageError(f"{printable_path(pattern) or repr(pattern)}: {_why_nothing(pattern)}")
        for file in sorted(found):
            files.setdefault(resolve(file.path), file)
    for file in files.values():
        codec_of_name(file.path)
    if sidecars:
        by_real_path = {resolve(path): path for path in sidecars}
        sidecars[:] = sorted(by_real_path[path] for path in by_real_path.keys() - files.keys())
    return sorted(files.values())


def real_path(path: str, folders: dict[str, str], links: set[str]) -> str:
    """Like os.path.realpath for local paths, but resolves each folder once; returns other paths as they are.

    Args:
      path: path of a file or object.
      folders: cache of the real paths of folders.
      links: set to which path is added if it is a symbolic link.
    """
    if not is_local(path):
        return path
    if os.path.islink(path):
        links.add(path)
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    return os.path.join(folders[folder], name)


def _match_all(patterns: list[str], sidecars: list[str] | None) -> Iterator[list[InputFile]]:
    """Yields the matches of each pattern; patterns in buckets are matched several at once."""
    match = partial(match_files, sidecars=sidecars)
    if len(patterns) == 1 or all(map(is_local, patterns)):
        yield from map(match, patterns)
    else:
        with ThreadPoolExecutor(_REQUESTS) as pool:
            yield from pool.map(match, patterns)


def match_files(
    pattern: str,
    wanted: Callable[[str], bool] = lambda path: True,
    on_error: OnError = _refuse,
    sidecars: list[str] | None = None,
) -> list[InputFile]:
    """Returns the wanted files that a pattern matches, perhaps none.

    Args:
      pattern: pattern of local files or objects.
      wanted: predicate on paths, called before the file is accessed.
      on_error: called with the UsageError of each file or folder that cannot be accessed; by default it is raised.
      sidecars: a list to which the paths of omitted sidecar files are added.

    Raises:
      UsageError: the storage is unknown or cannot be listed.
    """
    if is_local(pattern):
        found = _Walk(wanted, on_error).match(pattern)
    else:
        found = [file for file in _match_objects(pattern) if wanted(file.path)]
    names = sidecar_names(pattern)
    left_out = {file.path for file in found if names.fullmatch(file.path.rpartition("/")[2])}
    if sidecars is not None:
        sidecars.extend(sorted(left_out))
    return [file for file in found if file.path not in left_out] if left_out else found


def _why_nothing(pattern: str) -> str:
    if is_local(pattern) and os.path.isdir(pattern):
        with os.scandir(pattern) as entries:
            if any(entry.is_dir() for entry in entries if not entry.name.startswith(".")):
                below = printable_path(os.path.join(pattern, "**"))
                return f"contains only folders: use {below} for the files below"
        return "contains no files (hidden files and sidecar files are omitted)"
    if not is_local(pattern) and not has_magic(pattern):
        with contextlib.suppress(OSError):  # it was listed before without an error
            if next(store_of(pattern).list(_folder(pattern)), None):
                return f"contains only folders: use {_folder(pattern)}** for the files below"
    return "no such file, or nothing matches"


class _Walk:
    """Matches local files. on_error is called for each entry that cannot be accessed."""

    def __init__(self, wanted: Callable[[str], bool], on_error: OnError) -> None:
        self._wanted, self._on_error = wanted, on_error
        self._failed: set[str] = set()

    def match(self, pattern: str) -> list[InputFile]:
        """Returns the files that a pattern matches."""
        status = None if has_magic(pattern) and not os.path.exists(pattern) else self._stat(pattern, False)
        if status and not stat.S_ISDIR(status.st_mode):
            paths: Iterator[tuple[str, bool]] = iter([(pattern, True)])
        elif status:
            paths = self._expand(pattern, parse("*"), True)
        elif has_magic(pattern):
            paths = self._expand("/" if pattern.startswith("/") else "", parse(pattern.lstrip("/")), False)
        else:
            return []
        files = [self._input_file(path, listed) for path, listed in dict(paths).items() if self._wanted(path)]
        return [file for file in files if file]

    def _expand(self, base: str, parts: Sequence[Part], listed: bool) -> Iterator[tuple[str, bool]]:
        """Yields (path, whether it was listed) for all matches of parts below a folder; listed: of the folder."""
        part, rest = parts[0], parts[1:]
        if part == ANY_DEPTH:
            for folder, named in self._folders(base, listed):
                yield from self._expand(folder, rest, named)
        elif isinstance(part, str):
            path = os.path.join(base, part)
            yield from self._expand(path, rest, False) if rest else iter([(path, False)])
        else:
            for path, entry in self._scan(base, listed):
                if part.fullmatch(entry.name):
                    if not rest:
                        yield path, True
                    elif self._is_folder(path, entry):
                        yield from self._expand(path, rest, True)

    def _folders(self, base: str, listed: bool) -> Iterator[tuple[str, bool]]:
        """Yields a folder and the visible folders below it. Links are followed unless they lead to a parent."""
        waiting: list[tuple[str, bool, frozenset[tuple[int, int]]]] = [(base, listed, frozenset())]
        while waiting:
            folder, named, above = waiting.pop()
            yield folder, named
            entries = self._scan(folder, named)
            status = self._stat(folder or ".", True) if entries else None
            if status is None or (status.st_dev, status.st_ino) in above:
                continue
            above |= {(status.st_dev, status.st_ino)}
            for path, entry in entries:
                if not entry.name.startswith(".") and self._is_folder(path, entry):
                    waiting.append((path, True, above))

    def _scan(self, folder: str, listed: bool) -> list[tuple[str, "os.DirEntry[str]"]]:
        start = os.path.join(folder, "")
        try:
            with os.scandir(folder or ".") as entries:
                return [(start + entry.name, entry) for entry in entries]
        except OSError as error:
            self._report(folder, error, listed)
            return []

    def _is_folder(self, path: str, entry: "os.DirEntry[str]") -> bool:
        """Whether it is a folder or a link to one; reports dangling links."""
        if not entry.is_symlink():
            return entry.is_dir(follow_symlinks=False)
        status = self._stat(path, True)
        return bool(status and stat.S_ISDIR(status.st_mode))

    def _input_file(self, path: str, listed: bool) -> InputFile | None:
        status = self._stat(path, listed)
        if status and stat.S_ISREG(status.st_mode):
            version = status.st_ino, status.st_mtime_ns
            return InputFile(path, status.st_size, printable_path(path), int(status.st_mtime), version)
        if status and not stat.S_ISDIR(status.st_mode):
            self._on_error(
                UsageError(f"{printable_path(path)}: a pipe, socket or device cannot be read as one of several files")
            )
        return None

    def _stat(self, path: str, listed: bool) -> os.stat_result | None:
        """Returns the status of a path; None if it is missing or, which is reported, cannot be accessed."""
        try:
            return os.stat(path)
        except (OSError, ValueError) as error:
            self._report(path, error, listed)
            return None

    def _report(self, path: str, error: Exception, listed: bool) -> None:
        """Reports a path that cannot be accessed, once; a missing one only if it was listed."""
        is_missing = isinstance(error, OSError) and error.errno in _MISSING and not os.path.islink(path)
        if path not in self._failed and (listed or not is_missing):
            self._failed.add(path)
            self._on_error(UsageError(f"{printable_path(path) or '.'}: cannot be accessed: {_reason(path, error)}"))


def _reason(path: str, error: Exception) -> str:
    if not isinstance(error, OSError):
        return "names cannot contain a NUL byte" if "\0" in path else str(error)
    if error.errno == errno.ENOENT:
        with contextlib.suppress(OSError):
            return f"dangling symbolic link to {printable_path(os.readlink(path))}"
        return "no longer exists"
    return error.strerror or str(error)


def _match_objects(pattern: str) -> list[InputFile]:
    """Returns the objects that a pattern matches; raises UsageError if they cannot be listed."""
    check_object_path(pattern)
    expression, store = whole_expression(pattern), store_of(pattern)
    try:
        if not has_magic(pattern):
            found = None if pattern.endswith("/") else store.find(pattern)
            return [found] if found else _in_folder(store.list(_folder(pattern)), pattern)
        listed = list(store.list(literal_prefix(pattern)))
    except Exception as error:
        if not is_io_error(error):
            raise
        raise UsageError(f"{pattern}: cannot be listed: {explain(error)}") from None
    literal = [file for file in listed if file.path == pattern]
    if literal or any(file.path.startswith(_folder(pattern)) for file in listed):
        return literal or _in_folder(listed, pattern)
    return [file for file in listed if expression.fullmatch(file.path)]


def _folder(pattern: str) -> str:
    """Returns the prefix of the objects in a folder. `d//` is a folder with an empty name in `d/`."""
    return pattern if pattern.endswith("/") else f"{pattern}/"


def _in_folder(files: Iterable[InputFile], folder: str) -> list[InputFile]:
    prefix = _folder(folder)
    names = ((file, file.path[len(prefix) :]) for file in files if file.path.startswith(prefix))
    return [file for file, name in names if "/" not in name and not name.startswith(".")]
