"""Fixtures of the tests of execution: one cluster of one worker for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from radps.execution.client import OnClient
from radps.execution.local import open_local


@pytest.fixture(autouse=True)
def _stages(user_stages: str) -> None:
    """The stages of the tests can be imported."""


@pytest.fixture(scope="session")
def cluster(user_stages: str) -> Iterator[OnClient]:
    """One worker process."""
    with open_local(1, 2**30) as engine:
        yield engine
