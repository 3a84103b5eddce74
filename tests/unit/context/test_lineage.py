"""A product knows the steps from the raw data to it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from radps.context.lineage import describe_steps, lineage, product_attributes
from radps.context.model import Context, Workspace
from radps.context.records import CalibrationTable, Outcome, ProductRecord, StepRecord, StepState
from radps.errors import SelectionError


def record(name: str, *after: str, **outcome: Any) -> StepRecord:
    return StepRecord(
        id=name,
        stage=f"stage_{name}",
        state=StepState.DONE,
        attempt=2,
        fingerprint=f"code={name}",
        after=after,
        params={"n": 1},
        start_s=1.0,
        stop_s=2.0,
        versions={"radps": "1"},
        outcome=Outcome(**outcome),
    )


def table(name: str) -> CalibrationTable:
    return CalibrationTable(
        name=name, kind="gain", path="p", window="w", solved_on=(), applies_to=(), reference_antenna="1"
    )


def product(path: str) -> ProductRecord:
    return ProductRecord(path=path, kind="fits", source="s", size_bytes=1, sha256="0")


@pytest.fixture
def records() -> dict[str, StepRecord]:
    """A workflow with two branches."""
    steps = (
        record("import"),
        record("flag", "import"),
        record("left", "flag", tables=[table("gains")]),
        record("right", "flag"),
        record("export", "right", products=[product("products/export-2/a.fits")]),
    )
    return {step.id: step for step in steps}


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("gains", ["import", "flag", "left"]),
        ("products/export-2/a.fits", ["import", "flag", "right", "export"]),
    ],
)
def test_the_chain_is_that_of_its_own_branch(records: dict[str, StepRecord], name: str, steps: list[str]) -> None:
    assert [one.id for one in lineage(records, name)] == steps


def test_the_step_that_made_it_last_counts(records: dict[str, StepRecord]) -> None:
    again = record("again", "left", tables=[table("gains")])
    assert [one.id for one in lineage({**records, "again": again}, "gains")][-1] == "again"


def test_an_unknown_product_lists_those_there_are(records: dict[str, StepRecord]) -> None:
    with pytest.raises(SelectionError, match=r"no step made 'gain'; there are: gains, products/export-2/a.fits"):
        lineage(records, "gain")
    with pytest.raises(SelectionError, match=r"no step made 'gain'; there are: no products yet"):
        lineage({"import": records["import"]}, "gain")


def test_a_step_is_described_as_plain_json(records: dict[str, StepRecord]) -> None:
    described = describe_steps([records["flag"]])
    assert json.loads(json.dumps(described)) == {
        "flag": {
            "stage": "stage_flag",
            "attempt": 2,
            "parameters": {"n": 1},
            "fingerprint": "code=flag",
            "after": ["import"],
            "versions": {"radps": "1"},
            "provenance": None,
            "start_s": 1.0,
            "stop_s": 2.0,
        }
    }


def test_a_product_carries_what_is_the_same_in_every_task(records: dict[str, StepRecord]) -> None:
    context = Context(run_id="r").with_records(list(records.values())[:2])
    place = Workspace(
        url="memory://run", step="cube", stage="image_cube", fingerprint="code=1", versions={"radps": "1"}, attempt=3
    )
    context = context.at(place)
    assert product_attributes(context, {"gain": 0.1}) == {
        "step": "cube",
        "stage": "image_cube",
        "attempt": 3,
        "parameters": {"gain": 0.1},
        "fingerprint": "code=1",
        "versions": {"radps": "1"},
        "lineage": ["import-2", "flag-2"],
    }
