"""What an earlier run of this process has left does not reach the next one."""

from pipeline.engine.run_state import RunState


def test_a_new_run_starts_from_nothing() -> None:
    run, fresh = RunState(), RunState()
    objects = ("stopping", "cancelled", "latency", "_lock")
    before = {name: value for name, value in vars(fresh).items() if name not in objects}
    run.stopping.set()
    run.cancelled.set()
    run.counted["read"] += 1
    run.latency.add(1, 1, 1)
    run.written["a.csv"] = 1
    run.add_bytes_read(1)
    assert all(vars(run)[name] != value for name, value in before.items())
    run.clear()
    assert not run.stopping.is_set()
    assert not run.cancelled.is_set()
    assert {name: value for name, value in vars(run).items() if name not in objects} == before
    assert run.latency.max_latency(0, 9) is None
