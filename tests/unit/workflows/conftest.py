"""Fixtures of the tests of workflows."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from radps.data import stores
from radps.execution.client import OnClient
from radps.execution.local import open_local


@pytest.fixture(autouse=True)
def _stages(user_stages: str) -> None:
    """The stages of the tests can be imported."""


@pytest.fixture(scope="session")
def two_workers(user_stages: str) -> Iterator[OnClient]:
    """Two worker processes."""
    with open_local(2, 2**29) as engine:
        yield engine


@pytest.fixture(params=["local", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A run folder that is not there yet: on a disk, in memory, and on an S3 server."""
    if request.param == "local":
        yield str(tmp_path / "run")
        return
    if request.param == "s3":
        yield f"{request.getfixturevalue('object_store').new_bucket()}/run"
        return
    url = f"memory://{uuid.uuid4().hex}/run"
    yield url
    stores.delete(url)
