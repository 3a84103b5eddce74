"""The log of a run, on a disk and in an object store."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from radps.data import stores
from radps.data.files import read_file
from radps.workflows import log_file
from radps.workflows.log_file import log_to_file


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A run folder."""
    if request.param == "local":
        yield str(tmp_path)
        return
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    stores.delete(url)


def lines(url: str) -> list[str]:
    return (read_file(f"{url}/log.txt") or b"").decode().splitlines()


def test_messages_of_radps_and_dask_are_added_run_after_run(url: str) -> None:
    for number in (1, 2):
        with log_to_file(url):
            logging.getLogger("radps.workflows").info("run %d: é", number)
            logging.getLogger("distributed.scheduler").warning("careful")
        logging.getLogger("radps").warning("after the run")
    endings = [line.split(" ", 2)[2] for line in lines(url)]
    assert endings == [
        "INFO radps.workflows: run 1: é",
        "WARNING distributed.scheduler: careful",
        "INFO radps.workflows: run 2: é",
        "WARNING distributed.scheduler: careful",
    ]


def test_the_log_in_an_object_store_can_be_read_during_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "_PUT_SECONDS", 0.01)
    url = f"memory://{uuid.uuid4().hex}"
    with log_to_file(url):
        logging.getLogger("radps").info("so far")
        deadline = time.monotonic() + 30.0
        while not lines(url):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert lines(url)[0].endswith("INFO radps: so far")
    stores.delete(url)


def test_what_could_not_be_put_is_put_later_or_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(url: str, data: bytes) -> None:
        raise OSError("no network")

    monkeypatch.setattr(log_file, "replace_file", fail)
    monkeypatch.setattr(log_file, "_PUT_SECONDS", 0.01)
    with log_to_file("memory://nowhere"):
        logging.getLogger("radps").info("lost")
        time.sleep(0.05)
    assert "the end of the log memory://nowhere/log.txt could not be written and is lost: no network" in caplog.text


def test_a_message_that_cannot_be_formatted_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    handler = log_file.ObjectHandler("memory://log/log.txt")
    record = logging.LogRecord("radps", logging.INFO, __file__, 1, "%d", ("no number",), None)
    handler.emit(record)
    handler.close()
    assert "Logging error" in capsys.readouterr().err


def test_a_disk_that_is_full_raises_no_error_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    handler = log_file.DiskHandler("/dev/full")
    handler.emit(logging.LogRecord("radps", logging.INFO, __file__, 1, "no room", None, None))
    handler.close()
    assert capsys.readouterr().err == ""


def test_a_log_that_cannot_be_written_does_not_stop_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "log.txt").mkdir()
    with log_to_file(str(tmp_path)):
        logging.getLogger("radps").info("on it goes")
    assert "cannot write the log" in caplog.text
    assert "the run has none" in caplog.text
