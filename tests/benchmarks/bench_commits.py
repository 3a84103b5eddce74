"""Commits do not get slower with their number: 5,000 commits of a context of a real size.

Run on demand::

    pytest tests/benchmarks/bench_commits.py
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from radps.context.model import Context
from radps.context.records import Outcome, StepRecord, StepState
from radps.run_folder.store import RunStore

COMMITS = 5_000
STEPS = 15
SUMMARY_NUMBERS = 100
"""Of each step: makes a context of 60 kB, as that of the demo."""

SLOWER = 1.5
"""The last 500 commits may take so much longer than the first ones: the noise of a disk, not its content."""


def make_context() -> Context:
    """Return a context with as many steps as a workflow has."""
    summary = {f"number {count}": count / 7 for count in range(SUMMARY_NUMBERS)}
    records = [
        StepRecord(
            id=f"step_{number}",
            stage="flag",
            state=StepState.DONE,
            attempt=1,
            fingerprint="f" * 64,
            after=(),
            params={},
            start_s=1.0,
            outcome=Outcome(summary=summary),
        )
        for number in range(STEPS)
    ]
    return Context(run_id="r").with_records(records)


def test_commit_5000_is_as_fast_as_the_first_ones(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path / "run"))
    context = make_context()
    seconds = []
    with store.lock():
        for _ in range(COMMITS):
            start = time.perf_counter()
            context = store.commit(context, "step_1")
            seconds.append(time.perf_counter() - start)
    first, last = statistics.median(seconds[:500]), statistics.median(seconds[-500:])
    start = time.perf_counter()
    assert RunStore(store.url).load().sequence == COMMITS
    load = time.perf_counter() - start
    size = (tmp_path / "run/context.json").stat().st_size
    print(f"\n{size} bytes: first 500 {first * 1e3:.2f} ms, last 500 {last * 1e3:.2f} ms a commit")
    print(f"load {load * 1e3:.1f} ms")
    assert last < SLOWER * first
