"""Every attempt of a step says who made it, where, with what."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from radps.context.drivers import find_user, this_process
from radps.context.provenance import Provenance, collect_provenance
from radps.context.versions import current_versions, imported_versions


def collect(**changes: object) -> Provenance:
    values = {"stage_module": "radps.stages.flag", "cluster": "in this process", "versions": current_versions()}
    return collect_provenance(**{**values, **changes})  # type: ignore[arg-type]


def test_host_user_and_software_are_recorded() -> None:
    found = collect()
    assert found.host == socket.gethostname()
    assert found.user == getpass.getuser()
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.cluster == "in this process"
    assert found.python == platform.python_version()
    assert found.platform == platform.platform()
    assert found.distributions["numpy"] == importlib.metadata.version("numpy")
    assert {"radps", "pytest", "ducc0", "xradio"} <= set(found.distributions)


def test_of_a_stage_of_radps_the_file_is_known_and_no_repository_is_asked_for() -> None:
    found = collect()
    assert [file.module for file in found.code] == ["radps.stages.flag"]
    assert found.git is None


def test_of_a_stage_of_the_user_the_repository_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "pv_stage.py").write_text("import pv_helper\n")
    (tmp_path / "pv_helper.py").write_text("")
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q", "-b", "work"], check=True)
    found = collect(stage_module="pv_stage")
    assert [file.path for file in found.code] == [str(tmp_path / f"{name}.py") for name in ("pv_stage", "pv_helper")]
    assert found.git is not None
    assert (found.git.branch, set(found.git.dirty)) == ("work", {"pv_stage.py", "pv_helper.py"})


def test_the_data_sets_are_hashed(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_bytes(b"data")
    (data,) = collect(data_paths=[str(tmp_path / "a.fits")]).inputs
    assert data.model_dump() == {
        "path": str(tmp_path / "a.fits"),
        "size_bytes": 4,
        "sha256": "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7",  # of printf data | sha256sum
        "hashed": "content",
    }


def test_it_reads_back_from_json(tmp_path: Path) -> None:
    found = collect(data_paths=[str(tmp_path)])
    assert Provenance.model_validate_json(found.model_dump_json()) == found


def test_it_is_cheap_once_the_distributions_are_known() -> None:
    collect()
    start = time.perf_counter()
    collect()
    # A step takes seconds; a few milliseconds are usual here, and a busy machine gets room.
    assert time.perf_counter() - start < 0.2


def test_only_what_was_imported_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = imported_versions()
    assert found["pytest"] == importlib.metadata.version("pytest")
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    monkeypatch.setattr(sys, "modules", {name: m for name, m in sys.modules.items() if not name.startswith("numpy")})
    assert "numpy" not in imported_versions()


def test_a_user_without_a_name_is_known_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("no name")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert find_user() == this_process(30.0).user == collect().user == str(os.getuid())
