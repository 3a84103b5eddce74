"""find_continuum and what uses its ranges, in this process, against the simulated truth."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Generator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from pydantic import ValidationError

from radps.context.model import Context, Workspace
from radps.context.records import Outcome, OutcomeStatus, Resources
from radps.data.demo_observation import demo_observation
from radps.data.observation_model import Band, ObservationModel, SimulatedComponent, SimulatedField
from radps.data.simulate import simulate_observation
from radps.data.stores import join_url, load_array
from radps.errors import SelectionError

TARGET = "N5921"
N_CHANNELS = 32
FIRST_HZ, WIDTH_HZ = 1413.0e6, 25e3
LINE_JY = 0.2
LINE = LINE_JY * np.exp(-4 * np.log(2) * ((np.arange(N_CHANNELS) - 14) / 5) ** 2)
"""A line at channel 14, 5 channels wide (FWHM) [Jy]."""


def observe(*, line_jy: float = LINE_JY, width: float = 5.0, noise: bool = True) -> ObservationModel:
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
            "noise": tiny.noise if noise else None,
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
