"""Rejects of many files on Prism: few files, each reject once, while the stream runs and after its end."""

from pathlib import Path

from tests.integration.prism_streams import Sender, lines_of, put, stop, stream, until

FILES = 3000


def test_rejects_of_many_files_are_few_files(tmp_path: Path) -> None:
    sender, kept = Sender(tmp_path / "in"), tmp_path / "rejects_output"
    for number in range(FILES):
        put(sender.folder / f"{number}.jsonl", b"{}\n")
    with stream(sender, tmp_path) as process:
        until(lambda: len(lines_of(kept)) == FILES, process)
        put(sender.folder / "one more.jsonl", b"{}\n")
        until(lambda: len(lines_of(kept)) == FILES + 1, process)
        put(sender.folder / "the last.jsonl", b"{}\n")
        stderr = stop(process)
    wanted = f"{FILES + 2} events read, 0 counted, {FILES + 2} rejected, 0 late"
    assert stderr.splitlines()[-1].startswith(wanted), stderr
    assert len(set(lines_of(kept))) == len(lines_of(kept)) == FILES + 2
    assert len(list(kept.iterdir())) < 50
