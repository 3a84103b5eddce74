"""What a step of very many chunks costs besides its work: CPU and memory of driver, scheduler and workers.

The work is simulated: each chunk is a task that does nothing, on worker processes of this machine, in a run as users
have it (ledger, events, records of tasks). Run on demand::

    pytest tests/benchmarks/bench_scaling.py -s
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from distributed import Client

from radps.context.model import Context, Workspace
from radps.execution.worker_host import WorkerHost
from radps.graph_tasks.shapes import map_chunks, reduce_tree
from radps.node_tasks.guard import TaskRules
from radps.node_tasks.ledger import Entry, load_done, save_entry
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow

CHUNKS = (1_000, 10_000, 100_000)
WORKERS = 2


class Cost(NamedTuple):
    """Of one process, or several."""

    cpu_s: float
    memory_bytes: int
    """More than at the beginning, at the peak."""


class Meter:
    """Adds up what processes use while a block runs; the memory is looked at every half second."""

    def __init__(self, **processes: list[int]) -> None:
        self._processes = {name: [psutil.Process(pid) for pid in pids] for name, pids in processes.items()}
        self._ended = threading.Event()
        self.costs: dict[str, Cost] = {}

    def __enter__(self) -> Meter:
        gc.collect()
        self._cpu = self._sum(cpu_seconds)
        self._memory = self._peak = self._sum(resident_bytes)
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        cpu = self._sum(cpu_seconds)
        for name in self._processes:
            self.costs[name] = Cost(cpu[name] - self._cpu[name], int(self._peak[name] - self._memory[name]))

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            now = self._sum(resident_bytes)
            self._peak = {name: max(now[name], peak) for name, peak in self._peak.items()}

    def _sum(self, measure: Callable[[psutil.Process], float]) -> dict[str, float]:
        return {name: sum(map(measure, several)) for name, several in self._processes.items()}


def cpu_seconds(process: psutil.Process) -> float:
    """Return what a process has computed so far [s]."""
    times = process.cpu_times()
    return float(times.user + times.system)


def resident_bytes(process: psutil.Process) -> float:
    """Return the memory of a process."""
    return float(process.memory_info().rss)


@contextlib.contextmanager
def processes(folder: Path) -> Iterator[tuple[str, list[int], list[int]]]:
    """Yield the address of a scheduler, its process, and those of workers: apart, so that each can be measured."""
    found = folder / "scheduler.json"
    here = ["--host", "127.0.0.1", "--scheduler-file", str(found)]
    workers = [*here, "--nthreads", "1", "--nworkers", str(WORKERS), "--memory-limit", "2GiB"]
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(open(folder / "cluster.log", "w", encoding="utf-8"))

        def start(module: str, *options: str) -> int:
            command = [sys.executable, "-m", f"distributed.cli.{module}", *options]
            process = subprocess.Popen(command, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process.pid

        scheduler = start("dask_scheduler", *here, "--port", "0", "--dashboard-address", "127.0.0.1:0")
        nanny = start("dask_worker", *workers)
        with Client(scheduler_file=str(found), set_as_default=False, timeout=60) as client:
            client.wait_for_workers(WORKERS, timeout=60)
            address = client.scheduler.address
        yield address, [scheduler], [child.pid for child in psutil.Process(nanny).children(recursive=True)]


@pytest.mark.parametrize("chunks", CHUNKS)
def test_graph_of_many_chunks(chunks: int) -> None:
    rules = TaskRules(ledger_url="/nowhere", host=WorkerHost(), retries=2, retry_delay_s=5.0)
    names = Context(run_id="r").at(Workspace(url="/nowhere", step="s", rules=rules, mark="3fa9c1"))
    start = time.process_time()
    graph = reduce_tree(names, sum, map_chunks(names, abs, range(chunks)))
    built = time.process_time() - start
    size = len(pickle.dumps(dict(graph.__dask_graph__())))
    print(f"\n{chunks} chunks: built in {built:.2f} s CPU, {size / chunks:.0f} bytes a chunk pickled")
    assert built < 5.0 * chunks / 10_000 + 0.5
    assert size < chunks / 1000 * 2**20


def test_ledger_of_many_chunks(tmp_path: Path) -> None:
    """What a resumed step reads before it goes on."""
    entry = Entry(1, None, 1.0, 2.0, "tcp://127.0.0.1:4000", 1, 0, 2**28)
    for chunk in range(10_000):
        save_entry(str(tmp_path), f"clean-{chunk:05d}", entry)
    start = time.process_time()
    assert len(load_done(str(tmp_path))) == 10_000
    print(f"\nledger: {(time.process_time() - start) / 10:.3f} s CPU to read 1,000 entries of a resumed step")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("chunks", CHUNKS)
def test_run_of_many_chunks(chunks: int, user_stages: str, tmp_path: Path) -> None:
    stage = {f"{user_stages}:sleeps": {"n": chunks, "seconds": 0.0}}
    with processes(tmp_path) as (address, scheduler, workers):
        workflow = load_workflow({"run": str(tmp_path / "run"), "cluster": address, "steps": [stage]})
        start = time.monotonic()
        with Meter(driver=[os.getpid()], scheduler=scheduler, workers=workers) as meter:
            context = run_workflow(workflow)
        elapsed = time.monotonic() - start
    record = context.steps["sleeps"]
    assert record.state == "done"
    print(f"\n{chunks} chunks, {record.tasks} tasks, {elapsed:.0f} s; a task and 1,000 chunks cost:")
    for name, (cpu_s, memory) in meter.costs.items():
        print(f"  {name:9} {1e3 * cpu_s / record.tasks:6.2f} ms CPU  {memory / chunks * 1e3 / 2**20:6.2f} MiB")
