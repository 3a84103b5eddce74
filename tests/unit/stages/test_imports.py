"""A user's module that cannot be imported is described by the user's own lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from radps.stages._imports import ImportFailure, import_module


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the Python path; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def failure(name: str) -> list[str]:
    """Return the lines of the message about a module that cannot be imported."""
    with pytest.raises(ImportFailure, match=f"cannot import module '{name}'") as caught:
        import_module(name)
    return str(caught.value).splitlines()


def test_the_chain_of_the_users_own_lines_is_told_and_nothing_else(home: Path) -> None:
    (home / "im_stage.py").write_text("import math\nimport im_helper\n")
    (home / "im_helper.py").write_text("import numpy\n\nLIMIT = numpy.zeros('x')\n")
    first, *lines = failure("im_stage")
    assert first == "cannot import module 'im_stage': TypeError: 'str' object cannot be interpreted as an integer"
    assert [line.strip() for line in lines] == [
        f"{home}/im_stage.py:2: import im_helper",
        f"{home}/im_helper.py:3: LIMIT = numpy.zeros('x')",
    ]


def test_a_mistake_of_syntax_is_marked(home: Path) -> None:
    (home / "im_syntax.py").write_text("import im_unreadable\n")
    (home / "im_unreadable.py").write_text("def f():\n    x = (1 +* 2)\n")
    first, outer, line, mark = failure("im_syntax")
    assert first == "cannot import module 'im_syntax': SyntaxError: invalid syntax"
    assert outer.strip() == f"{home}/im_syntax.py:1: import im_unreadable"
    assert line.strip() == f"{home}/im_unreadable.py:2: x = (1 +* 2)"
    assert line[mark.index("^")] == "*"
    assert mark.strip() == "^"


def test_a_module_that_is_not_found_says_where_it_was_looked_for(home: Path) -> None:
    (line,) = failure("im_nowhere")
    assert "ModuleNotFoundError: No module named 'im_nowhere'; your module 'im_nowhere' is not found" in line
    assert f"looked in {home}" in line
    assert "site-packages" not in line


def test_a_module_that_is_not_in_its_package_says_where_it_was_looked_for(home: Path) -> None:
    (home / "im_package").mkdir()
    (home / "im_package" / "__init__.py").write_text("")
    (line,) = failure("im_package.im_inner")
    assert f"your module 'im_package.im_inner' is not found: looked in {home}/im_package, and among" in line


def test_a_file_that_is_taken_for_a_package_is_named(home: Path) -> None:
    (home / "im_file.py").write_text("")
    (line,) = failure("im_file.im_inner")
    assert "looked in im_file, which is a file and no package" in line


def test_a_package_that_is_not_installed_is_told_from_the_users_own(home: Path) -> None:
    (home / "im_needs.py").write_text("x = 1\nimport numpi.linalg\n")
    first, line = failure("im_needs")
    assert "your module imports 'numpi', which is not installed: pip install it, or" in first
    assert f"put it into {home} or onto the Python path" in first
    assert line.strip() == f"{home}/im_needs.py:2: import numpi.linalg"


def test_a_helper_that_is_missing_in_a_package_says_where_it_was_looked_for(home: Path) -> None:
    (home / "im_own").mkdir()
    (home / "im_own" / "__init__.py").write_text("")
    (home / "im_own" / "stage.py").write_text("from .helper import x\n")
    first, line = failure("im_own.stage")
    assert f"your module imports 'im_own.helper', which is not there: looked in {home}/im_own" in first
    assert line.strip() == f"{home}/im_own/stage.py:1: from .helper import x"


def test_a_module_that_ends_the_process_is_a_mistake_like_others(home: Path) -> None:
    (home / "im_script.py").write_text("import sys\nsys.exit('usage: ...')\n")
    first, line = failure("im_script")
    assert first.endswith("SystemExit: usage: ...")
    assert line.strip() == f"{home}/im_script.py:2: sys.exit('usage: ...')"


def test_of_an_installed_package_its_own_lines_are_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = home / "site-packages"
    installed.mkdir()
    monkeypatch.syspath_prepend(installed)
    (installed / "im_installed.py").write_text("1 / 0\n")
    _, line = failure("im_installed")
    assert line.strip() == f"{installed}/im_installed.py:1: 1 / 0"


def test_a_module_that_can_be_imported_is_returned(home: Path) -> None:
    (home / "im_good.py").write_text("x = 7\n")
    assert import_module("im_good").x == 7
