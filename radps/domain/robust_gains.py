r"""Sums for gain solutions that single bad visibilities do not pull: iteratively reweighted least squares.

Interference that was not flagged, or a correlator that fails now and then, leaves visibilities that are far off. Least
squares follows them with their full size; here they count less, or not at all.

1. Complex gains are solved from all data, each interval, channel and hand by itself.
2. The residual of a visibility is :math:`u = \sqrt{w} |V - g_i g_j^* M|`. Its scale is that of the noise of a real
   part, :math:`s = \mathrm{median}(u) / \sqrt{2 \ln 2}` (the median of a Rayleigh distribution), from a histogram, so
   that the data may come in pieces. Half of the data may be bad before it fails.
3. Huber's weights :math:`\min(1, k s / u)` multiply those of the data, and the gains are solved again; steps 2 and 3
   are done ``N_HUBER`` times. With k = 1.5011 a solution from noise alone has 95 % of the efficiency of least squares:
   the value for residuals in two dimensions, as 1.345 is for one.
4. :attr:`Robustness.REJECT` goes on: data with :math:`u > 5 s` are left out and all others have their own weights
   again, ``N_REJECT`` times. Noise alone exceeds that by 4e-6. This is the choice for strong outliers: those of
   Huber's still count as residuals of k s each, all in one direction if they are too bright.

What is solved in the end (phases, amplitudes, both) is solved from the last sums; the weights always come from complex
gains, which follow any amplitude scale of an antenna. All numbers of steps are fixed, and no interval, channel or hand
depends on another one, so neither do the results on how the data are cut. Delays are solved from sums whose every
channel is judged by gains of its own: the shape of a bandpass is no outlier.

Where it fails: outliers in more than half of the data of an interval, or in nearly all of one antenna or baseline (the
gain follows an antenna; a baseline is closure error, for `flag`); signal-to-noise far below 1 in a visibility, where
what is off cannot be told; intervals of one integration and channel, with one visibility a baseline, where the scale is
too low by :math:`\sqrt{1 - 2 / (N - 1)}` for N antennas.

References
----------
Huber 1964, Ann. Math. Statist. 35, 73. Maronna, Martin & Yohai 2006, Robust Statistics, sections 2.2 and 6.13
(efficiency :math:`[E(\psi' + \psi / u) / 2]^2 / (E \psi^2 / 2)` in two dimensions). CASA ``gaincal`` and ``bandpass``,
``solmode="R"`` (rejection by a falling threshold) and ``"L1R"`` (that after a robust start).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from radps.domain.gain_sums import (
    GainSums,
    accumulate_gain_sums,
    add_gain_sums,
    align_model,
    empty_gain_sums,
    measure_datum,
)
from radps.domain.stefcal import GainOptions, Robustness, solve_cell

HUBER_CONSTANT = 1.5011
"""k of step 3: 95 % efficiency for complex residuals."""
OUTLIER_SIGMA = 5.0
"""Residual over scale from which a visibility is an outlier."""
N_HUBER = 6
"""The bias of 2 % of outliers falls by some 40 in a step, until it is that of their weights."""
N_REJECT = 3
CELLS_AT_ONCE = 4096
"""Intervals x channels x hands that callers cut data into that have many: the histogram of one takes 12 kB."""

_RAYLEIGH_MEDIAN = math.sqrt(2 * math.log(2))
_N_BINS = 3000
_BIN_WIDTH = 0.03
"""Of the logarithm of a residual; the median is interpolated within a bin."""
_LOWEST = -45.0
"""Logarithm of the smallest residual that is told from 0."""


class GainData(NamedTuple):
    """Visibilities for a gain solution, or a piece of them; as for :func:`accumulate_gain_sums`."""

    visibilities: NDArray[Any]
    """Shape (time, baseline, channel, polarization); parallel hands only."""
    model: NDArray[Any]
    flags: NDArray[np.bool_]
    weights: NDArray[Any]
    time_s: NDArray[np.float64]
    interval: NDArray[np.int64]
    """Solution interval of each integration; -1 = not used."""
    channel: NDArray[np.int64]
    """Solution channel of each channel; -1 = not used."""
    n_intervals: int | None = None

    def accumulate(self) -> GainSums:
        """Return the sums of all data with the weights that they have."""
        return accumulate_gain_sums(**self._asdict())

    def of_channels(self, part: slice) -> GainData:
        """Return some of the channels of data whose every channel is a solution channel."""
        if part == slice(0, self.visibilities.shape[2]):
            return self
        names = ("visibilities", "model", "flags", "weights")
        cut = {name: getattr(self, name)[:, :, part] for name in names}
        return self._replace(**cut, channel=np.arange(cut["visibilities"].shape[2]))


class RobustSums(NamedTuple):
    """Sums of reweighted data, and how much of them was off."""

    sums: GainSums
    outliers: NDArray[np.float32] | None
    """Part of the data that are ``OUTLIER_SIGMA`` times the scale off, shape (interval, channel, polarization); None
    with :attr:`Robustness.NONE`."""


def sum_robustly(
    load: Callable[[], Iterable[GainData]],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    n_antennas: int,
    options: GainOptions,
) -> RobustSums:
    """Return the sums for a gain solution, of data that are weighted by how far they are off.

    Parameters
    ----------
    load : callable
        Returns the data, in one or more disjoint pieces in a fixed order. It is called many times: memory is that of a
        piece if it reads them each time.
    antenna1, antenna2 : ndarray of int, shape (baseline,)
        Antenna indices. Autocorrelations are not judged.
    n_antennas : int
        Number of antennas.
    options : GainOptions
        Its ``robust`` says what becomes of outliers; with ``NONE`` the sums are those of all data.
    """
    sums = functools.reduce(add_gain_sums, (piece.accumulate() for piece in load()))
    n_intervals, _, n_channels, n_hands = sums.vis_model.shape
    if options.robust is Robustness.NONE:
        return RobustSums(sums, None)
    n_reject = N_REJECT if options.robust is Robustness.REJECT else 0
    for rejects in (False,) * N_HUBER + (True,) * n_reject:
        gains, solved = _solve_cells(sums, antenna1, antenna2, n_antennas, options)
        counts = np.zeros((n_intervals, n_channels, n_hands, _N_BINS), np.uint32)
        for piece in load():
            _count_residuals(*_arrays(piece), antenna1, antenna2, gains, solved, counts)
        sums = empty_gain_sums(sums.vis_model.shape)
        n_data, n_off = np.zeros((2, n_intervals, n_channels, n_hands), np.int64)
        judged = (antenna1, antenna2, gains, solved, _find_scales(counts))
        for piece in load():
            time_s = np.asarray(piece.time_s, np.float64)
            _reweigh(*_arrays(piece), *judged, time_s, rejects, *sums, n_data, n_off)
    outliers = np.divide(n_off, n_data, out=np.zeros(n_data.shape), where=n_data > 0)
    return RobustSums(sums, outliers.astype(np.float32))


def _arrays(piece: GainData) -> tuple[NDArray[Any], ...]:
    """Return the arrays of a piece as the compiled loops take them."""
    return (piece.visibilities, align_model(piece.model, 4), piece.flags, piece.weights, piece.interval, piece.channel)


def _solve_cells(
    sums: GainSums,
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    n_antennas: int,
    options: GainOptions,
) -> tuple[NDArray[np.complex128], NDArray[np.bool_]]:
    """Return complex gains and where there are some, both of shape (interval, antenna, channel, polarization)."""
    n_intervals, _, n_channels, n_hands = sums.vis_model.shape
    gains = np.ones((n_intervals, n_antennas, n_channels, n_hands), np.complex128)
    solved = np.zeros(gains.shape, np.bool_)
    # a gain of low signal-to-noise is a gain to judge residuals by, all the same
    complex_options = GainOptions(min_baselines=options.min_baselines, min_snr=0.0)
    order = np.arange(n_antennas)
    for interval, channel in np.ndindex(n_intervals, n_channels):
        cell = solve_cell(
            sums.vis_model[interval, :, channel],
            sums.model_power[interval, :, channel],
            antenna1,
            antenna2,
            n_antennas,
            order,
            complex_options,
        )
        gains[interval, :, channel], solved[interval, :, channel] = cell.gains, ~cell.flags
    return gains, solved


def _find_scales(counts: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Return the noise of a real part from histograms of residuals along the last axis; infinite without data."""
    total = np.cumsum(counts, axis=-1, dtype=np.int64)
    half = 0.5 * total[..., -1:]
    place = (total < half).sum(axis=-1)
    inside = np.take_along_axis(counts, place[..., np.newaxis], axis=-1)[..., 0]
    before = np.take_along_axis(total, place[..., np.newaxis], axis=-1)[..., 0] - inside
    part = np.divide(half[..., 0] - before, inside, out=np.zeros(place.shape), where=inside > 0)
    median = np.exp(_LOWEST + _BIN_WIDTH * (place + part))
    return np.where(total[..., -1] > 0, median / _RAYLEIGH_MEDIAN, np.inf)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _count_residuals(
    visibilities: NDArray[Any],
    model: NDArray[Any],
    flags: NDArray[np.bool_],
    weights: NDArray[Any],
    interval: NDArray[np.int64],
    channel: NDArray[np.int64],
    antenna1: NDArray[Any],
    antenna2: NDArray[Any],
    gains: NDArray[np.complex128],
    solved: NDArray[np.bool_],
    counts: NDArray[np.uint32],
) -> None:
    """Add the residuals of a piece to the histograms of their logarithms."""
    n_times, n_baselines, n_channels, n_hands = visibilities.shape
    step_t, step_b = int(model.shape[0] > 1), int(model.shape[1] > 1)
    step_c, step_p = int(model.shape[2] > 1), int(model.shape[3] > 1)
    for t in range(n_times):
        n = interval[t]
        if n < 0:
            continue
        for b in range(n_baselines):
            i, j = antenna1[b], antenna2[b]
            if i == j:
                continue
            for c in range(n_channels):
                k = channel[c]
                if k < 0:
                    continue
                for p in range(n_hands):
                    if not (solved[n, i, k, p] and solved[n, j, k, p]):
                        continue
                    value = np.complex128(visibilities[t, b, c, p])
                    expected = np.complex128(model[t * step_t, b * step_b, c * step_c, p * step_p])
                    weight = np.float64(weights[t, b, c, p])
                    usable, _ = measure_datum(value, expected, flags[t, b, c, p], weight)
                    if not usable:
                        continue
                    off = abs(value - gains[n, i, k, p] * gains[n, j, k, p].conjugate() * expected)
                    place = 0
                    if off > 0:
                        place = int((np.log(off) + 0.5 * np.log(weight) - _LOWEST) / _BIN_WIDTH)
                    counts[n, k, p, min(max(place, 0), _N_BINS - 1)] += 1


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _reweigh(
    visibilities: NDArray[Any],
    model: NDArray[Any],
    flags: NDArray[np.bool_],
    weights: NDArray[Any],
    interval: NDArray[np.int64],
    channel: NDArray[np.int64],
    antenna1: NDArray[Any],
    antenna2: NDArray[Any],
    gains: NDArray[np.complex128],
    solved: NDArray[np.bool_],
    scale: NDArray[np.float64],
    time_s: NDArray[np.float64],
    rejects: bool,
    vis_model: NDArray[np.complex128],
    model_power: NDArray[np.float64],
    weight_sum: NDArray[np.float64],
    weight_time: NDArray[np.float64],
    n_data: NDArray[np.int64],
    n_off: NDArray[np.int64],
) -> None:
    """Add a piece to the sums, each visibility with the weight that its residual leaves it."""
    n_times, n_baselines, n_channels, n_hands = visibilities.shape
    step_t, step_b = int(model.shape[0] > 1), int(model.shape[1] > 1)
    step_c, step_p = int(model.shape[2] > 1), int(model.shape[3] > 1)
    for t in range(n_times):
        n = interval[t]
        if n < 0:
            continue
        for b in range(n_baselines):
            i, j = antenna1[b], antenna2[b]
            for c in range(n_channels):
                k = channel[c]
                if k < 0:
                    continue
                for p in range(n_hands):
                    value = np.complex128(visibilities[t, b, c, p])
                    expected = np.complex128(model[t * step_t, b * step_b, c * step_c, p * step_p])
                    weight = np.float64(weights[t, b, c, p])
                    usable, power = measure_datum(value, expected, flags[t, b, c, p], weight)
                    if not usable:
                        continue
                    if i != j and solved[n, i, k, p] and solved[n, j, k, p]:
                        response = gains[n, i, k, p] * gains[n, j, k, p].conjugate()
                        off = np.sqrt(weight) * abs(value - response * expected)
                        n_data[n, k, p] += 1
                        is_off = off > OUTLIER_SIGMA * scale[n, k, p]
                        n_off[n, k, p] += is_off
                        if rejects and is_off:
                            continue
                        if not rejects and off > HUBER_CONSTANT * scale[n, k, p]:
                            weight *= HUBER_CONSTANT * scale[n, k, p] / off
                    vis_model[n, b, k, p] += weight * (value * expected.conjugate())
                    model_power[n, b, k, p] += weight * power
                    weight_sum[n] += weight
                    weight_time[n] += weight * time_s[t]
