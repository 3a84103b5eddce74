"""Pods that talk to each other and to the driver by TLS, with the certificates of configs/kubernetes/tls.sh."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

import radps
from radps.errors import ClusterError
from radps.execution.clusters import open_engine, parse_cluster

pytestmark = pytest.mark.kubernetes

SCRIPT = Path(__file__).parents[2] / "configs" / "kubernetes" / "tls.sh"


def make_certificates(folder: Path) -> str:
    """Return the Secret that the script prints."""
    return subprocess.run([str(SCRIPT), str(folder)], capture_output=True, text=True, check=True).stdout


def test_a_run_is_encrypted(place: Any, tmp_path: Path) -> None:
    place.kubectl("apply", "-f", "-", text=make_certificates(tmp_path / "ours"))
    cluster = place.cluster(tls={"secret": "radps-tls", "folder": str(tmp_path / "ours")})
    with open_engine(parse_cluster(cluster), str(place.folder / "encrypted")) as engine:
        client: Any = engine._client  # type: ignore[attr-defined]
        addresses = list(client.scheduler_info(n_workers=-1)["workers"])
        assert addresses
        assert all(address.startswith("tls://") for address in (client.scheduler.address, *addresses))
    config = {"run": str(place.folder / "encrypted"), "cluster": cluster, "steps": ["simulate", "import_data"]}
    assert radps.run(config, progress=False).context.steps["import_data"].state == "done"


def test_certificates_of_somebody_else_are_turned_away(place: Any, tmp_path: Path) -> None:
    place.kubectl("apply", "-f", "-", text=make_certificates(tmp_path / "ours"))
    make_certificates(tmp_path / "theirs")
    cluster = place.cluster(tls={"secret": "radps-tls", "folder": str(tmp_path / "theirs")})
    with (
        pytest.raises(ClusterError, match=r"runs, and does not answer at tls://.* and cluster\.tls on both sides"),
        open_engine(parse_cluster(cluster), str(place.folder / "strangers")),
    ):
        pass
