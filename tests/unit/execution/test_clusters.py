"""Which cluster a config means, and how memory and cores are shared out."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import dask.system
import psutil
import pytest
from pydantic import ValidationError

from radps.errors import ClusterError
from radps.execution import clusters
from radps.execution.clusters import (
    InProcessCluster,
    LocalMachine,
    RunningScheduler,
    count_cores,
    local_shares,
    memory_limit_bytes,
    open_engine,
    parse_cluster,
    planned_resources,
)

GIB = 2**30


@pytest.mark.parametrize(
    ("value", "cluster"),
    [
        ("none", InProcessCluster()),
        ("local", LocalMachine()),
        ("tls://host:1", RunningScheduler(address="tls://host:1")),
        ({"kind": "local", "workers": 3, "memory_limit": "1.5 GiB"}, LocalMachine(workers=3, memory_limit=1.5 * GIB)),
        (
            {"kind": "address", "address": "tcp://h:1", "timeout": "1 min"},
            RunningScheduler(address="tcp://h:1", timeout=60),
        ),
    ],
)
def test_a_cluster_is_a_word_an_address_or_a_mapping(value: Any, cluster: Any) -> None:
    assert parse_cluster(value) == cluster


@pytest.mark.parametrize("value", ["moon", "host:8786", 3, ["local"], {"workers": 2}, {"kind": ["local"]}])
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a cluster; write none, local, the address of a scheduler"):
        parse_cluster(value)


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "local", "workers": 0},
        {"kind": "local", "memory_limit": "1 MB"},
        {"kind": "none", "workers": 2},
        {"kind": "address", "address": "host"},
        {"kind": "address"},
    ],
)
def test_wrong_values_are_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        parse_cluster(value)


def test_workers_share_the_memory_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "memory_limit_bytes", lambda: 16 * GIB)
    assert local_shares(LocalMachine(workers=4)) == (4, int(16 * GIB * 0.9 / 4))
    assert local_shares(LocalMachine(workers=4, memory_limit=GIB)) == (4, GIB)
    assert local_shares(LocalMachine())[0] == count_cores()


def test_workers_without_room_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "memory_limit_bytes", lambda: 2 * GIB)
    message = r"64 workers on a machine with 2 GiB would have 28\.8 MiB each, and need 256 MiB at least; use fewer"
    with pytest.raises(ClusterError, match=message):
        local_shares(LocalMachine(workers=64))


def test_the_cores_are_those_that_the_process_may_use() -> None:
    assert 1 <= count_cores() <= len(os.sched_getaffinity(0))


def test_the_cores_of_a_container_are_those_of_its_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    quota = {"cpu.cfs_quota_us": "150000", "cpu.cfs_period_us": "100000"}
    monkeypatch.setattr(dask.system, "open", lambda path, *_, **__: io.StringIO(quota[Path(path).name]), raising=False)
    for module, name in ((os, "sched_getaffinity"), (os, "process_cpu_count"), (psutil.Process, "cpu_affinity")):
        monkeypatch.setattr(
            module, name, lambda *_, name=name: 64 if "count" in name else list(range(64)), raising=False
        )
    assert count_cores() == 2


@pytest.mark.parametrize(("text", "expected"), [("1000000", 1_000_000), ("max", None)])
def test_the_limit_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int | None
) -> None:
    monkeypatch.setattr(clusters, "_CGROUP_LIMITS", ())
    machine = memory_limit_bytes()
    (tmp_path / "limit").write_text(text)
    monkeypatch.setattr(clusters, "_CGROUP_LIMITS", (str(tmp_path / "missing"), str(tmp_path / "limit")))
    assert memory_limit_bytes() == (expected or machine)


def test_the_plan_of_chunks_is_that_of_the_cluster_which_is_not_started() -> None:
    local = planned_resources(LocalMachine(workers=3, memory_limit=2 * 10**9))
    assert (local.slots, local.memory_bytes) == (3, int(0.7 * 2 * 10**9 - 450 * 2**20))
    assert planned_resources(InProcessCluster()).slots == 1
    assert planned_resources(RunningScheduler(address="tcp://10.0.0.1:8786")) is None


def test_no_cluster_computes_in_this_process() -> None:
    with open_engine(InProcessCluster(), "memory://run") as engine:
        assert engine.description == "in this process"
        assert engine.resources().slots == 1


@pytest.mark.parametrize("cluster", [LocalMachine(workers=1), RunningScheduler(address="tcp://127.0.0.1:1")])
def test_worker_processes_cannot_see_memory(cluster: Any) -> None:
    with (
        pytest.raises(
            ClusterError, match="lives in this process, and worker processes cannot see it; use --cluster none"
        ),
        open_engine(cluster, "memory://run"),
    ):
        pass
