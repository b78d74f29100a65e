"""Hours that close while a folder is watched on Prism, live: marks, late files, a kill, and a run that goes on."""

import re
import subprocess
from pathlib import Path

import pytest

from tests import oracle
from tests.integration.buckets import BUCKET, S3Server, Storage, bucket_server
from tests.integration.prism_streams import START, Sender, lines_of, put, running, stop, until
from tests.streams import files_of_ids, ids_of
from tests.support import HEADER, hourly_reports

ALLOWED = 12  # seconds after the first poll, since all hours were over by then
HOUR_NAMES = {"2021-04-02T21+0100", "2021-04-02T22+0100", "2021-04-02T23+0100"}


class InTime(Sender):
    """Files that were all written in time, whenever they are found."""

    def _put(self, name: str, data: bytes, late: bool) -> None:
        put(self.folder / name, data, START)


def finals(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("output/*.final")}


def reports(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Each report, and which file it is."""
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.glob("output/*.csv")}


def end(process: subprocess.Popen[str], summary: str) -> None:
    """Ends a stream, which says how much it read."""
    said = stop(process)
    assert re.match(summary, said.splitlines()[-1]), said


@pytest.mark.parametrize("deduplicate", [True, False], ids=["deduplicated", "all"])
def test_a_final_hour_stays_as_it_is(deduplicate: bool, tmp_path: Path) -> None:
    sender = InTime(tmp_path / "in")
    options = [f"--ids_output={tmp_path}/ids", f"--allowed_lateness_seconds={ALLOWED}"]
    options += ["--deduplicate"] * deduplicate
    events = first_events(sender)
    with running(sender, tmp_path, options) as process:
        until(lambda: finals(tmp_path) == HOUR_NAMES, process)
        before = reports(tmp_path)
        assert hourly_reports(tmp_path / "output") == oracle.report(events)
        sender.send()  # written in time, and found when all hours are closed; with one broken line
        until(lambda: len(lines_of(tmp_path / "rejects")) == 2001, process)
        assert reports(tmp_path) == before
    with running(sender, tmp_path, options) as process:  # it was killed
        sender.send()
        until(lambda: len(lines_of(tmp_path / "rejects")) == 4001, process)
        counted = len(events)
        end(process, f"{counted + 4001} events read, {counted} counted, 1 rejected, (0 duplicates, )?4000 late, ")
    assert finals(tmp_path) == HOUR_NAMES
    assert {name: report[1] for name, report in reports(tmp_path).items()} == {n: r[1] for n, r in before.items()}
    assert (files_of_ids(tmp_path / "ids") == ids_of(events)) is True


def first_events(sender: Sender) -> list[oracle.Event]:
    """Sends three files without anything special, and has their events."""
    for _ in range(3):
        sender.send()
    return list(sender.on_time)


def test_a_run_that_starts_from_nothing_takes_marks_away(tmp_path: Path) -> None:
    sender = InTime(tmp_path / "in")
    events = first_events(sender)
    with running(sender, tmp_path, [f"--allowed_lateness_seconds={ALLOWED}"]) as process:
        until(lambda: finals(tmp_path) == HOUR_NAMES, process)
        end(process, f"{len(events)} events read, {len(events)} counted, 0 rejected, 0 late, ")
    other = ["--allowed_lateness_seconds=99999"]
    with running(sender, tmp_path, other) as process:
        stderr = process.communicate(timeout=120)[1]
    assert process.returncode == 2
    assert f"--allowed_lateness_seconds 99999 differs from the ledger ({ALLOWED})" in stderr
    with running(sender, tmp_path, [*other, "--overwrite"]) as process:
        until(lambda: not finals(tmp_path) and len(reports(tmp_path)) == len(HOUR_NAMES), process)
        end(process, f"{len(events)} events read, {len(events)} counted, 0 rejected, 0 late, ")
    assert finals(tmp_path) == set()  # what is open when a stream is stopped is not final
    assert hourly_reports(tmp_path / "output") == oracle.report(events)


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_marks_in_a_bucket(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = InTime(tmp_path / "in")
    events = first_events(sender)
    all_read = f"{len(events)} events read, {len(events)} counted, 0 rejected, 0 late, "
    with bucket_server(scheme, tmp_path) as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        options = [f"--output={scheme}://{BUCKET}/reports", *store.options]
        with running(sender, tmp_path, [*options, f"--allowed_lateness_seconds={ALLOWED}"]) as process:
            until(lambda: names(store, ".final") == HOUR_NAMES, process)
            end(process, all_read)
        other = [*options, "--allowed_lateness_seconds=99999"]
        with running(sender, tmp_path, other) as process:  # nothing tells of earlier runs in a bucket
            assert "but no ledger or saved state; cannot resume" in process.communicate(timeout=120)[1]
        assert (process.returncode, names(store, ".final")) == (2, HOUR_NAMES)
        with running(sender, tmp_path, [*other, "--overwrite"]) as process:
            until(lambda: (names(store, ".final"), names(store, ".csv")) == (set(), HOUR_NAMES), process)
            end(process, all_read)
        rows = [store.get(f"reports/{name}.csv").decode().removeprefix(HEADER) for name in sorted(HOUR_NAMES)]
        assert (HEADER + "".join(rows), names(store, ".csv")) == (oracle.report(events), HOUR_NAMES)


def names(store: Storage | S3Server, suffix: str) -> set[str]:
    """The names of hours that have such an object."""
    return {Path(name).stem for name in store.names("reports/") if name.endswith(suffix)}
