"""A stream's output folder as rows for the page."""

import os
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.serving import Settings
from pipeline.serving.page_files import LiveReports
from tests.serving_support import build_app, call

HEADER = "hour,impressions,video_start,video_25,video_50,video_75,video_completed,impressions_scaled"


def write(folder: Path, hour: str, impressions: int = 1) -> Path:
    """Writes an hour's report as a stream does: whole, over an earlier one."""
    path = folder / f"{hour[:13]}{hour[19:].replace(':', '')}.csv"
    new = folder / ".new"
    new.write_text(f"{HEADER}\n{hour},{impressions},0,0,0,0,0,{impressions / 10}\n")
    os.replace(new, path)
    return path


def lines(reports: LiveReports) -> list[str]:
    header, *rows = reports.csv().decode().splitlines()
    assert header == f"{HEADER},final"
    return rows


def test_newest_first_with_final_hours_marked(tmp_path: Path) -> None:
    """Also across the night when clocks are put back, where names do not sort by time."""
    for hour in ("2021-10-31T02:00:00+02:00", "2021-10-31T02:00:00+01:00", "2021-10-31T01:00:00+02:00"):
        write(tmp_path, hour)
    (tmp_path / "2021-10-31T01+0200.final").touch()
    assert lines(LiveReports(tmp_path)) == [
        "2021-10-31T02:00:00+01:00,1,0,0,0,0,0,0.1,false",
        "2021-10-31T02:00:00+02:00,1,0,0,0,0,0,0.1,false",
        "2021-10-31T01:00:00+02:00,1,0,0,0,0,0,0.1,true",
    ]


def test_changes_are_seen(tmp_path: Path) -> None:
    reports = LiveReports(tmp_path)
    assert lines(reports) == []
    path = write(tmp_path, "2021-04-02T18:00:00+01:00")
    status = path.stat()
    assert lines(reports) == ["2021-04-02T18:00:00+01:00,1,0,0,0,0,0,0.1,false"]
    path = write(tmp_path, "2021-04-02T18:00:00+01:00", 2)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # the same size and time
    assert lines(reports) == ["2021-04-02T18:00:00+01:00,2,0,0,0,0,0,0.2,false"]
    path.with_suffix(".final").touch()
    assert lines(reports) == ["2021-04-02T18:00:00+01:00,2,0,0,0,0,0,0.2,true"]
    path.unlink()
    assert lines(reports) == []


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    outside = write(tmp_path, "2021-04-02T18:00:00+01:00").rename(tmp_path / "outside")
    folder = tmp_path / "reports"
    folder.mkdir()
    for name in ("2021-04-02T18+0100.txt", "2021-04-02T18+0100.csv.gz", ".2021-04-02T18+0100.csv", "report.csv"):
        (folder / name).write_text("secret")
    (folder / "2021-04-02T18+0100.csv").symlink_to(outside)
    (folder / "2021-04-02T19+0100.csv").mkdir()
    os.mkfifo(folder / "2021-04-02T20+0100.csv")
    assert lines(LiveReports(folder)) == []


@pytest.mark.parametrize(
    "content", ["", "secret\n", f"{HEADER}\n", f"{HEADER}\nsecret\n", f"{HEADER}\n" * 40, "\0" * 9000]
)
def test_a_file_that_is_no_report_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "2021-04-02T18+0100.csv").write_text(content)
    with pytest.raises(InputError, match=r"^live reports: 2021-04-02T18\+0100\.csv is not an hourly report$"):
        LiveReports(tmp_path).csv()


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^live reports: its folder: No such file or directory$"):
        LiveReports(tmp_path / "gone").csv()


def test_over_http(tmp_path: Path) -> None:
    """Behind the token, with an ETag, and with no word about where the folder is."""
    folder = tmp_path / "reports"
    folder.mkdir()
    path = write(folder, "2021-04-02T18:00:00+01:00")
    app = build_app(tmp_path, Settings(reports=str(folder), token="t"))
    assert call(app, method="GET", path="/reports.csv").problem["status"] == 401
    assert call(app, method="POST", path="/reports.csv").problem["status"] == 405
    known = {"HTTP_AUTHORIZATION": "Bearer t"}
    answer = call(app, method="GET", path="/reports.csv", **known)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert answer.body.decode() == f"{HEADER},final\n2021-04-02T18:00:00+01:00,1,0,0,0,0,0,0.1,false\n"
    known["HTTP_IF_NONE_MATCH"] = answer.headers["Etag"]
    assert call(app, method="GET", path="/reports.csv", **known).status == 304
    path.write_text("secret")
    broken = call(app, method="GET", path="/reports.csv", **known)
    assert broken.problem["detail"] == "live reports: 2021-04-02T18+0100.csv is not an hourly report"
    assert (broken.status, broken.headers["Retry-After"]) == (503, "2")


def test_a_server_without_a_folder(tmp_path: Path) -> None:
    assert call(build_app(tmp_path), method="GET", path="/reports.csv").problem["status"] == 404
