"""Pictures are on the page of the step that made what they show."""

from __future__ import annotations

import pytest

from radps.context.model import Context
from radps.context.records import StepRecord, StepState
from radps.report.pictures import find_maker


def record(name: str, attempt: int) -> StepRecord:
    return StepRecord(
        id=name,
        stage=name,
        state=StepState.DONE,
        attempt=attempt,
        fingerprint="",
        after=(),
        params={},
        start_s=0.0,
    )


@pytest.mark.parametrize(
    ("path", "maker"),
    [
        ("context.zarr/calibrate-2/spw0/gain", "calibrate"),
        ("context.zarr/find_continuum-1/simulate-1_disc_spw0/line_search", "find_continuum"),
        ("visibilities/simulate-1.ps.zarr", "simulate"),
        ("context.zarr/calibrate-1/spw0/gain", ""),
    ],
)
def test_a_path_tells_its_step_whatever_partitions_are_called(path: str, maker: str) -> None:
    records = [record("simulate", 1), record("calibrate", 2), record("find_continuum", 1)]
    assert find_maker(Context(run_id="r").with_records(records), path) == maker
