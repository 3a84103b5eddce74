"""Delays, phases of short intervals, phase-up, kinds of bandpasses and linear feeds, from raw to corrected data."""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from pydantic import ValidationError

from radps.context.model import Context, Workspace
from radps.context.records import CalibrationTable, Outcome, OutcomeStatus, Resources
from radps.context.sky import to_field_model
from radps.data import solutions
from radps.data.demo_observation import demo_observation
from radps.data.observation_model import (
    Atmosphere,
    BandpassErrors,
    GainErrors,
    Noise,
    ObservationModel,
    SimulatedComponent,
)
from radps.data.simulate import simulate_observation
from radps.data.simulated_truth import true_bandpasses, true_visibilities
from radps.data.stores import load_array, write_region
from radps.data.visibilities import load_visibilities
from radps.domain.delays import DelayOptions, DelayTable
from radps.domain.stefcal import GainOptions, Robustness
from radps.errors import ContextError, SelectionError
from radps.node_tasks.delays import solve_scan_delays
from radps.node_tasks.solving import ScanPart, sum_scan, sum_scans
from radps.stages._calibration import calibrator_scans, sky_model

FLUX, PHASE, TARGET = "3C286", "J1445+0958", "N5921"
TINY = demo_observation("tiny")
BAND = TINY.band.model_copy(update={"start_frequency": 1.3e9, "channel_width": 4e6, "n_channels": 16})
_FLAT = SimulatedComponent(flux=2.5, reference_frequency=BAND.start_frequency)
_POINT = SimulatedComponent(flux=1.5, reference_frequency=BAND.start_frequency)
DELAYED = TINY.model_copy(
    update={
        "band": BAND,
        "fields": (
            TINY.fields[0],
            TINY.fields[1].model_copy(update={"components": (_FLAT,)}),
            TINY.fields[2].model_copy(update={"components": (_POINT,)}),
        ),
        "noise": None,
        "interference": None,
        "dead_antennas": (),
        "noisy_antennas": (),
        "gains": GainErrors(mean_amplitude=0.3, amplitude_drift=0.0, phase_drift=0.0),
        "bandpasses": BandpassErrors(amplitude_ripple=0.0, phase_ripple=0.0, delay=20e-9, edge_fraction=0.0),
    }
)
"""No noise, gains that do not change, delays of 20 ns over 64 MHz: a turn from one end to the other."""


def compute(graph: Any) -> Any:
    return dask.compute(graph, scheduler="synchronous")[0]


def run_generator(stage: Generator[Any, Any, Any]) -> Any:
    """Return what a stage that yields graphs returns."""
    value = None
    while True:
        try:
            value = compute(stage.send(value))
        except StopIteration as end:
            return end.value


class Bench:
    """Computes stages one after the other in this process; a context is never changed."""

    numbers = itertools.count()

    def __init__(self, model: ObservationModel, context: Context, outcome: Outcome | None = None) -> None:
        self.model, self.context, self.outcome = model, context, outcome or Outcome()

    def after(self, stage: str, **params: Any) -> Bench:
        """Return the bench after one more stage."""
        module = importlib.import_module(f"radps.stages.{stage}")
        workspace = self.context.place().model_copy(update={"step": f"{stage}_{next(self.numbers)}"})
        result = getattr(module, stage)(self.context.at(workspace), module.Params(**params))
        outcome = compute(run_generator(result) if isinstance(result, Generator) else result)
        return Bench(self.model, self.context.with_outcome(stage, outcome), outcome)

    def calibrated(self, **params: Any) -> Bench:
        """Return the bench after the solutions."""
        return self.after("set_model").after("calibrate", **params)

    def table(self, kind: str) -> CalibrationTable:
        """Return the only table of a kind."""
        (found,) = [table for table in self.context.calibration.tables if table.kind == kind]
        return found

    def error(self, field: str, *, may_be_flagged: bool = False) -> float:
        """Return the largest error of the corrected data of a field, relative to the largest datum of the sky."""
        worst = 0.0
        for partition in self.context.visibilities(field):
            data = load_visibilities(self.context.address(partition, "corrected"))
            band = [one.name for one in self.model.bands].index(partition.window)
            sky = true_visibilities(self.model, field, band=band)[..., np.newaxis]
            assert may_be_flagged or not data.flags[:, data.antenna1 != data.antenna2].any()
            worst = max(
                worst, float(np.abs(np.where(data.flags, 0, data.visibilities - sky)).max() / np.abs(sky).max())
            )
        return worst


@pytest.fixture(scope="module")
def make_bench(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ObservationModel], Bench]:
    """Makes a bench with imported data of a model, autocorrelations flagged."""

    def make(model: ObservationModel) -> Bench:
        folder: Path = tmp_path_factory.mktemp("run")
        simulate_observation(str(folder / "visibilities" / "sim.ps.zarr"), model, chunks=(3, 8))
        context = Context(
            run_id="test",
            workspace=Workspace(url=str(folder), resources=Resources(slots=2)),
            dataset_paths=("visibilities/sim.ps.zarr",),
        )
        return Bench(model, context).after("import_data").after("flag")

    return make


@pytest.fixture(scope="module")
def delayed(make_bench: Callable[[ObservationModel], Bench]) -> Bench:
    """Noiseless data with delays."""
    return make_bench(DELAYED)


def true_delays(model: ObservationModel) -> Any:
    """Return the delays of the bandpasses, (antenna, hand) [s]: the slopes of their phases."""
    steps = np.angle(true_bandpasses(model)[:, 1:] / true_bandpasses(model)[:, :-1])
    return steps.mean(axis=1) / (2 * np.pi * model.band.channel_width)


# --- delays ---


def test_delays_are_found_and_taken_out_of_the_data(delayed: Bench) -> None:
    bench = delayed.calibrated(delays={}, bandpass_calibrator="flux")
    solution = solutions.load_delays(bench.context.locate(bench.table("delay").path))
    assert solution.fields == (FLUX,)
    truth = true_delays(DELAYED)
    found = solution.table.delays_s[0, :, 0]
    reference = int(np.flatnonzero((found == 0).all(axis=1))[0])
    # the promise is 1e-3 ns; complex64 data of 16 channels leave less
    np.testing.assert_allclose(found, truth - truth[reference], atol=1e-15)
    assert np.abs(truth - truth[reference]).max() > 20e-9
    bandpass = solutions.load_solution(bench.context.locate(bench.table("bandpass").path)).table
    # the delays are gone from it
    assert np.abs(np.angle(bandpass.gains / bandpass.gains[:, :, 8:9])).max() < 1e-5
    corrected = bench.after("apply_calibration")
    assert max(corrected.error(field) for field in (FLUX, PHASE, TARGET)) < 1e-6
    counts = bench.outcome.summary["spw0"]["delays"]
    assert counts["solutions"] == 18
    assert counts["flagged"] == 0
    assert counts["largest_ns"] == pytest.approx(1e9 * np.abs(found).max())
    gains = bench.outcome.summary["spw0"]["gains"]
    assert gains["outliers"] == 0
    assert gains["amplitude_rms"] < 1e-6
    assert gains["phase_rms_deg"] < 1e-4
    assert set(gains["by_antenna"]) == {f"ea{number:02d}" for number in range(1, 10)}


@pytest.mark.slow
def test_delays_of_several_fields_and_intervals_are_interpolated(delayed: Bench) -> None:
    bench = delayed.calibrated(delays={"calibrators": ["flux", "phase"], "solution_interval": "integration"})
    solution = solutions.load_delays(bench.context.locate(bench.table("delay").path))
    assert set(solution.fields) == {FLUX, PHASE}
    assert len(solution.fields) > 5
    assert bench.after("apply_calibration").error(TARGET) < 1e-6


@pytest.mark.slow
def test_delays_of_an_earlier_calibration_are_taken_out(delayed: Bench) -> None:
    bench = delayed.calibrated(delays={})
    again = bench.after("calibrate")
    assert [table.kind for table in again.context.calibration.tables] == ["bandpass", "gain"]
    assert again.after("apply_calibration").error(TARGET) < 1e-6


def test_delays_lost_in_noise_are_reported(delayed: Bench) -> None:
    bench = delayed.calibrated(delays={"min_snr": 1e12})
    assert bench.outcome.status is OutcomeStatus.CAVEATS
    assert "window spw0 has no delay that rises above the noise: all its data will be flagged" in bench.outcome.message


# --- phases ---


DRIFTING = DELAYED.model_copy(
    update={"gains": GainErrors(mean_amplitude=0.3, amplitude_drift=0.0, phase_drift=1.0, timescale=60.0)}
)
"""Phases that turn by a radian in a minute."""


@pytest.fixture(scope="module")
def drifting(make_bench: Callable[[ObservationModel], Bench]) -> Bench:
    """Noiseless data whose phases drift within scans."""
    return make_bench(DRIFTING)


def test_phases_of_integrations_keep_the_amplitudes_of_scans(drifting: Bench) -> None:
    # the drift within a scan is closure error to a delay of the scan too
    delays = {"solution_interval": "integration"}
    parameters: dict[str, Any] = {"bandpass": {"phase_up": {}}, "phases": {}, "mode": "amplitude"}
    bench = drifting.calibrated(delays=delays, **parameters).after("apply_calibration")
    assert max(bench.error(field) for field in (FLUX, PHASE)) < 2e-6
    # without them the drift lowers the amplitudes, and leaves its phases
    plain = drifting.calibrated(delays=delays).after("apply_calibration")
    assert plain.error(PHASE, may_be_flagged=True) > 0.1
    kinds = [table.kind for table in bench.context.calibration.tables]
    assert sorted(kinds) == ["bandpass", "delay", "gain", "phase", "phase"]
    assert bench.context.flux_densities[-1].flux_jy == pytest.approx(2.5, rel=1e-5)
    assert bench.outcome.summary["fields"].keys() == {FLUX, PHASE, TARGET}


def test_the_target_has_the_phases_of_scans(drifting: Bench) -> None:
    context = drifting.calibrated(phases={}).context
    (partition,) = context.visibilities(TARGET)
    names = [one.table.name for one in context.calibration.corrections(partition)]
    assert names == ["bandpass_spw0", "phase_scan_spw0", "gain_spw0"]
    (partition,) = context.visibilities(PHASE)
    names = [one.table.name for one in context.calibration.corrections(partition)]
    assert names == ["bandpass_spw0", "phase_spw0", "gain_spw0"]


# --- bandpasses ---


@pytest.mark.parametrize(
    "bandpass",
    [
        pytest.param({"kind": "smoothed", "smoothing": 3}, marks=pytest.mark.slow),
        pytest.param({"kind": "polynomial", "amplitude_degree": 0, "phase_degree": 1}, marks=pytest.mark.slow),
        pytest.param({"average": 3}, marks=pytest.mark.slow),
        {"average": 2, "kind": "polynomial", "amplitude_degree": 0, "phase_degree": 1},
    ],
)
def test_bandpasses_of_every_kind_are_flat_after_the_delays(delayed: Bench, bandpass: dict[str, Any]) -> None:
    bench = delayed.calibrated(delays={}, bandpass=bandpass)
    table = solutions.load_solution(bench.context.locate(bench.table("bandpass").path)).table
    assert table.gains.shape == (1, 9, 16, 2)
    assert bench.after("apply_calibration").error(TARGET) < 1e-6
    assert bench.outcome.summary["spw0"]["bandpass"]["solutions"] == 9 * 16 * 2
    (misfit,) = [one for one in bench.outcome.qa if one.name == "misfit of the bandpass"]
    assert misfit.value < 0.01


@pytest.mark.slow
def test_channels_are_averaged_where_the_signal_is_low(make_bench: Callable[[ObservationModel], Bench]) -> None:
    noise = Noise(sefd=2e4)
    weak = make_bench(DELAYED.model_copy(update={"noise": noise}))
    channels = weak.calibrated(delays={}, min_snr=0.0)
    averaged = channels.after("calibrate", delays={}, min_snr=0.0, bandpass={"average": "auto", "target_snr": 75})
    before, after = (
        solutions.load_solution(one.context.locate(one.table("bandpass").path)).table for one in (channels, averaged)
    )
    n_average = int(np.ceil((75 / np.median(before.snr)) ** 2))
    assert 3 <= n_average <= 8
    # neighbours of one group of channels share their signal-to-noise
    groups = len(np.unique(after.snr[0, 1, :, 0]))
    assert groups == -(-16 // n_average)
    assert np.median(after.snr) == pytest.approx(np.sqrt(n_average) * np.median(before.snr), rel=0.25)
    scatter = [np.std(one.gains / one.gains.mean(axis=2, keepdims=True)) for one in (before, after)]
    assert scatter[1] < 0.8 * scatter[0]


# --- several spectral windows ---


WIDE = DELAYED.model_copy(
    update={
        "further_bands": (BAND.model_copy(update={"name": "spw1", "start_frequency": 1.5e9, "n_channels": 8}),),
        "gains": GainErrors(mean_amplitude=0.3, amplitude_drift=0.0, phase_drift=0.0),
    }
)
"""Two windows at a time."""


@pytest.fixture(scope="module")
def wide(make_bench: Callable[[ObservationModel], Bench]) -> Bench:
    """Noiseless data of two windows."""
    return make_bench(WIDE)


@pytest.mark.slow
def test_phases_of_all_windows_together_serve_all_of_them(wide: Bench) -> None:
    bench = wide.calibrated(delays={}, phases={"combine_windows": True})
    phases = [table for table in bench.context.calibration.tables if table.kind == "phase"]
    assert [table.name for table in phases] == ["phase_spw0_spw1", "phase_scan_spw0_spw1"]
    assert phases[0].applies_to[0].windows == ("spw0", "spw1")
    applied = bench.after("apply_calibration")
    assert len(applied.context.visibilities(TARGET)) == 2
    assert applied.error(TARGET) < 1e-6
    # the signal of 14 and 7 inner channels is that of 21
    alone = wide.calibrated(delays={}, phases={})
    assert [len(one.context.calibration.tables) for one in (bench, alone)] == [8, 10]


@pytest.mark.parametrize("drift", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["steady", "drifting"])
def test_phase_up_leaves_the_windows_their_phases_against_each_other(
    wide: Bench, make_bench: Callable[[ObservationModel], Bench], drift: bool
) -> None:
    bench = wide
    if drift:
        # Phases that all windows share, as of the troposphere, half a radian within the scans.
        gains = GainErrors(mean_amplitude=0.3, amplitude_drift=0.0, phase_drift=0.6, timescale=300.0)
        band = wide.model.bands[1].model_copy(update={"start_frequency": BAND.start_frequency + 1e3})
        bench = make_bench(wide.model.model_copy(update={"gains": gains, "further_bands": (band,)}))
    solved = bench.calibrated(delays={}, bandpass={"phase_up": {}}, phases={"combine_windows": True})
    # A window with the phases of all, and with the gains of the other one.
    for window_map in ({}, {"gain": {"spw1": "spw0"}}):
        applied = solved.after("apply_calibration", window_map=window_map)
        # Drifting phases are the same to the ratio of the frequencies of the windows, some per cent of a radian.
        assert applied.error(PHASE) < (0.05 if drift else 1e-5)


@pytest.mark.slow
def test_a_window_is_corrected_by_the_tables_of_another(wide: Bench) -> None:
    bench = wide.calibrated(delays={})
    one = wide.calibrated(delays={}, windows=["spw0"])
    with pytest.raises(ContextError, match=r"no calibration table applies to field .* window 'spw1'.* `window_map`"):
        one.after("apply_calibration")
    # gains after the bandpass of a field at the same time are the same in both windows
    mapped = bench.after("apply_calibration", window_map={"gain": {"spw1": "spw0"}})
    assert mapped.error(TARGET) < 1e-5
    with pytest.raises(ContextError, match="window_map: no table of kind phase of spectral window 'spw0' applies to"):
        bench.after("apply_calibration", window_map={"phase": {"spw1": "spw0"}})


@pytest.mark.slow
def test_interpolation_is_chosen_by_the_kind_of_table(drifting: Bench) -> None:
    solved = drifting.calibrated(delays={"solution_interval": "integration"}, phases={})
    found = []
    for chosen in ("linear", "nearest", {"phase": "nearest"}, {"gain": "nearest"}):
        bench = solved.after("apply_calibration", time_interpolation=chosen)
        address = bench.context.address(bench.context.visibilities(TARGET)[0], "corrected")
        found.append(load_visibilities(address).visibilities)
    linear, nearest, phases, gains = found
    # gains do not drift once the phases are out
    assert np.abs(nearest - linear).max() > 0.1
    assert np.abs(phases - nearest).max() < 0.05 * np.abs(nearest - linear).max()
    assert np.abs(gains - linear).max() < 0.05 * np.abs(nearest - linear).max()


WINDY = WIDE.model_copy(
    update={
        "bandpasses": None,
        "further_bands": (BAND.model_copy(update={"name": "spw1", "start_frequency": 2.6e9, "n_channels": 8}),),
        "atmosphere": Atmosphere(phase_rms=0.3),
    }
)
"""Two windows a factor of two apart under a troposphere, whose phases go with frequency; nothing else drifts."""


@pytest.fixture(scope="module")
def windy(make_bench: Callable[[ObservationModel], Bench]) -> Bench:
    """Noiseless data of two windows under a troposphere."""
    return make_bench(WINDY)


def phase_error(bench: Bench, window: str) -> float:
    """Return the rms of the phases [rad] of the corrected phase calibrator, a point in the centre, in a window."""
    (partition,) = [one for one in bench.context.visibilities(PHASE) if one.window == window]
    data = load_visibilities(bench.context.address(partition, "corrected"))
    return float(np.sqrt(np.mean(np.angle(data.visibilities[~data.flags]) ** 2)))


def test_phases_of_a_lower_window_correct_a_higher_one_if_they_are_scaled(windy: Bench) -> None:
    solved = windy.calibrated(phases={})
    window_map = {"phase": {"spw1": "spw0"}}
    as_they_are, scaled = (
        solved.after("apply_calibration", window_map=window_map, **params)
        for params in ({}, {"scale_phases": ["phase"]})
    )
    # half of the phase is left without
    assert phase_error(as_they_are, "spw1") > 0.05
    # the phases over the scan of the bandpass are a mean over phasors, which doubles but to the cube of the phases
    assert phase_error(scaled, "spw1") < 0.02 * phase_error(as_they_are, "spw1")
    # in the window that they were solved in they are what they were
    assert phase_error(scaled, "spw0") < 1e-6


@pytest.mark.slow
def test_phases_of_all_windows_together_hold_in_each_if_they_are_scaled(windy: Bench) -> None:
    errors = []
    for scale in (False, True):
        solved = windy.calibrated(phases={"combine_windows": True, "scale_with_frequency": scale})
        assert {
            table.scales_with_frequency for table in solved.context.calibration.tables if table.kind == "phase"
        } == {scale}
        applied = solved.after("apply_calibration")
        errors.append([phase_error(applied, window) for window in ("spw0", "spw1")])
    # the mean of the phases of the windows is that of their mean frequency, but to the square of the phases
    assert max(errors[0]) > 0.03
    assert max(errors[1]) < 0.3 * max(errors[0])


# --- outliers among the data ---


@pytest.fixture(scope="module")
def noisy_and_spoiled(make_bench: Callable[[ObservationModel], Bench]) -> tuple[Bench, Bench]:
    """The same noisy data twice: as they are, and with 2 % of the visibilities ten times too large."""
    model = DELAYED.model_copy(update={"noise": Noise(sefd=400.0)})
    good, spoiled = make_bench(model), make_bench(model)
    rng = np.random.default_rng(12)
    for partition in spoiled.context.visibilities("all"):
        url = spoiled.context.address(partition, "base").visibility
        values = load_array(url)
        values[rng.random(values.shape) < 0.02] *= 10
        write_region(url, (slice(None),) * values.ndim, values)
    return good, spoiled


def scan_of(bench: Bench) -> ScanPart:
    """Return the scan of the flux calibrator, with its model."""
    context = bench.context
    (window,) = context.require_observation().windows
    (scan,) = calibrator_scans(context, ("flux",), window, (0, window.n_channels))
    return ScanPart(scan.pieces, (), to_field_model(context, sky_model(context, FLUX)))


def test_robust_delays_of_spoiled_data_are_those_of_good_ones(
    noisy_and_spoiled: tuple[Bench, Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, spoiled = (scan_of(one.after("set_model")) for one in noisy_and_spoiled)
    n_antennas = len(noisy_and_spoiled[0].context.require_observation().antennas)

    def solve(scan: ScanPart, robust: Robustness) -> DelayTable:
        options = DelayOptions(robust=robust)
        return solve_scan_delays(scan, FLUX, "1", n_antennas, range(n_antennas), options, "scan").table

    truth, plain, robust = (
        solve(scan, how)
        for scan, how in ((good, Robustness.NONE), (spoiled, Robustness.NONE), (spoiled, Robustness.REJECT))
    )
    measured = ~truth.flags & (truth.errors_s > 0)
    plain_rms, robust_rms = (
        float(np.sqrt(np.mean(((one.delays_s - truth.delays_s)[measured] / truth.errors_s[measured]) ** 2)))
        for one in (plain, robust)
    )
    # 2 % of the data are missing: the square root of that of their error
    assert robust_rms < 0.3
    assert plain_rms > 4 * robust_rms
    assert plain.outliers is None
    assert robust.outliers is not None
    assert robust.outliers[0, 0] == pytest.approx(0.02, abs=0.006)
    # However few channels are judged at once, and in however many pieces a scan is read.
    with monkeypatch.context() as patch:
        patch.setattr("radps.node_tasks.solving.CELLS_AT_ONCE", 4)
        again = solve(spoiled, Robustness.REJECT)
    for name in ("delays_s", "errors_s", "outliers"):
        np.testing.assert_array_equal(getattr(again, name), getattr(robust, name))
    (piece,) = spoiled.pieces
    cuts = [
        piece.model_copy(update={"times": times, "channels": channels})
        for times in ((piece.times[0], piece.times[0] + 2), (piece.times[0] + 2, piece.times[1]))
        for channels in ((0, 5), (5, 16))
    ]
    pieces = solve(spoiled._replace(pieces=tuple(cuts)), Robustness.REJECT)
    # sums in another order
    np.testing.assert_allclose(pieces.delays_s, robust.delays_s, rtol=1e-9, atol=1e-20)
    np.testing.assert_array_equal(pieces.outliers, robust.outliers)


def test_robust_solutions_of_spoiled_data_are_those_of_good_ones(noisy_and_spoiled: tuple[Bench, Bench]) -> None:
    good, spoiled = noisy_and_spoiled
    benches = {
        "good": good.calibrated(),
        "plain": spoiled.calibrated(),
        "reject": spoiled.calibrated(robust="reject", delays={}, phases={}),
    }
    tables = {
        name: {
            kind: solutions.load_solution(one.context.locate(one.table(kind).path)).table
            for kind in ("bandpass", "gain")
        }
        for name, one in benches.items()
    }

    def difference(name: str, kind: str) -> float:
        """Return the rms difference of amplitudes, over their error."""
        found, truth = tables[name][kind], tables["good"][kind]
        good = ~(found.flags | truth.flags)
        ratio = np.abs(found.gains[good]) / np.abs(truth.gains[good]) - 1
        return float(np.sqrt(np.mean((ratio * truth.snr[good]) ** 2)))

    # 2 % of the data are missing: the square root of that of their error
    assert difference("reject", "bandpass") < 0.3
    assert difference("plain", "bandpass") > 3
    assert benches["reject"].context.flux_densities[-1].flux_jy == pytest.approx(2.5, rel=0.01)
    counts = benches["reject"].outcome.summary["spw0"]
    for kind in ("delays", "bandpass", "gains", "phases"):
        assert counts[kind]["outlying_data_percent"] == pytest.approx(2.0, abs=0.5)
    scores = {score.name: score.value for score in benches["reject"].outcome.qa}
    assert scores["data far off the bandpass solutions"] == counts["bandpass"]["outlying_data_percent"]
    assert tables["reject"]["bandpass"].outliers.shape == (1, 16, 2)
    assert tables["plain"]["bandpass"].outliers.max() == 0
    assert "data far off the bandpass solutions" not in {score.name for score in benches["plain"].outcome.qa}


# --- scans that share a zarr chunk ---


def test_scans_of_one_zarr_chunk_are_read_once_and_solved_as_each_by_itself(
    delayed: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = delayed.after("set_model").context
    (window,) = context.require_observation().windows
    monkeypatch.setattr(
        "radps.stages._calibration.SUM_BLOCK_BYTES", 100_000
    )  # both zarr chunks of channels, one by one
    found = calibrator_scans(context, ("phase",), window, (0, window.n_channels), together=True)
    assert [len(scan.pieces) for scan in found] == [2, 2, 2]
    assert found[0].read_with == found[1].read_with != found[2].read_with
    model = to_field_model(context, sky_model(context, PHASE))
    scans = [[ScanPart(scan.pieces, (), model)] for scan in found[:2]]
    n_antennas = len(context.require_observation().antennas)
    alone = [sum_scan(parts, "integration", n_antennas, GainOptions()) for parts in scans]
    reads: list[tuple[int, int]] = []

    def load(address: Any, *, times: slice, channels: slice, variables: Any) -> Any:
        reads.append((times.start, times.stop))
        return load_visibilities(address, times=times, channels=channels, variables=variables)

    monkeypatch.setattr("radps.node_tasks.blocks.load_visibilities", load)
    together = sum_scans(scans, "integration", n_antennas, GainOptions())
    assert reads.count((0, 4)) == len(found[0].pieces)
    for one, other in zip(together, alone, strict=True):
        assert one.sums.vis_model.any()
        for first, second in zip((*one.sums, *one[1:4]), (*other.sums, *other[1:4]), strict=True):
            np.testing.assert_array_equal(first, second)


def test_solutions_do_not_depend_on_how_scans_are_shared_out(make_bench: Callable[[ObservationModel], Bench]) -> None:
    bench = make_bench(DELAYED.model_copy(update={"noise": Noise(sefd=400.0)}))
    found = []
    for slots in (1, 3, 64):
        workspace = bench.context.place().model_copy(update={"resources": Resources(slots=slots)})
        shared = Bench(bench.model, bench.context.at(workspace)).calibrated(
            solution_interval="integration", bandpass={"phase_up": {}}, phases={}
        )
        tables = shared.context.calibration.tables
        found.append([solutions.load_solution(shared.context.locate(one.path)).table for one in tables])
    assert len(found[0]) == 4  # bandpass, phases of integrations and of scans, gains
    for others in found[1:]:
        for first, second in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(first.gains, second.gains)
            np.testing.assert_array_equal(first.snr, second.snr)


# --- linear feeds ---


@pytest.mark.slow
def test_linear_feeds_are_calibrated_like_circular_ones(make_bench: Callable[[ObservationModel], Bench]) -> None:
    bench = make_bench(DELAYED.model_copy(update={"polarizations": "XX YY"})).calibrated(delays={})
    solution = solutions.load_solution(bench.context.locate(bench.table("gain").path))
    assert solution.description.polarizations == ("XX", "YY")
    assert bench.after("apply_calibration").error(TARGET) < 1e-6


@pytest.mark.parametrize(
    ("polarizations", "fractions", "mounted"),
    [
        ("XX YY", {"q_fraction": 0.08, "u_fraction": -0.05}, 0.0),
        ("XX YY", {"q_fraction": 0.05, "u_fraction": 0.08}, math.pi / 4),  # the same in the frame of the feeds
        ("RR LL", {"v_fraction": 0.03}, 0.0),
    ],
)
def test_a_polarized_calibrator_gives_true_gains_if_its_model_says_so(
    make_bench: Callable[[ObservationModel], Bench], polarizations: str, fractions: dict[str, float], mounted: float
) -> None:
    polarized = DELAYED.fields[1].model_copy(update={"components": (_FLAT.model_copy(update=fractions),)})
    fields = (DELAYED.fields[0], polarized, DELAYED.fields[2])
    update = {"polarizations": polarizations, "feeds_turn": True, "bandpasses": None, "fields": fields}
    update["receptor_angle"] = mounted
    bench = make_bench(DELAYED.model_copy(update=update))
    errors = []
    for given in (fractions, {}):
        point = {"flux": 2.5, "reference_frequency": BAND.start_frequency, **given}
        solved = bench.after("set_model", models={PHASE: [point]}).after("calibrate")
        errors.append(solved.after("apply_calibration").error(TARGET))
    assert errors[0] < 1e-6
    # Half of the polarization that a hand sees is in the gain of each antenna; a gain counts twice.
    assert errors[1] > 0.02


# --- bad input ---


def test_an_unknown_window_is_refused(delayed: Bench) -> None:
    with pytest.raises(SelectionError, match="there is no spectral window spw7; there are: spw0"):
        delayed.calibrated(windows=["spw7"])


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"bandpass": {"kind": "smoothed", "smoothing": 4}}, "smoothing over 4 solutions has no middle; use 5"),
        ({"bandpass": {"average": 0}}, "greater than 0"),
        ({"bandpass": {"kind": "spline"}}, "'channels', 'smoothed' or 'polynomial'"),
        ({"delays": {"solution_interval": "0 s"}}, "greater than 0"),
        ({"phases": {"scale_with_frequency": "perhaps"}}, "valid boolean"),
        ({"phases": {"combine": True}}, "Extra inputs are not permitted"),
        ({"robust": "median"}, "'none', 'huber' or 'reject'"),
        ({"outlier_sigma": -1}, "greater than or equal to 0"),
    ],
)
def test_parameters_with_mistakes_are_refused(params: dict[str, Any], text: str) -> None:
    module = importlib.import_module("radps.stages.calibrate")
    with pytest.raises(ValidationError, match=text):
        module.Params(**params)
