"""The command that prints the objects of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

CONFIG = """\
run: /data/run
cluster:
  kind: kubernetes
  image: radps:1
  volumes: [{mount: /data, claim: radps-data}]
steps: [user_stages:squares]
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "demo.yaml"
    path.write_text(CONFIG)
    return path


def test_the_objects_of_a_run_are_printed(call: Any, config: Path) -> None:
    result = call("kubernetes", "manifest", str(config), "--claim-size", "5Gi")
    assert result.code == 0
    made = {each["kind"]: each for each in yaml.safe_load_all(result.output)}
    assert set(made) == {"PersistentVolumeClaim", "ConfigMap", "Job"}
    assert made["ConfigMap"]["data"]["config.yaml"] == CONFIG


def test_a_config_of_another_cluster_has_no_manifest(call: Any, config: Path) -> None:
    config.write_text("run: run\ncluster: none\nsteps: [user_stages:squares]\n")
    result = call("kubernetes", "manifest", str(config))
    assert result.code == 2
    assert "its cluster is 'none'; a manifest needs cluster: {kind: kubernetes" in " ".join(result.errors.split())


def test_a_storage_class_alone_is_refused(call: Any, config: Path) -> None:
    result = call("kubernetes", "manifest", str(config), "--storage-class", "nfs")
    assert result.code == 2
    assert "--storage-class is for new claims; give their --claim-size too" in " ".join(result.errors.split())
