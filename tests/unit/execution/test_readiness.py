"""What a cluster has to have before the first task: versions, and a run folder that all processes see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster

from radps.errors import ClusterError
from radps.execution import readiness
from radps.execution.client import OnClient
from radps.execution.readiness import answer_in_folder, check_shared_folder, check_versions, make_ready


class FarClient:
    """A client whose workers answer, and see nothing of this machine."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers

    def run(self, *_: Any) -> dict[str, str]:
        """Return what the workers say."""
        return self.answers


def test_other_versions_on_the_cluster_are_named(cluster: OnClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # In this process alone: the workers have imported theirs.
    monkeypatch.setattr(readiness.radps, "__version__", "99")
    monkeypatch.setattr(dask, "__version__", "98")
    with pytest.raises(ClusterError, match=r"differs from here: dask .* at the scheduler, 98 here; .*radps .* 99 here"):
        check_versions(cluster._client, "the cluster")


def test_a_cluster_without_workers_is_refused() -> None:
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as empty,
        Client(empty, set_as_default=False) as client,
        pytest.raises(ClusterError, match=r"an empty cluster has no workers; start some"),
    ):
        check_versions(client, "an empty cluster")


def test_a_folder_that_all_see_is_as_it_was(cluster: OnClient, tmp_path: Path) -> None:
    make_ready(cluster._client, "the cluster", run_url=str(tmp_path / "new" / "run"))
    assert not (tmp_path / "new" / "run").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "context.json").write_text("{}")
    make_ready(cluster._client, "the cluster", run_url=str(tmp_path / "old"))
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["context.json"]


def test_a_worker_with_another_folder_at_the_same_path_is_named(tmp_path: Path) -> None:
    client: Any = FarClient({"tcp://10.0.0.1:4": ""})
    message = (
        r"worker tcp://10\.0\.0\.1:4 of the cluster does not have the run folder .*: what it wrote there is not there "
        r"for the driver \(0 of 1 workers were in order\); take a folder on a volume"
    )
    with pytest.raises(ClusterError, match=message):
        check_shared_folder(client, "the cluster", str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_worker_that_may_not_write_is_quoted(tmp_path: Path) -> None:
    client: Any = FarClient({"tcp://10.0.0.1:4": "PermissionError: [Errno 13] Permission denied"})
    with pytest.raises(ClusterError, match=r"does not have the run folder .*: PermissionError: \[Errno 13\]"):
        check_shared_folder(client, "the cluster", str(tmp_path))


def test_a_driver_that_may_not_write_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    client: Any = FarClient({})
    with pytest.raises(ClusterError, match=r"cannot write to the run folder .*/file/run \(\w+: .*give another one"):
        check_shared_folder(client, "the cluster", str(tmp_path / "file" / "run"))


def test_a_worker_says_what_is_wrong_with_a_folder(cluster: OnClient, tmp_path: Path) -> None:
    (answer,) = cluster._client.run(answer_in_folder, str(tmp_path / "nowhere"), "token").values()
    assert answer == "what the driver wrote there is not there"
    (tmp_path / "driver").mkdir()
    (answer,) = cluster._client.run(answer_in_folder, str(tmp_path), "token").values()
    assert answer.startswith("IsADirectoryError: ")
