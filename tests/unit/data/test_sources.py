"""What kind a data set is: known by its content, with a clear word for everything else."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from radps.data import sources, stores
from radps.data.measurement_set import MeasurementSetDescription, create_measurement_set, create_processing_set
from radps.data.sources import SourceKind, describe_source, find_source
from radps.errors import DataError


def test_kinds_are_known_by_content(
    tmp_path: Path, folder: str, datasets: ModuleType, description: MeasurementSetDescription
) -> None:
    datasets.write_uvfits(tmp_path / "no_ending")
    assert find_source(str(tmp_path / "no_ending")) is SourceKind.UVFITS
    datasets.write_msv2(tmp_path / "any_name")
    assert find_source(str(tmp_path / "any_name")) is SourceKind.MSV2
    url = stores.join_url(folder, "set")
    create_processing_set(url)
    group = create_measurement_set(url, description, chunks=(5, 6))
    assert find_source(url) is SourceKind.MSV4
    assert find_source(group) is SourceKind.MSV4


def test_parts_of_a_uvfits_file_and_of_a_processing_set(
    tmp_path: Path, datasets: ModuleType, description: MeasurementSetDescription
) -> None:
    datasets.write_uvfits(tmp_path / "a.fits")
    parts = describe_source(str(tmp_path / "a.fits"), SourceKind.UVFITS)
    assert [part.description.field_name for part in parts] == ["3C286", "N5921_2"]
    assert all(part.rows is not None and part.chunks is None for part in parts)
    url = str(tmp_path / "b.ps.zarr")
    create_processing_set(url)
    create_measurement_set(url, description, chunks=(5, 6))
    (part,) = describe_source(url, SourceKind.MSV4)
    assert part.rows is None
    assert part.chunks == (5, 6, 6, 2)
    with pytest.raises(DataError, match="is a UVFITS file, which has no data group 'corrected'"):
        describe_source(str(tmp_path / "a.fits"), SourceKind.UVFITS, data_group="corrected")


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (b"", r"is empty \(0 bytes\); copy it again"),
        (b"\x1f\x8b12345", r"is compressed \(gzip; unpack it first\), which is not read; radps reads UVFITS files"),
        (b"\xfd7zXZ\x00123", r"is compressed \(xz"),
        (b"\x89HDF\r\n", "is an HDF5 file"),
        (b"\x00" * 257 + b"ustar\x00", "is a tar archive"),
        (b"hello there", r"is no FITS file \(it begins with b'hello th'\)"),
    ],
)
def test_files_that_are_not_read(tmp_path: Path, head: bytes, text: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(head)
    with pytest.raises(DataError, match=text):
        find_source(str(path))


def test_what_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, for whom everything may be read, the tests have to pretend."""

    def refuse(path: str, *_: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    (tmp_path / "file").write_bytes(b"SIMPLE")
    monkeypatch.setattr(sources, "open", refuse, raising=False)
    with pytest.raises(DataError, match=r"file may not be read by this user \(Permission denied: .*file\); have its"):
        find_source(str(tmp_path / "file"))
    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(DataError, match="may not be read by this user"):
        find_source(str(tmp_path))


def test_folders_that_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file or folder .*nowhere; check the path"):
        find_source(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="is a folder with nothing in it; radps reads"):
        find_source(str(tmp_path))
    for number in range(10):
        (tmp_path / f"file{number}").touch()
    with pytest.raises(DataError, match=r"is a folder with file0, file1, .* and 2 more"):
        find_source(str(tmp_path))
    (tmp_path / "ASDM.xml").touch()
    with pytest.raises(DataError, match="is an ASDM, which is not read yet; make an MSv2"):
        find_source(str(tmp_path))
    (tmp_path / "table.dat").touch()
    with pytest.raises(DataError, match="is a casacore table without the table ANTENNA"):
        find_source(str(tmp_path))
    (tmp_path / "ANTENNA").mkdir()
    assert find_source(str(tmp_path)) is SourceKind.MSV2
    (tmp_path / "table.info").write_text("Type = Measurement Set\nSubType = UVFITS\n\n")
    assert find_source(str(tmp_path)) is SourceKind.MSV2
    (tmp_path / "table.info").write_text("Type = Calibration\nSubType = B Jones\n\n")
    with pytest.raises(DataError, match=r"is a calibration table of CASA \(B Jones\), not visibilities\. radps solves"):
        find_source(str(tmp_path))


def test_an_msv2_without_states_has_no_intents(tmp_path: Path, description: MeasurementSetDescription) -> None:
    url = str(tmp_path / "a.ps.zarr")
    create_processing_set(url)
    # This is what XRADIO makes of it.
    create_measurement_set(url, description._replace(intents=("None",)), chunks=(5, 6))
    (part,) = describe_source(url, SourceKind.MSV4)
    assert part.description.intents == ()


def test_zarr_groups_of_another_type_and_empty_urls(folder: str) -> None:
    url = stores.join_url(folder, "image.zarr")
    stores.create_group(url, {"type": "image_dataset"})
    with pytest.raises(DataError, match="is a zarr group of type 'image_dataset', not of visibilities"):
        find_source(url)
    with pytest.raises(DataError, match="there is nothing at memory://nowhere; check the URL"):
        find_source("memory://nowhere")


def test_only_zarr_is_read_from_an_object_store(folder: str) -> None:
    if not folder.startswith("memory"):
        pytest.skip("local folders are read by their content")
    url = stores.join_url(folder, "a.fits")
    system, path = stores.file_system(url)
    system.pipe_file(path, b"SIMPLE  =")
    with pytest.raises(DataError, match=r"only MSv4 \(zarr\) is read from there"):
        find_source(url)
