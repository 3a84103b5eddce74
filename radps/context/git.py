"""The state of a git repository that code of the user stands in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from radps.context.base import Record

TIME_LIMIT_S = 5.0
"""A repository on a slow disk must not hold up a run."""


class GitState(Record):
    """Where a repository stands, as far as some files are concerned."""

    commit: str = ""
    """Empty if there is none yet, or no repository."""
    branch: str = ""
    """``(detached)`` if none is checked out."""
    dirty: tuple[str, ...] = ()
    """Files that are not as they were committed, or not committed at all; paths below the repository."""
    problem: str = ""
    """Why nothing is known; empty if something is."""


def read_git_state(files: Sequence[str]) -> GitState:
    """Return the state of the repository that the first file stands in; files outside of it are passed over.

    That there is no git, no repository, or no answer in time is said in ``problem``.
    """
    folder = str(Path(files[0]).parent)
    try:
        # Links are resolved, because git resolves them too.
        root = Path(_git(folder, "rev-parse", "--show-toplevel").rstrip("\n")).resolve()
        inside = [str(path) for path in (Path(file).resolve() for file in files) if path.is_relative_to(root)]
        options = ("--porcelain=v2", "--branch", "--ignored", "--no-renames", "-z")
        lines = _git(str(root), "status", *options, "--", *inside).split("\0")
    except FileNotFoundError:
        return GitState(problem="git is not installed")
    except subprocess.TimeoutExpired:
        return GitState(problem=f"git did not answer within {TIME_LIMIT_S:g} s")
    except subprocess.CalledProcessError as error:
        return GitState(problem=error.stderr.strip().partition("\n")[0] or f"git failed with code {error.returncode}")
    return _parse(lines)


def _git(folder: str, *arguments: str) -> str:
    # A hook of another repository sets variables that would point there. No optional locks: to look must not get in the
    # way of the user's own git.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment = {**plain, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = ["git", "-C", folder, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIME_LIMIT_S, env=environment)
    return done.stdout


def _parse(lines: Sequence[str]) -> GitState:
    """Return what the entries of ``git status --porcelain=v2 --branch -z`` say."""
    headers = dict(line.removeprefix("# ").split(" ", 1) for line in lines if line.startswith("# "))
    # A change is "1 XY sub mH mI mW hH hI path", a conflict has two fields more, others are "? path" and "! path".
    fields_before_path = {"1": 8, "u": 10, "?": 1, "!": 1}
    dirty = [line.split(" ", fields_before_path[line[0]])[-1] for line in lines if line[:1] in fields_before_path]
    commit = headers.get("branch.oid", "")
    return GitState(
        commit="" if commit == "(initial)" else commit, branch=headers.get("branch.head", ""), dirty=tuple(dirty)
    )
