"""MSv2 folders, written by arcae and converted by XRADIO."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from radps.data import msv2, msv4, stores
from radps.data.sources import SourceKind, describe_source, find_source
from radps.errors import DataError


def test_every_row_of_an_msv2_arrives(tmp_path: Path, datasets: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    """Compared row by row with what was written; weights of a row hold for all its channels."""
    path, url = str(tmp_path / "a.ms"), str(tmp_path / "out.ps.zarr")
    truth = datasets.write_msv2(tmp_path / "a.ms")
    assert find_source(path) is SourceKind.MSV2
    before = {file: file.stat().st_mtime_ns for file in sorted((tmp_path / "a.ms").rglob("*")) if file.is_file()}
    msv2.convert_msv2(path, url)
    after = {file: file.stat().st_mtime_ns for file in sorted((tmp_path / "a.ms").rglob("*")) if file.is_file()}
    assert {file for file in before if before[file] != after.get(file) and "table.lock" not in file.name} == set()
    assert "INFO" not in "".join(capfd.readouterr()), "XRADIO's progress is kept out of the terminal"
    parts = describe_source(url, SourceKind.MSV2, names=msv2.read_names(path))
    assert [part.description.field_name for part in parts] == ["3C286", "N5921_2", "3C286"]
    assert parts[0].description.intents == ("CALIBRATE_FLUX#ON_SOURCE", "CALIBRATE_BANDPASS#ON_SOURCE")
    assert parts[0].description.antennas.names == ("VA01", "VA02", "VA03", "VA04")
    seen = 0
    for part in parts:
        one, address = part.description, part.address
        assert isinstance(address, msv4.Msv4Address)
        names = one.antennas.names
        pairs = [(names[i], names[j]) for i, j in zip(one.antenna1, one.antenna2, strict=True)]
        cells = msv4.load_cells(address, time_s=one.time_s, baselines=pairs, channels=slice(1, 4))
        for row in np.flatnonzero(np.isin(truth.unix_s, one.time_s)):
            time = np.searchsorted(one.time_s, truth.unix_s[row])
            baseline = pairs.index((names[truth.antenna1[row]], names[truth.antenna2[row]]))
            place = (time, baseline)
            np.testing.assert_array_equal(cells.visibilities[place], truth.data[row, 1:4])
            np.testing.assert_array_equal(cells.flags[place], truth.flag[row, 1:4])
            np.testing.assert_array_equal(cells.weights[place], np.broadcast_to(truth.weight[row], (3, 2)))
            np.testing.assert_array_equal(cells.uvw_m[place], truth.uvw_m[row])
            seen += 1
    assert seen == len(truth.data)


def test_sources_have_the_names_of_the_msv2(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_msv2(tmp_path / "a.ms")
    url = msv2.convert_msv2(str(tmp_path / "a.ms"), str(tmp_path / "out.ps.zarr"))
    names = msv2.read_names(str(tmp_path / "a.ms"))
    # This MSv2 has no table SOURCE, from which XRADIO takes them, with their numbers.
    for found in list(Path(url).rglob("source_name")):
        stores.delete(str(found))
        stores.save_array(str(found), ["NGC_5921_7"], dims=("field_name",))
    parts = describe_source(url, SourceKind.MSV2, names=names)
    assert {part.description.source_name for part in parts} == {"NGC_5921"}


@pytest.mark.parametrize(
    ("name", "expected"), [("3C286_0", "3C286"), ("NGC_5921_-1", "NGC_5921"), ("N5921", "N5921"), ("a_b", "a_b")]
)
def test_the_number_of_a_source_is_dropped(name: str, expected: str) -> None:
    assert msv2.drop_source_number(name) == expected


def test_a_missing_row_comes_flagged_though_xradio_leaves_it_unflagged(tmp_path: Path, datasets: ModuleType) -> None:
    truth = datasets.write_msv2(tmp_path / "a.ms")
    url = msv2.convert_msv2(str(tmp_path / "a.ms"), str(tmp_path / "out.ps.zarr"))
    n_cells = n_missing = 0
    for part in msv4.describe_processing_set(url):
        one = part.description
        pairs = [
            (one.antennas.names[i], one.antennas.names[j]) for i, j in zip(one.antenna1, one.antenna2, strict=True)
        ]
        cells = msv4.load_cells(part.address, time_s=one.time_s, baselines=pairs, channels=slice(None))
        stored = stores.load_array(stores.join_url(part.address.url, "FLAG"))
        missing = np.isnan(cells.visibilities).all(axis=(2, 3))
        n_cells += missing.size
        n_missing += int(missing.sum())
        assert cells.flags[missing].all()
        assert not stored[missing].any(), "XRADIO flags it now: the padding in load_cells is not tested any more"
    assert (n_cells - n_missing, n_missing) == (len(truth.data), 1)


def test_an_interrupted_conversion_is_begun_again(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_msv2(tmp_path / "a.ms")
    url = str(tmp_path / "out.ps.zarr")
    (tmp_path / "out.ps.zarr" / "half").mkdir(parents=True)
    msv2.convert_msv2(str(tmp_path / "a.ms"), url)
    assert len(msv4.describe_processing_set(url)) == 3
    assert not (tmp_path / "out.ps.zarr" / "half").exists()


def test_damaged_msv2_is_reported(tmp_path: Path, datasets: ModuleType) -> None:
    path, url = tmp_path / "a.ms", str(tmp_path / "out.ps.zarr")
    datasets.write_msv2(path)
    shutil.rmtree(path / "SPECTRAL_WINDOW")
    with pytest.raises(DataError, match=r"a\.ms: XRADIO cannot convert this MSv2 .*SPECTRAL_WINDOW"):
        msv2.convert_msv2(str(path), url)
    shutil.rmtree(path / "FIELD")
    with pytest.raises(DataError, match="FIELD is no casacore table"):
        msv2.read_names(str(path))


def test_msv2_without_data_is_reported(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_msv2(tmp_path / "a.ms", has_data=False)
    url = msv2.convert_msv2(str(tmp_path / "a.ms"), str(tmp_path / "out.ps.zarr"))
    with pytest.raises(DataError, match="has no data group 'base'; it has: none"):
        msv4.describe_processing_set(url)
