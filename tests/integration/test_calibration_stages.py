"""The stages from raw data to the subtracted continuum, each computed in this process, against the simulated truth."""

from __future__ import annotations

import importlib
import itertools
import uuid
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from numpy.typing import NDArray
from pydantic import ValidationError

from radps.context.model import Context, Workspace
from radps.context.records import (
    Applicability,
    ObservedField,
    Outcome,
    OutcomeStatus,
    Resources,
)
from radps.data import stores
from radps.data.demo_observation import demo_observation
from radps.data.observation_model import GainErrors, ObservationModel, SimulatedComponent
from radps.data.simulate import simulate_observation
from radps.data.simulated_truth import true_bandpasses, true_gains, true_visibilities
from radps.data.solutions import load_solution
from radps.data.visibilities import VisibilityChunk, load_visibilities
from radps.domain.interpolation import interpolate_gains, multiply_gains
from radps.errors import ContextError, ModelError, SelectionError

FLUX, PHASE, TARGET = "3C286", "J1445+0958", "N5921"
TINY = demo_observation("tiny")
CARRIERS = ["3", "13"]
CELL = np.deg2rad(10.0 / 3600)
"""Side of a pixel of model images [rad]."""
CHUNKS = (3, 8)
"""Integrations and channels of a zarr chunk: two each way for the target."""
_FLAT = SimulatedComponent(flux=2.5, reference_frequency=1413.4e6)
STEADY = TINY.model_copy(
    update={
        "fields": (TINY.fields[0], TINY.fields[1].model_copy(update={"components": (_FLAT,)}), TINY.fields[2]),
        "noise": None,
        "interference": None,
        "dead_antennas": (),
        "noisy_antennas": (),
        "gains": GainErrors(mean_amplitude=0.3, amplitude_drift=0.0, phase_drift=0.0),
    }
)
"""No noise, gains that do not change, a phase calibrator of 2.5 Jy at all frequencies, as its model takes it: what
comes out must be the truth, to single precision."""


def compute_outcome(result: Any) -> Outcome:
    """Compute what a stage returned: an outcome, a graph, or a generator of graphs."""
    if isinstance(result, Generator):
        value = None
        while True:
            try:
                graph = result.send(value)
            except StopIteration as end:
                return compute_outcome(end.value)
            value = dask.compute(graph, scheduler="synchronous")[0]
    outcome = result if isinstance(result, Outcome) else dask.compute(result, scheduler="synchronous")[0]
    assert isinstance(outcome, Outcome)
    return outcome


class Bench:
    """Computes stages one after the other on a simulated observation; a context is never changed."""

    numbers = itertools.count()

    def __init__(self, model: ObservationModel, context: Context) -> None:
        self.model = model
        self.context = context
        self.outcome = Outcome()

    def bind(self, step: str) -> Context:
        """Return the context at a new step of that name."""
        workspace = self.context.place().model_copy(update={"step": f"{step}_{next(self.numbers)}"})
        return self.context.at(workspace)

    def graph(self, stage: str, **params: Any) -> Any:
        """Return what the stage returns."""
        module = importlib.import_module(f"radps.stages.{stage}")
        return getattr(module, stage)(self.bind(stage), module.Params(**params))

    def after(self, stage: str, **params: Any) -> Bench:
        """Return the bench after one more stage."""
        outcome = compute_outcome(self.graph(stage, **params))
        after = Bench(self.model, self.context.with_outcome(stage, outcome))
        after.outcome = outcome
        return after

    def calibrated(self, **params: Any) -> Bench:
        """Return the bench after the models, the solution and its application."""
        return self.after("set_model").after("calibrate", **params).after("apply_calibration")

    def load(self, field: str, group: str | None = None) -> VisibilityChunk:
        """Read all data of a field, by default the newest."""
        (partition,) = self.context.visibilities(field)
        return load_visibilities(self.context.address(partition, group))

    def table(self, kind: str) -> Any:
        """Read the table of a kind."""
        (record,) = [table for table in self.context.calibration.tables if table.kind == kind]
        return load_solution(self.context.locate(record.path))


@pytest.fixture(scope="module")
def make_bench(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bench]:
    """Makes a bench with the raw data of a model."""

    def make(model: ObservationModel, url: str = "") -> Bench:
        url = url or str(tmp_path_factory.mktemp("run"))
        simulate_observation(f"{url}/visibilities/sim.ps.zarr", model, chunks=CHUNKS)
        context = Context(
            run_id="test",
            workspace=Workspace(url=url, resources=Resources(slots=2)),
            dataset_paths=("visibilities/sim.ps.zarr",),
        )
        return Bench(model, context).after("import_data")

    return make


@pytest.fixture(scope="module")
def steady(make_bench: Callable[..., Bench]) -> Bench:
    """Noiseless data, autocorrelations flagged."""
    return make_bench(STEADY).after("flag")


@pytest.fixture(scope="module")
def solved(steady: Bench) -> Bench:
    """Noiseless data, calibrated and not yet corrected."""
    return steady.after("set_model").after("calibrate")


@pytest.fixture(scope="module")
def corrected(solved: Bench) -> Bench:
    """Noiseless data, corrected."""
    return solved.after("apply_calibration")


@pytest.fixture(scope="module")
def tiny_solved(tiny: Bench) -> Bench:
    """The tiny demo observation, calibrated and not yet corrected."""
    return tiny.after("set_model").after("calibrate")


@pytest.fixture(scope="module")
def tiny_corrected(tiny_solved: Bench) -> Bench:
    """The tiny demo observation, corrected."""
    return tiny_solved.after("apply_calibration")


@pytest.fixture(scope="module")
def tiny(make_bench: Callable[..., Bench]) -> Bench:
    """The tiny demo observation, its channels with interference flagged."""
    return make_bench(TINY).after("flag", manual=[{"channels": CARRIERS}])


def true_total(model: ObservationModel, field: str) -> NDArray[np.complex128]:
    """Return gains times bandpasses, shape (time, antenna, channel, hand)."""
    return true_gains(model, field)[:, :, np.newaxis] * true_bandpasses(model)


def refer(gains: NDArray[np.complex128], antenna: int) -> NDArray[np.complex128]:
    """Turn gains, shape (time, antenna, channel, hand), so that one antenna has phase 0."""
    return gains * np.exp(-1j * np.angle(gains[:, antenna : antenna + 1]))


def difference_from_truth(bench: Bench, field: str, reference: int = 0) -> NDArray[np.float64]:
    """Return |solved / true - 1| of the gains at the data of a field, shape (time, antenna, channel, hand)."""
    data = bench.load(field, "base")
    parts = []
    for kind in ("bandpass", "gain"):
        solution = bench.table(kind)
        (partition,) = bench.context.visibilities(field)
        (correction,) = [one for one in bench.context.calibration.corrections(partition) if one.table.kind == kind]
        rows = [number for number, one in enumerate(solution.fields) if one in correction.from_fields]
        axes = {"time_s", "gains", "flags", "snr", "stop_reason", "n_iterations"}
        chosen = solution.table._replace(**{name: getattr(solution.table, name)[rows] for name in axes})
        parts.append(interpolate_gains(chosen, data.time_s, data.frequency_hz))
    found = multiply_gains(*parts)
    difference = np.abs(refer(found.gains, reference) / refer(true_total(bench.model, field), reference) - 1)
    return np.where(found.flags, np.nan, difference)


# --- the truth ---


@pytest.mark.parametrize("field", [FLUX, PHASE, TARGET])
def test_steady_gains_are_found_to_single_precision(solved: Bench, field: str) -> None:
    difference = difference_from_truth(solved, field)
    assert np.isfinite(difference).all()
    assert difference.max() < 1e-6  # complex64 data
    assert np.abs(refer(true_total(STEADY, field), 0) - 1).max() > 0.3  # ones would not pass


def test_steady_data_are_corrected_to_single_precision(corrected: Bench) -> None:
    for field in (FLUX, PHASE, TARGET):
        data = corrected.load(field)
        sky = true_visibilities(STEADY, field)[..., np.newaxis]
        assert np.abs(np.where(data.flags, 0, data.visibilities - sky)).max() < 3e-6 * np.abs(sky).max()
        assert data.flags.mean() == pytest.approx(1 / 5)  # 9 of 45 baselines are autocorrelations
        raw = corrected.load(field, "base")
        assert np.abs(np.where(data.flags, 0, raw.visibilities - sky)).max() > 0.1


def test_the_flux_density_is_transferred(solved: Bench) -> None:
    (flux,) = solved.outcome.flux_densities
    assert (flux.field, flux.origin, flux.n_solutions) == (PHASE, "flux transfer", 18)
    assert flux.flux_jy == pytest.approx(2.5, rel=1e-6)
    assert {one.field: one.flux_jy for one in solved.context.flux_densities} == {
        FLUX: pytest.approx(15.012, rel=1e-3),
        PHASE: flux.flux_jy,
    }
    assert solved.outcome.status is OutcomeStatus.SUCCESS
    assert "J1445+0958: 2.5000 +- 0.0000 Jy" in solved.outcome.message


def test_phase_solutions_leave_the_amplitudes_alone(steady: Bench) -> None:
    bench = steady.after("set_model").after("calibrate", mode="phase")
    found = bench.table("gain").table
    np.testing.assert_allclose(np.abs(found.gains[~found.flags]), 1.0, rtol=1e-12)
    # and say nothing of flux densities: those of the models stay as they were
    assert not bench.outcome.flux_densities
    assert "Jy" not in bench.outcome.message


def test_calibrated_weights_fit_to_the_calibrated_data(solved: Bench, corrected: Bench) -> None:
    data = solved.after("apply_calibration", calibrate_weights=True).load(TARGET)
    raw = solved.load(TARGET, "base")
    total = np.abs(true_total(STEADY, TARGET)) ** 2
    expected = raw.weights * (total[:, raw.antenna1] * total[:, raw.antenna2])
    np.testing.assert_allclose(data.weights[~data.flags], expected[~data.flags], rtol=1e-5)
    np.testing.assert_array_equal(corrected.load(TARGET).weights, raw.weights)


def test_a_field_is_corrected_by_the_calibrators_that_are_asked_for(steady: Bench) -> None:
    # the model of the phase calibrator is twice too bright: so is what its gains correct
    bright = {"flux": 2 * 2.5, "reference_frequency": "1413.4 MHz"}
    bench = steady.after("set_model", models={PHASE: [bright]}).after("calibrate")
    sky = true_visibilities(STEADY, TARGET)[..., np.newaxis]
    for gain_fields, ratio in (({}, 2.0), ({"target": ["flux"]}, 1.0), ({"all": ["flux"], TARGET: [PHASE]}, 2.0)):
        data = bench.after("apply_calibration", fields=("target",), gain_fields=gain_fields).load(TARGET)
        assert np.abs(np.where(data.flags, 0, data.visibilities - ratio * sky)).max() < 1e-5 * np.abs(sky).max()
    with pytest.raises(ContextError, match=r"no solutions of N5921 for field 'N5921'; it has those of 3C286, J1445"):
        bench.after("apply_calibration", gain_fields={TARGET: [TARGET]})
    with pytest.raises(SelectionError, match="there is no field 'elsewhere'"):
        bench.after("apply_calibration", gain_fields={"elsewhere": [PHASE]})


def test_data_beside_a_flagged_solution_are_flagged_if_that_is_asked_for(steady: Bench) -> None:
    (partition,) = steady.context.visibilities(PHASE)
    times = steady.load(PHASE).time_s
    start, stop = next(iter(partition.scans.values()))
    span = [datetime.fromtimestamp(times[number], UTC) for number in (start, stop - 1)]
    bench = steady.after("flag", manual=[{"fields": [PHASE], "antennas": ["ea03"], "times": span}])
    bench = bench.after("set_model").after("calibrate")
    data = {
        choice: bench.after("apply_calibration", fields=("target",), flagged_solutions=choice).load(TARGET)
        for choice in ("skip", "flag")
    }
    of_antenna = (data["skip"].antenna1 == 2) ^ (data["skip"].antenna2 == 2)
    assert not data["skip"].flags[:, of_antenna].any()
    lost = data["flag"].flags & ~data["skip"].flags
    assert lost[:, of_antenna].any()
    assert not lost[:, ~of_antenna & (data["skip"].antenna1 != data["skip"].antenna2)].any()


def test_the_continuum_is_subtracted_and_the_line_stays(corrected: Bench) -> None:
    bench = corrected.after("subtract_continuum", line_free=["0~3", "12~15"], order=1)
    data = bench.load(TARGET)
    line = STEADY.model_copy(
        update={
            "fields": (
                *STEADY.fields[:2],
                STEADY.fields[2].model_copy(
                    update={
                        "components": tuple(
                            one.model_copy(update={"flux": 0.0}) for one in STEADY.fields[2].components if one.line_peak
                        )
                    }
                ),
            )
        }
    )
    expected = true_visibilities(line, TARGET)[..., np.newaxis]
    residual = np.abs(np.where(data.flags, 0, data.visibilities - expected))
    # sources 10 arcmin off the centre turn by 1 degree over the band on 1 km: the square of that is left, and the wings
    # of the line, 0.1 % of 0.4 Jy, in the line-free channels
    assert residual.max() < 2e-3
    before = np.abs(np.where(data.flags, 0, bench.load(TARGET, "corrected").visibilities - expected))
    assert before.max() > 0.3
    ranges = bench.context.line_free
    assert ranges is not None
    assert [one.origin for one in ranges] == ["config", "config"]
    assert sum(one.stop_hz - one.start_hz for one in ranges) == pytest.approx(8 * STEADY.band.channel_width)
    assert bench.outcome.summary["fields"] == {TARGET: {"rows": 540, "empty": 108, "failed": 0}}


def test_gains_with_noise_are_true_within_their_errors(tiny_solved: Bench) -> None:
    solution = tiny_solved.table("gain")
    data = tiny_solved.load(PHASE, "base")
    rows = [number for number, one in enumerate(solution.fields) if one == PHASE]
    truth = true_gains(TINY, PHASE).reshape(3, 2, 9, 2).mean(axis=1)  # three scans of two integrations
    alive = [number for number in range(9) if number != 2]
    found = solution.table.gains[rows, :, 0][:, alive]
    ratio = refer(found[:, :, np.newaxis], 0) / refer(truth[:, alive, np.newaxis], 0)
    # the bandpass has the gains of the first scan: only what changes with time is left
    change = ratio[1:] / ratio[:1]
    assert data.time_s.shape == (6,)
    error = np.sqrt(2) / solution.table.snr[rows][:, alive].min()
    assert np.abs(change - 1).max() < 6 * error  # 64 numbers of two terms, and the reference antenna's own
    assert np.abs(truth[1:] / truth[:1] - 1).max() > 10 * error


def test_corrected_data_have_the_noise_that_their_weights_say(make_bench: Callable[..., Bench]) -> None:
    model = STEADY.model_copy(update={"noise": TINY.noise})
    bench = make_bench(model).after("flag").calibrated()
    data = bench.load(FLUX)
    residual = (data.visibilities - true_visibilities(model, FLUX)[..., np.newaxis]) * np.sqrt(data.weights)
    values = np.concatenate([residual[~data.flags].real, residual[~data.flags].imag])
    # of 216 real numbers a channel and hand the bandpass takes up 17, and the gains a few over all channels
    assert values.std() == pytest.approx(np.sqrt(1 - 17 / 216), rel=0.05)
    gain = np.abs(true_total(model, FLUX))
    assert gain[:, :, 0].max() < 0.75 * gain[:, :, 8].max()  # the raw noise depends on the channel


# --- what is broken ---


def test_an_antenna_that_is_dead_in_the_simulation_is_found(tiny_solved: Bench) -> None:
    summary = tiny_solved.outcome.summary["spw0"]
    assert summary["antennas_without_solution"] == ["ea03"]
    assert summary["reference_antenna"] != "ea03"
    assert summary["channels_without_data"] == [3, 13]
    assert summary["channels_without_solution"] == []
    applied = tiny_solved.after("apply_calibration")
    data = applied.load(TARGET)
    dead = (data.antenna1 == 2) | (data.antenna2 == 2)
    assert data.flags[:, dead].all()
    counts = applied.outcome.summary["fields"][TARGET]
    # 8 baselines of 14 channels, 2 hands and 6 integrations are lost
    assert counts["flagged_after"] - counts["flagged_before"] == 8 * 14 * 2 * 6


def test_signal_to_noise_and_scatter_of_solutions_are_scored(tiny_solved: Bench) -> None:
    scores = {one.name: one for one in tiny_solved.outcome.qa if one.scope == "window"}
    gains = tiny_solved.outcome.summary["spw0"]["gains"]
    assert scores["signal-to-noise of gain solutions"].value == pytest.approx(gains["median_snr"])
    snr = scores["signal-to-noise of bandpass solutions"]
    assert snr.value > 5
    assert scores["scatter of gain amplitudes"].value == pytest.approx(100 * gains["amplitude_rms"])
    assert scores["change of gain phases from one solution to the next"].value == pytest.approx(gains["phase_step_deg"])
    # The gains that were put in drift by 3 % and half a radian, in an hour.
    assert 0.5 < scores["scatter of gain amplitudes"].value < 10


def test_a_dead_antenna_that_is_asked_for_as_reference_is_not_named_as_such(tiny: Bench) -> None:
    bench = tiny.after("set_model").after("calibrate", reference_antenna="ea03")
    summary = bench.outcome.summary["spw0"]
    assert summary["antennas_without_solution"] == ["ea03"]
    assert summary["reference_antenna"] != "ea03"
    solution = bench.table("gain").table
    reference = [f"ea{number:02d}" for number in range(1, 10)].index(summary["reference_antenna"])
    np.testing.assert_array_equal(np.angle(solution.gains[:, reference]), 0.0)


def test_a_fully_flagged_antenna_is_recorded(steady: Bench) -> None:
    bench = steady.after("flag", manual=[{"antennas": ["ea05"]}])
    assert bench.outcome.summary["antennas_without_data"] == ["ea05"]
    assert "antennas without good data: ea05" in bench.outcome.message
    calibrated = bench.calibrated(reference_antenna="ea05")
    difference = difference_from_truth(calibrated, TARGET)
    assert np.isnan(difference[:, 4]).all()
    assert np.nanmax(difference) < 1e-6
    assert calibrated.context.calibration.tables[0].reference_antenna != "ea05"


def test_a_fully_flagged_channel_is_recorded_and_leaves_the_others_right(steady: Bench) -> None:
    bench = steady.after("flag", manual=[{"channels": ["7"]}])
    assert bench.outcome.summary["channels_without_data"] == {"spw0": [7]}
    solved = bench.after("set_model").after("calibrate")
    assert solved.outcome.summary["spw0"]["channels_without_data"] == [7]
    assert solved.outcome.status is OutcomeStatus.SUCCESS
    applied = solved.after("apply_calibration")
    assert applied.load(TARGET).flags.all(axis=(0, 1, 3)).tolist() == [channel == 7 for channel in range(16)]
    line = applied.after("subtract_continuum", line_free=["0~3", "12~15"]).load(TARGET)
    assert line.flags.all(axis=(0, 1, 3)).tolist() == [channel == 7 for channel in range(16)]


def test_a_fully_flagged_target_is_an_outcome_of_every_stage(steady: Bench) -> None:
    bench = steady.after("flag", manual=[{"fields": [TARGET]}])
    assert bench.outcome.status is OutcomeStatus.CAVEATS
    assert f"fields without good data: {TARGET}" in bench.outcome.message
    applied = bench.calibrated()
    assert applied.outcome.status is OutcomeStatus.CAVEATS
    assert f"nothing is left of {TARGET}" in applied.outcome.message
    line = applied.after("subtract_continuum", line_free=["0~3"])
    assert line.outcome.status is OutcomeStatus.CAVEATS
    assert line.outcome.message == f"all data of {TARGET} are flagged"
    assert line.outcome.qa[0].score == 0.0


def test_a_fully_flagged_phase_calibrator_is_an_outcome(steady: Bench) -> None:
    bench = steady.after("flag", manual=[{"fields": [PHASE]}]).after("set_model").after("calibrate")
    assert bench.outcome.status is OutcomeStatus.CAVEATS
    assert "scans without a gain solution in spw0: 2 (J1445+0958), 4 (J1445+0958), 6" in bench.outcome.message
    assert "flux transfer to field 'J1445+0958': no antenna has unflagged gains" in bench.outcome.message
    assert bench.outcome.flux_densities == ()
    applied = bench.after("apply_calibration")
    assert applied.outcome.status is OutcomeStatus.CAVEATS
    assert f"nothing is left of {PHASE}, {TARGET}" in applied.outcome.message
    assert not applied.load(FLUX).flags.all()


def test_an_array_of_too_few_antennas_is_refused(steady: Bench) -> None:
    bench = steady.after("set_model")
    text = "each of the 9 antennas has 8 baselines at most, and with min_baselines = 9 .* set min_baselines: 8"
    with pytest.raises(SelectionError, match=text):
        bench.graph("calibrate", min_baselines=9)
    with pytest.raises(SelectionError, match=text):
        next(bench.graph("self_calibrate", min_baselines=9))


def test_a_fully_flagged_bandpass_calibrator_is_an_outcome(steady: Bench) -> None:
    bench = steady.after("flag", manual=[{"fields": ["flux"]}]).after("set_model").after("calibrate")
    assert bench.outcome.status is OutcomeStatus.CAVEATS
    assert "3C286 has no data for a bandpass of spw0: all are flagged" in bench.outcome.message
    assert bench.outcome.qa[0].score == 0.0
    applied = bench.after("apply_calibration")
    assert f"nothing is left of {FLUX}, {PHASE}, {TARGET}" in applied.outcome.message


def test_calibrators_of_unknown_flux_density_alone_are_reported(steady: Bench) -> None:
    bench = steady.after("set_model", flux_calibrators=[], other_calibrators=["flux", "phase"]).after("calibrate")
    assert bench.outcome.status is OutcomeStatus.CAVEATS
    assert (
        "no calibrator of window spw0 has a known flux density: its gains are relative to 1 Jy" in bench.outcome.message
    )


def test_a_channel_lost_in_noise_is_reported(make_bench: Callable[..., Bench]) -> None:
    faint = TINY.model_dump()
    faint["fields"][0]["components"] = [{"flux": 1e-3}]
    faint["interference"] = None
    bench = make_bench(ObservationModel.model_validate(faint)).after("flag")
    models = {FLUX: [{"flux": 1e-3, "reference_frequency": "1.4 GHz"}]}
    solved = bench.after("set_model", flux_calibrators=[], models=models).after("calibrate")
    assert solved.outcome.status is OutcomeStatus.CAVEATS
    assert "channels of spw0 whose bandpass is lost in noise" in solved.outcome.message
    assert solved.outcome.qa[0].score < 0.5


# --- parameters ---


def test_models_of_the_user_win(steady: Bench) -> None:
    models = {FLUX: [{"flux": "30 Jy", "reference_frequency": "1.4134 GHz", "spectral_index": -0.5}]}
    bench = steady.after("set_model", models=models)
    assert bench.outcome.summary["models"] == {FLUX: "config", PHASE: "assumed 1 Jy"}
    (flux,) = bench.outcome.flux_densities
    assert flux.flux_jy == pytest.approx(30.0, rel=1e-5)
    values = {score.name: (score.value, score.score) for score in bench.outcome.qa}
    assert values["calibrators of known flux density"] == (1, 1.0)
    # twice what the catalogue has
    assert values["difference to the catalogue"] == (pytest.approx(100 * (30 / 15.012 - 1), rel=1e-3), 0.0)
    # twice the flux density of the truth, and so is that of the phase calibrator
    (found,) = bench.after("calibrate").outcome.flux_densities
    assert found.flux_jy == pytest.approx(2.5 * 30 / 15.012, rel=1e-3)


def test_a_model_of_several_components_is_predicted_with_their_places(make_bench: Callable[..., Bench]) -> None:
    components = [
        {"flux": 10.0, "east": "2 arcmin", "reference_frequency": 1.4e9},
        {
            "flux": 5.0,
            "north": "-3 arcmin",
            "major": "1 arcmin",
            "minor": "20 arcsec",
            "position_angle": "30 deg",
            "reference_frequency": 1.4e9,
        },
    ]
    crowded = STEADY.model_dump()
    crowded["fields"][0]["components"] = components
    model = ObservationModel.model_validate(crowded)
    bench = make_bench(model).after("flag").after("set_model", models={FLUX: components}).after("calibrate")
    assert np.nanmax(difference_from_truth(bench, FLUX)) < 1e-6
    wrong = make_bench(model).after("flag").after("set_model").after("calibrate")
    assert np.nanmax(difference_from_truth(wrong, FLUX)) > 0.01


COMPONENTS = [
    {"flux": 10.0, "east": 2 * CELL * 12, "north": -CELL * 9, "reference_frequency": 1.4e9, "spectral_index": -0.7},
    {"flux": 5.0, "north": CELL * 20, "reference_frequency": 1.4e9, "spectral_index": -0.7},
]
"""Of a resolved calibrator: at the centres of pixels of a model image."""


@pytest.fixture(scope="module")
def resolved(make_bench: Callable[..., Bench]) -> Bench:
    """Noiseless data of a resolved calibrator."""
    crowded = STEADY.model_dump()
    crowded["fields"][0]["components"] = COMPONENTS
    return make_bench(ObservationModel.model_validate(crowded)).after("flag")


def test_a_table_of_components_is_as_good_as_the_config(resolved: Bench, tmp_path: Path) -> None:
    names = ("flux", "east", "north", "reference_frequency", "spectral_index")
    QTable(rows=[[one.get(name, 0.0) for name in names] for one in COMPONENTS], names=names).write(
        tmp_path / "model.ecsv"
    )
    bench = resolved.after("set_model", model_tables={FLUX: str(tmp_path / "model.ecsv")})
    assert bench.outcome.summary["models"][FLUX] == "component table"
    given = resolved.after("set_model", models={FLUX: COMPONENTS})
    assert bench.context.sky_models[-1].components == given.context.sky_models[0].components
    # two points of 10 and 5 Jy, many fringes apart over the directions of the longest baseline
    extent = bench.outcome.summary["extents"][FLUX]
    assert extent["kind"] == "components"
    assert 1 / 3 < extent["longest_part"] < 1
    assert bench.outcome.summary["extents"][PHASE]["kind"] == "point"


def write_model_image(path: Path, observed: ObservedField) -> str:
    """Write the components as a FITS image in Jy/pixel about the phase centre of the field."""
    data = np.zeros((64, 64), np.float32)
    for one in COMPONENTS:
        column, row = 32 - round(one.get("east", 0.0) / CELL), 32 + round(one.get("north", 0.0) / CELL)
        data[row, column] = one["flux"]
    hdu = fits.PrimaryHDU(data)
    degrees = np.rad2deg((observed.direction.ra_rad, observed.direction.dec_rad))
    hdu.header.update({"BUNIT": "Jy/pixel", "RADESYS": "ICRS"})
    for axis, (name, value, step) in enumerate(zip(("RA---SIN", "DEC--SIN"), degrees, (-1, 1), strict=True), 1):
        hdu.header.update(
            {
                f"CTYPE{axis}": name,
                f"CRVAL{axis}": value,
                f"CRPIX{axis}": 33.0,
                f"CDELT{axis}": step * np.rad2deg(CELL),
                f"CUNIT{axis}": "deg",
            }
        )
    hdu.writeto(path)
    return str(path)


def test_gains_are_solved_against_a_model_image(resolved: Bench, tmp_path: Path) -> None:
    observed = next(one for one in resolved.context.require_observation().fields if one.name == FLUX)
    url = write_model_image(tmp_path / "model.fits", observed)
    image = {"image": url, "reference_frequency": 1.4e9, "spectral_index": -0.7}
    bench = resolved.after("set_model", model_images={FLUX: image}).after("calibrate")
    # the accuracy of the gridder, 1e-7 of 15 Jy over the weakest fringe of the model, and complex64 data
    assert np.nanmax(difference_from_truth(bench, FLUX)) < 3e-6
    (flux,) = [one for one in bench.context.flux_densities if one.field == FLUX]
    assert flux.flux_jy == pytest.approx(15.0 * (flux.frequency_hz / 1.4e9) ** -0.7, rel=1e-6)
    half = resolved.after("set_model", model_images={FLUX: {**image, "flux": "7.5 Jy"}})
    assert half.outcome.flux_densities[0].flux_jy == pytest.approx(flux.flux_jy / 2)
    scaled = resolved.after("set_model", model_images={FLUX: {"image": url, "flux": "catalogue"}})
    assert scaled.outcome.flux_densities[0].flux_jy == pytest.approx(15.012, rel=1e-3)
    assert scaled.outcome.summary["models"][FLUX] == "model image, Perley-Butler 2017"
    with pytest.raises(ModelError, match="has no frequency; give its reference_frequency"):
        resolved.after("set_model", model_images={FLUX: {"image": url}})


def test_an_image_of_the_run_is_a_model(resolved: Bench) -> None:
    calibrated = resolved.after("set_model", models={FLUX: COMPONENTS}).after("calibrate").after("apply_calibration")
    imaging = {"field": FLUX, "image_size": 128, "cell_size": CELL, "n_sigma": 0, "threshold": 0.02}
    imaged = calibrated.after("image_continuum", **imaging, channels=["0~15"])
    (image,) = imaged.context.images
    bench = imaged.after("set_model", model_images={FLUX: {"image": image.name}})
    (flux,) = [one for one in bench.outcome.flux_densities if one.field == FLUX]
    assert flux.flux_jy == pytest.approx(15.0, rel=0.01)
    assert np.nanmax(difference_from_truth(bench.after("calibrate"), FLUX)) < 0.01
    cubes = [one.model_copy(update={"kind": "cube"}) for one in imaged.context.images]
    other = Bench(resolved.model, imaged.context.model_copy(update={"images": tuple(cubes)}))
    with pytest.raises(SelectionError, match=f"model image '{image.name}' of field '3C286' is a cube; a continuum"):
        other.graph("set_model", model_images={FLUX: {"image": image.name}})


def test_models_that_say_too_little_are_refused(resolved: Bench, tmp_path: Path) -> None:
    (tmp_path / "model.csv").write_text("east\n0.0\n")
    with pytest.raises(
        ModelError, match=r"row 1 of the component table of field '3C286': flux: Field required; reference_frequency"
    ):
        resolved.after("set_model", model_tables={FLUX: str(tmp_path / "model.csv")})


def test_solution_intervals_within_scans(steady: Bench) -> None:
    bench = steady.after("set_model").after("calibrate", solution_interval="30 s")
    solution = bench.table("gain")
    assert len(solution.table.time_s) == 3 + 6
    assert solution.scans == ("1", "1", "1", "2", "2", "4", "4", "6", "6")
    assert np.nanmax(difference_from_truth(bench.after("apply_calibration"), TARGET)) < 1e-6
    longer = steady.after("set_model").after("calibrate", solution_interval="60 s").table("gain")
    assert longer.scans == ("1", "1", "2", "4", "6")


def test_linear_feeds_are_calibrated_alike(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(STEADY.model_copy(update={"polarizations": "XX YY"})).after("flag").calibrated()
    assert bench.table("gain").description.polarizations == ("XX", "YY")
    assert np.nanmax(difference_from_truth(bench, TARGET)) < 1e-6


def test_correlations_in_the_order_of_uvfits_get_the_gains_of_their_receptors(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    url, names = str(tmp_path_factory.mktemp("run")), ["RR", "LL", "RL", "LR"]
    model = STEADY.model_copy(update={"polarizations": "RR RL LR LL"})
    truth = simulate_observation(f"{url}/sim.ps.zarr", model, chunks=CHUNKS)
    for group in truth.partitions.values():
        for variable in ("VISIBILITY", "polarization"):
            array = stores.open_array(stores.join_url(group, variable), "r+")
            array[...] = array[...][..., [model.polarization_names.index(name) for name in names]]
    context = Context(
        run_id="test", workspace=Workspace(url=url, resources=Resources(slots=2)), dataset_paths=("sim.ps.zarr",)
    )
    bench = Bench(model, context).after("import_data").after("flag").calibrated()
    data = bench.load(TARGET)
    assert list(data.polarizations) == names
    sky = true_visibilities(model, TARGET)[..., np.newaxis]
    hands = np.where(data.flags, 0, data.visibilities - sky)[..., :2]
    assert np.abs(hands).max() < 3e-6 * np.abs(sky).max()
    assert not data.flags[:, data.antenna1 != data.antenna2][..., :2].any()


def test_two_spectral_windows_are_calibrated_each_by_itself(tmp_path_factory: pytest.TempPathFactory) -> None:
    url = str(tmp_path_factory.mktemp("run"))
    low_band = STEADY.band.model_copy(update={"name": "low", "start_frequency": 1.38e9, "n_channels": 8})
    high_band = STEADY.band.model_copy(update={"name": "high"})
    models = {
        "low": STEADY.model_copy(update={"name": "low", "band": low_band}),
        "high": STEADY.model_copy(update={"name": "high", "band": high_band, "seed": 5}),
    }
    for name, model in models.items():
        simulate_observation(f"{url}/{name}.ps.zarr", model, chunks=CHUNKS)
    context = Context(
        run_id="test",
        workspace=Workspace(url=url, resources=Resources(slots=2)),
        dataset_paths=("low.ps.zarr", "high.ps.zarr"),
    )
    bench = Bench(STEADY, context).after("import_data").after("flag").calibrated()
    windows = {window.name: window.n_channels for window in bench.context.require_observation().windows}
    assert sorted(windows.values()) == [8, 16]
    assert len(bench.context.calibration.tables) == 4
    for partition in bench.context.visibilities(TARGET):
        model = models["low" if windows[partition.window] == 8 else "high"]
        data = load_visibilities(bench.context.address(partition, "corrected"))
        sky = true_visibilities(model, TARGET)[..., np.newaxis]
        # other seeds, other gains: a table of the other window would be wrong by more than the sky itself
        assert np.abs(np.where(data.flags, 0, data.visibilities - sky)).max() < 3e-6 * np.abs(sky).max()
    solved = bench.after("calibrate").outcome
    fluxes = [solved.summary[window]["flux_densities"][PHASE] for window in windows]
    assert fluxes == [pytest.approx(2.5, rel=1e-5)] * 2
    assert {(one.field, one.window) for one in bench.context.flux_densities} == {
        (field, window) for field in (FLUX, PHASE) for window in windows
    }
    (index,) = solved.summary["spectra"][PHASE]["terms"]
    # 1e-5 of a flux density over a ratio of frequencies of 1.024
    assert index == pytest.approx(0.0, abs=1e-3)
    assert f"{PHASE}: spectral index" in solved.message


def test_gains_without_a_flux_scale_are_applied_to_nothing(steady: Bench) -> None:
    # the bandpass comes from the phase calibrator, so that its gains are solved, and none of the flux calibrator
    bench = steady.after("flag", manual=[{"fields": [FLUX]}]).after("set_model")
    solved = bench.after("calibrate", bandpass_calibrator=PHASE)
    assert solved.outcome.status is OutcomeStatus.CAVEATS
    assert "its gains are flagged, because their scale is that of a model of 1 Jy" in solved.outcome.message
    assert solved.outcome.qa[1].score == 0.0
    assert solved.table("gain").table.flags.all()
    applied = solved.after("apply_calibration")
    assert f"nothing is left of {FLUX}, {PHASE}, {TARGET}" in applied.outcome.message


def test_quack_edges_times_and_baselines_are_flagged(steady: Bench) -> None:
    raw = steady.load(TARGET)
    start = np.datetime64(int(raw.time_s[1] * 1e3), "ms").item()
    bench = steady.after(
        "flag",
        quack_begin="30 s",
        quack_end="1 s",
        edge_channels=0.07,
        manual=[
            {"fields": ["target"], "baselines": [["ea04", "ea02"]], "polarizations": ["LL"]},
            {"times": [start, start], "channels": ["5", "1413.4 MHz ~ 1413.45 MHz"]},
        ],
    )
    found = bench.load(TARGET).flags
    expected = raw.flags.copy()
    first_of_scan = [
        number for number, scan in enumerate(raw.scan_names) if number == 0 or raw.scan_names[number - 1] != scan
    ]
    expected[first_of_scan] = True
    expected[:, :, [0, 15]] = True
    pair = (raw.antenna1 == 1) & (raw.antenna2 == 3)
    expected[:, pair, :, 1] = True
    in_band = (raw.frequency_hz >= 1413.4e6) & (raw.frequency_hz <= 1413.45e6)
    in_band[5] = True
    expected[1][:, in_band] = True
    np.testing.assert_array_equal(found, expected)
    # a scan of 90 s ends half an integration after its last centre: 1 s reaches none
    assert in_band.sum() == 2


# --- nothing but the data and the parameters matters ---


def test_a_graph_is_built_without_touching_the_data(solved: Bench) -> None:
    nowhere = solved.context.place().model_copy(update={"url": "memory://there-is-nothing"})
    bench = Bench(TINY, solved.context.at(nowhere))
    for stage, params in (
        ("simulate", {}),
        ("flag", {}),
        ("set_model", {}),
        ("calibrate", {}),
        ("apply_calibration", {}),
        ("subtract_continuum", {"line_free": ["0~3"]}),
    ):
        bench.graph(stage, **params)
    assert not stores.exists("memory://there-is-nothing")


def test_a_run_folder_in_memory_serves_as_well(make_bench: Callable[..., Bench], corrected: Bench) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    bench = make_bench(STEADY, url).after("flag").calibrated()
    np.testing.assert_array_equal(bench.load(FLUX).visibilities, corrected.load(FLUX).visibilities)
    stores.delete(url)


@pytest.mark.parametrize("slots", [1, 7])
def test_results_do_not_depend_on_the_cluster(tiny: Bench, tiny_corrected: Bench, slots: int) -> None:
    workspace = tiny.context.place().model_copy(update={"resources": Resources(slots=slots)})
    other = Bench(TINY, tiny.context.at(workspace)).calibrated().after("subtract_continuum", line_free=["0~2"])
    here = tiny_corrected.after("subtract_continuum", line_free=["0~2"])
    for kind in ("bandpass", "gain"):
        for found, expected in zip(other.table(kind).table, here.table(kind).table, strict=True):
            np.testing.assert_array_equal(found, expected)
    for group in ("corrected", "continuum_subtracted"):
        for found, expected in zip(other.load(TARGET, group)[:3], here.load(TARGET, group)[:3], strict=True):
            np.testing.assert_array_equal(found, expected)
    assert other.context.flux_densities == here.context.flux_densities


def test_tasks_may_be_repeated(tiny: Bench) -> None:
    bench = tiny.after("set_model")
    graph = bench.graph("calibrate")
    first, second = (dask.compute(graph, scheduler="synchronous")[0] for _ in range(2))
    assert first == second
    solved = Bench(TINY, bench.context.with_outcome("calibrate", first))
    graph = solved.graph("apply_calibration")
    first, second = (dask.compute(graph, scheduler="synchronous")[0] for _ in range(2))
    assert first == second


def test_scans_that_are_summed_in_pieces_have_the_gains_of_the_whole(
    tiny: Bench, tiny_solved: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = tiny.after("set_model")
    whole = tiny_solved.table("gain").table
    calibrate = importlib.import_module("radps.stages._calibration")
    # one integration of 5 channels at a time
    monkeypatch.setattr(calibrate, "SUM_BLOCK_BYTES", 5 * 45 * 2 * 13 * 4)
    pieces = bench.after("calibrate").table("gain").table
    # sums in another order: 1e-16 of each term, and gain steps that end within their tolerance of 1e-9
    np.testing.assert_allclose(pieces.gains, whole.gains, rtol=1e-8)
    np.testing.assert_array_equal(pieces.flags, whole.flags)


# --- bad input ---


def test_stages_before_the_import_are_refused() -> None:
    bench = Bench(TINY, Context(run_id="test", workspace=Workspace(url="memory://nowhere")))
    for stage, params in (
        ("flag", {}),
        ("set_model", {}),
        ("calibrate", {}),
        ("subtract_continuum", {"line_free": ["1"]}),
    ):
        with pytest.raises(ContextError, match="no data were imported yet: put the step `import_data` before this one"):
            bench.graph(stage, **params)


def test_a_calibrator_without_a_model_is_refused(steady: Bench) -> None:
    text = r"calibrator '3C286' has no model \(models: none\); put the step `set_model` before this one"
    with pytest.raises(ModelError, match=text):
        steady.graph("calibrate")
    with pytest.raises(ModelError, match=r"calibrator 'J1445\+0958' has no model \(models: 3C286\)"):
        steady.after("set_model", other_calibrators=[]).graph("calibrate")


def test_a_flux_calibrator_that_is_not_in_the_catalogue_is_refused(steady: Bench) -> None:
    with pytest.raises(
        ModelError, match=r"field 'J1445\+0958': no standard flux calibrator .* known are J0133-3629, 3C48"
    ):
        steady.graph("set_model", flux_calibrators=["phase"])


def test_data_without_tables_cannot_be_corrected(steady: Bench) -> None:
    with pytest.raises(ContextError, match="there is no calibration table to apply; put the step `calibrate` before"):
        steady.graph("apply_calibration")


def test_a_window_without_tables_cannot_be_corrected(solved: Bench) -> None:
    others = [table.name for table in solved.context.calibration.tables]
    one = solved.context.calibration.tables[0]
    only = one.model_copy(update={"applies_to": (Applicability(fields=(TARGET,), from_fields=("3C286",)),)})
    context = solved.context.with_outcome("edit", Outcome(removed_tables=tuple(others), tables=(only,)))
    text = (
        r"no calibration table applies to field '3C286' in spectral window 'spw0'; there are: bandpass_spw0 \(field N59"
    )
    other = Bench(STEADY, context)
    with pytest.raises(ContextError, match=text):
        other.graph("apply_calibration")


@pytest.mark.parametrize(
    ("stage", "params"),
    [
        ("flag", {"manual": [{"fields": ["M31"], "antennas": ["ea01"]}]}),
        ("set_model", {"flux_calibrators": ["M31"]}),
        ("set_model", {"other_calibrators": ["M31"]}),
        ("set_model", {"models": {"M31": [{"flux": 1, "reference_frequency": 1e9}]}}),
        ("calibrate", {"bandpass_calibrator": "M31"}),
        ("calibrate", {"gain_calibrators": ["flux", "M31"]}),
        ("apply_calibration", {"fields": ["M31"]}),
        ("subtract_continuum", {"fields": ["M31"], "line_free": ["1"]}),
    ],
)
def test_an_unknown_field_is_refused_by_every_stage(solved: Bench, stage: str, params: dict[str, Any]) -> None:
    with pytest.raises(SelectionError, match="there is no field 'M31'; fields: 3C286, J1445"):
        solved.graph(stage, **params)


@pytest.mark.parametrize(
    ("stage", "params", "text"),
    [
        ("calibrate", {"reference_antenna": "VA99"}, "antenna 'VA99' is not in the array; antennas: ea01, ea02"),
        ("flag", {"manual": [{"antennas": ["VA99"]}]}, "manual flags: there is no antenna 'VA99'; there are: ea01"),
        ("flag", {"manual": [{"baselines": [["ea01", "VA99"]]}]}, "manual flags: there is no antenna 'VA99'"),
        ("flag", {"manual": [{"polarizations": ["XX"]}]}, "there is no polarization 'XX'; there are: RR, LL"),
        ("flag", {"manual": [{"channels": ["4~16"]}]}, "channels 4~16 are outside the spectral window spw0, .* 0~15"),
        ("flag", {"manual": [{"channels": ["1 GHz ~ 1.1 GHz"]}]}, "1 GHz ~ 1.1 GHz are outside .* from 1412.6"),
        ("flag", {"manual": [{}]}, "a manual selection without any restriction would flag all data; give one"),
        ("calibrate", {"gain_channels": "10~20"}, "channels 10~20 are outside the spectral window spw0"),
        ("calibrate", {"bandpass_calibrator": "all"}, "bandpass of .* spw0 needs one field, found 3C286, J14"),
        ("calibrate", {"gain_calibrators": []}, "no data of the gain calibrators  in spectral window spw0"),
        ("subtract_continuum", {"line_free": ["14~16"]}, "channels 14~16 are outside the spectral window spw0"),
        ("subtract_continuum", {"line_free": ["1413.40 MHz ~ 1413.41 MHz"]}, "hold the centre of no channel"),
        ("subtract_continuum", {"line_free": ["4"], "order": 1}, "1 line-free channels for a .* order 1; .* least 2"),
    ],
)  # fmt: skip
def test_selections_outside_of_the_data_are_refused(
    solved: Bench, stage: str, params: dict[str, Any], text: str
) -> None:
    with pytest.raises(SelectionError, match=text):
        solved.graph(stage, **params)


def test_an_intent_that_no_field_has_is_refused(steady: Bench) -> None:
    observation = steady.context.require_observation()
    fields = tuple(one.model_copy(update={"intents": ()}) for one in observation.fields)
    nameless = steady.context.model_copy(update={"observation": observation.model_copy(update={"fields": fields})})
    with pytest.raises(SelectionError, match=r"no field has the intent CALIBRATE_FLUX .* Name intents in the config"):
        Bench(STEADY, nameless).graph("set_model")
    own = {"models": {PHASE: [{"flux": 2.0, "reference_frequency": 1.4e9}]}}
    (model,) = Bench(STEADY, nameless).graph("set_model", **own).sky_models
    assert model.field == PHASE
    with pytest.raises(SelectionError, match=r"no field '3C9'"):
        Bench(STEADY, nameless).graph("set_model", **own, flux_calibrators=["3C9"])


@pytest.mark.parametrize(
    ("stage", "params", "text"),
    [
        ("flag", {"manual": [{"antenna": ["ea01"]}]}, "Extra inputs are not permitted"),
        ("flag", {"manual": [{"channels": ["9~4"]}]}, "the channel range '9~4' runs backwards; write '4~9'"),
        ("flag", {"manual": [{"channels": ["four"]}]}, "'four' is not a range; write channels like '4~6'"),
        ("flag", {"manual": [{"channels": "4~6"}]}, "valid tuple"),
        ("flag", {"manual": [{"baselines": [["ea01"]]}]}, "Field required"),
        ("flag", {"manual": [{"times": ["2026-03-20T09:00:00"]}]}, "Field required"),
        ("flag", {"manual": [{"times": ["noon", "night"]}]}, "valid datetime"),
        ("flag", {"quack_begin": "-5 s"}, "greater than or equal to 0"),
        ("flag", {"quack_begin": "5 m"}, "which is not a duration"),
        ("flag", {"edge_channels": 0.5}, "less than 0.5"),
        ("calibrate", {"solution_interval": "0 s"}, "greater than 0"),
        ("calibrate", {"solution_interval": "scans"}, "not a duration"),
        ("calibrate", {"mode": "delay"}, "'phase', 'amplitude' or 'amplitude_phase'"),
        ("calibrate", {"min_baselines": 1}, "greater than or equal to 2"),
        ("apply_calibration", {"time_interpolation": "cubic"}, "'linear' or 'nearest'"),
        ("subtract_continuum", {"line_free": []}, "at least 1 item"),
        ("subtract_continuum", {"line_free": ["1"], "order": 6}, "less than or equal to 5"),
        ("set_model", {"models": {FLUX: [{"flux": "8 km", "reference_frequency": 1e9}]}}, "not a flux density"),
        (
            "set_model",
            {"models": {FLUX: [{"flux": 1, "reference_frequency": 1e9, "q_fraction": 0.9, "u_fraction": 0.9}]}},
            "make 1.27 of Stokes I; at most 1 is there",
        ),
        ("set_model", {"model_tables": {FLUX: "a.csv"}, "model_images": {FLUX: {"image": "a"}}}, "more than one model"),
        ("set_model", {"models": {FLUX: [{"flux": 1, "reference_frequency": 1e9, "ra": 1.0}]}}, "or ra and dec"),
    ],
)
def test_parameters_with_mistakes_are_refused(steady: Bench, stage: str, params: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        steady.graph(stage, **params)
