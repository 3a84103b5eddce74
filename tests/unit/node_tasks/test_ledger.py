"""The ledger: what is kept of a task, what counts as nothing, and how failures are counted."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from radps.errors import DataError
from radps.node_tasks import ledger
from radps.node_tasks.ledger import Entry


def entry(result: object, error: BaseException | None = None) -> Entry:
    return Entry(result, error, 1.0, 2.0, "tcp://worker", 1, 8, 2**20)


@pytest.fixture(params=["disk", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A ledger on a disk, and one in an object store."""
    return str(tmp_path / "ledger") if request.param == "disk" else f"memory://{tmp_path}/ledger"


def test_an_entry_comes_back_as_it_was(url: str) -> None:
    assert ledger.load_entry(url, "cube.clean-1-00003") is None
    assert ledger.save_entry(url, "cube.clean-1-00003", entry({"imaged": 4}))
    assert ledger.load_entry(url, "cube.clean-1-00003") == entry({"imaged": 4})
    assert ledger.load_entry(url, "cube.clean-1-00004") is None


def test_names_of_fields_and_long_names_make_names_of_files(url: str) -> None:
    keys = ["cube.clean-N5921/2 ü-1-00000", "s." + "x" * 500 + "1", "s." + "x" * 500 + "2"]
    for number, key in enumerate(keys):
        ledger.save_entry(url, key, entry(number))
    assert [ledger.require_entry(url, key).result for key in keys] == [0, 1, 2]
    assert ledger.load_done(url).keys() == {ledger.entry_name(key) for key in keys}
    assert max(map(len, ledger.load_done(url))) <= 180
    assert [ledger.task_of(ledger.entry_name(key)) for key in keys] == [keys[0], "", ""]


def test_long_lists_of_records_are_kept_compressed(url: str) -> None:
    records = [
        (f"partition {number}", f"memory://run/visibilities/data.ps.zarr/{number}", 3.0) for number in range(3000)
    ]
    assert ledger.save_entry(url, "a", entry(records))
    found = ledger.load_entry(url, "a")
    assert found is not None
    assert found.result == records


def test_large_results_and_what_cannot_be_pickled_are_not_kept(url: str) -> None:
    assert not ledger.save_entry(url, "a", entry(np.random.default_rng(1).random(ledger.MAX_BYTES // 4)))
    assert not ledger.save_entry(url, "a", entry(np.zeros(16 * ledger.MAX_BYTES, np.uint8)))
    assert not ledger.save_entry(url, "b", entry(threading.Lock()))
    assert ledger.load_done(url) == {}


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, None])
def test_a_torn_entry_counts_as_none(tmp_path: Path, damage: bytes | None) -> None:
    url = str(tmp_path)
    ledger.save_entry(url, "a", entry(1))
    path = tmp_path / ledger.entry_name("a")
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    assert ledger.load_entry(url, "a") is None
    with pytest.raises(DataError, match=r"the result of task a is no longer in .*; somebody removed or changed it"):
        ledger.require_entry(url, "a")
    assert ledger.load_done(url) == {}
    assert not path.exists()


def test_a_resumed_attempt_forgets_failures_and_keeps_results(url: str) -> None:
    ledger.save_entry(url, "good", entry(1))
    ledger.save_entry(url, "bad", entry(None, ValueError("no")))
    assert ledger.note_failure(url, "bad", "ValueError: no") == 1
    assert ledger.note_failure(url, "bad", "ValueError: still no") == 2
    assert ledger.load_failures(url, "bad") == ("ValueError: no", "ValueError: still no")
    assert ledger.load_done(url) == {"good": entry(1)}
    assert ledger.load_failures(url, "bad") == ()
    assert ledger.load_entry(url, "bad") is None


def test_the_plan_of_an_import_of_thousands_of_partitions_is_kept_and_arrays_of_its_size_are_not(url: str) -> None:
    random = np.random.default_rng(1)
    plan = [
        (f"data-{number}", f"memory://run/visibilities/data.ps.zarr/{number}", *random.random(12).tolist())
        for number in range(3000)
    ]
    assert ledger.save_entry(url, "plan", entry(plan))
    assert ledger.require_entry(url, "plan").result == plan
    assert not ledger.save_entry(url, "image", entry(random.random((200, 200))))
    assert not ledger.save_entry(url, "plan", entry([plan, random.bytes(2**20)]))
