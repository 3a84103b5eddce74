"""UVFITS files: written small by astropy, read back against what was written, and damaged on purpose."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from radps.data.uvfits import check_uvfits, load_rows
from radps.data.uvfits_metadata import UvfitsPart, describe_uvfits
from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.errors import DataError


def load_all(part: UvfitsPart, channels: slice = slice(None)) -> tuple[Any, ...]:
    """Return the rows of a part in the order of the file, and what they hold."""
    rows = np.sort(part.rows[part.rows >= 0])
    return rows, load_rows(part.address, rows, channels)


def test_metadata_are_those_that_were_written(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_uvfits(tmp_path / "a.fits")
    first, second = describe_uvfits(str(tmp_path / "a.fits"))
    one = first.description
    assert (first.description.field_name, second.description.field_name) == ("3C286", "N5921_2")
    assert one.phase_center_rad == pytest.approx(datasets.FIELDS[0][1:], abs=1e-12)
    assert one.phase_center_frame == "fk5"
    assert one.antennas.names == ("VA01", "VA02", "VA03", "VA04")
    assert one.antennas.stations == datasets.STATIONS
    np.testing.assert_allclose(one.antennas.positions_m, datasets.ANTENNA_POSITIONS_M, atol=1e-6)
    np.testing.assert_array_equal(one.antennas.diameters_m, 25.0)
    assert one.antennas.mounts == ("ALT-AZ",) * 4
    assert (one.telescope, one.observer, one.intents) == ("VLA", "TEST", ())
    np.testing.assert_allclose(one.frequency_hz, 1.41e9 + 24414.0625 * np.arange(5))
    assert (one.channel_width_hz, one.spectral_frame, one.rest_frequency_hz) == (24414.0625, "LSRK", 1.420405752e9)
    assert one.polarizations == ("RR", "LL")
    assert one.integration_time_s == datasets.INTEGRATION_S
    # two scans of the first field, with the other one between them
    assert one.scan_names == ("1", "1", "3", "3")
    assert second.description.scan_names == ("2", "2", "2")
    # six baselines of three antennas, autocorrelations included; the fourth antenna has no data
    assert len(one.antenna1) == 6
    assert 3 not in one.antenna1
    assert 3 not in one.antenna2


@pytest.mark.parametrize(("system", "shift_s"), [("TAI", -29.0), ("IAT", -29.0), ("UTC", 0.0)])
def test_times_are_utc(tmp_path: Path, datasets: ModuleType, system: str, shift_s: float) -> None:
    truth = datasets.write_uvfits(tmp_path / "a.fits", time_system=system)
    parts = describe_uvfits(str(tmp_path / "a.fits"))
    found = np.unique(np.concatenate([part.description.time_s for part in parts]))
    expected = (datasets.START_JD - 2440587.5) * 86400 + np.unique(truth.seconds) + shift_s
    # the fraction of a day is a float32 below 1/1024 day: 5e-6 s, 6e-8 of the number
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("width_hz", [24414.0625, -24414.0625])
def test_samples_of_every_row_window_and_channel_are_those_that_were_written(
    tmp_path: Path, datasets: ModuleType, width_hz: float
) -> None:
    truth = datasets.write_uvfits(tmp_path / "a.fits", n_windows=2, channel_width_hz=width_hz)
    parts = describe_uvfits(str(tmp_path / "a.fits"))
    assert len(parts) == 4
    for part in parts:
        rows, data = load_all(part, slice(1, 4))
        window = part.address.window
        samples = truth.samples[rows, window]
        if width_hz < 0:
            samples = samples[:, ::-1]
        samples = samples[:, 1:4]
        np.testing.assert_array_equal(data.visibilities, samples[..., 0] + 1j * samples[..., 1])
        np.testing.assert_array_equal(data.weights, np.abs(samples[..., 2]))
        np.testing.assert_array_equal(data.flags, samples[..., 2] <= 0)
        np.testing.assert_allclose(data.uvw_m, truth.uvw_s[rows].astype(np.float64) * SPEED_OF_LIGHT_M_S, rtol=1e-15)
        assert np.all(np.diff(part.description.frequency_hz) > 0)
        lowest = 1.41e9 + 1e6 * window + min(0.0, 4 * width_hz)
        assert part.description.frequency_hz[0] == pytest.approx(lowest, abs=0.1)


def test_the_map_of_rows_finds_time_and_baseline(tmp_path: Path, datasets: ModuleType) -> None:
    truth = datasets.write_uvfits(tmp_path / "a.fits", time_system="UTC")
    parts = describe_uvfits(str(tmp_path / "a.fits"))
    assert sum(np.count_nonzero(part.rows < 0) for part in parts) == 1, "the row that is missing"
    start_s = (datasets.START_JD - 2440587.5) * 86400
    for part in parts:
        one = part.description
        times, baselines = np.nonzero(part.rows >= 0)
        rows = part.rows[times, baselines]
        np.testing.assert_array_equal(truth.antenna1[rows], one.antenna1[baselines])
        np.testing.assert_array_equal(truth.antenna2[rows], one.antenna2[baselines])
        np.testing.assert_allclose(truth.seconds[rows] + start_s, one.time_s[times], atol=1e-5, rtol=0)


def test_samples_agree_with_pyuvdata_but_for_its_signs(tmp_path: Path, datasets: ModuleType) -> None:
    from pyuvdata import UVData

    datasets.write_uvfits(tmp_path / "a.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = UVData.from_file(str(tmp_path / "a.fits"), file_type="uvfits", run_check=False)
    for part in describe_uvfits(str(tmp_path / "a.fits")):
        rows, data = load_all(part)
        np.testing.assert_array_equal(data.visibilities, other.data_array[rows].conj())
        np.testing.assert_array_equal(data.flags, other.flag_array[rows])
        np.testing.assert_array_equal(data.weights, other.nsample_array[rows])
        np.testing.assert_allclose(data.uvw_m, -other.uvw_array[rows], rtol=1e-12)


@pytest.mark.parametrize("kind", ["2048", "antennas"])
def test_baselines_may_be_numbered_in_three_ways(tmp_path: Path, datasets: ModuleType, kind: str) -> None:
    datasets.write_uvfits(tmp_path / "a.fits")
    datasets.write_uvfits(tmp_path / "b.fits", baseline_kind=kind)
    one, other = (describe_uvfits(str(tmp_path / name)) for name in ("a.fits", "b.fits"))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first.description.antenna1, second.description.antenna1)
        np.testing.assert_array_equal(first.description.antenna2, second.description.antenna2)
        np.testing.assert_array_equal(first.rows, second.rows)


def test_frequencies_of_the_source_table(tmp_path: Path, datasets: ModuleType) -> None:
    columns = {"FREQOFF": [[0.0, 0.0], [5e3, 7e3]], "RESTFREQ": [[0.0, 0.0], [1.6e9, 1.7e9]]}
    datasets.write_uvfits(tmp_path / "a.fits", n_windows=2, source_columns=columns)
    found = [part.description for part in describe_uvfits(str(tmp_path / "a.fits"))]
    assert [one.frequency_hz[0] for one in found] == [1.41e9, 1.411e9, 1.41e9 + 5e3, 1.411e9 + 7e3]
    # zero means that the table does not say, then the header does
    assert [one.rest_frequency_hz for one in found] == [1.420405752e9, 1.420405752e9, 1.6e9, 1.7e9]


def test_samples_are_scaled_as_the_header_says(tmp_path: Path, datasets: ModuleType) -> None:
    truth = datasets.write_uvfits(tmp_path / "a.fits", header={"BSCALE": 2.0, "BZERO": 0.5})
    part = describe_uvfits(str(tmp_path / "a.fits"))[0]
    rows, data = load_all(part)
    samples = truth.samples[rows, 0] * 2.0 + 0.5
    np.testing.assert_allclose(data.visibilities, samples[..., 0] + 1j * samples[..., 1], rtol=1e-6)
    np.testing.assert_allclose(data.weights, np.abs(samples[..., 2]), rtol=1e-6)


def test_describing_reads_no_samples(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_uvfits(tmp_path / "a.fits", times_of_fields=(40, 40))
    describe_uvfits(str(tmp_path / "a.fits"))  # imports and caches
    (tmp_path / "a.fits").unlink()
    datasets.write_uvfits(tmp_path / "a.fits", times_of_fields=(40, 40), n_channels=4000)
    size = (tmp_path / "a.fits").stat().st_size
    tracemalloc.start()
    describe_uvfits(str(tmp_path / "a.fits"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 40e6
    # a block is 4 MiB
    assert peak < size / 4


@pytest.mark.parametrize("n_channels", [1, 40, 3000])
def test_any_rows_are_read_in_any_size_of_row(tmp_path: Path, datasets: ModuleType, n_channels: int) -> None:
    """Rows of 60 bytes that are read together, and of 72 kB that are read one by one."""
    truth = datasets.write_uvfits(tmp_path / "a.fits", n_channels=n_channels, times_of_fields=(30, 30))
    part = describe_uvfits(str(tmp_path / "a.fits"))[0]
    last = len(truth.samples) - 1
    for rows in ([0], [last], [0, 1, 2], [5, 6, 100, 101, last], list(range(0, last, 3)), []):
        for channels in (slice(0, n_channels), slice(n_channels // 2, n_channels // 2 + 1)):
            data = load_rows(part.address, np.array(rows, np.int64), channels)
            samples = truth.samples[rows, 0, channels]
            np.testing.assert_array_equal(data.visibilities, samples[..., 0] + 1j * samples[..., 1])
            np.testing.assert_allclose(data.uvw_m, truth.uvw_s[rows] * SPEED_OF_LIGHT_M_S, rtol=1e-6)


def test_a_file_that_shrinks_while_it_is_imported(tmp_path: Path, datasets: ModuleType) -> None:
    path = tmp_path / "a.fits"
    datasets.write_uvfits(path)
    part = describe_uvfits(str(path))[0]
    path.write_bytes(path.read_bytes()[:7000])
    with pytest.raises(DataError, match=r"ends at byte 7000, .* it was changed while it was imported"):
        load_rows(part.address, np.arange(41), slice(None))


def test_file_of_one_source_and_without_intervals(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_uvfits(tmp_path / "a.fits", has_sources=False, has_intervals=False, uvw_suffix="---SIN")
    (part,) = describe_uvfits(str(tmp_path / "a.fits"))
    assert part.description.field_name == "3C286"
    assert part.description.phase_center_rad[0] == pytest.approx(datasets.FIELDS[0][1], abs=1e-12)
    # times are in steps of float32, 5e-6 s
    assert part.description.integration_time_s == pytest.approx(datasets.INTEGRATION_S, abs=1e-4)


def test_b1950_field_comes_to_j2000_with_its_uvw(tmp_path: Path, datasets: ModuleType) -> None:
    truth = datasets.write_uvfits(tmp_path / "a.fits", epoch=1950.0)
    part = describe_uvfits(str(tmp_path / "a.fits"))[0]
    ra, dec = part.description.phase_center_rad
    assert part.description.phase_center_frame == "fk5"
    # precession of 50 years: 46.1 s of right ascension per year + 20.0 arcsec sin(ra) tan(dec)
    expected = datasets.FIELDS[0][1] + np.deg2rad(50 * (46.1 + 20.0 * np.sin(3.54) * np.tan(0.53)) / 3600)
    assert ra == pytest.approx(expected, abs=np.deg2rad(20 / 3600))
    assert dec < datasets.FIELDS[0][2]
    rows, data = load_all(part)
    stored = truth.uvw_s[rows].astype(np.float64) * SPEED_OF_LIGHT_M_S
    angle = part.address.uvw_rotation_rad
    assert 1e-4 < abs(angle) < 1e-2
    turned = (stored[:, 0] + 1j * stored[:, 1]) * np.exp(-1j * angle)
    np.testing.assert_allclose(data.uvw_m[:, 0] + 1j * data.uvw_m[:, 1], turned, rtol=1e-12)
    np.testing.assert_array_equal(data.uvw_m[:, 2], stored[:, 2])


def test_uvw_of_b1950_are_those_of_the_same_baselines_on_the_axes_of_icrs(tmp_path: Path, datasets: ModuleType) -> None:
    """Baselines as vectors in space, from the pole of B1950 that astropy has; phases of a source 20 arcmin away."""
    from astropy.coordinates import FK4, ICRS, SkyCoord
    from astropy.time import Time

    truth = datasets.write_uvfits(tmp_path / "a.fits", epoch=1950.0)
    part = describe_uvfits(str(tmp_path / "a.fits"))[0]
    rows, data = load_all(part)
    stored_m = truth.uvw_s[rows].astype(np.float64) * SPEED_OF_LIGHT_M_S
    # B1950 positions of the VLA are of the epoch 1979.9 (casacore's B1950_VLA)
    old = FK4(equinox=Time(1950.0, format="byear"), obstime=Time(1979.9, format="byear"))

    def vector(ra_rad: float, dec_rad: float) -> np.ndarray:
        direction = SkyCoord(ra_rad, dec_rad, unit="rad", frame=old).transform_to(ICRS())
        return np.asarray(direction.cartesian.xyz.value)

    def axes(center: np.ndarray, pole: np.ndarray) -> np.ndarray:
        north = pole - center * (pole @ center)
        north /= np.linalg.norm(north)
        return np.stack([np.cross(north, center), north, center])

    _, ra, dec = datasets.FIELDS[0]
    center = vector(ra, dec)
    baselines_m = stored_m @ axes(center, vector(0.0, np.pi / 2))
    expected_m = baselines_m @ axes(center, np.array([0.0, 0.0, 1.0])).T
    length_m = np.linalg.norm(stored_m, axis=1).max()
    # The elliptic aberration that FK4 contains bends the pole by 0.3 arcsec, 1.6e-6 rad.
    np.testing.assert_allclose(data.uvw_m, expected_m, atol=3e-6 * length_m)
    assert np.abs(data.uvw_m - stored_m).max() > 1e-3 * length_m, "left as they are they would fail"
    found = SkyCoord(*part.description.phase_center_rad, unit="rad", frame=part.description.phase_center_frame)
    assert found.separation(SkyCoord(*center, representation_type="cartesian", frame="icrs")).arcsec < 0.03

    source = vector(ra + np.deg2rad(0.2), dec - np.deg2rad(0.25))
    delay_m = baselines_m @ (source - center)
    lmn = axes(center, np.array([0.0, 0.0, 1.0])) @ source - np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(data.uvw_m @ lmn, delay_m, atol=3e-6 * length_m * 6e-3)


def test_antennas_of_another_array_keep_their_names(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_uvfits(tmp_path / "a.fits", telescope="WSRT")
    part = describe_uvfits(str(tmp_path / "a.fits"))[0]
    assert part.description.antennas.names == datasets.STATIONS


@pytest.mark.parametrize(
    ("header", "frame"),
    [({"SPECSYS": "TOPOCENT"}, "TOPO"), ({"SPECSYS": "", "VELREF": 258}, "BARY"), ({"SPECSYS": ""}, "TOPO")],
)
def test_spectral_frame(tmp_path: Path, datasets: ModuleType, header: dict[str, Any], frame: str) -> None:
    datasets.write_uvfits(tmp_path / "a.fits", header=header)
    assert describe_uvfits(str(tmp_path / "a.fits"))[0].description.spectral_frame == frame


def test_truncated_file_is_found_by_its_size(tmp_path: Path, datasets: ModuleType) -> None:
    whole, cut = tmp_path / "whole.fits", tmp_path / "cut.fits"
    datasets.write_uvfits(whole)
    data = whole.read_bytes()
    # the samples begin after two blocks of header, and the file ends with blocks of tables
    cut.write_bytes(data[:7000])
    with pytest.raises(
        DataError, match=r"cut.fits is truncated: .* 41 rows of visibilities end at byte \d+ .* has 7000"
    ):
        check_uvfits(str(cut))
    cut.write_bytes(data[:20300])
    with pytest.raises(DataError, match=r"truncated: .* the table AIPS AN end at byte 20424"):
        check_uvfits(str(cut))
    cut.write_bytes(data[:1000])
    with pytest.raises(DataError, match="truncated or damaged: the header at byte 0 has no end"):
        check_uvfits(str(cut))
    check_uvfits(str(whole))
    # between two tables: only what is missing tells
    cut.write_bytes(data[:28560])
    with pytest.raises(DataError, match=r"rows of 2 sources and no source table \(AIPS SU\); it is truncated"):
        describe_uvfits(str(cut))


def test_file_that_ends_before_its_antenna_table_is_refused(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_uvfits(tmp_path / "a.fits", tables=("AIPS FQ",))
    with pytest.raises(DataError, match=r"no antenna table \(AIPS AN\).*tables found: AIPS FQ"):
        check_uvfits(str(tmp_path / "a.fits"))


def test_image_and_other_files_are_no_uvfits(tmp_path: Path) -> None:
    from astropy.io import fits

    fits.PrimaryHDU(np.zeros((4, 6))).writeto(tmp_path / "image.fits")
    with pytest.raises(
        DataError, match=r"without visibilities \(random groups\): it holds 6 x 4; UVFITS files are read"
    ):
        check_uvfits(str(tmp_path / "image.fits"))
    (tmp_path / "b").write_bytes(b"x" * 3000)
    with pytest.raises(DataError, match="is no FITS file"):
        check_uvfits(str(tmp_path / "b"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"frequency_setups": 2}, r"holds 2 frequency setups \(random parameter FREQSEL\).*split it"),
        ({"subarrays": 2}, r"holds 2 subarrays \(random parameter BASELINE\)"),
        ({"uvw_suffix": "---NCP"}, r"random parameters UU---NCP.*UVFIX"),
        ({"first_axis": "STOKES"}, r"has the axes STOKES 3, STOKES 2.*are read with the axes COMPLEX 3"),
        ({"repeated_rows": 2}, r"2 rows of field 3C286 are of the same time and baseline"),
    ],
)
def test_files_of_other_kinds_say_what_they_are(
    tmp_path: Path, datasets: ModuleType, options: dict[str, Any], text: str
) -> None:
    datasets.write_uvfits(tmp_path / "a.fits", **options)
    with pytest.raises(DataError, match=text):
        describe_uvfits(str(tmp_path / "a.fits"))


def test_file_without_rows_and_with_strange_antennas(tmp_path: Path, datasets: ModuleType) -> None:
    path = tmp_path / "a.fits"
    datasets.write_uvfits(path)
    data = path.read_bytes()
    empty = data[:5760].replace(b"GCOUNT  =                   41", b"GCOUNT  =                    0", 1) + data[14400:]
    (tmp_path / "empty.fits").write_bytes(empty)
    with pytest.raises(DataError, match="holds no visibilities: GCOUNT is 0"):
        describe_uvfits(str(tmp_path / "empty.fits"))
    # baseline 258 (antennas 1 and 2) becomes 2570 (antennas 10 and 10) in every row
    strange = data.replace(np.array(258, ">f4").tobytes(), np.array(2570, ">f4").tobytes())
    (tmp_path / "strange.fits").write_bytes(strange)
    with pytest.raises(
        DataError, match=r"data of the antennas \[10\], which its antenna table does not list \(1 to 4\)"
    ):
        describe_uvfits(str(tmp_path / "strange.fits"))


def test_rows_without_a_date_are_counted(tmp_path: Path, datasets: ModuleType) -> None:
    path = tmp_path / "a.fits"
    datasets.write_uvfits(path)
    data = bytearray(path.read_bytes())
    data[5760 + 12 : 5760 + 16] = np.array(np.nan, ">f4").tobytes()
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="1 of 41 rows have no date between"):
        describe_uvfits(str(path))


def test_damaged_tables_are_reported_with_their_reason(tmp_path: Path, datasets: ModuleType) -> None:
    path = tmp_path / "a.fits"
    datasets.write_uvfits(path)
    path.write_bytes(path.read_bytes().replace(b"'STABXYZ '", b"'STABABC '"))
    with pytest.raises(DataError, match=r"its tables cannot be read \(KeyError"):
        describe_uvfits(str(path))
