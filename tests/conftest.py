"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def find_shared() -> Path | None:
    """Return the folder of reference material: RADPS_SHARED, or ``../shared`` beside the checkout."""
    named = os.environ.get("RADPS_SHARED")
    candidates = [Path(named)] if named else [Path(__file__).resolve().parents[2] / "shared"]
    return next((path for path in candidates if (path / "data").is_dir()), None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data and the reference tables; the test is skipped where there is none."""
    shared = find_shared()
    if shared is None:
        pytest.skip("no reference material: set RADPS_SHARED to its folder, or put it beside the checkout as ../shared")
    return shared / "data"


@pytest.fixture(scope="session")
def user_stages() -> Iterator[str]:
    """The module with the stages of the tests: importable here, and in worker processes, which take over the path."""
    folder = str(Path(__file__).parent / "helpers")
    sys.path.append(folder)
    yield "user_stages"
    sys.path.remove(folder)
