"""From the line-free channels to the spectrum of the line, in this process, against the simulated truth."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Generator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from pydantic import ValidationError

from radps.context.model import Context, Workspace
from radps.context.records import Outcome, OutcomeStatus, Resources
from radps.data.demo_observation import demo_observation
from radps.data.images import load_planes
from radps.data.observation_model import Band, Noise, ObservationModel, SimulatedComponent, SimulatedField
from radps.data.simulate import simulate_observation
from radps.data.stores import join_url, load_array
from radps.errors import ContextError, SelectionError

TARGET = "N5921"
N_CHANNELS = 32
FIRST_HZ, WIDTH_HZ = 1413.0e6, 25e3
LINE_JY = 0.2
LINE = LINE_JY * np.exp(-4 * np.log(2) * ((np.arange(N_CHANNELS) - 14) / 5) ** 2)
"""A line at channel 14, 5 channels wide (FWHM) [Jy]."""


def observe(*, line_jy: float = LINE_JY, width: float = 5.0, sefd_jy: float = 100.0) -> ObservationModel:
    """Return an hour of the target alone: two continuum sources and a line away from the centre."""
    tiny = demo_observation("tiny")
    sources = (
        SimulatedComponent(flux=0.4, reference_frequency=FIRST_HZ, spectral_index=-0.7, east="4 arcmin"),
        SimulatedComponent(flux=0.1, reference_frequency=FIRST_HZ, north="-5 arcmin"),
        SimulatedComponent(
            east="-1 arcmin",
            north="1 arcmin",
            line_peak=line_jy,
            line_center=FIRST_HZ + 14 * WIDTH_HZ,
            line_width=width * WIDTH_HZ,
        ),
    )
    target = next(one for one in tiny.fields if one.name == TARGET)
    return tiny.model_copy(
        update={
            "polarizations": "XX YY",
            "band": Band(start_frequency=FIRST_HZ, channel_width=WIDTH_HZ, n_channels=N_CHANNELS),
            "fields": (SimulatedField(**{**target.model_dump(), "components": sources}),),
            "scans": tuple(scan for scan in tiny.scans if scan.field == TARGET),
            "noise": Noise(sefd=sefd_jy),
            "gains": None,
            "bandpasses": None,
            "interference": None,
            "dead_antennas": (),
            "noisy_antennas": (),
        }
    )


def compute_outcome(result: Any) -> Outcome:
    """Compute what a stage returned: a graph, or a generator of graphs."""
    value = None
    while isinstance(result, Generator):
        try:
            value = dask.compute(result.send(value), scheduler="synchronous")[0]
        except StopIteration as end:
            result = end.value
    outcome = dask.compute(result, scheduler="synchronous")[0]
    assert isinstance(outcome, Outcome)
    return outcome


class Bench:
    """Computes stages one after the other; a context is never changed."""

    numbers = itertools.count(2)

    def __init__(self, context: Context) -> None:
        self.context = context
        self.outcome = Outcome()

    def after(self, stage: str, slots: int = 2, **params: Any) -> Bench:
        """Return the bench after one more stage."""
        module = importlib.import_module(f"radps.stages.{stage}")
        place = self.context.place()
        number = next(self.numbers)
        place = place.model_copy(update={"step": stage, "attempt": number, "resources": Resources(slots=slots)})
        result = getattr(module, stage)(self.context.at(place), module.Params(**params))
        after = Bench(self.context)
        after.outcome = compute_outcome(result)
        after.context = self.context.with_outcome(stage, after.outcome).at(place)
        return after


def make_bench(folder: Path, model: ObservationModel) -> Bench:
    """Return the bench with the data of a model."""
    simulate_observation(f"{folder}/visibilities/sim.ps.zarr", model, chunks=(4, 8))
    workspace = Workspace(url=str(folder), resources=Resources(slots=2))
    return Bench(Context(run_id="t", workspace=workspace, dataset_paths=("visibilities/sim.ps.zarr",))).after(
        "import_data"
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Data with a line."""
    return make_bench(tmp_path_factory.mktemp("line"), observe())


@pytest.fixture(scope="module")
def found(bench: Bench) -> Bench:
    """The search done."""
    return bench.after("find_continuum")


def channels(bench: Bench) -> list[int]:
    known = bench.context.line_free_channels(TARGET, "spw0")
    assert known is not None
    return [channel for start, stop in known for channel in range(start, stop)]


def test_line_free_channels_have_no_line_and_are_almost_all_that_have_none(found: Bench) -> None:
    (search,) = found.context.line_searches
    noise = load_array(join_url(found.context.locate(str(search.spectrum)), "DIRTY_NOISE"))
    assert LINE.max() > 30 * noise.max()
    assert LINE[channels(found)].max() < noise.min()
    # lost are a margin of one channel each side, and what noise adds to the growth
    assert len(channels(found)) >= (noise > LINE).sum() - 4
    assert (search.coverage, search.origin, search.n_channels) == ("some", "find_continuum", N_CHANNELS)
    assert search.largest is not None
    assert search.threshold is not None
    assert search.largest > 2 * search.threshold
    assert found.outcome.status is OutcomeStatus.SUCCESS
    assert f"{len(channels(found))} of {N_CHANNELS} channels line-free" in found.outcome.message
    ranges = found.context.line_free
    assert ranges is not None
    assert {(one.field, one.window, one.frame, one.origin) for one in ranges} == {
        (TARGET, "spw0", found.context.window("spw0").frame, "find_continuum")
    }


def test_the_spectra_of_the_decision_are_kept(found: Bench) -> None:
    (search,) = found.context.line_searches
    assert search.spectrum is not None
    url = found.context.locate(search.spectrum)
    line_free = load_array(join_url(url, "LINE_FREE"))
    assert np.flatnonzero(line_free).tolist() == channels(found)
    assert load_array(join_url(url, "SIGNIFICANCE")).argmax() in (13, 14, 15)
    np.testing.assert_allclose(load_array(join_url(url, "frequency")), FIRST_HZ + WIDTH_HZ * np.arange(N_CHANNELS))
    noise = load_array(join_url(url, "DIRTY_NOISE"))
    assert np.all(noise > 0)


def test_how_the_work_is_cut_changes_nothing(bench: Bench, found: Bench) -> None:
    one, many = found, bench.after("find_continuum", slots=7)
    urls = [both.context.locate(str(both.context.line_searches[0].spectrum)) for both in (one, many)]
    assert urls[0] != urls[1]
    for name in ("DIRTY", "MEAN_VISIBILITY", "SIGNIFICANCE", "LINE_FREE"):
        first, second = (load_array(join_url(url, name)) for url in urls)
        np.testing.assert_array_equal(first, second)


def test_subtraction_takes_the_ranges_that_were_found(bench: Bench, found: Bench) -> None:
    ranges = [f"{start}~{stop - 1}" for start, stop in found.context.line_free_channels(TARGET, "spw0") or ()]
    searched = found.after("subtract_continuum", order=1)
    given = bench.after("subtract_continuum", order=1, line_free=ranges)
    arrays = []
    for one in (searched, given):
        (partition,) = one.context.visibilities(TARGET)
        arrays.append(load_array(one.context.address(partition).visibility))
    np.testing.assert_array_equal(*arrays)
    assert searched.context.line_free == found.context.line_free
    assert given.context.line_free is not None
    assert {one.origin for one in given.context.line_free} == {"config"}


def test_ranges_of_the_user_win_and_are_recorded(bench: Bench) -> None:
    for given in (["1~3", "28"], {"spw0": ["1~3", "28"]}, {TARGET: ["1~3"], "spw0": ["28"]}):
        known = bench.after("find_continuum", line_free=given)
        assert channels(known) == [1, 2, 3, 28]
        (search,) = known.context.line_searches
        assert (search.origin, search.coverage, search.n_line_free, search.spectrum) == ("config", "some", 4, None)
        assert "4 of 32 channels line-free, as given" in known.outcome.message
    with pytest.raises(SelectionError, match="line_free names spw7, which is no field or spectral window"):
        bench.after("find_continuum", line_free={"spw7": ["1"]})
    with pytest.raises(SelectionError, match="channels 40 are outside the spectral window spw0"):
        bench.after("find_continuum", line_free=["40"])


def test_a_later_search_takes_the_place_of_the_earlier_one(found: Bench) -> None:
    again = found.after("find_continuum", line_free=["1~3"])
    assert channels(again) == [1, 2, 3]
    assert len(again.context.line_searches) == 1


def test_no_line_is_an_outcome(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, observe(line_jy=0.0)).after("find_continuum")
    assert channels(bench) == list(range(N_CHANNELS))
    assert bench.outcome.status is OutcomeStatus.SUCCESS
    assert f"{TARGET} in spw0: no line found" in bench.outcome.message


def test_lines_all_over_are_an_outcome_and_the_continuum_stays(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, observe(line_jy=20.0, width=20.0)).after("find_continuum")
    assert channels(bench) == []
    assert bench.outcome.status is OutcomeStatus.NOTHING
    assert "lines all over the band, no continuum can be taken; give line_free" in bench.outcome.message
    assert bench.outcome.qa[0].score == 0.0
    after = bench.after("subtract_continuum")
    assert after.outcome.status is OutcomeStatus.NOTHING
    assert f"too few channels without line are known of {TARGET} in spw0" in after.outcome.message
    (partition,) = after.context.visibilities(TARGET)
    assert "continuum_subtracted" not in partition.groups


def test_flagged_data_are_an_outcome(bench: Bench) -> None:
    flagged = bench.after("flag", manual=[{"fields": [TARGET]}]).after("find_continuum")
    assert flagged.outcome.status is OutcomeStatus.NOTHING
    assert "too few channels with data to look for lines" in flagged.outcome.message
    assert flagged.context.line_searches[0].largest is None


def test_without_any_ranges_nothing_can_be_subtracted(bench: Bench) -> None:
    with pytest.raises(SelectionError, match="no channels of field N5921 in spw0 are known to be without line; give"):
        bench.after("subtract_continuum")


@pytest.mark.parametrize("wrong", [{"order": 4}, {"min_fraction": 0.0}, {"image_size": 33}, {"line_free": ["9~2"]}])
def test_impossible_parameters_are_refused(bench: Bench, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        bench.after("find_continuum", **wrong)


# --- moments and spectra ---

VELOCITY_WIDTH = 299_792.458 * WIDTH_HZ / 1_420_405_751.786
"""Of a channel, radio convention [km/s]."""
MIDDLE_VELOCITY = 299_792.458 * (1 - (FIRST_HZ + 14 * WIDTH_HZ) / 1_420_405_751.786)
LINE_FLUX = float(LINE.sum()) * VELOCITY_WIDTH
"""[Jy km/s]"""
IMAGE = {"image_size": 96, "cell_size": "20 arcsec", "max_iterations": 3000, "n_sigma": 3}


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The line is imaged, with a noise of 1/500 of the line: a snapshot by nine antennas has sidelobes of a half."""
    bench = make_bench(tmp_path_factory.mktemp("cube"), observe(sefd_jy=10.0)).after("find_continuum")
    bench = bench.after("subtract_continuum", order=1)
    return bench.after("image_cube", **IMAGE, mask="auto", primary_beam_correction=True)


@pytest.fixture(scope="module")
def masked(cube: Bench) -> Bench:
    """Moments in the mask of the CLEAN."""
    return cube.after("moments", mask="clean")


def numbers(bench: Bench) -> dict[str, Any]:
    (found,) = bench.outcome.summary.values()
    return found


def velocity_at_source(bench: Bench) -> float:
    """Return moment 1 at the pixel of the line [km/s]."""
    return float(load_planes(bench.context.locate(bench.outcome.images[0].path), "SKY_MOMENT_1")[0, 51, 51])


@pytest.mark.parametrize("mask", ["none", "clean", "smoothed"])
def test_moments_have_the_flux_and_the_velocity_of_the_line(cube: Bench, mask: str) -> None:
    bench = cube.after("moments", mask=mask)
    # The masks lose the wings of the beam, and have what CLEAN left, in a beam that is not the restoring one.
    assert numbers(bench)["integrated_flux_jy_km_s"] == pytest.approx(LINE_FLUX, rel=0.12)
    # a line of a hundred sigma: its middle is known to a hundredth of its width
    assert velocity_at_source(bench) == pytest.approx(MIDDLE_VELOCITY, abs=0.1 * VELOCITY_WIDTH)


def test_moments_in_other_conventions_and_corrected_for_the_primary_beam(cube: Bench, masked: Bench) -> None:
    optical = cube.after("moments", mask="clean", velocity="optical")
    relativistic = cube.after("moments", mask="clean", velocity="relativistic")
    ratio = 1 / (1 - velocity_at_source(masked) / 299_792.458)
    assert velocity_at_source(optical) == pytest.approx(299_792.458 * (ratio - 1), rel=1e-5)
    assert velocity_at_source(relativistic) == pytest.approx(299_792.458 * (ratio**2 - 1) / (ratio**2 + 1), rel=1e-5)
    # Channels of one width in frequency are wider in optical velocity by f0^2 / f^2.
    flux = numbers(masked)["integrated_flux_jy_km_s"]
    assert numbers(optical)["integrated_flux_jy_km_s"] == pytest.approx(flux * ratio**2, rel=1e-4)
    radio, corrected = (numbers(cube.after("moments", n_sigma=8, primary_beam_correction=one)) for one in (False, True))
    # 1.4 arcmin from the centre of a beam of 30 arcmin: exp(-2.77 (1.4 / 30)^2) = 0.994
    assert 1.001 < corrected["integrated_flux_jy_km_s"] / radio["integrated_flux_jy_km_s"] < 1.02


def test_moments_of_a_range_of_velocities_have_the_flux_of_its_channels(cube: Bench, masked: Bench) -> None:
    # Channels 12 to 14 of the data, velocities fall as the channel grows; the ends in either order.
    low, high = (MIDDLE_VELOCITY + offset * VELOCITY_WIDTH for offset in (-0.4, 2.4))
    expected = float(LINE[12:15].sum()) * VELOCITY_WIDTH
    for limits in ((low, high), (high, low)):
        bench = cube.after("moments", mask="clean", velocity_range=[f"{one} km/s" for one in limits])
        assert numbers(bench)["integrated_flux_jy_km_s"] == pytest.approx(expected, rel=0.1)
        (record,) = bench.outcome.images
        assert record.frequency_hz == (FIRST_HZ + 13 * WIDTH_HZ,) * 2
        # At the position of the source moment 1 is the mean of the three channels.
        mean = MIDDLE_VELOCITY + float((LINE[12:15] * [2, 1, 0]).sum() / LINE[12:15].sum()) * VELOCITY_WIDTH
        assert velocity_at_source(bench) == pytest.approx(mean, abs=0.1 * VELOCITY_WIDTH)
    # The range ends in the middle of the line, and the score says so; the whole cube has all of it.
    assert [one.score for one in bench.outcome.qa if one.name.startswith("flux of")] == [0.0]
    assert [one.score for one in masked.outcome.qa if one.name.startswith("flux of")] == [1.0]
    with pytest.raises(SelectionError, match=r"between 5000 and 6000 km/s \(radio\); it has 1\d+\.?\d* to 1"):
        cube.after("moments", velocity_range=["5000 km/s", "6000 km/s"])


def test_the_spectrum_of_a_point_source_is_its_line(cube: Bench) -> None:
    spectrum = cube.after("spectra")
    found = numbers(spectrum)
    row, column = found["pixel"]
    assert (row, column) == (48 + 3, 48 + 3)  # 1 arcmin west and north in pixels of 20 arcsec
    table = QTable.read(spectrum.context.locate(spectrum.outcome.products[0].path), format="ascii.ecsv")
    assert table["flux_density"].unit == "Jy"
    assert table["velocity"].unit == "km / s"
    assert table.meta["spectral_frame"] == cube.context.window("spw0").frame
    deviation = (table["flux_density"].value - LINE) / table["flux_error"].value
    # 32 channels, chi-squared with a scatter of 25 %; of the brightest CLEAN leaves up to 3 sigma
    assert np.sqrt(np.mean(deviation**2)) < 1.6
    assert np.abs(table["flux_density"].value - LINE).max() < 0.05 * LINE_JY
    assert found["systemic_velocity_km_s"] == pytest.approx(MIDDLE_VELOCITY, abs=0.5)
    assert found["width_50_km_s"] == pytest.approx(5 * VELOCITY_WIDTH, rel=0.04)  # by straight lines between channels
    assert found["integrated_flux_jy_km_s"] == pytest.approx(LINE_FLUX, abs=4 * found["integrated_flux_error_jy_km_s"])
    assert "a line at" in spectrum.outcome.message
    scores = {score.name: score for score in spectrum.outcome.qa}
    assert scores["blank channels of the spectrum"].value == 0
    assert scores["peak of the spectrum over its error"].value == pytest.approx(found["snr"])
    assert min(score.score for score in spectrum.outcome.qa) == 1.0
    arrays = spectrum.context.locate(f"context.zarr/spectra-{spectrum.context.place().attempt}")
    name = cube.context.find_images(kind="cube")[0].name
    np.testing.assert_array_equal(
        load_array(join_url(arrays, f"{name}/spectrum/FLUX_DENSITY")), table["flux_density"].value
    )


def test_regions_of_a_spectrum(masked: Bench) -> None:
    # 1 arcmin west and north of the phase centre
    field = next(one for one in masked.context.require_observation().fields if one.name == TARGET)
    where = SkyCoord(field.direction.ra_rad, field.direction.dec_rad, unit="rad").spherical_offsets_by(
        -1 * units.arcmin, 1 * units.arcmin
    )
    circle = masked.after("spectra", region="circle", radius="100 arcsec", position=where.to_string("hmsdms"))
    assert numbers(circle)["pixel"] == [51, 51]
    assert numbers(circle)["integrated_flux_jy_km_s"] == pytest.approx(
        LINE_FLUX, abs=4 * numbers(circle)["integrated_flux_error_jy_km_s"]
    )
    moment = masked.after("spectra", region="moment")
    # all pixels that the mask has in any channel, with what CLEAN left of the sidelobes in the others
    assert numbers(moment)["integrated_flux_jy_km_s"] == pytest.approx(LINE_FLUX, rel=0.2)
    empty = masked.after(
        "spectra", region="circle", radius="60 arcsec", position="center", primary_beam_correction=True
    )
    assert empty.outcome.status is OutcomeStatus.SUCCESS
    corrected = masked.after("spectra", primary_beam_correction=True)
    assert 1.001 < numbers(corrected)["peak_jy"] / numbers(masked.after("spectra"))["peak_jy"] < 1.02


@pytest.mark.parametrize(
    ("stage", "params", "text"),
    [
        ("spectra", {"region": "circle"}, "region 'circle' with no radius: a circle needs one"),
        ("spectra", {"radius": "10 arcsec"}, "region 'beam' with a radius"),
        ("spectra", {"region": "moment"}, "there is no moment image of N5921_image_cube; put the step `moments`"),
        ("spectra", {"position": "15h00m00s +05d00m00s"}, "is outside of N5921_image_cube, which has 96 x 96 pixels"),
    ],
)
def test_what_cannot_be_measured_is_refused(cube: Bench, stage: str, params: dict[str, Any], text: str) -> None:
    with pytest.raises(SelectionError, match=text):
        cube.after(stage, **params)


def test_a_cube_without_mask_or_correction_is_refused(cube: Bench) -> None:
    record = cube.context.find_images(kind="cube")[0].model_copy(update={"companions": ()})
    plain = Bench(cube.context.model_copy(update={"images": (record,)}))
    with pytest.raises(SelectionError, match="has no mask of its CLEAN; give the step `image_cube` a mask"):
        plain.after("moments", mask="clean")
    for stage in ("moments", "spectra"):
        with pytest.raises(SelectionError, match="is not corrected for the primary beam; give the step `image_cube`"):
            plain.after(stage, primary_beam_correction=True)
    with pytest.raises(ContextError, match="no cube 'x' to measure spectra of"):
        plain.after("spectra", image="x")
    with pytest.raises(ValidationError, match="'nowhere' is not a position"):
        plain.after("spectra", position="nowhere")
