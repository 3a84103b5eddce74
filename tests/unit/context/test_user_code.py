"""The code of a user's stage is its file and the user's own modules that it imports."""

from __future__ import annotations

import hashlib
import importlib
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from radps.context.user_code import find_code, forget_edited, forget_modules, locate_source, remember_loaded


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the Python path; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(home: Path, **files: str) -> None:
    """Write modules; ``a__b`` is the module ``b`` of the package ``a``."""
    for name, text in files.items():
        path = home / (name.replace("__", "/", 1) + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def modules(name: str) -> list[str]:
    return [file.module for file in find_code(name)]


def test_the_own_modules_that_a_stage_imports_are_followed(home: Path) -> None:
    write(
        home,
        uc_stage="import os\nimport numpy as np\nimport radps.units\nfrom uc_one import LIMIT\nimport uc_two as two\n",
        uc_one="from uc_three import *\nLIMIT = 3\n",
        uc_two="",
        uc_three="",
        uc_other="",
    )
    assert modules("uc_stage") == ["uc_stage", "uc_one", "uc_three", "uc_two"]


def test_an_import_inside_a_function_counts_whether_it_was_done_or_not(home: Path) -> None:
    write(home, uc_lazy="def stage():\n    from uc_package.uc_inner import x\n", uc_package__uc_inner="x = 1\n")
    write(home, uc_package____init__="")
    before = find_code("uc_lazy")
    assert [file.module for file in before] == ["uc_lazy", "uc_package", "uc_package.uc_inner"]
    assert not {"uc_lazy", "uc_package", "uc_package.uc_inner"} & set(sys.modules)
    __import__("uc_package.uc_inner")
    assert find_code("uc_lazy") == before


def test_relative_imports_and_packages_around_are_followed(home: Path) -> None:
    write(
        home,
        ucp____init__="from . import settings\n",
        ucp__settings="",
        ucp__stage="from .helper import thing\nfrom . import more\n",
        ucp__helper="from ..outside import nothing\n",
        ucp__more="",
        ucp__unused="",
    )
    assert modules("ucp.stage") == ["ucp.stage", "ucp", "ucp.helper", "ucp.more", "ucp.settings"]


def test_a_package_without_init_has_the_files_of_its_modules(home: Path) -> None:
    write(home, ucn__stage="import ucn.helper\n", ucn__helper="")
    assert modules("ucn.stage") == ["ucn.stage", "ucn.helper"]


def test_installed_modules_are_left_out_but_not_those_beside_an_installed_stage(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = home / "lib" / "site-packages"
    installed.mkdir(parents=True)
    monkeypatch.syspath_prepend(installed)
    write(installed, ucq____init__="", ucq__stage="import ucq.helper\nimport uc_library\n", ucq__helper="")
    write(installed, uc_library="")
    assert modules("ucq.stage") == ["ucq.stage", "ucq", "ucq.helper"]


def test_modules_that_import_each_other_are_found_once(home: Path) -> None:
    write(home, uc_a="import uc_b\n", uc_b="import uc_a\nimport uc_missing\n")
    assert modules("uc_a") == ["uc_a", "uc_b"]


def test_a_file_that_python_cannot_read_counts_all_the_same(home: Path) -> None:
    write(home, uc_good="import uc_bad\n", uc_bad="def (:\n")
    assert modules("uc_good") == ["uc_good", "uc_bad"]


def test_the_content_is_hashed(home: Path) -> None:
    write(home, uc_text="x = 1\n")
    (before,) = find_code("uc_text")
    assert before.path == str(home / "uc_text.py")
    assert len(before.sha256) == 64
    write(home, uc_text="x = 2\n")
    assert find_code("uc_text")[0].sha256 != before.sha256


def test_code_that_was_edited_counts_when_it_is_imported_anew(home: Path) -> None:
    write(home, uc_used="import uc_limit\ndef limit(): return uc_limit.LIMIT\n", uc_limit="LIMIT = 1\n")
    stage = importlib.import_module("uc_used")
    remember_loaded("uc_used")
    before = find_code("uc_used")
    forget_edited("uc_used")
    assert sys.modules["uc_used"] is stage  # nothing was edited

    write(home, uc_limit="LIMIT = 1000\n")
    assert find_code("uc_used") == before  # what this process goes on with
    forget_edited("uc_used")
    assert find_code("uc_used") != before
    assert importlib.import_module("uc_used").limit() == 1000


def test_a_module_is_forgotten_by_the_package_that_holds_it_too(home: Path) -> None:
    write(home, ucf____init__="", ucf__inner="x = 1\n")
    importlib.import_module("ucf.inner")
    write(home, ucf__inner="x = 1000\n")
    forget_modules(["ucf.inner"])
    names: dict[str, Any] = {}
    exec("from ucf import inner", names)
    assert names["inner"].x == 1000


def test_the_place_and_hash_of_a_module_in_an_archive_are_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(home / "code.zip", "w") as archive:
        archive.writestr("uc_zipped.py", "x = 1\n")
    monkeypatch.syspath_prepend(home / "code.zip")
    place, sha256 = locate_source("uc_zipped")
    assert place == f"{home}/code.zip/uc_zipped.py"
    assert sha256 == hashlib.sha256(b"x = 1\n").hexdigest()
    assert locate_source("uc_there_is_none") == ("", "")


def test_the_code_of_a_stage_of_radps_is_its_file() -> None:
    (file,) = find_code("radps.stages.flag")
    assert file.path.endswith("radps/stages/flag.py")


def test_what_is_no_module_has_no_code() -> None:
    assert find_code("uc_there_is_none") == ()
