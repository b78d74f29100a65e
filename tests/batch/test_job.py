"""A job: what it writes, and the name of its temporary files."""

from pipeline.batch.graph import Job


def test_outputs_are_those_that_are_asked_for() -> None:
    assert Job((), "r.csv").outputs == ["r.csv"]
    assert Job((), "r.csv", ids_output="").outputs == ["r.csv", ""]  # a name that is refused later
    job = Job((), "r.csv", chart_output="c.html", rejects_output="bad.jsonl", ids_output="ids.txt")
    assert sorted(job.outputs) == ["bad.jsonl", "c.html", "ids.txt", "r.csv"]


def test_jobs_do_not_share_temporary_files() -> None:
    assert Job((), "r.csv").token != Job((), "r.csv").token
