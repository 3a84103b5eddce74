"""Run folders, and contexts to put into them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from radps.context.model import Context
from radps.context.records import StepRecord, StepState
from radps.data import stores
from radps.run_folder.store import RunStore


@pytest.fixture(params=["local", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A run folder that is not there yet: on a disk, in memory, and on an S3 server."""
    if request.param == "local":
        yield str(tmp_path / "run")
        return
    if request.param == "s3":
        yield f"{request.getfixturevalue('object_store').new_bucket()}/run"
        return
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    stores.delete(url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder on the disk that is not there yet."""
    return tmp_path / "run"


def make_with_step(context: Context, step: str, state: StepState = StepState.DONE) -> Context:
    record = StepRecord(id=step, stage=step, state=state, attempt=1, fingerprint="f", after=(), params={}, start_s=1.0)
    return context.model_copy(update={"steps": {**context.steps, step: record}})


@pytest.fixture
def with_step() -> Callable[..., Context]:
    """Returns a context with one more step."""
    return make_with_step


@pytest.fixture
def commit_steps() -> Callable[..., Context]:
    """Commits some steps one after the other and returns the last context."""

    def commit(store: RunStore, *steps: str) -> Context:
        context = Context(run_id="r")
        for step in steps:
            context = store.commit(make_with_step(context, step), step)
        return context

    return commit
