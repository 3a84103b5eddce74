"""What the assessment of calibrated data does on a worker: sum the errors of a block, boil the sums down."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data import stores
from radps.data.visibilities import load_baselines
from radps.domain.closure import (
    BaselineSums,
    add_baseline_sums,
    measure_closure_errors,
    measure_phase_scatter,
    sum_baselines,
)
from radps.domain.gain_sums import accumulate_gain_sums
from radps.node_tasks.blocks import Block
from radps.node_tasks.prediction import FieldModel
from radps.node_tasks.solving import load_corrected, predict_model


class VisibilityQuality(NamedTuple):
    """The numbers that calibrated data of a source are judged by; NaN where there are no data."""

    n_baselines: int
    """Baselines with data."""
    closure_amplitude: float
    """Error of baselines that no antenna explains, relative."""
    closure_phase_rad: float
    """[rad]"""
    long_phase_rms_rad: float
    """Median over the longest third of the baselines."""
    short_phase_rms_rad: float
    """Of the shortest third."""
    phase_slope: float
    """Of log rms against log length."""


def sum_errors(block: Block, model: FieldModel) -> BaselineSums:
    """Compare a block of calibrated data with the model, all its channels together."""
    data = load_corrected(block, ())
    sums = accumulate_gain_sums(
        data.visibilities,
        predict_model(block, data, model),
        data.flags,
        data.weights,
        time_s=data.time_s,
        interval=np.arange(len(data.time_s)),
        channel=np.zeros(len(data.frequency_hz), np.int64),
        n_intervals=len(data.time_s),
    )
    cross = data.antenna1 != data.antenna2
    observed, power = sums.vis_model[:, cross, 0], sums.model_power[:, cross, 0]
    ratio = np.divide(observed, power, out=np.zeros(power.shape, np.complex128), where=power > 0)
    return sum_baselines(ratio, power, data.antenna1[cross], data.antenna2[cross])


def add_error_sums(parts: Sequence[BaselineSums]) -> BaselineSums:
    """Merge the sums of disjoint times, in their order."""
    return functools.reduce(add_baseline_sums, parts)


def save_quality(sums: BaselineSums, store: str, url: str) -> VisibilityQuality:
    """Write closure errors and phase rms of every baseline as a group at ``url``; returns the numbers of them all."""
    antenna1, antenna2 = load_baselines(store)
    cross = antenna1 != antenna2
    pairs = antenna1[cross], antenna2[cross]
    length_m = _lengths(store, *pairs)
    with_data = sums.n_integrations.any(axis=1)
    closure = measure_closure_errors(sums, len(np.unique([pair[with_data] for pair in pairs])))
    scatter = measure_phase_scatter(sums, length_m)
    names = stores.load_array(stores.join_url(store, "antenna_xds", "antenna_name"))
    stores.require_parents(url)
    stores.require_group(url, {"type": "visibility_quality"})
    for name, values, units in (
        ("baseline_antenna1_name", names[pairs[0]], ""),
        ("baseline_antenna2_name", names[pairs[1]], ""),
        ("BASELINE_LENGTH", length_m, "m"),
        ("CLOSURE_AMPLITUDE", closure.baseline_amplitude, ""),
        ("CLOSURE_PHASE", closure.baseline_phase_rad, "rad"),
        ("PHASE_RMS", scatter.baseline_rms_rad, "rad"),
    ):
        where = stores.join_url(url, name)
        stores.save_array(where, values, dims=("baseline_id",), attrs={"units": units}, overwrite=True)
    return VisibilityQuality(
        n_baselines=int(with_data.sum()),
        closure_amplitude=closure.amplitude,
        closure_phase_rad=closure.phase_rad,
        long_phase_rms_rad=scatter.long_rms_rad,
        short_phase_rms_rad=scatter.short_rms_rad,
        phase_slope=scatter.slope,
    )


def _lengths(store: str, antenna1: NDArray[np.int64], antenna2: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the lengths of baselines, (baseline,) [m]."""
    positions = stores.load_array(stores.join_url(store, "antenna_xds", "ANTENNA_POSITION"))
    length: NDArray[np.float64] = np.linalg.norm(positions[antenna1] - positions[antenna2], axis=1)
    return length
