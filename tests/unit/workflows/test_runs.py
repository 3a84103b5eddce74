"""The runs below a folder are found, on any store; damaged ones are there with the reason."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from radps.errors import ConfigError, ContextError
from radps.run_folder.store import RunStore
from radps.workflows import runs
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow
from radps.workflows.runs import find_run_url, find_runs, list_runs, list_states, summarize_run

STEPS = ["user_stages:squares", "user_stages:direct"]
BROKEN = ["user_stages:squares", "user_stages:fails"]


def run(url: str, steps: list[str] | None = None, **more: object) -> str:
    run_workflow(load_workflow({"run": url, "cluster": "none", "steps": steps or STEPS, **more}))
    return url


def test_runs_are_found_at_any_depth_with_their_states(url: str) -> None:
    run(f"{url}/b", project="P")
    run(f"{url}/deep/er/a", BROKEN)
    first, second = list_runs(url)
    assert (first.run, first.project, first.state, first.steps_done, first.steps) == (f"{url}/b", "P", "done", 2, 2)
    assert (second.run, second.state, second.steps_done) == (f"{url}/deep/er/a", "failed", 1)
    assert first.started is not None
    assert first.changed is not None
    assert first.started <= first.changed
    assert first.run_id == RunStore(first.run).load().run_id
    assert [one.run for one in list_runs(url, "failed")] == [second.run]


def test_a_run_is_found_at_the_root_itself_and_nothing_is_searched_below_it(url: str) -> None:
    run(url)
    run(f"{url}/products/inner")
    assert find_runs(url) == (url,)


def test_data_and_hidden_folders_are_not_searched(tmp_path: Path) -> None:
    for name in ("a.zarr", "day1.ms", ".hidden"):
        run(str(tmp_path / name / "run"))
    assert find_runs(str(tmp_path)) == ()


def test_a_link_to_a_run_is_a_run_and_a_loop_of_links_ends(tmp_path: Path) -> None:
    run(str(tmp_path / "disk" / "run"))
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "here").symlink_to(tmp_path / "disk" / "run")
    (runs / "loop").symlink_to(runs)
    assert find_runs(str(runs)) == (str(runs / "here"),)


def test_a_folder_with_a_history_of_something_else_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "notes.txt").touch()
    assert find_runs(run(str(tmp_path / "run"))) == (str(tmp_path / "run"),)
    assert find_runs(str(tmp_path)) == (str(tmp_path / "run"),)


def damage(folder: Path) -> None:
    """Damage the context and the newest entry of the history: what was committed is lost."""
    (folder / "context.json").write_text("{")
    max((folder / "history").iterdir()).write_text("{")


def test_damaged_runs_say_what_is_wrong(tmp_path: Path) -> None:
    run(str(tmp_path / "a"))
    damage(tmp_path / "a")
    run(str(tmp_path / "b"))
    (found,) = list_runs(tmp_path, "damaged")
    assert (found.run, found.state, found.steps, found.started) == (str(tmp_path / "a"), "damaged", 0, None)
    assert "context.json is damaged" in found.problem


def test_damage_that_the_next_run_mends_is_said_too(tmp_path: Path) -> None:
    run(str(tmp_path / "a"))
    (tmp_path / "a" / "context.json").write_text("{")
    run(str(tmp_path / "b"))
    (tmp_path / "b" / "context.json").unlink()
    first, second = list_runs(tmp_path)
    assert (first.state, first.steps_done, second.state, second.steps_done) == ("done", 2, "done", 2)
    assert "context.json is damaged" in first.problem
    assert "context.json is damaged: it is missing" in second.problem


def test_a_folder_that_cannot_be_read_is_listed_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(str(tmp_path / "secret"))
    run(str(tmp_path / "open"))

    def refuse(name: str) -> Any:
        plain = getattr(LocalFileSystem, name)

        def maybe(self: LocalFileSystem, path: str, *args: Any, **options: Any) -> Any:
            if "secret" in path:
                raise PermissionError(13, "Permission denied", path)
            return plain(self, path, *args, **options)

        return maybe

    for name in ("ls", "cat_file"):
        monkeypatch.setattr(LocalFileSystem, name, refuse(name))
    first, second = list_runs(tmp_path)
    assert (first.run, first.state) == (str(tmp_path / "open"), "done")
    assert (second.run, second.state) == (str(tmp_path / "secret"), "damaged")
    assert re.search(r"cannot read .*secret.*: .*Permission denied", second.problem)


def test_a_folder_that_is_removed_while_the_runs_are_listed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "here"):
        run(str(tmp_path / name))
    plain = LocalFileSystem.ls

    def ls(self: LocalFileSystem, path: str, *args: Any, **options: Any) -> Any:
        if path.endswith("gone"):
            shutil.rmtree(path)
        return plain(self, path, *args, **options)

    monkeypatch.setattr(LocalFileSystem, "ls", ls)
    assert [one.run for one in list_runs(tmp_path)] == [str(tmp_path / "here")]


def test_a_run_that_has_just_begun_is_running(tmp_path: Path) -> None:
    url = str(tmp_path / "run")
    with RunStore(url).lock():
        found = summarize_run(url)
        assert (found.state, found.steps) == ("running", 0)
        assert str(os.getpid()) in (found.driver or "")
        run_context = list_runs(tmp_path, "running")
    assert [one.run for one in run_context] == [url]


def test_a_store_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str) -> None:
        raise RuntimeError("no such host")

    monkeypatch.setattr(runs, "file_system", fail)
    with pytest.raises(ContextError, match=r"cannot read s3://b/runs.*no such host.*; check that the bucket is there"):
        list_runs("s3://b/runs")


def test_mistakes_of_the_call_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match=r"there is no folder .*/nowhere; give the folder"):
        list_runs(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"there is no state 'moon'; states: pending, running, .*damaged"):
        list_runs(tmp_path, "moon")
    assert {"running", "done", "failed", "stopped", "pending", "paused"} < set(list_states())


def test_a_run_is_meant_by_its_folder_or_by_its_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("run: runs/x\nsteps: [no_such_stage]\n")
    assert find_run_url("config.yaml") == str(tmp_path / "runs" / "x")
    assert find_run_url("runs/y") == str(tmp_path / "runs" / "y")
    assert find_run_url("s3://bucket/run/") == "s3://bucket/run"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"run: x", r"a run is a folder, or a workflow file \(.yaml, .yml\); this is neither"),
        ("a.yaml", b"steps: []", "it does not say what its run folder is: `run` is None"),
        ("a.yaml", b"run: [1, 2]", r"`run` is \[1, 2\]"),
        ("a.yaml", b"run: [", "2 problems"),
        ("a.yaml", b"\xff\xfe\xff", "cannot be read as text"),
    ],
)
def test_a_file_that_names_no_run_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        find_run_url(str(tmp_path / name))
