"""Task records come back as they were written, from any store; damaged ones are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray

from radps.data.stores import delete, save_array
from radps.errors import DataError
from radps.run_folder.task_records import TaskRecord, load_task_records, save_task_records, task_records_url


def record(number: int, **changes: object) -> TaskRecord:
    plain = TaskRecord(
        key=f"cube.clean-1-{number:05d}",
        state="done",
        worker="tcp://127.0.0.1:4000",
        start_s=1e9 + number,
        stop_s=1e9 + number + 0.5,
        tries=1,
        bytes_written=2**40 + number,
        peak_memory_bytes=123,
        error="",
    )
    return plain._replace(**changes)


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    run = str(tmp_path / "run") if request.param == "local" else f"memory://{tmp_path.name}/run"
    return task_records_url(run, "cube", 1)


def test_records_come_back_in_the_order_of_start(url: str) -> None:
    late = record(2, state="failed", tries=3, error="ValueError: no sky — at all")
    save_task_records(url, [late, record(0), record(1, state="kept")])
    assert load_task_records(url) == (record(0), record(1, state="kept"), late)
    assert url.endswith("run/tasks.zarr/cube-1")


def test_a_step_without_tasks_has_records_all_the_same(url: str) -> None:
    save_task_records(url, [])
    assert load_task_records(url) == ()


def test_writing_again_replaces_what_was_there(url: str) -> None:
    save_task_records(url, [record(0), record(1)])
    save_task_records(url, [record(5)])
    assert load_task_records(url) == (record(5),)


def test_a_long_error_is_cut_and_says_so(url: str) -> None:
    save_task_records(url, [record(0, error="x" * 10_000)])
    assert load_task_records(url)[0].error == "x" * 497 + "..."


def test_the_columns_are_plain_arrays_for_xarray(tmp_path: Path) -> None:
    url = task_records_url(str(tmp_path), "cube", 1)
    save_task_records(url, [record(0), record(1)])
    found = xarray.open_zarr(url, consolidated=False)
    assert found["VALUES"].dims == ("task", "column")
    stops = found["VALUES"][:, found.attrs["columns"].index("stop_s")]
    np.testing.assert_array_equal(stops, [1e9 + 0.5, 1e9 + 1.5])


def test_records_that_are_not_there_are_refused(url: str) -> None:
    with pytest.raises(DataError, match=r"no zarr group at .*tasks.zarr/cube-1"):
        load_task_records(url)


def test_records_that_were_not_written_to_the_end_are_refused(url: str) -> None:
    save_task_records(url, [record(0), record(1)])
    delete(f"{url}/VALUES")
    with pytest.raises(DataError, match=r"no zarr array at .*/VALUES"):
        load_task_records(url)
    for table in (np.zeros((1, 7)), np.full((2, 7), np.nan)):
        save_array(f"{url}/VALUES", table, dims=["task", "column"], overwrite=True)
        with pytest.raises(DataError, match=r"damaged: 2 names and \d rows of numbers, or rows .*do the step again"):
            load_task_records(url)
