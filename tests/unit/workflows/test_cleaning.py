"""Pruning removes what nothing refers to, and nothing else; removing a run removes all of it, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radps.context.records import StepState
from radps.data.stores import exists, save_array
from radps.data.urls import join_url
from radps.errors import ContextError
from radps.run_folder.store import RunStore
from radps.workflows import cleaning
from radps.workflows.cleaning import prune_run, remove_run
from radps.workflows.plan import Selection
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow

on_disk = pytest.mark.parametrize("url", ["local"], indirect=True)
"""What does not depend on the store is tested where it is quick."""

STEPS: list[Any] = ["user_stages:squares", {"id": "a", "stage": "user_stages:writes"}, "user_stages:direct"]


def run(url: str, *redo: str, steps: list[Any] | None = None) -> None:
    workflow = load_workflow({"run": url, "cluster": "none", "steps": steps or STEPS})
    run_workflow(workflow, selection=Selection(redo=redo))


def put(url: str, *paths: str) -> None:
    """Make some output."""
    for path in paths:
        save_array(join_url(url, path, "x"), np.arange(8.0), dims=["x"])


def damage(url: str) -> None:
    """Damage the context and the newest entry of the history: what was committed is lost."""
    Path(url, "context.json").write_text("{")
    max(Path(url, "history").iterdir()).write_text("{")


def test_old_attempts_go_and_the_current_one_stays(url: str) -> None:
    run(url)
    run(url, "a")
    put(url, "images/a-1.zarr", "images/a-2.zarr", "visibilities/a-1-scratch")
    before = RunStore(url).load()
    expected = ["context.zarr/a-1", "images/a-1.zarr", "tasks.zarr/a-1", "tasks.zarr/direct-1"]
    expected += ["visibilities/a-1-scratch"]
    planned = prune_run(url, dry_run=True)
    assert [leftover.path for leftover in planned] == expected
    assert all(exists(join_url(url, path)) for path in expected)
    assert prune_run(url) == planned
    assert {(leftover.step, leftover.attempt) for leftover in planned} == {("a", 1), ("direct", 1)}
    assert min(leftover.size_bytes for leftover in planned) > 64
    assert not any(exists(join_url(url, path)) for path in expected)
    assert all(exists(join_url(url, path)) for path in ("context.zarr/a-2", "images/a-2.zarr", "tasks.zarr/a-2"))
    assert RunStore(url).load() == before
    assert len(RunStore(url).history()) == 5
    assert prune_run(url) == ()


@on_disk
def test_what_the_context_refers_to_stays_whatever_attempt_made_it(url: str) -> None:
    run(url, steps=[*STEPS, {"stage": "user_stages:direct", "id": "b", "params": {"text": "images/a-7.zarr/SKY"}}])
    put(url, "images/a-7.zarr", "images/a-8.zarr")
    assert [leftover.path for leftover in prune_run(url)] == ["images/a-8.zarr"]
    assert exists(join_url(url, "images/a-7.zarr/x"))


@on_disk
def test_steps_that_the_workflow_has_lost_are_pruned(url: str) -> None:
    run(url)
    run(url, "squares", steps=["user_stages:squares"])
    assert [leftover.path for leftover in prune_run(url) if leftover.step == "a"] == [
        "context.zarr/a-1",
        "tasks.zarr/a-1",
    ]


@on_disk
def test_a_name_that_may_be_of_two_steps_stays_if_it_is_current_for_one(url: str) -> None:
    run(url, steps=[*STEPS, {"id": "a-2", "stage": "user_stages:writes"}])
    # a-2-1 is attempt 1 of a-2, and not what attempt 2 of a left.
    assert prune_run(url) == ()
    put(url, "images/a-2-3.zarr", "images/a-10.zarr")
    found = {leftover.path: (leftover.step, leftover.attempt) for leftover in prune_run(url)}
    assert found == {"images/a-2-3.zarr": ("a-2", 3), "images/a-10.zarr": ("a", 10)}


@on_disk
def test_what_a_user_put_there_stays(url: str) -> None:
    run(url)
    put(url, "images/mine.zarr", "images/a-b.zarr", "images/other-1.zarr", "a-9")
    assert prune_run(url) == ()


@on_disk
def test_an_attempt_that_was_interrupted_stays(url: str) -> None:
    run(url)
    context = RunStore(url).load()
    stopped = context.steps["a"].model_copy(update={"state": StepState.STOPPED, "outcome": None, "attempt": 2})
    put(url, "images/a-2.zarr")
    RunStore(url).commit(context.with_records([context.steps["squares"], stopped, context.steps["direct"]]), "a")
    assert [leftover.path for leftover in prune_run(url)] == ["context.zarr/a-1", "tasks.zarr/a-1"]
    assert exists(join_url(url, "images/a-2.zarr"))


@on_disk
def test_parts_that_an_earlier_attempt_made_stay(url: str) -> None:
    run(url)
    context = RunStore(url).load()
    later = context.steps["a"].model_copy(update={"attempt": 3, "parts": {"one": 1, "other": 3}})
    put(url, "context.zarr/a-2", "context.zarr/a-3", "tasks/a-1")
    RunStore(url).commit(context.with_records([context.steps["squares"], later, context.steps["direct"]]), "a")
    assert [leftover.path for leftover in prune_run(url)] == ["context.zarr/a-2"]
    assert exists(join_url(url, "context.zarr/a-1/numbers"))


def test_a_driven_or_damaged_run_or_none_at_all_is_not_pruned(tmp_path: Path) -> None:
    url = str(tmp_path / "run")
    with pytest.raises(ContextError, match="is not a run folder"):
        prune_run(url)
    assert not os.path.exists(url)
    run(url)
    run(url, "a")
    with RunStore(url).lock():
        for dry_run in (True, False):
            with pytest.raises(ContextError, match=f"is in use by process {os.getpid()}"):
                prune_run(url, dry_run=dry_run)
    damage(url)
    with pytest.raises(ContextError, match="is damaged"):
        prune_run(url)
    assert os.path.exists(f"{url}/context.zarr/a-1")


def test_what_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(tmp_path / "run")
    run(url)
    run(url, "a")

    def refuse(url: str) -> None:
        raise PermissionError(13, "Permission denied", url)

    with monkeypatch.context() as patch:
        patch.setattr(cleaning, "delete", refuse)
        with pytest.raises(ContextError, match=r"cannot remove .*/a-1: .*denied.*; check its permissions, and call"):
            prune_run(url)
    assert len(prune_run(url)) == 3


# --- removing ---


def test_a_run_is_removed_with_all_that_is_in_it_and_nothing_beside_it(url: str) -> None:
    run(url)
    put(url, "images/mine.zarr")
    put(f"{url}-2", "images/a-1.zarr")
    remove_run(url)
    assert not exists(url)
    assert exists(f"{url}-2/images/a-1.zarr/x")


def test_a_damaged_run_can_be_removed(tmp_path: Path) -> None:
    url = str(tmp_path / "run")
    run(url)
    damage(url)
    Path(url, "workflow.json").write_text("{")
    remove_run(url)
    assert not os.path.exists(url)


def test_what_is_no_run_or_is_driven_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(ContextError, match=r"photos is not a run folder: it has no context.json; nothing was removed"):
        remove_run(str(tmp_path / "photos"))
    url = str(tmp_path / "run")
    run(url)
    with RunStore(url).lock(), pytest.raises(ContextError, match=f"is in use by process {os.getpid()}"):
        remove_run(url)
    assert RunStore(url).load().steps["a"].state == "done"
    assert (tmp_path / "photos" / "cat.jpg").exists()


def test_a_run_folder_around_the_working_folder_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(str(tmp_path))
    (tmp_path / "sub").mkdir()
    for place in (tmp_path, tmp_path / "sub"):
        monkeypatch.chdir(place)
        with pytest.raises(ContextError, match=r"holds more than the run: the working folder .* is in it"):
            remove_run(str(tmp_path))
    assert RunStore(str(tmp_path)).exists()


def test_a_run_folder_around_the_data_is_not_removed(tmp_path: Path) -> None:
    data = tmp_path / "run" / "day1.ms"
    data.mkdir(parents=True)
    workflow = load_workflow(
        {"run": str(tmp_path / "run"), "cluster": "none", "data": {"path": str(data)}, "steps": STEPS}
    )
    run_workflow(workflow)
    with pytest.raises(ContextError, match=r"the data set .*day1.ms is in it; move that away"):
        remove_run(workflow.run)
    assert data.exists()
