"""Small files in one atomic step: on a disk, in memory, on an S3 server."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from radps.data import files
from radps.data.files import (
    FileChangedError,
    create_file,
    delete_file,
    find_version,
    list_names,
    read_file,
    read_files,
    replace_file,
)


@pytest.fixture(params=["local", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder."""
    if request.param == "s3":
        return str(request.getfixturevalue("object_store").new_bucket())
    return str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}"


def test_a_file_is_created_replaced_listed_and_removed(place: str) -> None:
    url = f"{place}/folder/a.json"
    assert read_file(url) is None
    assert find_version(url) is None
    assert list_names(f"{place}/folder") == []
    first = create_file(url, b"1")
    assert (read_file(url), find_version(url)) == (b"1", first)
    second = replace_file(url, b"22")
    assert (read_file(url), find_version(url)) == (b"22", second)
    assert second != first
    assert list_names(f"{place}/folder") == ["a.json"]
    delete_file(url)
    delete_file(url)
    assert read_file(url) is None


@pytest.mark.parametrize("count", [0, 1, 5])
def test_many_files_are_read_and_those_that_are_gone_are_told(
    place: str, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(files, "_READ_AT_ONCE", 2)
    names = [f"a%2Fb-{number}" for number in range(count)]
    for name in names:
        create_file(f"{place}/folder/{name}", name.encode())
    expected = [(name, name.encode()) for name in names]
    assert list(read_files(f"{place}/folder", names)) == expected
    assert list(read_files(f"{place}/folder", [*names, "gone"])) == [*expected, ("gone", None)]


def test_one_of_many_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="IsADirectoryError"):
        list(read_files(str(tmp_path), ["folder"]))


def test_what_another_process_wrote_is_listed_at_once(place: str) -> None:
    create_file(f"{place}/folder/a", b"1")
    assert list_names(f"{place}/folder") == ["a"]
    system, path = files.file_system(f"{place}/folder/b")
    system = type(system)(skip_instance_cache=True)  # with a list of its own
    system.pipe_file(path, b"2")
    assert sorted(list_names(f"{place}/folder")) == ["a", "b"]


def test_what_is_there_is_not_created_again(place: str) -> None:
    create_file(f"{place}/a", b"1")
    with pytest.raises(FileExistsError):
        create_file(f"{place}/a", b"2")
    assert read_file(f"{place}/a") == b"1"


def test_only_the_version_that_is_known_is_replaced(place: str) -> None:
    url = f"{place}/a"
    known = create_file(url, b"1")
    newer = replace_file(url, b"2", version=known)
    with pytest.raises(FileChangedError):
        replace_file(url, b"3", version=known)
    assert read_file(url) == b"2"
    assert replace_file(url, b"4", version=newer) != newer
    delete_file(url)
    with pytest.raises(FileChangedError):
        replace_file(url, b"5", version=newer)
    assert read_file(url) is None


def test_of_many_who_create_at_the_same_instant_one_succeeds(place: str) -> None:
    results: list[bool] = []
    start = Barrier(6)

    def create(number: int) -> None:
        start.wait(30)
        try:
            create_file(f"{place}/a", b"%d" % number)
            results.append(True)
        except FileExistsError:
            results.append(False)

    threads = [Thread(target=create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 5 + [True]


# --- object stores ---


@pytest.fixture
def bucket(object_store: Any) -> str:
    """An empty bucket."""
    return str(object_store.new_bucket())


def test_a_put_whose_answer_got_lost_is_not_a_conflict(bucket: str) -> None:
    url = f"{bucket}/a"
    first = create_file(url, b"1")
    assert create_file(url, b"1") == first
    second = replace_file(url, b"2", version=first)
    assert replace_file(url, b"2", version=first) == second


def test_a_bucket_that_is_not_there_is_an_error_of_the_file_system(object_store: Any) -> None:
    url = f"s3://bucket-{uuid.uuid4().hex}/a"
    assert read_file(url) is None
    for write in (create_file, replace_file):
        with pytest.raises(OSError, match="bucket"):
            write(url, b"1")


@pytest.mark.parametrize("act", [read_file, find_version, list_names, delete_file, lambda url: create_file(url, b"1")])
def test_errors_of_a_client_are_errors_of_the_file_system(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[str], Any]
) -> None:
    def fail(url: str) -> None:
        raise RuntimeError("no credentials")

    monkeypatch.setattr(files, "file_system", fail)
    monkeypatch.setattr(files, "require_folder", fail)
    with pytest.raises(OSError, match="RuntimeError: no credentials"):
        act("s3://bucket/a")


# --- disks ---


def test_errors_of_a_disk_are_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        read_file(str(tmp_path / "folder"))


def test_a_disk_without_hard_links_still_creates_exclusively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: str, target: str) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    create_file(str(tmp_path / "a"), b"1")
    with pytest.raises(FileExistsError):
        create_file(str(tmp_path / "a"), b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"1"


@pytest.mark.parametrize("write", [create_file, replace_file])
def test_a_write_that_fails_leaves_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[str, bytes], object]
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(str(tmp_path / "a"), b"1")
    assert list(tmp_path.iterdir()) == []
