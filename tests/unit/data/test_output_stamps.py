"""Stamps: one listing tells whether an output is what was written."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fsspec import AbstractFileSystem

from radps.data import stores
from radps.data.files import delete_file, read_file, replace_file
from radps.data.output_stamps import OutputStamp, describe_difference, stamp_output
from radps.errors import DataError


@pytest.fixture(params=["local", "memory", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The output of a step: an array of 6 chunks and a file."""
    if request.param == "s3":
        place = request.getfixturevalue("object_store").new_bucket()
    else:
        place = str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}"
    url = f"{place}/images/cube-1.zarr"
    stores.create_group(url)
    stores.create_array(f"{url}/SKY", (6, 4), chunks=(1, 4), dtype=np.float32, dims=("frequency", "l"))
    stores.write_region(f"{url}/SKY", (slice(0, 6), slice(0, 4)), np.arange(24, dtype=np.float32).reshape(6, 4))
    replace_file(f"{url}/notes.txt", b"12345")
    return url


def test_the_stamp_counts_files_and_bytes(output: str) -> None:
    stamp = stamp_output(output)
    assert stamp.files == 6 + 2 + 1
    assert stamp.bytes > 6 * 16 + 5
    assert stamp_output(output) == stamp
    assert describe_difference(stamp, stamp) == ""


def test_a_file_has_a_stamp_and_nothing_has_an_empty_one(output: str) -> None:
    assert stamp_output(f"{output}/notes.txt")[:2] == (1, 5)
    assert stamp_output(f"{output}/nothing")[:2] == (0, 0)


def delete_chunk(url: str) -> None:
    delete_file(f"{url}/SKY/c/2/0")


def cut_chunk(url: str) -> None:
    data = read_file(f"{url}/SKY/c/2/0")
    assert data is not None
    replace_file(f"{url}/SKY/c/2/0", data[:-1])


def rename_file(url: str) -> None:
    delete_file(f"{url}/notes.txt")
    replace_file(f"{url}/other.txt", b"12345")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (delete_chunk, "1 of 9 files are gone"),
        (cut_chunk, "the 9 files have .* instead of"),
        (rename_file, "some of the 9 files have another name or size"),
        (lambda url: replace_file(f"{url}/more", b""), "there are 1 files more than the 9 that were written"),
        (stores.delete, "all 9 files are gone"),
    ],
)
def test_what_changed_is_said(output: str, change: Callable[[str], None], words: str) -> None:
    before = stamp_output(output)
    change(output)
    after = stamp_output(output)
    assert after != before
    with pytest.raises(ValueError, match=words):
        raise ValueError(describe_difference(before, after))


def test_a_copy_at_another_place_has_the_same_stamp(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_text("x")
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere")
    assert stamp_output(str(tmp_path / "a")) == stamp_output(str(tmp_path / "elsewhere"))
    assert isinstance(stamp_output(str(tmp_path / "a")), OutputStamp)


def test_a_remote_stamp_is_one_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"memory://{uuid.uuid4().hex}/a"
    replace_file(f"{url}/b/c", b"1")
    asked: list[str] = []
    system, path = stores.file_system(url)
    find = type(system).find

    def count(self: AbstractFileSystem, path: str, **more: object) -> object:
        asked.append(path)
        return find(self, path, **more)

    monkeypatch.setattr(type(system), "find", count)
    monkeypatch.setattr(type(system), "cat_file", lambda *_: pytest.fail("contents were read"))
    assert stamp_output(url).files == 1
    assert asked == [path]


def test_a_store_that_does_not_answer_is_an_error_and_no_lost_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str) -> None:
        raise RuntimeError("no such host")

    monkeypatch.setattr("radps.data.output_stamps.file_system", fail)
    words = (
        r"cannot list the files of s3://b/images/cube-1, which a step wrote: .*no such host.*; check that the bucket"
    )
    with pytest.raises(DataError, match=words):
        stamp_output("s3://b/images/cube-1")


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("radps.data.output_stamps.os.scandir", fail)
    with pytest.raises(
        DataError, match=r"cannot list the files of .*cube-1, .*Permission denied.*check its permissions"
    ):
        stamp_output(str(tmp_path / "cube-1"))


def test_a_link_that_leads_nowhere_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert stamp_output(str(tmp_path)).files == 1
