"""A second data set is added to a finished run: only what depends on it is done."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import radps
import radps.errors
from radps.data import stores
from radps.data.demo_observation import demo_observation
from radps.data.simulate import simulate_observation
from radps.run_folder.task_records import load_task_records, task_records_url


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two days of the tiny observation; the target of the second day is another one."""
    folder = tmp_path_factory.mktemp("days")
    first = demo_observation("tiny")
    target = first.fields[-1]
    second = first.model_copy(
        update={
            "seed": first.seed + 1,
            "start": first.start + timedelta(days=1),
            "fields": (*first.fields[:-1], target.model_copy(update={"name": "OTHER", "ra": target.ra + 0.05})),
            "scans": tuple(
                one.model_copy(update={"field": "OTHER"}) if one.field == target.name else one for one in first.scans
            ),
        }
    )
    paths = (str(folder / "day1.ps.zarr"), str(folder / "day2.ps.zarr"))
    for path, model in zip(paths, (first, second), strict=True):
        simulate_observation(path, model)
    return paths


def config(tiny_config: Callable[..., dict[str, Any]], folder: Path, *paths: str) -> dict[str, Any]:
    """Return the tiny workflow on data sets that are there."""
    whole = tiny_config(str(folder))
    whole["steps"] = [step for step in whole["steps"] if "simulate" not in step]
    whole["steps"][0] = {"import_data": {"copy_msv4": "always"}}
    return {**whole, "data": {"path": list(paths)}}


def done_tasks(run: radps.Run, step: str) -> list[str]:
    """Return the names of the tasks that the last attempt of a step computed, not those that it kept."""
    attempt = run.context.steps[step].attempt
    records = load_task_records(task_records_url(run.url, step, attempt))
    return [record.key for record in records if record.state == "done"]


def test_what_does_not_depend_on_the_new_data_is_not_done_again(
    tiny_config: Callable[..., dict[str, Any]], days: tuple[str, str], tmp_path: Path
) -> None:
    grown = tmp_path / "grown"
    radps.run(config(tiny_config, grown, days[0]), progress=False)
    run = radps.run(config(tiny_config, grown, *days), progress=False)
    at_once = radps.run(config(tiny_config, tmp_path / "at_once", *days), progress=False)
    for step, word in (
        ("import_data", "copy_block-"),
        ("flag", "flag-"),
        ("calibrate", "solve_"),
        ("apply_calibration", "correct-"),
        ("subtract_continuum", "subtract-"),
        ("image_cube", "clean_channels-"),
        ("image_continuum", "residual-"),
    ):
        done = [key for key in done_tasks(run, step) if word in key]
        every = [key for key in done_tasks(at_once, step) if word in key]
        assert done, step
        assert len(done) < len(every), step
        assert run.context.steps[step].attempts_used() == (1, 2), step
    names = [image.name for image in run.context.images]
    assert names == [image.name for image in at_once.context.images]
    assert len(names) == 6  # continuum, cube and moments of two targets
    for name in names:
        record = run.context.image_record(name)
        for variable in (record.variable, *record.companions):
            one, other = (
                stores.load_array(f"{each.url}/{each.context.image_record(name).path}/{variable}")
                for each in (run, at_once)
            )
            np.testing.assert_array_equal(one, other)


def test_parts_of_an_attempt_that_failed_are_taken_over_when_data_are_added(
    tiny_config: Callable[..., dict[str, Any]], days: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    first = config(tiny_config, folder, days[0])
    last = importlib.import_module("radps.stages.flag")._finish

    def fail(*_: Any) -> None:
        raise ValueError("at the very end")

    monkeypatch.setattr("radps.stages.flag._finish", fail)
    with pytest.raises(radps.errors.StageError, match="at the very end"):
        radps.run(first, until="flag", progress=False)
    monkeypatch.setattr("radps.stages.flag._finish", last)
    run = radps.run(config(tiny_config, folder, *days), until="flag", progress=False)
    assert run.context.steps["flag"].attempts_used() == (1, 2)
    assert {key.partition("-day")[2][:1] for key in done_tasks(run, "flag") if ".flag-" in key} == {"2"}


def test_each_data_set_keeps_to_itself_whatever_is_added_replaced_or_removed(
    tiny_config: Callable[..., dict[str, Any]], days: tuple[str, str], tmp_path: Path
) -> None:
    third = str(tmp_path / "day3.ps.zarr")
    later = demo_observation("tiny")
    simulate_observation(third, later.model_copy(update={"start": later.start + timedelta(days=2), "seed": 9}))

    def shapes(folder: str, *paths: str) -> dict[str, tuple[int, ...]]:
        run = radps.run(config(tiny_config, tmp_path / folder, *paths), only=["import_data"], progress=False)
        observation = run.context.require_observation()
        outcome = run.context.steps["import_data"].outcome
        assert outcome is not None
        assert outcome.summary["visibilities"] == sum(int(np.prod(one.shape)) for one in observation.partitions)
        return {one.name.rpartition("_")[0]: one.shape for one in observation.partitions}  # windows are numbered anew

    fresh = shapes("fresh", *days, third)
    shapes("grown", *days)
    assert shapes("grown", *days, third) == fresh
    assert shapes("grown", days[0], third) == {name: one for name, one in fresh.items() if "day2" not in name}
    assert shapes("grown", days[0]) == {name: one for name, one in fresh.items() if "day1" in name}


def test_data_that_are_used_where_they_are_and_change_are_flagged_anew(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    path = str(tmp_path / "mine.ps.zarr")
    simulate_observation(path, demo_observation("tiny"))
    settings = config(tiny_config, tmp_path / "run", path)
    settings["steps"][0] = "import_data"
    before = radps.run(settings, until="flag", progress=False).context
    partition = before.require_observation().partitions[0]
    visibilities = stores.open_array(f"{partition.path}/VISIBILITY", mode="r+")
    visibilities[...] = np.zeros(visibilities.shape, visibilities.dtype)
    after = radps.run(settings, until="flag", progress=False).context
    outcomes = [each.steps["flag"].outcome for each in (before, after)]
    flagged = [one.summary["fields"][partition.field]["after"] for one in outcomes if one is not None]
    assert flagged[0] < flagged[1] == int(np.prod(partition.shape))
