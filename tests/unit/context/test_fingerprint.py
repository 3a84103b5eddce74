"""A step is done again for a reason that can be named, and only then."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from radps.context.fingerprint import code_stamp, data_stamp, fingerprint, why_not_done
from radps.context.provenance import collect_provenance
from radps.context.records import StepRecord, StepState
from radps.context.user_code import CodeFile

NOW: dict[str, Any] = {"stage": "flag", "params": {"edge": 2, "spare": 1}, "versions": {"radps": "1", "numpy": "2"}}


def make_record(**changes: Any) -> StepRecord:
    """Return the record of a step that was done as NOW says."""
    values: dict[str, Any] = {
        "id": "flag",
        "stage": "flag",
        "state": StepState.DONE,
        "attempt": 1,
        "fingerprint": make_fingerprint(),
        "after": (),
        "params": NOW["params"],
        "start_s": 0.0,
        "versions": NOW["versions"],
    }
    return StepRecord(**{**values, **changes})


def make_fingerprint(**changes: Any) -> str:
    return fingerprint(**{**NOW, "code": "c0de", "data": "da7a", **changes})


def reason(record: StepRecord | None, **changes: Any) -> str:
    """Return why a step has to be done again when something changed."""
    now = {**NOW, **{name: value for name, value in changes.items() if name in NOW}}
    return why_not_done(record, make_fingerprint(**changes), **now)


def test_nothing_changed_means_done() -> None:
    assert reason(make_record()) == ""


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"stage": "mark"}, "stage flag -> mark"),
        ({"params": {"edge": 3, "spare": 1}}, "parameters changed: edge 2 -> 3"),
        ({"params": {"edge": 2}}, "parameters changed: spare 1 -> (none)"),
        ({"versions": {"radps": "1", "numpy": "3"}}, 'versions changed: numpy "2" -> "3"'),
        ({"code": "other"}, "the code of the stage changed"),
        ({"data": "other"}, "the input data or their intents changed"),
        ({"files": "other"}, "a file that its parameters name changed"),
        ({"code": "x", "data": "y"}, "the code of the stage changed; the input data or their intents changed"),
    ],
)
def test_what_changed_is_named(changes: dict[str, Any], text: str) -> None:
    assert reason(make_record(), **changes) == text


def test_the_steps_before_are_a_part(  # their attempt counts, because a rerun may write other data
) -> None:
    before = make_record(id="import")
    record = make_record(fingerprint=make_fingerprint(ancestors=[before]))
    assert reason(record, ancestors=[before]) == ""
    again = before.model_copy(update={"attempt": 2})
    assert reason(record, ancestors=[again]) == "step import was done again"
    assert reason(record) == "no longer comes after step import"
    assert reason(make_record(), ancestors=[before]) == "now comes after step import"


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (None, "never run"),
        (make_record(attempt=0, state=StepState.PENDING), "never run"),
        (make_record(state=StepState.FAILED, error="no data\nmore"), "failed: no data"),
        (make_record(state=StepState.STOPPED), "was interrupted"),
        (make_record(state=StepState.RUNNING), "was interrupted"),
        (make_record(state=StepState.PENDING, error="step a was done again"), "step a was done again"),
        (make_record(state=StepState.BLOCKED), "not done"),
    ],
)
def test_a_step_that_is_not_done_says_why(record: StepRecord | None, text: str) -> None:
    assert reason(record) == text


def test_long_values_are_cut() -> None:
    text = reason(make_record(), params={"edge": "x" * 500, "spare": 1})
    assert text.endswith("...")
    assert len(text) < 120


def record_with_code(*code: CodeFile) -> StepRecord:
    """Return a record whose provenance names the files of its code."""
    known = collect_provenance(stage_module="radps.stages.flag", cluster="", versions={})
    return make_record(provenance=known.model_copy(update={"code": code}))


def test_the_file_that_changed_is_named() -> None:
    stage = CodeFile(module="my.stage", path="/code/my/stage.py", sha256="1")
    helper = CodeFile(module="my.helper", path="/code/my/helper.py", sha256="2")
    edited = helper.model_copy(update={"sha256": "3"})
    old, new = record_with_code(stage, helper), "other"
    why = functools.partial(why_not_done, new=make_fingerprint(code=new), **NOW)
    assert why(old, code=[stage, edited]) == "the code of the stage changed: /code/my/helper.py"
    assert why(old, code=[stage]) == "the code of the stage changed: /code/my/helper.py is not imported any more"
    assert (
        why(record_with_code(stage), code=[stage, helper]) == "the code of the stage changed: /code/my/helper.py is new"
    )
    assert why(make_record(), code=[stage]) == "the code of the stage changed"


def test_the_stamp_of_code_depends_on_its_content_not_on_its_place() -> None:
    stage = CodeFile(module="my.stage", path="/code/my/stage.py", sha256="1")
    moved, edited = (stage.model_copy(update=change) for change in ({"path": "/new/my/stage.py"}, {"sha256": "2"}))
    assert code_stamp([stage]) == code_stamp([moved])
    assert len({code_stamp(code) for code in ([stage], [edited], [stage, stage], [])}) == 4


# --- data ---


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A data set."""
    (tmp_path / "a.fits").write_text("one")
    return str(tmp_path / "a.fits")


def test_data_sets_and_their_order_count(data: str, tmp_path: Path) -> None:
    (tmp_path / "b.fits").write_text("two")
    other = str(tmp_path / "b.fits")
    assert len({data_stamp(paths, {}) for paths in ([data], [other], [data, other], [other, data], [])}) == 5


def test_intents_count_whatever_their_order(data: str) -> None:
    stamp = data_stamp([data], {"a": ["flux"], "b": ["target"]})
    assert data_stamp([data], {"b": ["target"], "a": ["flux"]}) == stamp
    assert data_stamp([data], {"a": ["phase"], "b": ["target"]}) != stamp
