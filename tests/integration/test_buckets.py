"""gs:// and s3:// end to end, against servers that the tests start, also with faults."""

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import support
from tests.documents import random_events as events
from tests.integration.buckets import BUCKET, S3Server, Storage, bucket_server, surely
from tests.oracle import ids_of, report_of
from tests.support import HEADER, ROOT, json_lines

Store = Storage | S3Server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("buckets")


@pytest.fixture(scope="module", params=["gs", "s3"])
def store(request: pytest.FixtureRequest, folder: Path) -> Iterator[Store]:
    with bucket_server(request.param, folder) as server:
        yield server


def parquet_of(data: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(data), sink, row_group_size=20_000, compression="none")
    return bytes(sink.getvalue().to_pybytes())


def run(store: Store, *arguments: str) -> support.Run:
    return support.run(*arguments, *store.options, **store.environment)


def test_a_glob_in_and_four_files_out(store: Store) -> None:
    lines, array = json_lines(events(3000)), json.dumps(events(500, 2)).encode()
    bad = b'{"id": "a"}\n'
    store.put("all/in/lines.jsonl.gz", gzip.compress(lines))
    store.put("all/in/array.json", array)
    store.put("all/in/bad.jsonl", bad)
    store.put("all/in/.hidden.jsonl", b"not to be read")
    store.put("all/out/report.csv", b"an earlier report")
    root = f"{store.scheme}://{BUCKET}/all"
    outputs = ["--ids_output", f"{root}/out/ids.txt", "--rejects_output", f"{root}/out/rejects.jsonl"]
    outputs += ["--chart_output", f"{root}/out/chart.html"]
    done = run(store, "--input", f"{root}/in/*", "--output", f"{root}/out/report.csv", *outputs)
    assert done.err.startswith("3501 events read, 3500 counted, 1 rejected, ")
    assert done.status == 0
    assert store.get("all/out/report.csv").decode() == report_of(lines, array)
    assert set(store.get("all/out/ids.txt").decode().split()) == ids_of(lines, array)
    assert json.loads(store.get("all/out/rejects.jsonl"))["source"] == f"{root}/in/bad.jsonl"
    assert report_of(lines, array) in store.get("all/out/chart.html").decode()
    names = ("chart.html", "ids.txt", "rejects.jsonl", "report.csv")
    assert store.names("all/out/") == [f"all/out/{name}" for name in names]


def test_a_folder_without_events_gives_empty_files(store: Store) -> None:
    store.put("none/in/empty.jsonl", b"\n")
    root = f"{store.scheme}://{BUCKET}/none"
    done = run(store, "--input", f"{root}/in", "--output", f"{root}/r.csv", "--ids_output", f"{root}/ids.txt")
    assert (done.status, done.err[:15]) == (0, "0 events read, ")
    assert (store.get("none/r.csv"), store.get("none/ids.txt")) == (HEADER.encode(), b"")


def test_a_large_file_is_read_in_parts_and_large_ids_are_joined(store: Store) -> None:
    lines = json_lines(events(30_000, id_length=400))  # 14 MB: four cells, and pieces of ids that go through part files
    path = store.put("large/lines.jsonl", lines)
    root = f"{store.scheme}://{BUCKET}/large"
    done = run(store, "--input", path, "--output", f"{root}/r.csv", "--ids_output", f"{root}/ids.txt")
    assert done.status == 0, done.err
    assert store.get("large/r.csv").decode() == report_of(lines)
    assert set(store.get("large/ids.txt").decode().split()) == ids_of(lines)
    assert store.names("large/") == ["large/ids.txt", "large/lines.jsonl", "large/r.csv"]


def test_many_small_objects(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    documents = [json_lines(events(20, seed)) for seed in range(2000 if store.scheme == "gs" else 300)]
    for number, document in enumerate(documents):
        store.put(f"many/{number}.jsonl", document)
    root = f"{store.scheme}://{BUCKET}"
    start = time.monotonic()
    done = run(store, "--input", f"{root}/many/*.jsonl", "--output", f"{root}/many-report.csv")
    assert done.status == 0, done.err
    assert store.get("many-report.csv").decode() == report_of(*documents)
    with capsys.disabled():
        print(f"\n{len(documents)} objects on {store.scheme}://: {time.monotonic() - start:.1f} s")


@pytest.mark.parametrize(("output", "status"), [(False, 2), (True, 1)])
@pytest.mark.parametrize("name", ["r.csv", "in/*"])
def test_a_bucket_that_is_not_there_is_named(store: Store, output: bool, status: int, name: str) -> None:
    """An input's before the run; an output's when it is written, since no bucket is asked before."""
    path = store.put("usage/a.jsonl", json_lines(events(1)))
    missing = f"{store.scheme}://missing/{name}"
    done = run(store, "--input", path if output else missing, "--output", missing if output else "r.csv")
    assert done.status == status
    assert f"{missing}: cannot be {'written' if output else 'listed'}: " in done.err
    assert "no such bucket" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("output", [False, True])
def test_s3_without_credentials_is_wrong_usage(output: bool, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(json_lines(events(1)))
    path, here = "s3://bucket/x", str(tmp_path / "a.jsonl")
    arguments = ("--input", here if output else path, "--output", path if output else here)
    nothing = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1/", "HOME": str(tmp_path)}
    done = support.run(*arguments, "--s3_region_name=us-east-1", seconds=60, **nothing)
    assert (done.status, done.err.count("\n")) == (2, 1), done.err
    assert done.err.startswith(f"error: --{'output' if output else 'input'} {path}: no credentials for S3 ")


def test_an_input_is_no_output(store: Store) -> None:
    path = store.put("usage/a.jsonl", json_lines(events(1)))
    done = run(store, "--input", path, "--output", path)
    assert (done.status, done.err) == (2, f"error: {path} is both input and output\n")


@pytest.mark.parametrize("pattern", ["a[1].jsonl", "in[1]/b?.jsonl", "in[1]", "in[1]/", "**/b?.jsonl", "in[[]1]/*"])
def test_names_that_look_like_patterns(pattern: str, store: Store) -> None:
    lines = json_lines(events(10))
    store.put("named/a[1].jsonl", lines)
    store.put("named/in[1]/b?.jsonl", lines)
    for other in ("a1.jsonl", "in1/b?.jsonl", "in[1]/", "in[1]/deeper/c.jsonl", "in[1]/.bx.jsonl", ".in[1]/bx.jsonl"):
        store.put(f"named/{other}", b"not to be read")
    if pattern == "**/b?.jsonl":
        store.put("named/in1/b?.jsonl", b"")
    root = f"{store.scheme}://{BUCKET}/named"
    out = f"{root}/out[x]/report"
    outputs = ("--output", f"{out}?.csv", "--ids_output", f"{out}1.csv")
    done = run(store, "--input", f"{root}/{pattern}", *outputs)
    assert (done.status, done.err[:16]) == (0, "10 events read, "), done.err
    assert store.get("named/out[x]/report?.csv").decode() == report_of(lines)
    done = run(store, "--input", f"{root}/{pattern}", "--output", f"{out}?.csv")
    assert done.status == 0
    assert store.names("named/out") == ["named/out[x]/report1.csv", "named/out[x]/report?.csv"]


def test_any_number_of_folders(store: Store) -> None:
    lines = json_lines(events(10))
    for name in ("a.jsonl", "x/b.jsonl", "x/y/c.jsonl"):
        store.put(f"deep/{name}", lines)
    for name in (".d.jsonl", ".x/e.jsonl", "x/.y/f.jsonl"):
        store.put(f"deep/{name}", b"not to be read")
    store.put("only/x/a.jsonl", lines)
    root = f"{store.scheme}://{BUCKET}"
    done = run(store, "--input", f"{root}/deep/**/*.jsonl", "--output", "-")
    assert done.err.startswith("30 events read, 30 counted"), done.err
    done = run(store, "--input", f"{root}/only", "--output", "-")
    told = f"error: --input {root}/only: contains only folders: use {root}/only/** for the files below\n"
    assert (done.status, done.err) == (2, told)


def test_deletion_takes_no_path_for_a_pattern(store: Store) -> None:
    """What a run removes are its own temporary objects, whatever else their names would match as patterns."""
    for name in ("?", "a", "[ab]", "*"):
        store.put(f"delete/{name}", b"x")
    here = [f"delete/{name}" for name in ("*", "?", "[ab]", "a")]
    script = "import sys; from pipeline.engine.runners import beam_options as set_options; set_options(sys.argv[2:]); "
    script += "from pipeline.storage.objects import delete_file; delete_file(sys.argv[1])"
    for name in ("*", "?", "[ab]"):
        path = f"{store.scheme}://{BUCKET}/delete/{name}"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **store.environment}
        subprocess.run([sys.executable, "-c", script, path, *store.options], check=True, env=environment, timeout=100)
        here.remove(f"delete/{name}")
        assert store.names("delete/") == here


NO_RANGES = {"s3": ("--no_ranges", "1"), "gs": ("--no_ranges",)}

FAULTS = {
    "503 for every fourth request": ("--unavailable", "4"),
    "429 for every fourth request": ("--too_many", "4"),
    "every other upload is cut": ("--cut_writes", "2"),
}


schemes = pytest.mark.parametrize("scheme", ["gs", "s3"])


@schemes
@pytest.mark.parametrize("fault", FAULTS)
def test_with_faults_now_and_then_the_report_is_right(fault: str, scheme: str, tmp_path: Path) -> None:
    lines = json_lines(events(60_000))
    with bucket_server(scheme, tmp_path, *FAULTS[fault]) as store:
        surely(lambda: store.put("in/a.jsonl", lines))
        root = f"{scheme}://{BUCKET}"
        done = run(store, "--input", f"{root}/in/*", "--output", f"{root}/r.csv", "--ids_output", f"{root}/ids.txt")
        assert done.status == 0, done.err
        assert surely(lambda: store.get("r.csv")).decode() == report_of(lines)
        assert set(surely(lambda: store.get("ids.txt")).decode().split()) == ids_of(lines)


@schemes
@pytest.mark.parametrize("every", ["2", "5"])
def test_when_downloads_are_cut_the_report_is_right_or_the_run_says_so(every: str, scheme: str, tmp_path: Path) -> None:
    lines = json_lines(events(60_000))
    with bucket_server(scheme, tmp_path, "--cut_reads", every) as store:
        store.put("in/a.jsonl", lines)
        root = f"{scheme}://{BUCKET}"
        done = run(store, "--input", f"{root}/in/*", "--output", f"{root}/r.csv")
        if done.status == 0:
            assert surely(lambda: store.get("r.csv")).decode() == report_of(lines)
        else:
            assert done.err.startswith(f"error: {root}/"), done.err
            assert (done.status, done.err.count("\n")) == (1, 1)
            assert store.names() == ["in/a.jsonl"]


@schemes
@pytest.mark.parametrize("fault", ["delete", "truncate", "replace"])
@pytest.mark.parametrize("name", ["in/a.jsonl", "in/a.json", "in/a.jsonl.gz", "in/a.parquet"])
def test_an_object_that_changes_after_it_was_listed_is_named(
    fault: str, name: str, scheme: str, tmp_path: Path
) -> None:
    data = events(2000)
    content = json.dumps(data).encode() if name.endswith(".json") else json_lines(data)
    content = gzip.compress(content) if name.endswith(".gz") else content
    content = parquet_of(data) if name.endswith(".parquet") else content
    with bucket_server(scheme, tmp_path, f"--{fault}_listed", f"{BUCKET}/{name}") as store:
        store.put(name, content)
        store.put("in/b.jsonl", json_lines(events(10)))
        root = f"{scheme}://{BUCKET}"
        done = run(store, "--input", f"{root}/in/*", "--output", f"{root}/r.csv")
        assert done.status == 1
        assert done.err == f"error: {root}/{name}: was replaced or deleted since it was listed\n"
        assert store.names() == ["in/b.jsonl"] if fault == "delete" else [name, "in/b.jsonl"]


@schemes
@pytest.mark.parametrize("name", ["in/a.jsonl", "in/a.json", "in/a.jsonl.gz", "in/a.parquet"])
def test_an_object_that_is_replaced_between_two_reads_is_named(name: str, scheme: str, tmp_path: Path) -> None:
    data = events(60_000, id_length=100)
    content = json.dumps(data).encode() if name.endswith(".json") else json_lines(data)
    content = gzip.compress(content, 0) if name.endswith(".gz") else content
    content = parquet_of(data) if name.endswith(".parquet") else content
    with bucket_server(scheme, tmp_path, "--replace_read", f"{BUCKET}/{name}") as store:
        store.put(name, content)
        root = f"{scheme}://{BUCKET}"
        done = run(store, "--input", f"{root}/in/*", "--output", f"{root}/r.csv")
        assert (done.status, store.names()) == (1, [name]), done.err
        assert done.err == f"error: {root}/{name}: was replaced or deleted since it was listed\n"


@schemes
def test_objects_are_read_and_written_with_one_request_each(scheme: str, tmp_path: Path) -> None:
    """One listing, a download an object, several at once, and an upload an output; nothing else is asked for."""
    documents = [json_lines(events(20, seed)) for seed in range(60)]
    with bucket_server(scheme, tmp_path, "--delay_ms", "30") as store:
        for number, document in enumerate(documents):
            store.put(f"in/{number}.jsonl", document)
        root = f"{scheme}://{BUCKET}"
        store.requests()
        outputs = ("--output", f"{root}/r.csv", "--ids_output", f"{root}/ids.txt", "--chart_output", f"{root}/r.html")
        done = run(store, "--input", f"{root}/in/*", *outputs)
        log, at_once = store.requests()
        assert done.status == 0, done.err
        assert store.get("r.csv").decode() == report_of(*documents)
        assert len(log) <= 1.2 * len(documents)
        assert at_once > 4
        assert not [request for request in log if request.startswith(("DELETE", "HEAD"))]


@schemes
@pytest.mark.parametrize("count", [500, 60_000])
def test_a_server_that_ignores_ranges_gives_no_wrong_report(count: int, scheme: str, tmp_path: Path) -> None:
    lines = json_lines(events(count, id_length=100))
    with bucket_server(scheme, tmp_path, *NO_RANGES[scheme]) as store:
        path = store.put("in/a.jsonl", lines)
        done = run(store, "--input", path, "--output", "-")
        if count == 500:
            assert (done.status, done.out) == (0, report_of(lines))
        else:
            assert (done.status, done.err.count("\n")) == (1, 1)
            assert done.err.startswith(f"error: {path}: cannot be read: the server sent "), done.err


@schemes
def test_outputs_need_the_right_to_create_alone(scheme: str, tmp_path: Path) -> None:
    """And leave nothing else, whether the run succeeds or fails."""
    lines = json_lines(events(30_000, id_length=400))
    with bucket_server(scheme, tmp_path, "--create_only", f"{BUCKET}/out/") as store:
        path, bad = store.put("in/a.jsonl", lines), store.put("in/bad.jsonl", json_lines([*events(10), {}]))
        out = f"{scheme}://{BUCKET}/out"
        outputs = ("--output", f"{out}/r.csv", "--ids_output", f"{out}/ids.txt", "--rejects_output", f"{out}/x.jsonl")
        done = run(store, "--input", path, *outputs, "--deduplicate")
        assert (done.status, done.err.count("\n")) == (0, 1), done.err
        assert store.names("in") == ["in/a.jsonl", "in/bad.jsonl"]
        log, _ = store.requests()
        assert sum(request.startswith(("PUT", "POST")) for request in log) >= 3
        assert not [request for request in log if request.startswith("DELETE")]
        named = [request for request in log if "out/" in request.replace("%2F", "/")]
        assert {request.split(" ")[0] for request in named} <= {"PUT", "POST"}
        done = run(store, "--input", bad, *outputs[:4])
        first, reject, hint = done.err.splitlines()
        assert (first, reject[: len(bad) + 7]) == ("error: 1 of 11 records rejected", f"  {bad}:11: ")
        assert (done.status, hint[:6]) == (1, "hint: ")
        log, _ = store.requests()
        assert not [request for request in log if "out/" in request.replace("%2F", "/")]


@schemes
def test_an_object_with_a_content_encoding_is_read_as_what_it_is(scheme: str, tmp_path: Path) -> None:
    small, large = json_lines(events(100)), json_lines(events(60_000, id_length=100))
    with bucket_server(scheme, tmp_path) as store:
        store.put("in/small.jsonl", gzip.compress(small), encoding="gzip")
        store.put("in/large.jsonl", gzip.compress(large, 0), encoding="gzip")
        store.put("in/named.jsonl.gz", gzip.compress(small), encoding="gzip")
        done = run(store, "--input", f"{scheme}://{BUCKET}/in", "--output", "-")
        assert (done.status, done.out) == (0, report_of(small, large, small)), done.err
        store.put("in/odd.jsonl", gzip.compress(small))
        done = run(store, "--input", f"{scheme}://{BUCKET}/in", "--output", "-")
        assert done.status == 1
        assert "the suffix is that of JSON, but the content looks like gzip" in done.err
