"""The stages from the simulation to the subtracted continuum, each computed in this process, against the simulated truth."""

from __future__ import annotations

import importlib
import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import dask
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from radps.context.model import Context, Resources, Workspace
from radps.context.records import (
    Antenna,
    DataGroup,
    Direction,
    Observation,
    ObservedField,
    Outcome,
    OutcomeStatus,
    Partition,
    Scan,
    SpectralWindow,
)
from radps.data import stores
from radps.data.demo_observation import demo_observation
from radps.data.observation_model import GainErrors, ObservationModel
from radps.data.simulate import (
    describe_observation,
    simulate_observation,
    true_bandpasses,
    true_gains,
    true_visibilities,
)
from radps.data.solutions import load_solution
from radps.data.visibilities import VisibilityChunk, load_visibilities
from radps.domain.interpolation import interpolate_gains, multiply_gains
from radps.errors import ContextError, ModelError, SelectionError

FLUX, PHASE, TARGET = "3C286", "J1445+0958", "N5921"
TINY = demo_observation("tiny")
CARRIERS = ["3", "13"]
STEADY = TINY.model_copy(
    update={
        "noise": None,
        "interference": None,
        "dead_antennas": (),
        "noisy_antennas": (),
        "gains": GainErrors(mean_amplitude=0.3, amplitude_drift=0.0, phase_drift=0.0),
    }
)
"""Gains that do not change and no noise: what comes out must be the truth, to single precision."""


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
        graph = self.graph(stage, **params)
        outcome = graph if isinstance(graph, Outcome) else dask.compute(graph, scheduler="synchronous")[0]
        assert isinstance(outcome, Outcome)
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
        (record,) = [table for table in self.context.tables if table.kind == kind]
        return load_solution(self.context.locate(record.path))


def observe(model: ObservationModel, url: str) -> Observation:
    """Return the metadata of a simulated observation as the import finds them."""
    descriptions = describe_observation(model)
    first = descriptions[0]
    partitions, scans = [], []
    for one in descriptions:
        spans = {name: [i for i, scan in enumerate(one.scan_names) if scan == name] for name in one.scan_names}
        path = f"visibilities/sim.ps.zarr/{one.name}"
        partitions.append(
            Partition(
                name=one.name,
                dataset="sim",
                path=path,
                field=one.field_name,
                window="spw0",
                intents=one.intents,
                shape=one.shape,
                chunks=(min(2, one.shape[0]), 4),
                polarizations=one.polarizations,
                integration_time_s=one.integration_time_s,
                scans={name: (places[0], places[-1] + 1) for name, places in spans.items()},
                groups={
                    "base": DataGroup(
                        visibility=f"{path}/VISIBILITY",
                        flag=f"{path}/FLAG",
                        weight=f"{path}/WEIGHT",
                        uvw=f"{path}/UVW",
                    )
                },
            )
        )
        scans += [
            Scan(name=name, field=one.field_name, start_s=one.time_s[places[0]], stop_s=one.time_s[places[-1]])
            for name, places in spans.items()
        ]
    rows = zip(first.antennas.names, first.antennas.stations, first.antennas.positions_m.tolist(), strict=True)
    return Observation(
        telescope=first.telescope,
        observer=first.observer,
        project=first.project,
        datasets=("sim",),
        antennas=tuple(Antenna(name=n, station=s, position_m=tuple(p), diameter_m=25.0) for n, s, p in rows),
        fields=tuple(
            ObservedField(
                name=one.field_name,
                source=one.source_name,
                direction=Direction(ra_rad=one.phase_center_rad[0], dec_rad=one.phase_center_rad[1], frame="icrs"),
                intents=one.intents,
            )
            for one in descriptions
        ),
        windows=(
            SpectralWindow(
                name="spw0",
                virtual=0,
                frequency_hz=(first.frequency_hz[0], first.frequency_hz[-1]),
                n_channels=len(first.frequency_hz),
                channel_width_hz=first.channel_width_hz,
                frame=first.spectral_frame,
            ),
        ),
        scans=tuple(scans),
        partitions=tuple(partitions),
        longest_baseline_m=1e3,
        synthesized_beam_rad=2e-4,
    )


@pytest.fixture(scope="module")
def make_bench() -> Iterator[Callable[..., Bench]]:
    """Makes a bench with the raw data of a model."""
    urls = []

    def make(model: ObservationModel, slots: int = 2) -> Bench:
        url = f"memory://{uuid.uuid4().hex}"
        urls.append(url)
        simulate_observation(f"{url}/visibilities/sim.ps.zarr", model, chunks=(2, 4))
        workspace = Workspace(url=url, resources=Resources(slots=slots))
        context = Context(run_id="test", workspace=workspace)
        return Bench(model, context.with_outcome("import_data", Outcome(observation=observe(model, url))))

    yield make
    for url in urls:
        stores.delete(url)


@pytest.fixture(scope="module")
def steady(make_bench: Callable[..., Bench]) -> Bench:
    """Noiseless data, autocorrelations flagged."""
    return make_bench(STEADY).after("flag")


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
        (record,) = [table for table in bench.context.tables if table.kind == kind]
        rows = [number for number, one in enumerate(solution.fields) if one in record.applies_to[field]]
        axes = {"time_s", "gains", "flags", "snr", "stop_reason", "n_iterations"}
        chosen = solution.table._replace(**{name: getattr(solution.table, name)[rows] for name in axes})
        parts.append(interpolate_gains(chosen, data.time_s, data.frequency_hz))
    found = multiply_gains(*parts)
    difference = np.abs(refer(found.gains, reference) / refer(true_total(bench.model, field), reference) - 1)
    return np.where(found.flags, np.nan, difference)


# --- the truth ---


def test_steady_gains_are_found_to_single_precision(steady: Bench) -> None:
    bench = steady.calibrated()
    for field in (FLUX, PHASE, TARGET):
        # complex64 data, and 1e-6 for the spectrum of the phase calibrator, which the model takes as flat
        worst = {FLUX: 1e-6, PHASE: 3e-4, TARGET: 3e-4}[field]
        assert np.nanmax(difference_from_truth(bench, field)) < worst
    data = bench.load(FLUX, "base")
    pairs = true_total(STEADY, FLUX)[:, data.antenna1] * true_total(STEADY, FLUX)[:, data.antenna2].conj()
    assert np.abs(pairs - 1).max() > 0.1  # without a solution the comparison would fail
