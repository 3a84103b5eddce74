"""Fixtures of the tests of workflows."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _stages(user_stages: str) -> None:
    """The stages of the tests can be imported."""
