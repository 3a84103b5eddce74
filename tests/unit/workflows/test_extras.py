"""What is missing here is said before hours of computing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from radps.workflows.extras import find_missing_packages
from radps.workflows.reading import load_workflow


@pytest.fixture(autouse=True)
def _without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """No optional package is installed."""
    optional = ("aoflagger", "dask_jobqueue", "cryptography", "dask_kubernetes", "kr8s", "s3fs", "gcsfs")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in optional else find(name))


def missing(**settings: Any) -> tuple[str, ...]:
    config = {"run": "runs/a", "cluster": "none", "steps": ["user_stages:squares"], **settings}
    return find_missing_packages(load_workflow(config))


def test_a_workflow_that_needs_nothing_more_is_not_complained_of() -> None:
    assert missing(cluster="local") == ()


@pytest.mark.parametrize(
    ("settings", "messages"),
    [
        (
            {"steps": ["import_data", "flag_rfi", {"id": "again", "stage": "flag_rfi"}]},
            ("step 'flag_rfi' needs the package aoflagger, which is not installed here; pip install 'radps[rfi]'",),
        ),
        (
            {"run": "s3://bucket/run", "data": {"path": "gs://bucket/a.ms"}},
            (
                "s3://bucket/run needs the package s3fs, which is not installed here; pip install 'radps[s3]'",
                "gs://bucket/a.ms needs the package gcsfs, which is not installed here; pip install gcsfs",
            ),
        ),
        (
            {"cluster": {"kind": "slurm", "cores": 4, "memory": "16 GiB"}},
            (
                "the cluster 'slurm' needs the package dask-jobqueue, which is not installed here; pip install "
                "'radps[slurm]'",
                "the cluster 'slurm' needs the package cryptography, which is not installed here; pip install "
                "'radps[slurm]'",
            ),
        ),
    ],
)
def test_what_is_missing_is_said_with_who_needs_it(settings: dict[str, Any], messages: tuple[str, ...]) -> None:
    assert missing(**settings) == messages


def test_check_and_a_dry_run_warn(call, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"run: {tmp_path}/run\ncluster: none\nsteps: [flag_rfi]\n")
    for arguments in (["check", config], [config, "--dry-run"]):
        result = call(*arguments)
        assert result.code == 0
        assert result.errors == (
            "Warning: step 'flag_rfi' needs the package aoflagger, which is not installed here; pip install "
            "'radps[rfi]'\n"
        )
