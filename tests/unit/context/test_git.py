"""The state of the repository of a user's code is known, or it is said why not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from radps.context import git
from radps.context.git import GitState, read_git_state


def run_git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the committed files ``stage.py`` and ``sub/my helper.py``."""
    folder = tmp_path / "code"
    (folder / "sub").mkdir(parents=True)
    run_git(folder, "init", "--quiet", "--initial-branch", "work")
    for name in ("stage.py", "sub/my helper.py", "other.py"):
        (folder / name).write_text("x = 1\n")
    run_git(folder, "add", ".")
    run_git(folder, "commit", "--quiet", "-m", "first")
    return folder


def state(folder: Path, *names: str) -> GitState:
    return read_git_state([str(folder / name) for name in names])


def test_commit_and_branch_are_read(repository: Path) -> None:
    assert state(repository, "stage.py") == GitState(commit=run_git(repository, "rev-parse", "HEAD"), branch="work")


def test_files_that_are_not_as_committed_are_named_and_others_are_not(repository: Path) -> None:
    for name in ("sub/my helper.py", "other.py", "new.py", "ignored.py"):
        (repository / name).write_text("x = 2\n")
    (repository / ".gitignore").write_text("ignored.py\n")
    found = state(repository, "stage.py", "sub/my helper.py", "new.py", "ignored.py")
    assert set(found.dirty) == {"sub/my helper.py", "new.py", "ignored.py"}


def test_a_staged_change_counts(repository: Path) -> None:
    (repository / "stage.py").write_text("x = 2\n")
    run_git(repository, "add", "stage.py")
    assert state(repository, "stage.py").dirty == ("stage.py",)


def test_a_file_outside_of_the_repository_is_passed_over(repository: Path) -> None:
    outside = repository.parent / "helper.py"
    outside.write_text("")
    assert read_git_state([str(repository / "stage.py"), str(outside)]).dirty == ()


def test_a_repository_without_commits_has_no_commit(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "--quiet", "--initial-branch", "work")
    (tmp_path / "stage.py").write_text("")
    assert state(tmp_path, "stage.py") == GitState(commit="", branch="work", dirty=("stage.py",))


def test_variables_of_a_hook_do_not_lead_elsewhere(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(repository.parent / "nowhere"))
    assert state(repository, "stage.py").branch == "work"


def test_no_repository_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = state(tmp_path, "stage.py")
    assert "not a git repository" in found.problem
    assert found.commit == ""


def test_no_git_is_said(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert state(repository, "stage.py") == GitState(problem="git is not installed")


def test_a_git_that_does_not_answer_is_not_waited_for(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = repository / "git"
    slow.write_text("#!/bin/sh\nexec /bin/sleep 20\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(repository))
    monkeypatch.setattr(git, "TIME_LIMIT_S", 0.2)
    assert state(repository, "stage.py") == GitState(problem="git did not answer within 0.2 s")
