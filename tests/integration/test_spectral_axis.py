"""Cubes on an axis of their own: a line at a known velocity, seen from the moving Earth at three epochs."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import EarthLocation, Galactic, SkyCoord
from astropy.time import Time
from astropy.utils import iers

import radps
from radps.api import Run
from radps.context.model import Context, Workspace
from radps.context.records import ImageRecord, OutcomeStatus, Resources
from radps.data.images import load_frequencies, load_planes, open_image
from radps.data.observation_model import ObservationModel
from radps.data.simulate import simulate_observation
from radps.data.stores import load_array
from radps.domain.array import vla_array
from radps.errors import SelectionError
from radps.execution.engine import InProcess
from radps.stages import find_continuum, image_cube, subtract_continuum

CELL = math.radians(25 / 3600)
SIZE = 64
RA_DEG, DEC_DEG = 190.0, 40.0
REST_HZ = 1420.405751768e6
VELOCITY_KM_S = 1500.0
WIDTH_HZ = 25e3
"""5.3 km/s."""
LINE_HZ = 1e5
"""FWHM of the line: 21 km/s."""
PLACE = {"east": 8 * CELL, "north": -5 * CELL}
START = datetime(2019, 3, 20, 6, 0, tzinfo=UTC)
EPOCHS = {"early": timedelta(0), "late": timedelta(hours=4), "summer": timedelta(days=100, hours=-5)}
C_KM_S = 299792.458


def topocentric_hz(time: datetime) -> float:
    """Return where the line is seen, by astropy alone: its barycentric correction, and 20 km/s towards the solar
    apex."""
    place = EarthLocation.from_geocentric(*vla_array("D").positions_m.mean(axis=0), unit="m")
    target = SkyCoord(RA_DEG * units.deg, DEC_DEG * units.deg)
    with iers.conf.set_temp("auto_download", False), iers.earth_orientation_table.set(iers.IERS_B.open()):
        barycentric = target.radial_velocity_correction("barycentric", obstime=Time(time), location=place)
    apex = SkyCoord(ra=270.96 * units.deg, dec=30.0046 * units.deg).transform_to(Galactic())  # 18h, +30 deg of 1900
    towards_apex = 20.0 * math.cos(target.transform_to(Galactic()).separation(apex).rad)
    shift = math.sqrt((1 + towards_apex / C_KM_S) / (1 - towards_apex / C_KM_S))
    in_lsrk = REST_HZ * (1 - VELOCITY_KM_S / C_KM_S)
    return float(in_lsrk * shift * (1 + barycentric.to_value("km/s") / C_KM_S))


def observation(day: str, **band_changes: Any) -> dict[str, Any]:
    """Two minutes without noise, in topocentric channels that are set for the day."""
    start = START + EPOCHS.get(day, timedelta(0))
    centre = topocentric_hz(start + timedelta(seconds=60))
    source = {**PLACE, "flux": 0.2, "line_peak": 1.0, "line_center": centre, "line_width": LINE_HZ}
    band = {
        "name": "spw0",
        # Channels lie differently on every day.
        "start_frequency": centre - 16.3 * WIDTH_HZ - len(day) * 7e3,
        "channel_width": WIDTH_HZ,
        "n_channels": 34,
        "spectral_frame": "TOPO",
    }
    return {
        "name": day,
        "start": start.isoformat(),
        "integration_time": "60 s",
        "layout": {"kind": "vla", "configuration": "D", "n_antennas": 12},
        "band": {**band, **band_changes},
        "fields": [{"name": "sky", "ra": f"{RA_DEG} deg", "dec": f"{DEC_DEG} deg", "components": [source]}],
        "scans": [{"field": "sky", "n_integrations": 2}],
        "gains": None,
        "bandpasses": None,
        "noise": None,
    }


IMAGE = {
    "image_size": SIZE,
    "cell_size": CELL,
    "weighting": "natural",
    "threshold": "2 mJy",
    "n_sigma": 0.0,
    "gain": 0.2,
}
AXIS = {"frame": "LSRK", "start": "1450 km/s", "width": "4 km/s", "n_channels": 26}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("axis")
    paths = []
    for name in EPOCHS:
        paths.append(str(folder / f"{name}.ps.zarr"))
        simulate_observation(paths[-1], ObservationModel.model_validate(observation(name)))
    config = {
        "run": str(folder / "run"),
        "cluster": "none",
        "data": {"path": paths},
        "steps": ["import_data", {"image_cube": {**IMAGE, **AXIS}}, {"moments": {"cut": "20 mJy"}}],
    }
    return radps.run(config, progress=False)


def image(context: Context, step: str, slots: int = 1, **parameters: Any) -> ImageRecord:
    """Make a cube beside those of the run."""
    workspace = Workspace(url=context.place().url, step=step, resources=Resources(slots=slots, memory_bytes=2**31))
    params = image_cube.Params(**{**IMAGE, **parameters})
    return InProcess(2**31).compute(image_cube.image_cube(context.at(workspace), params)).images[0]


def planes(context: Context, record: ImageRecord, variable: str = "SKY") -> np.ndarray:
    return load_planes(context.locate(record.path), variable).astype(np.float64)


def spectrum(context: Context, record: ImageRecord) -> np.ndarray:
    """Return the line at the place of the source, its continuum taken off."""
    pixel = SIZE // 2 - round(PLACE["east"] / CELL), SIZE // 2 + round(PLACE["north"] / CELL)
    return planes(context, record)[:, pixel[0], pixel[1]] - 0.2


@pytest.fixture(scope="module")
def context(run: Run) -> Context:
    return run.context.at(Workspace(url=run.url, step="check"))


def test_the_line_of_three_epochs_is_at_its_velocity(context: Context) -> None:
    (record,) = context.find_images(kind="cube")
    velocity = C_KM_S * (1 - load_frequencies(context.locate(record.path)) / REST_HZ)
    np.testing.assert_allclose(velocity, 1450 + 4 * np.arange(26), atol=1e-6)
    line = spectrum(context, record)
    mean = (line * velocity).sum() / line.sum()
    # A hundredth of a channel of the cube: CLEAN's 2 mJy in the wings are worth 0.02 km/s.
    assert mean == pytest.approx(VELOCITY_KM_S, abs=0.04)
    # Flux times width, in Hz: that of a Gaussian line.
    expected = math.sqrt(math.pi / (4 * math.log(2))) * LINE_HZ
    assert line.sum() * record.channel_width_hz == pytest.approx(expected, rel=5e-3)
    assert record.channels == {"threshold": 26}
    # The epochs differ by what the test has to see: hours by a tenth of a channel, months by several.
    shifts = [topocentric_hz(START + since) / topocentric_hz(START) - 1 for since in EPOCHS.values()]
    assert abs(shifts[1]) * C_KM_S > 0.3
    assert abs(shifts[2]) * C_KM_S > 15


def test_the_store_and_the_record_say_the_frame(context: Context) -> None:
    (record,) = context.find_images(kind="cube")
    assert (record.spectral_frame, record.rest_frequency_hz) == ("LSRK", pytest.approx(REST_HZ))
    frequency = open_image(context.locate(record.path)).frequency
    assert frequency.attrs["frame"] == "LSRK"
    assert frequency.values[0] > frequency.values[-1]
    (moment,) = context.find_images(kind="moment")
    assert moment.spectral_frame == "LSRK"
    assert next(iter(context.steps["moments"].outcome.summary.values()))["mean_velocity_km_s"] == pytest.approx(
        VELOCITY_KM_S, abs=2.0
    )


def test_an_axis_that_is_left_open_is_what_all_integrations_cover(context: Context) -> None:
    record = image(context, "open", frame="BARY", max_iterations=0)
    # Every channel has data; those at the ends of one epoch only.
    assert record.listed == ()
    assert record.shape[0] in (33, 34, 35)
    assert record.spectral_frame == "BARY"


def test_a_cube_does_not_depend_on_how_its_channels_are_shared_out(context: Context) -> None:
    few = AXIS | {"start": "1490 km/s", "n_channels": 7}
    one, many = (image(context, f"slots{slots}", slots, **few) for slots in (1, 3))
    for variable in ("SKY", "SKY_MODEL", "POINT_SPREAD_FUNCTION"):
        np.testing.assert_array_equal(planes(context, one, variable), planes(context, many, variable))


def test_channels_of_any_width_keep_the_flux_of_the_line(context: Context) -> None:
    expected = math.sqrt(math.pi / (4 * math.log(2))) * LINE_HZ
    for width, start, n_channels in (("-11 km/s", "1548 km/s", 10), ("60 kHz", "1412.9 MHz", 12)):
        record = image(context, f"wide{n_channels}", frame="LSRK", width=width, start=start, n_channels=n_channels)
        line = spectrum(context, record)
        assert line.sum() * record.channel_width_hz == pytest.approx(expected, rel=6e-3)
        frequency = np.linspace(*record.frequency_hz, n_channels)
        velocity = C_KM_S * (1 - frequency / REST_HZ)
        assert (line * velocity).sum() / line.sum() == pytest.approx(VELOCITY_KM_S, abs=0.15)
        assert frequency[1] > frequency[0]


def test_data_of_different_channels_need_an_axis(context: Context) -> None:
    with pytest.raises(radps.errors.SelectionError, match="late_sky_spw1 and early_sky_spw0 have different channels"):
        image(context, "none")


@pytest.fixture(scope="module")
def bands(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Two bands of a day that overlap by six channels and a half, in the frame of the stars."""
    folder = tmp_path_factory.mktemp("bands")
    paths = []
    centre = REST_HZ * (1 - VELOCITY_KM_S / C_KM_S)
    for name, first in (("low", centre - 20 * WIDTH_HZ), ("high", centre + 1.5 * WIDTH_HZ)):
        paths.append(str(folder / f"{name}.ps.zarr"))
        model = observation(name, start_frequency=first, n_channels=28, spectral_frame="LSRK")
        model["fields"][0]["components"][0]["line_center"] = centre
        simulate_observation(paths[-1], ObservationModel.model_validate(model))
    config = {"run": str(folder / "run"), "cluster": "none", "data": {"path": paths}, "steps": ["import_data"]}
    run = radps.run(config, progress=False)
    return run.context.at(Workspace(url=run.url, step="check"))


LOW = {"windows": ("spw0",)}


def test_windows_that_meet_make_one_cube(bands: Context) -> None:
    workspace = Workspace(url=bands.place().url, step="apart", resources=Resources(slots=1, memory_bytes=2**31))
    names = [target.name for target in image_cube.find_targets(bands.at(workspace), image_cube.Params(**IMAGE))]
    assert names == ["sky", "sky-spw1"]
    record = image(bands, "joined", combine_windows=True)
    assert record.name == "sky_joined"
    assert record.shape[0] == 49
    assert record.listed == ()
    line = spectrum(bands, record)
    frequency = np.linspace(*record.frequency_hz, 49)
    centre = REST_HZ * (1 - VELOCITY_KM_S / C_KM_S)
    expected = np.exp(-4 * math.log(2) * np.square((frequency - centre) / LINE_HZ))
    # Linear interpolation half way between channels of a quarter of the line's width: 4 % of the peak at most.
    assert np.abs(line - expected).max() < 0.045
    assert np.abs(line[:8]).max() < 0.005
    assert np.abs(line[-20:]).max() < 0.005


def test_an_axis_that_is_the_datas_own_gives_the_same_bits(bands: Context) -> None:
    today = image(bands, "today", channels="5~9", **LOW)
    centre = REST_HZ * (1 - VELOCITY_KM_S / C_KM_S)
    own = image(
        bands, "own", frame="LSRK", start=f"{(centre - 15 * WIDTH_HZ)!r} Hz", width="25 kHz", n_channels=5, **LOW
    )
    number = image(bands, "number", frame="LSRK", start=5, n_channels=5, **LOW)
    for variable in ("SKY", "SKY_RESIDUAL", "SKY_MODEL", "POINT_SPREAD_FUNCTION"):
        for other in (own, number):
            np.testing.assert_array_equal(planes(bands, today, variable), planes(bands, other, variable))


def test_channels_of_the_axis_beyond_the_data_are_listed(bands: Context) -> None:
    centre = REST_HZ * (1 - VELOCITY_KM_S / C_KM_S)
    start = f"{centre - 22.5 * WIDTH_HZ} Hz"
    record = image(bands, "beyond", channels="0~9", start=start, n_channels=6, width="25 kHz", max_iterations=0, **LOW)
    assert record.listed == tuple(f"channel {number}: no data" for number in range(3))


def test_status_of_a_cube_with_every_channel_is_success(run: Run) -> None:
    assert run.context.steps["image_cube"].outcome.status is OutcomeStatus.SUCCESS


def line_free(context: Context, *ranges: str) -> dict[str, np.ndarray]:
    """Return the channels that `find_continuum` takes of ranges: window -> True for each channel without line."""
    outcome = InProcess(2**31).compute(
        find_continuum.find_continuum(context, find_continuum.Params(fields=("all",), line_free=ranges))
    )
    known = context.with_outcome("find_continuum", outcome)
    found = {}
    for partition in context.visibilities("all"):
        channels = np.zeros(partition.shape[2], bool)
        for start, stop in known.line_free_channels(partition.field, partition.window) or ():
            channels[start:stop] = True
        found[partition.window] = channels
    return found


def test_line_free_ranges_in_lsrk_are_other_channels_on_each_day(context: Context) -> None:
    # All but 60 km/s around the line, seen from the standard of rest.
    edges = [REST_HZ * (1 - velocity / C_KM_S) / 1e6 for velocity in (1400, 1470, 1530, 1600)]
    upper = f"{edges[1]:.6f} MHz ~ {edges[0]:.6f} MHz LSRK"
    lower = f"{edges[3]:.6f}~{edges[2]:.6f}MHz lsrk"
    with pytest.raises(SelectionError, match=r"are outside the spectral window .* MHz \(LSRK\)"):
        line_free(context, "1410.00~1410.01 MHz LSRK")
    found = line_free(context, lower, upper)
    assert len(found) == 3
    firsts = set()
    for (name, channels), (day, delta) in zip(found.items(), EPOCHS.items(), strict=True):
        window = context.window(name)
        centres = np.linspace(*window.frequency_hz, window.n_channels)
        # Where astropy sees the line in that minute: the velocity of each channel against it.
        seen = topocentric_hz(START + delta + timedelta(seconds=60))
        off_km_s = C_KM_S * (1 - centres / seen)
        away = np.abs(np.abs(off_km_s) - 30) > 0.05  # the Doppler shift of the ends is not that of the middle
        np.testing.assert_array_equal(channels[away], (np.abs(off_km_s) > 30)[away], err_msg=day)
        assert not channels[np.abs(off_km_s) < 25].any()
        firsts.add(int(np.flatnonzero(~channels)[0]) + 1000 * round(window.frequency_hz[0] / WIDTH_HZ))
    assert len(firsts) == 3
    # The same numbers taken for those of the telescope are other channels than the line's.
    plain = line_free(context, f"{edges[2]:.6f}~{edges[1]:.6f} MHz TOPO")
    assert any((plain[name] == found[name]).any() for name in found)


def test_frames_are_for_channels_without_line_alone(context: Context) -> None:
    with pytest.raises(
        SelectionError, match=r"in another frame than the channels of spw0 \(TOPO\): they are taken for"
    ):
        image(context, "framed", channels="1413.1~1413.5 MHz LSRK")


def test_the_continuum_is_fitted_in_a_range_of_lsrk(context: Context) -> None:
    ends = [REST_HZ * (1 - velocity / C_KM_S) / 1e6 for velocity in (1400, 1460, 1540, 1600)]
    ranges = (f"{ends[1]:.6f}~{ends[0]:.6f} MHz LSRK", f"{ends[3]:.6f}~{ends[2]:.6f} MHz LSRK")
    at = context.at(Workspace(url=context.place().url, step="subtract", resources=Resources(memory_bytes=2**31)))
    params = subtract_continuum.Params(fields=("all",), line_free=ranges)
    outcome = InProcess(2**31).compute(subtract_continuum.subtract_continuum(at, params))
    after = at.with_outcome("subtract", outcome)
    for partition in after.visibilities("all"):
        group = partition.groups["continuum_subtracted"]
        data = np.abs(load_array(after.locate(group.visibility))).max(axis=(0, 1, 3))
        assert data.max() > 0.9  # the line stays
        free = np.zeros(partition.shape[2], bool)
        for start, stop in after.line_free_channels(partition.field, partition.window) or ():
            free[start:stop] = True
        assert free.sum() >= 10
        # Order 0 leaves what the uv coverage turns over the band, a hundredth of 0.2 Jy, and the line's wing.
        assert data[free].max() < 0.02
