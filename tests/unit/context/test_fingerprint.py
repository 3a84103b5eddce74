"""A step is done again for a reason that can be named, and only then."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from radps.context.fingerprint import code_stamp, current_versions, data_stamp, fingerprint, why_not_done
from radps.context.records import StepRecord, StepState
from radps.data import stores
from radps.errors import DataError

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


def test_the_versions_of_what_makes_the_numbers_are_known() -> None:
    versions = current_versions()
    assert {"radps", "python", "numpy", "ducc0", "dask", "zarr"} <= set(versions)


def test_the_code_of_a_stage_is_its_file(tmp_path: Path) -> None:
    def function_of(text: str) -> Callable[..., Any]:
        path = tmp_path / "code.py"
        path.write_text(text)
        names: dict[str, Any] = {}
        exec(compile(text, str(path), "exec"), names)
        return names["stage"]

    first = code_stamp(function_of("def stage(): return 1"))
    assert code_stamp(function_of("def stage(): return 1")) == first
    assert code_stamp(function_of("def stage(): return 2")) != first


def test_a_stage_without_a_file_is_known_by_its_name() -> None:
    names: dict[str, Any] = {}
    exec("def stage(): return 1\ndef other(): return 1", names)
    assert code_stamp(names["stage"]) == code_stamp(names["stage"]) != code_stamp(names["other"])


# --- data ---


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path)
        return
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    stores.delete(url)


def write(url: str, text: str) -> None:
    system, path = stores.file_system(url)
    system.pipe_file(path, text.encode())


def test_the_content_of_a_file_counts(folder: str) -> None:
    url = f"{folder}/a.fits"
    write(url, "one")
    stamp = data_stamp([url], {})
    assert data_stamp([url], {}) == stamp
    write(url, "other")
    assert data_stamp([url], {}) != stamp


def test_a_file_that_was_only_touched_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    path.write_text("one")
    stamp = data_stamp([str(path)], {})
    os.utime(path, (1, 1))
    assert data_stamp([str(path)], {}) == stamp


def test_a_file_in_a_folder_counts(folder: str) -> None:
    system, path = stores.file_system(f"{folder}/a.ms/sub")
    system.makedirs(path, exist_ok=True)
    write(f"{folder}/a.ms/table", "one")
    write(f"{folder}/a.ms/sub/table", "two")
    stamp = data_stamp([f"{folder}/a.ms"], {})
    assert data_stamp([f"{folder}/a.ms"], {}) == stamp
    write(f"{folder}/a.ms/sub/table", "longer")
    assert data_stamp([f"{folder}/a.ms"], {}) != stamp


def test_intents_count_whatever_their_order(folder: str) -> None:
    url = f"{folder}/a.fits"
    write(url, "one")
    stamp = data_stamp([url], {"a": ["flux"], "b": ["target"]})
    assert data_stamp([url], {"b": ["target"], "a": ["flux"]}) == stamp
    assert data_stamp([url], {"a": ["phase"], "b": ["target"]}) != stamp


def test_nothing_at_a_path_is_an_error(folder: str) -> None:
    with pytest.raises(DataError, match=r"there is no file or folder .*missing; check data\.path"):
        data_stamp([f"{folder}/missing"], {})


def test_a_large_file_is_known_by_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radps.context.fingerprint.HASHED_BYTES", 2)
    path = tmp_path / "a.fits"
    path.write_text("one")
    os.utime(path, (1, 1))
    stamp = data_stamp([str(path)], {})
    path.write_text("two")
    os.utime(path, (1, 1))
    assert data_stamp([str(path)], {}) == stamp
    os.utime(path, (2, 2))
    assert data_stamp([str(path)], {}) != stamp
