"""A polarized source, seen by circular and by linear feeds that turn against the sky."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import FK5, EarthLocation, SkyCoord
from astropy.io import fits
from astropy.time import Time
from astropy.utils import iers
from numpy.typing import NDArray

import radps
import radps.errors
from radps.context.model import Context, Workspace
from radps.context.records import ImageRecord, Resources
from radps.data import measurement_set
from radps.data.fits import export_fits
from radps.data.images import load_beams, load_planes, open_image
from radps.data.measurement_set import MeasurementSetDescription
from radps.data.observation_model import ObservationModel, SimulatedComponent
from radps.data.simulate import describe_observation, simulate_block
from radps.execution.engine import InProcess
from radps.stages import image_cube

CELL = math.radians(25 / 3600)
SIZE = 64
EAST, NORTH = 7 * CELL, -4 * CELL
TRUTH = {"I": 1.0, "Q": 0.2, "U": -0.12, "V": 0.06}
IMAGE = {
    "image_size": SIZE,
    "cell_size": CELL,
    "weighting": "natural",
    "threshold": "0.5 mJy",
    "n_sigma": 0.0,
    "gain": 0.5,
}


def model() -> ObservationModel:
    """Five hours across the meridian, in a few integrations."""
    return ObservationModel.model_validate(
        {
            "start": datetime(2019, 3, 20, 6, 0, tzinfo=UTC).isoformat(),
            "integration_time": "60 s",
            "slew_time": "1500 s",
            "layout": {"kind": "vla", "configuration": "D", "n_antennas": 10},
            "band": {"start_frequency": 1.4e9, "channel_width": 1e5, "n_channels": 1},
            "fields": [{"name": "sky", "ra": "190 deg", "dec": "40 deg"}],
            "scans": [{"field": "sky", "n_integrations": 1}] * 12,
            "gains": None,
            "bandpasses": None,
            "noise": None,
        }
    )


def hour_angle_formula(description: MeasurementSetDescription) -> NDArray[np.float64]:
    """Return the parallactic angle by the formula of the textbooks, from astropy's sidereal time."""
    place = EarthLocation.from_geocentric(*description.antennas.positions_m.mean(axis=0), unit="m")
    time = Time(description.time_s, format="unix", location=place)
    source = SkyCoord(*description.phase_center_rad, unit="rad").transform_to(FK5(equinox=time[0]))
    with iers.conf.set_temp("auto_download", False), iers.earth_orientation_table.set(iers.IERS_B.open()):
        hour_angle = (time.sidereal_time("apparent") - source.ra).to_value(units.rad)
    latitude, dec = place.lat.rad, source.dec.rad
    return np.arctan2(
        np.sin(hour_angle) * np.cos(latitude),
        np.sin(latitude) * np.cos(dec) - np.cos(latitude) * np.sin(dec) * np.cos(hour_angle),
    )


def correlations(kind: str, angle: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return what turning feeds see of the source, (time, 4), from Jones matrices."""
    i, q, u, v = TRUTH.values()
    coherency = np.array([[i + q, u + 1j * v], [u - 1j * v, i - q]])
    circular = np.array([[1, 1j], [1, -1j]]) / math.sqrt(2) if kind == "circular" else np.eye(2)
    found = []
    for psi in angle:
        turned = np.array([[math.cos(psi), math.sin(psi)], [-math.sin(psi), math.cos(psi)]])
        jones = circular @ turned
        found.append((jones @ coherency @ jones.conj().T).ravel())
    return np.array(found)


def write(url: str, kind: str, mount: str = "ALT-AZ") -> None:
    observed = model()
    (description,) = describe_observation(observed)
    names = ("RR", "RL", "LR", "LL") if kind == "circular" else ("XX", "XY", "YX", "YY")
    receptors = ("R", "L") if kind == "circular" else ("X", "Y")
    mounts = (mount,) * len(description.antennas.names)
    angle = hour_angle_formula(description)
    assert np.ptp(np.unwrap(angle)) > 1.0
    description = description._replace(
        polarizations=names, antennas=description.antennas._replace(receptors=receptors, mounts=mounts)
    )
    uvw_m = simulate_block(observed, "sky").uvw_m
    waves = uvw_m[:, :, np.newaxis] * description.frequency_hz[:, np.newaxis] / 299792458.0
    phase = waves @ np.array([EAST, NORTH, math.sqrt(1 - EAST**2 - NORTH**2) - 1])
    data = np.exp(2j * np.pi * phase)[..., np.newaxis] * correlations(kind, angle)[:, np.newaxis, np.newaxis]
    measurement_set.create_processing_set(url)
    target = measurement_set.create_measurement_set(url, description, chunks=(len(angle), 1))
    every = {"times": slice(0, len(angle)), "channels": slice(0, 1)}
    measurement_set.write_visibilities(
        target, **every, visibilities=data.astype(np.complex64), flags=np.zeros(data.shape, np.bool_),
        weights=np.ones(data.shape, np.float32),
    )  # fmt: skip
    measurement_set.write_uvw(target, times=every["times"], uvw_m=uvw_m)
    measurement_set.consolidate_processing_set(url)


def open_context(folder: Path, kind: str, mount: str = "ALT-AZ") -> Context:
    path = str(folder / f"{kind}.ps.zarr")
    write(path, kind, mount)
    config = {"run": str(folder / f"run-{kind}"), "cluster": "none", "data": {"path": path}, "steps": ["import_data"]}
    run = radps.run(config, progress=False)
    return run.context.at(Workspace(url=run.url, step="check"))


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Context]:
    folder = tmp_path_factory.mktemp("stokes")
    return {kind: open_context(folder, kind) for kind in ("circular", "linear")}


def image(context: Context, step: str, **parameters: Any) -> ImageRecord:
    workspace = Workspace(url=context.place().url, step=step, resources=Resources(slots=1, memory_bytes=2**31))
    params = image_cube.Params(**{**IMAGE, **parameters})
    return InProcess(2**31).compute(image_cube.image_cube(context.at(workspace), params)).images[0]


def fluxes(context: Context, record: ImageRecord) -> dict[str, NDArray[np.float64]]:
    planes = load_planes(context.locate(record.path), "SKY", polarization=None).astype(np.float64)
    spot = planes[:, :, SIZE // 2 - 7, SIZE // 2 - 4]
    return dict(zip(record.polarizations, spot.T, strict=True))


@pytest.mark.parametrize(("kind", "names"), [("circular", "RR RL LR LL"), ("linear", "XX XY YX YY")])
def test_simulated_feeds_turn_as_those_of_the_formula(kind: str, names: str) -> None:
    observed = model().model_copy(update={"feeds_turn": True, "polarizations": names})
    source = {"flux": 1.0, **{f"{name.lower()}_fraction": TRUTH[name] for name in "QUV"}}
    field = observed.fields[0].model_copy(update={"components": (SimulatedComponent(**source),)})
    observed = observed.model_copy(update={"fields": (field,)})
    (description,) = describe_observation(observed)
    assert set(description.antennas.mounts) == {"ALT-AZ"}
    expected = correlations(kind, hour_angle_formula(description))
    # At the phase centre all baselines see the same; 0.1 deg between the poles of date and of 2000.
    found = simulate_block(observed, "sky").visibilities[:, :, 0]
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, np.newaxis], found.shape), atol=1e-3)


@pytest.mark.parametrize("kind", ["circular", "linear"])
def test_all_stokes_parameters_come_out_on_the_sky(contexts: dict[str, Context], kind: str) -> None:
    context = contexts[kind]
    record = image(context, "iquv", stokes="IQUV")
    assert record.polarizations == ("I", "Q", "U", "V")
    for stokes, flux in fluxes(context, record).items():
        # CLEAN's threshold; the pole of date and that of 2000 are 0.1 deg apart, 0.9 mJy in Q and U.
        np.testing.assert_allclose(flux, TRUTH[stokes], atol=0.0015)
    assert set(record.polarization_noise_jy) == {"I", "Q", "U", "V"}
    # Without turning back, Q and U are smeared: the test can fail.
    wrong = fluxes(context, image(context, "wrong", stokes="IQUV", parallactic_angle=False))
    assert abs(wrong["Q"][0] - TRUTH["Q"]) > 0.05
    np.testing.assert_allclose(wrong["V"], TRUTH["V"], atol=0.0015)


def test_fewer_parameters_are_the_same_planes(contexts: dict[str, Context]) -> None:
    context = contexts["circular"]
    every = load_planes(context.locate(image(context, "four", stokes="IQUV").path), "SKY", polarization=None)
    for stokes, planes in (("I", [0]), ("IV", [0, 3]), ("IQU", [0, 1, 2])):
        record = image(context, f"only{stokes}", stokes=stokes)
        some = load_planes(context.locate(record.path), "SKY", polarization=None)
        np.testing.assert_array_equal(some, every[:, planes])


def test_stokes_planes_on_an_axis_of_their_own(contexts: dict[str, Context]) -> None:
    context = contexts["linear"]
    record = image(context, "axis", stokes="IQUV", start="1400 MHz", width="70 kHz", n_channels=1)
    for stokes, flux in fluxes(context, record).items():
        np.testing.assert_allclose(flux, TRUTH[stokes], atol=0.0015)


@pytest.mark.slow
def test_the_store_and_its_fits_file_name_the_planes(contexts: dict[str, Context], tmp_path: Path) -> None:
    context = contexts["circular"]
    record = image(context, "store", stokes="IQU")
    url = context.locate(record.path)
    dataset = open_image(url)
    assert dataset.polarization.values.tolist() == ["I", "Q", "U"]
    assert dataset.SKY.dims == ("time", "frequency", "polarization", "l", "m")
    assert np.isfinite(dataset.BEAM_FIT_PARAMS_SKY.values).all()
    assert load_beams(url).shape == (1, 3)
    path = str(tmp_path / "iqu.fits")
    export_fits(url, path)
    header = fits.getheader(path)
    axis = next(n for n in range(1, 5) if header[f"CTYPE{n}"] == "STOKES")
    assert (header[f"NAXIS{axis}"], header[f"CRVAL{axis}"], header[f"CDELT{axis}"]) == (3, 1.0, 1.0)


def test_unknown_mounts_are_asked_for(tmp_path: Path) -> None:
    context = open_context(tmp_path, "circular", "X-Y")
    with pytest.raises(radps.errors.DataError, match=r"mounts .* are X-Y; .*give parallactic_angle: true"):
        image(context, "auto", stokes="IQU")
    given = fluxes(context, image(context, "given", stokes="IQU", parallactic_angle=True))
    np.testing.assert_allclose(given["Q"], TRUTH["Q"], atol=0.0015)
