"""`radps-run compare`: two runs side by side."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

import radps
from radps.api import Run
from radps.context.records import Beam, ImageRecord, StatisticsRecord
from radps.errors import ContextError
from radps.run_folder.store import RunStore
from radps.workflows.comparing import NumberPair, StepDifference, compare_runs


@pytest.fixture
def runs(user_stages: str, tmp_path: Path) -> tuple[Run, Run]:
    """Two runs that differ in a parameter and in a step that one of them has."""
    steps = [{"user_stages:direct": {"text": "a"}}, "user_stages:squares"]
    more = [{"user_stages:direct": {"text": "b"}}, "user_stages:squares", {"id": "last", "stage": "user_stages:direct"}]
    return tuple(  # type: ignore[return-value]
        radps.run({"run": str(tmp_path / name), "cluster": "none", "steps": own}, progress=False)
        for name, own in (("one", steps), ("other", more))
    )


def test_what_was_done_otherwise_is_told_by_step(call, runs: tuple[Run, Run]) -> None:
    result = call("compare", runs[0].url, runs[1].url)
    assert result.code == 0
    assert 'text "a" -> "b"' in result.output
    assert "in the second run alone" in result.output
    assert "squares" not in result.output


def test_a_step_that_one_run_has_not_reached_says_so_alone(runs: tuple[Run, Run], tmp_path: Path) -> None:
    steps = [{"user_stages:direct": {"text": "a"}}, "user_stages:squares"]
    config = {"run": str(tmp_path / "part"), "cluster": "none", "steps": steps}
    part = radps.run(config, until="direct", progress=False)
    (found,) = compare_runs(runs[0].url, part.url).steps
    assert found == StepDifference("squares", ("done -> pending",))


def test_a_copy_of_a_run_is_the_same(call, runs: tuple[Run, Run], tmp_path: Path) -> None:
    shutil.copytree(runs[0].url, tmp_path / "copy")
    output = call("compare", runs[0].url, tmp_path / "copy").output
    assert "All steps were done in the same way" in output
    assert "0 of 0 numbers are equal" in output


def test_numbers_that_differ_are_listed_and_equal_ones_counted(call, runs: tuple[Run, Run]) -> None:
    for run, rms in zip(runs, (0.002, 0.003), strict=True):
        image = ImageRecord(
            name="sky",
            kind="continuum",
            path="images/sky.zarr",
            variable="SKY",
            field="star",
            window="spw0",
            shape=(1, 8, 8),
            cell_size_rad=1e-5,
            frequency_hz=(1e9, 1e9),
            channel_width_hz=1e6,
            statistics=StatisticsRecord(max=1.0, min=-0.1, rms=rms),
            noise_jy=rms,
            beam=Beam(major_rad=1e-4, minor_rad=5e-5, position_angle_rad=0.0),
        )
        store = RunStore(run.url)
        context = store.load()
        record = context.steps["squares"]
        assert record.outcome is not None
        record = record.model_copy(update={"outcome": record.outcome.model_copy(update={"images": (image,)})})
        store.commit(context.with_records({**context.steps, "squares": record}.values()), "squares")
    found = compare_runs(runs[0].url, runs[1].url)
    assert found.changed == (NumberPair("image", "sky", "rms", "Jy/beam", 0.002, 0.003),)
    assert found.changed[0].change_percent == pytest.approx(50.0)
    assert found.n_same == 4  # largest and smallest pixel, both axes of the beam
    assert "+50" in call("compare", runs[0].url, runs[1].url).output


def test_a_change_from_nothing_has_no_percentage() -> None:
    assert NumberPair("image", "sky", "min", "Jy/beam", 0.0, 1.0).change_percent is None
    assert NumberPair("image", "sky", "min", "Jy/beam", None, 1.0).change_percent is None
    assert math.isclose(NumberPair("image", "sky", "min", "Jy/beam", -2.0, -1.0).change_percent or 0.0, 50.0)


def test_what_is_no_run_is_named(runs: tuple[Run, Run], tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="nothing is not a run folder"):
        compare_runs(runs[0].url, str(tmp_path / "nothing"))
