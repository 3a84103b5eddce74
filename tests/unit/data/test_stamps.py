"""A data set is known by its content, or by names, sizes and times where reading it all would take too long."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from radps.data import stamps, stores
from radps.data.stamps import stamp_data, stamp_file
from radps.errors import DataError


def write(url: str, text: str) -> None:
    system, path = stores.file_system(url)
    system.makedirs(path.rpartition("/")[0], exist_ok=True)
    system.pipe_file(path, text.encode())


def test_the_content_of_a_file_counts(folder: str) -> None:
    url = f"{folder}/a.fits"
    write(url, "one")
    stamp = stamp_data(url)
    assert stamp.size_bytes == 3
    assert stamp_data(url) == stamp
    write(url, "other")
    assert stamp_data(url) != stamp


def test_a_small_local_file_is_known_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    path.write_text("one")
    stamp = stamp_data(str(path))
    assert stamp == (3, hashlib.sha256(b"one").hexdigest(), "content")
    os.utime(path, (1, 1))
    assert stamp_data(f"file://{path}") == stamp


def test_a_file_in_a_folder_counts(folder: str) -> None:
    url = f"{folder}/a.ms"
    write(f"{url}/table", "one")
    write(f"{url}/sub/table", "two")
    stamp = stamp_data(url)
    assert (stamp.size_bytes, stamp.of) == (6, "names, sizes and times")
    assert stamp_data(url) == stamp
    write(f"{url}/sub/table", "longer")
    assert stamp_data(url) != stamp


def test_nothing_at_a_path_is_an_error(folder: str) -> None:
    with pytest.raises(DataError, match=r"there is no file or folder .*missing; check data\.path"):
        stamp_data(f"{folder}/missing")


def test_a_store_that_does_not_answer_is_an_error_and_no_missing_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str) -> None:
        raise RuntimeError("no such host")

    monkeypatch.setattr(stores, "file_system", fail)
    for stamp in (stamp_data, stamp_file):
        with pytest.raises(
            DataError, match=r"cannot read s3://b/a\.ms: .*no such host.*; check that URL, the endpoint"
        ):
            stamp("s3://b/a.ms")


def test_a_large_file_is_known_by_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "HASHED_BYTES", 2)
    path = tmp_path / "a.fits"
    path.write_text("one")
    os.utime(path, (1, 1))
    stamp = stamp_data(str(path))
    assert stamp.of == "names, sizes and times"
    path.write_text("two")
    os.utime(path, (1, 1))
    assert stamp_data(str(path)) == stamp
    os.utime(path, (2, 2))
    assert stamp_data(str(path)) != stamp


def test_a_link_that_leads_nowhere_is_a_part_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "table").write_text("one")
    (tmp_path / ".#table").symlink_to("somebody@editor.1234")
    assert stamp_data(str(tmp_path)).of == "names, sizes and times"


def test_data_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    (tmp_path / "a.fits").touch()
    monkeypatch.setattr("radps.data.stamps._stamp_file", fail)
    with pytest.raises(DataError, match=r"cannot read .*a\.fits: .*Permission denied.*; check its permissions"):
        stamp_data(str(tmp_path / "a.fits"))
