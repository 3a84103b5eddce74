from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore

from radps.data import files, stores
from radps.data.damage import remedy
from radps.errors import DataError, MissingPackageError, ResourceError


def test_array_comes_back_and_unwritten_chunks_hold_the_fill_value(folder: str) -> None:
    url = f"{folder}/group/A"
    stores.create_group(f"{folder}/group")
    stores.create_array(url, (5, 4), chunks=(2, 4), dtype=np.float32, dims=("x", "y"), attrs={"units": "Jy"})
    stores.write_region(url, (slice(2, 4), slice(None)), np.ones((2, 4), dtype=np.float32))
    array = stores.load_array(url)
    assert np.isnan(array[[0, 1, 4]]).all()
    assert (array[2:4] == 1).all()
    assert stores.open_array(url).attrs["units"] == "Jy"


def test_xarray_opens_a_group_with_axes_and_text(folder: str) -> None:
    import xarray as xr

    stores.create_group(f"{folder}/group", {"type": "test"})
    stores.save_array(f"{folder}/group/name", ["a", "bcd"], dims=("name",))
    stores.save_array(f"{folder}/group/VALUE", np.arange(6.0).reshape(2, 3), dims=("name", "y"))
    stores.consolidate(f"{folder}/group")
    dataset = xr.open_zarr(stores.open_store(f"{folder}/group", read_only=True), chunks=None)
    assert dataset.name.values.tolist() == ["a", "bcd"]
    assert dataset.VALUE.sel(name="bcd").values.tolist() == [3.0, 4.0, 5.0]


def test_empty_text_is_stored(folder: str) -> None:
    stores.save_array(f"{folder}/text", ["", ""], dims=("x",))
    assert stores.load_array(f"{folder}/text").tolist() == ["", ""]


def test_arrays_are_opened_once_in_a_block_that_keeps_them_open(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{folder}/A"
    stores.create_array(url, (4, 2), chunks=(1, 2), dtype=float, dims=("x", "y"))
    opened: list[str] = []

    def count(**how: Any) -> Any:
        opened.append(how["mode"])
        return open_array(**how)

    open_array = zarr.open_array
    monkeypatch.setattr(zarr, "open_array", count)
    with stores.keep_open():
        for row in range(4):
            stores.write_region(url, (slice(row, row + 1), slice(None)), np.full((1, 2), row))
            assert stores.load_array(url)[row].tolist() == [row, row]
        assert sorted(opened) == ["r", "r+"]
        with pytest.raises(DataError, match="no zarr array"):
            stores.load_array(f"{folder}/B")
        stores.save_array(f"{folder}/B", [1.0], dims=("x",))
        assert stores.load_array(f"{folder}/B").tolist() == [1.0], "what was missing is looked for again"
    opened.clear()
    stores.load_array(url)
    stores.load_array(url)
    assert len(opened) == 2


@pytest.mark.parametrize("region", [slice(1, 4), slice(2, 3), slice(0, 3)])
def test_region_that_cuts_a_chunk_is_refused(folder: str, region: slice) -> None:
    stores.create_array(f"{folder}/A", (5,), chunks=(2,), dtype=float, dims=("x",))
    with pytest.raises(DataError, match=r"cuts a chunk of 2; .* start at a multiple of 2"):
        stores.write_region(f"{folder}/A", (region,), np.zeros(region.stop - region.start))


def test_last_chunk_may_be_short(folder: str) -> None:
    stores.create_array(f"{folder}/A", (5,), chunks=(2,), dtype=float, dims=("x",))
    stores.write_region(f"{folder}/A", (slice(4, 5),), np.array([7.0]))
    assert stores.load_array(f"{folder}/A", (slice(4, 5),)).tolist() == [7.0]


def test_data_of_another_shape_are_refused(folder: str) -> None:
    stores.create_array(f"{folder}/A", (4, 3), chunks=(2, 3), dtype=float, dims=("x", "y"))
    with pytest.raises(DataError, match=r"data of shape \(3,\) for a region of shape \(2, 3\)"):
        stores.write_region(f"{folder}/A", (slice(0, 2), slice(None)), np.zeros(3))
    with pytest.raises(DataError, match=r"1 slices for .* has 2 axes"):
        stores.write_region(f"{folder}/A", (slice(0, 2),), np.zeros((2, 3)))


def test_many_writers_of_different_chunks_do_not_disturb_each_other(folder: str) -> None:
    stores.create_array(f"{folder}/A", (40, 8), chunks=(2, 8), dtype=np.complex64, dims=("x", "y"))
    truth = np.random.default_rng(5).normal(size=(40, 8)).astype(np.complex64)

    def write(start: int) -> None:
        stores.write_region(f"{folder}/A", (slice(start, start + 2), slice(None)), truth[start : start + 2])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(0, 40, 2)))
    np.testing.assert_array_equal(stores.load_array(f"{folder}/A"), truth)


def test_what_is_there_is_not_overwritten_unless_asked(folder: str) -> None:
    stores.create_group(f"{folder}/g", {"a": 1})
    with pytest.raises(DataError, match="already something at"):
        stores.create_group(f"{folder}/g")
    stores.require_group(f"{folder}/g")
    assert stores.open_group(f"{folder}/g").attrs["a"] == 1
    stores.create_group(f"{folder}/g", {"a": 2}, overwrite=True)
    assert stores.open_group(f"{folder}/g").attrs["a"] == 2
    stores.create_array(f"{folder}/A", (4,), chunks=(2,), dtype=float, dims=("x",))
    with pytest.raises(DataError, match="already something at"):
        stores.create_array(f"{folder}/A", (5,), chunks=(2,), dtype=float, dims=("x",))
    with pytest.raises(DataError, match="already something at"):
        stores.create_array(f"{folder}/A", (4,), chunks=(2,), dtype=float, dims=("x",), attrs={"b": 1})


def test_creating_the_same_again_keeps_what_is_there(folder: str) -> None:
    for _ in range(2):
        stores.create_group(f"{folder}/g", {"a": 1})
        stores.create_array(f"{folder}/g/A", (4,), chunks=(2,), dtype=float, dims=("x",), attrs={"b": [1, 2]})
        stores.write_region(f"{folder}/g/A", (slice(0, 2),), np.ones(2))
    np.testing.assert_array_equal(stores.load_array(f"{folder}/g/A"), [1, 1, np.nan, np.nan])


def test_missing_array_and_group_are_named(folder: str) -> None:
    with pytest.raises(DataError, match=r"no zarr array at .*/nothing"):
        stores.load_array(f"{folder}/nothing")
    with pytest.raises(DataError, match=r"no zarr group at .*/nothing"):
        stores.open_group(f"{folder}/nothing")


def flip_a_bit(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize(
    "damage",
    [flip_a_bit, lambda data: data[:7], lambda data: data[:3], lambda data: b"", lambda data: bytes(len(data))],
    ids=["flipped", "7 bytes", "3 bytes", "empty", "zeros"],
)
def test_damaged_chunk_is_named_with_the_step_that_makes_it_again(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    url = str(tmp_path / "run/context.zarr/calibrate-2/gains/A")
    stores.create_array(url, (4, 6), chunks=(4, 2), dtype=np.complex64, dims=("time", "frequency"))
    stores.write_region(url, (slice(0, 4), slice(0, 6)), np.arange(24.0, dtype=np.complex64).reshape(4, 6))
    chunk = Path(url) / "c/0/1"
    chunk.write_bytes(damage(chunk.read_bytes()))
    for region in (None, (slice(1, 2), slice(3, 6)), (slice(0, 4),)):
        with pytest.raises(
            DataError, match=r"chunk time 0:4, frequency 2:4 of the zarr array .*/A is damaged: .*--redo calibrate`$"
        ):
            stores.load_array(url, region)
    assert stores.load_array(url, (slice(0, 4), slice(4, 6)))[0, 1] == 5


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("run/context.zarr/calibrate-2/gains/A", "calibrate"),
        ("run/images/my-cube-12.zarr/SKY", "my-cube"),
        ("run-1/visibilities/import_data-1.ps.zarr/p/VISIBILITY", "import_data"),
        ("run-1/A", None),
    ],
)
def test_the_step_of_an_array_is_known_from_its_place(path: str, step: str | None) -> None:
    expected = f"make it again by `radps-run ... --redo {step}`" if step else "delete it and make it again"
    assert remedy(f"s3://bucket/{path}") == expected


def test_damaged_array_of_no_step_is_to_be_made_again(tmp_path: Path) -> None:
    url = str(tmp_path / "A")
    stores.create_array(url, (4,), chunks=(4,), dtype=float, dims=("x",))
    stores.write_region(url, (slice(0, 4),), np.arange(4.0))
    chunk = tmp_path / "A/c/0"
    chunk.write_bytes(chunk.read_bytes()[:7])
    with pytest.raises(DataError, match=r"chunk x 0:4 of .*A is damaged: .*; delete it and make it again"):
        stores.load_array(url)


def test_arrays_with_checksums_are_read_by_xarray(tmp_path: Path) -> None:
    import xarray as xr

    stores.create_group(str(tmp_path / "g"))
    stores.save_array(str(tmp_path / "g/A"), np.arange(5.0), dims=("x",))
    codecs = json.loads((tmp_path / "g/A/zarr.json").read_text())["codecs"]
    assert [codec["name"] for codec in codecs] == ["bytes", "blosc", "crc32c"]
    with xr.open_zarr(tmp_path / "g", consolidated=False, chunks=None) as group:
        np.testing.assert_array_equal(group["A"].values, np.arange(5.0))


def test_opening_an_array_asks_for_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{tmp_path}/a"
    stores.save_array(url, np.arange(3), dims=("x",))
    asked = []
    get = LocalStore.get

    async def note(store: LocalStore, key: str, *arguments: Any, **options: Any) -> Any:
        asked.append(key)
        return await get(store, key, *arguments, **options)

    monkeypatch.setattr(LocalStore, "get", note)
    stores.open_array(url)
    assert asked == ["zarr.json"]


def test_arrays_of_format_2_are_read(tmp_path: Path) -> None:
    url = f"{tmp_path}/a"
    zarr.create_array(url, shape=(3,), dtype="i4", zarr_format=2)[...] = [1, 2, 3]
    np.testing.assert_array_equal(stores.load_array(url), [1, 2, 3])


def test_exists_list_and_delete(folder: str) -> None:
    stores.create_group(f"{folder}/g")
    stores.save_array(f"{folder}/g/b", [1], dims=("x",))
    stores.save_array(f"{folder}/g/a", [1], dims=("x",))
    assert stores.list_children(f"{folder}/g") == ("a", "b", "zarr.json")
    assert stores.exists(f"{folder}/g/a")
    stores.delete(f"{folder}/g/a")
    stores.delete(f"{folder}/g/a")
    assert not stores.exists(f"{folder}/g/a")


def test_free_space_is_known_on_a_disk_only(tmp_path: Path) -> None:
    free = stores.free_bytes(str(tmp_path / "not" / "yet" / "there"))
    assert free is not None
    assert free > 0
    assert stores.free_bytes("memory://a") is None


def test_product_larger_than_the_disk_is_refused(tmp_path: Path) -> None:
    stores.check_free_bytes(str(tmp_path), 1, "a byte")
    stores.check_free_bytes("memory://a", 2**80, "an object store has no end")
    with pytest.raises(ResourceError, match=r"stage image_cube: 4 images needs 1.049e\+06 TiB on disk, and .* free"):
        stores.check_free_bytes(str(tmp_path), 2**60, "stage image_cube: 4 images")


@pytest.mark.parametrize("read", [stores.file_system, stores.open_store, files.read_file])
def test_an_address_whose_package_is_not_installed_names_it(read: Callable[[str], Any]) -> None:
    fsspec.register_implementation(
        "absent", "package_that_is_absent.FileSystem", errtxt="Please install package_that_is_absent", clobber=True
    )
    with pytest.raises(
        MissingPackageError,
        match=r"^absent://bucket/a: addresses of absent:// need a package that is not installed: Please install",
    ):
        read("absent://bucket/a")


@pytest.mark.parametrize("read", [stores.file_system, stores.open_store, files.read_file])
def test_an_address_of_an_unknown_kind_is_refused(read: Callable[[str], Any]) -> None:
    with pytest.raises(DataError, match=r"^s4://bucket/a: there is no kind of address s4://; give a path, or one that"):
        read("s4://bucket/a")
