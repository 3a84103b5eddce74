"""Fixtures of the tests of commands: a config and its run."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFIG = """\
run: run
project: P
cluster: none
steps:
  - user_stages:squares
  - {id: store, stage: user_stages:writes}
  - {id: bad, stage: user_stages:fails, after: squares}
  - {id: alarm, stage: user_stages:direct, after: bad, when: failure}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run folder of config.yaml of the working folder; nothing was run yet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path / "run"


@pytest.fixture
def run(call, folder: Path) -> Path:
    """A run with a step that failed, and another one that was done twice."""
    assert call("config.yaml").code == 1
    assert call("config.yaml", "--only", "store", "--redo", "store").code == 0
    return folder
