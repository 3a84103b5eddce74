"""Versions of the flags follow from the outcomes of the steps."""

from __future__ import annotations

from typing import Any

import pytest

from radps.context.flag_versions import find_flag_versions
from radps.context.model import Context, Workspace
from radps.context.records import (
    DataGroup,
    DataSetMetadata,
    Direction,
    Observation,
    ObservedField,
    Outcome,
    Partition,
    ProjectMetadata,
    StepRecord,
    StepState,
)
from radps.errors import SelectionError
from radps.stages.restore_flags import Params, restore_flags


def group(flag: str) -> DataGroup:
    return DataGroup(visibility="V", flag=flag, weight="W", uvw="U")


def observation(*names: str) -> Observation:
    """One field for each partition, with flags of the data."""
    partitions = tuple(
        Partition(
            name=name,
            dataset="d",
            path=name,
            field=name,
            window="w",
            intents=(),
            shape=(4, 3, 2, 2),
            chunks=(4, 2),
            polarizations=("RR", "LL"),
            integration_time_s=1.0,
            scans={},
            groups={"base": group(f"{name}/FLAG")},
        )
        for name in names
    )
    place = Direction(ra_rad=0.0, dec_rad=0.0, frame="icrs")
    return Observation(
        project=ProjectMetadata(datasets=(DataSetMetadata(name="d", telescope="VLA", start_s=0.0, stop_s=1.0),)),
        antennas=(),
        fields=tuple(ObservedField(name=name, source=name, direction=place, intents=()) for name in names),
        windows=(),
        scans=(),
        partitions=partitions,
        longest_baseline_m=1.0,
        synthesized_beam_rad=1.0,
    )


def record(name: str, state: StepState = StepState.DONE, **outcome: Any) -> StepRecord:
    return StepRecord(
        id=name,
        stage="stage",
        state=state,
        attempt=1,
        fingerprint="",
        after=(),
        params={},
        start_s=0.0,
        outcome=Outcome(message=f"{name} did it", **outcome),
    )


def test_each_step_that_changed_flags_is_a_version() -> None:
    steps = [
        record("import_data", observation=observation("a", "b")),
        record("flag", groups={"a": {"base": group("flag-1/a")}}),
        record("nothing"),
        record("failed", StepState.FAILED, groups={"a": {"base": group("failed-1/a")}}),
        record("apply", groups={"b": {"corrected": group("apply-1/b")}}),
        record("same", groups={"b": {"corrected": group("apply-1/b")}}),
    ]
    versions = find_flag_versions(steps)
    assert [(one.name, one.message) for one in versions] == [
        ("import_data", "import_data did it"),
        ("flag", "flag did it"),
        ("apply", "apply did it"),
    ]
    assert versions[1].flags == {"a": {"base": "flag-1/a"}, "b": {"base": "b/FLAG"}}
    assert versions[2].flags == {"a": {"base": "flag-1/a"}, "b": {"base": "b/FLAG", "corrected": "apply-1/b"}}
    assert find_flag_versions([]) == ()


def test_a_version_from_before_the_data_came_restores_nothing() -> None:
    steps = [record("first", observation=observation("a")), record("second", observation=observation("b"))]
    context = Context(run_id="r").at(Workspace(url="run", step="s")).with_records(steps)
    with pytest.raises(SelectionError, match=r"version 'first' has flags of none of the fields b: .*: first, second"):
        restore_flags(context, Params(version="first", fields=("b",)))
