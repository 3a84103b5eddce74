"""Packages that a workflow needs and that ``pip install radps`` does not bring: found before hours of computing."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from radps.data.urls import is_local
from radps.stages.base import find_stage
from radps.workflows.model import Workflow

_EXTRAS = {
    "aoflagger": "rfi",
    "cryptography": "slurm",
    "dask_jobqueue": "slurm",
    "dask_kubernetes": "kubernetes",
    "kr8s": "kubernetes",
    "s3fs": "s3",
}
"""Module -> extra of radps that brings it."""

_OF_CLUSTERS = {"kubernetes": ("dask_kubernetes", "kr8s"), "slurm": ("dask_jobqueue", "cryptography")}
"""Kind of cluster -> modules that its driver needs."""

_OF_URLS = {"s3://": "s3fs", "gs://": "gcsfs", "gcs://": "gcsfs", "az://": "adlfs", "abfs://": "adlfs"}
"""Start of a URL -> module that reads and writes there."""


def find_missing_packages(workflow: Workflow) -> tuple[str, ...]:
    """Return what is not installed in this environment and will be needed, each with who needs it and what to do.

    The workers of a cluster may have an environment of their own, so that this is a warning and no mistake.
    """
    needed: dict[str, str] = {}
    for module, who in _find_needs(workflow):
        needed.setdefault(module, who)
    return tuple(
        f"{who} needs the package {module.replace('_', '-')}, which is not installed here; {_remedy(module)}"
        for module, who in needed.items()
        if importlib.util.find_spec(module) is None
    )


def _find_needs(workflow: Workflow) -> Iterator[tuple[str, str]]:
    """Yield modules, and who needs them."""
    for url in (workflow.run, *workflow.data.path):
        if not is_local(url):
            yield from ((module, url) for start, module in _OF_URLS.items() if url.startswith(start))
    for module in _OF_CLUSTERS.get(workflow.cluster.kind, ()):
        yield module, f"the cluster {workflow.cluster.kind!r}"
    for step in workflow.steps:
        yield from ((module, f"step {step.id!r}") for module in find_stage(step.stage).params_model.packages)


def _remedy(module: str) -> str:
    extra = _EXTRAS.get(module)
    return f"pip install 'radps[{extra}]'" if extra else f"pip install {module.replace('_', '-')}"
