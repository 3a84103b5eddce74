r"""Delays of antennas: the slope of their phases over frequency (CASA ``gaintype="K"``).

The visibility of the baseline of antennas i and j is taken to be :math:`V_{ij}(\nu) = G_{ij}(\nu) M_{ij}(\nu)` plus
noise, :math:`G_{ij} = g_i g_j^* \exp(2 \pi i (\tau_i - \tau_j)(\nu - \nu_0))`, each hand of polarization by itself:
a gain g and a delay :math:`\tau` an antenna, :math:`\nu_0` the mean of the channels. A positive delay makes the phase
of an antenna grow with frequency.

1. **Sums** :math:`A = \sum w V M^*` and :math:`B = \sum w |M|^2` a baseline and channel, over the times of an interval
   (:func:`radps.domain.gain_sums.accumulate_gain_sums` with a solution channel a channel). Where single bad
   visibilities have to count less, they are those of :func:`radps.domain.robust_gains.sum_robustly`.
2. **Start.** The Fourier transform of A over frequency, padded 8 times, peaks at the delay of a baseline. Antennas are
   found one after the other, the highest peak first, from the sum of their baselines to those that are known already,
   which begin with the reference antenna; then, twice, each antenna takes the peak of the sum of all its baselines.
3. **Refinement.** The gains are solved for the delays so far (:mod:`radps.domain.stefcal`); then a Gauss-Newton step of
   all phases and delays together. Both repeat until no delay changes by more than 1e-9 of a turn over the band. This
   is the joint least-squares solution.
4. **Errors** of the delays, against the reference antenna: the inverse of the matrix of the last step, times
   chi-squared per degree of freedom of all channels. For antennas of equal noise, a signal-to-noise s of the gain of
   one antenna (complex, over all channels) and a root mean square width :math:`\Delta` of the band, this is about
   :math:`1 / (2 \pi s \Delta)`, for the reference antenna and the other one together.
5. Antennas whose signal-to-noise is below the limit are left out, and the others solved again: their delays are noise,
   which no step makes smaller, and as the reference they would lend it to all others.
6. Delays refer to the reference antenna, whose delay is 0; where it has no solution another takes over with the delay
   that it had last.

Where it fails: delays of more than half the inverse channel width come out wrong by multiples of the inverse; signals
below the noise end at a peak of the noise, which over n channels has a signal-to-noise of about
:math:`\sqrt{2 \ln 8n}`, 3.5 for 64 channels: hence the default limit of 5. Structure of the bandpass that is not
linear in frequency is left, and increases the errors.

References
----------
Schwab & Cotton 1983, AJ 88, 688 (global fringe fitting); CASA ``gaincal`` (``gaintype="K"``, ``minsnr``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from radps.domain.gain_sums import GainSums
from radps.domain.interpolation import InterpolatedGains, InterpolationMethod, interpolate_series, parse_method
from radps.domain.reference_antennas import order_reference_antennas, unit_phasors
from radps.domain.solver import StopReason
from radps.domain.stefcal import GainOptions, Robustness, select_baselines, solve_cell
from radps.errors import SelectionError

_PADDING = 8
"""Points of the transform a channel: the start is within 1/32 of a turn at the edges of the band."""

_SWEEPS = 2
"""Times that each antenna takes its start from all its baselines."""

_TURNS = 1e-9
"""Converged when no delay changes by more than this, in turns over the band."""

_ROUNDING = 6e-8
"""Relative rounding error of complex64 data."""


class DelayOptions(NamedTuple):
    """What is asked of a delay solution."""

    min_baselines: int = 4
    """Antennas with fewer baselines that have data are flagged (CASA ``minblperant``)."""
    min_snr: float = 5.0
    """Solutions with a lower signal-to-noise ratio are flagged (CASA ``minsnr``)."""
    max_iterations: int = 50
    """Limit of Gauss-Newton steps; solutions that have not converged by then are flagged."""
    robust: Robustness = Robustness.NONE
    """Weights of outlying visibilities, where data are summed; sums that are there already are taken as they are."""


class DelayTable(NamedTuple):
    """Delays of antennas at a number of times; the axis of channels has length 1, as in a table of gains."""

    time_s: NDArray[np.float64]
    """Times of the solutions, UTC unix seconds, shape (time,), ascending."""
    frequency_hz: NDArray[np.float64]
    """Frequency at which a delay has no phase, shape (1,)."""
    delays_s: NDArray[np.float64]
    """Shape (time, antenna, 1, polarization) [s]; 0 where flagged."""
    errors_s: NDArray[np.float64]
    """Standard deviation against the reference antenna [s]; same shape; 0 where there is no solution."""
    flags: NDArray[np.bool_]
    """True = do not use; same shape."""
    snr: NDArray[np.float64]
    """Signal-to-noise of the gain over all channels once the delay is taken out; same shape."""
    stop_reason: NDArray[np.int8]
    """:class:`~radps.domain.solver.StopReason`, shape (time, 1, polarization)."""
    n_iterations: NDArray[np.int32]
    """Gauss-Newton steps, shape (time, 1, polarization)."""
    outliers: NDArray[np.float32] | None = None
    """Part of the data that were outliers where they were summed robustly, the mean of the channels with data, shape
    (time, 1, polarization); None: nobody looked for any."""


class _Hand(NamedTuple):
    """The usable data of one interval and hand."""

    vis_model: NDArray[np.complex128]
    """Shape (baseline, channel)."""
    model_power: NDArray[np.float64]
    antenna1: NDArray[np.int64]
    antenna2: NDArray[np.int64]
    n_antennas: int
    frequency_hz: NDArray[np.float64]
    """Shape (channel,), minus the mean of the channels."""
    order: NDArray[np.int64]
    """All antennas, the preferred reference first."""
    valid: NDArray[np.bool_]
    """Antennas that the baselines connect."""

    @property
    def reference(self) -> int:
        """The first antenna of the order that has data."""
        return int(self.order[np.flatnonzero(self.valid[self.order])[0]])

    @property
    def bandwidth_hz(self) -> float:
        """The extent of the channels."""
        return float(np.ptp(self.frequency_hz))


class _HandSolution(NamedTuple):
    """The delays of one interval and hand, shape (antenna,)."""

    delays_s: NDArray[np.float64]
    errors_s: NDArray[np.float64]
    is_solved: NDArray[np.bool_]
    """False = not enough data, or left out as lost in the noise."""
    snr: NDArray[np.float64]
    """Of those left out, when they were."""
    stop_reason: StopReason
    n_iterations: int


def solve_delays(
    sums: GainSums,
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    n_antennas: int,
    reference_antenna: int | Sequence[int] | NDArray[np.int64],
    frequency_hz: NDArray[np.float64],
    options: DelayOptions = DelayOptions(),  # noqa: B008 - a NamedTuple is immutable
) -> DelayTable:
    """Solve for a delay of every antenna, interval and hand.

    Parameters
    ----------
    sums : GainSums
        Of all data of the intervals, shape (interval, baseline, channel, polarization), from
        :func:`radps.domain.gain_sums.accumulate_gain_sums` with a solution channel for each channel.
    antenna1, antenna2 : ndarray of int, shape (baseline,)
        Antenna indices. Autocorrelations are not used.
    n_antennas : int
        Number of antennas.
    reference_antenna : int or sequence of int
        Its delay will be 0. Of several, the first that has a solution.
    frequency_hz : ndarray, shape (channel,)
        Channel frequencies [Hz], equally spaced.
    options : DelayOptions
        Limits.

    Returns
    -------
    DelayTable
        At the weighted mean times of the intervals. Antennas without enough data or signal are flagged.

    Raises
    ------
    SelectionError
        If there are fewer than two channels, they are not equally spaced, or the reference antenna is not one of the
        antennas.
    """
    order = order_reference_antennas(reference_antenna, n_antennas)
    centre_hz = _check_grid(frequency_hz)
    n_times, _, _, n_hands = sums.vis_model.shape
    shape = (n_times, n_antennas, 1, n_hands)
    table = DelayTable(
        time_s=np.divide(sums.weight_time, sums.weight, out=np.zeros(n_times), where=sums.weight > 0),
        frequency_hz=np.array([centre_hz]),
        delays_s=np.zeros(shape),
        errors_s=np.zeros(shape),
        flags=np.ones(shape, np.bool_),
        snr=np.zeros(shape),
        stop_reason=np.full((n_times, 1, n_hands), StopReason.NO_DATA, np.int8),
        n_iterations=np.zeros((n_times, 1, n_hands), np.int32),
    )
    for time, hand in np.ndindex(n_times, n_hands):
        found = _solve_those_with_signal(
            sums.vis_model[time, :, :, hand],
            sums.model_power[time, :, :, hand],
            antenna1,
            antenna2,
            n_antennas,
            frequency_hz - centre_hz,
            order,
            options,
        )
        if found is None:
            continue
        good = found.is_solved & (found.snr >= options.min_snr) & found.stop_reason.is_converged
        table.delays_s[time, good, 0, hand] = found.delays_s[good]
        table.errors_s[time, :, 0, hand] = found.errors_s
        table.flags[time, :, 0, hand] = ~good
        table.snr[time, :, 0, hand] = found.snr
        table.stop_reason[time, 0, hand] = found.stop_reason
        table.n_iterations[time, 0, hand] = found.n_iterations
    return reference_delays(table, order)


def reference_delays(table: DelayTable, reference_antenna: int | Sequence[int] | NDArray[np.int64]) -> DelayTable:
    """Return the table with the delay of the reference antenna 0 throughout.

    Where it is flagged, the next antenna of the order that has a solution takes over with the delay that it had last,
    so that delays do not jump between solutions and may be interpolated.
    """
    order = order_reference_antennas(reference_antenna, table.delays_s.shape[1])
    delays = table.delays_s.copy()
    for hand in range(delays.shape[3]):
        last = np.zeros(delays.shape[1])
        for row, flags in zip(delays[:, :, 0, hand], table.flags[:, :, 0, hand], strict=True):
            valid = ~flags
            if not valid.any():
                continue
            reference = order[np.flatnonzero(valid[order])[0]]
            keep = 0.0 if reference == order[0] else last[reference]
            row[valid] += keep - row[reference]
            last[valid] = row[valid]
    return table._replace(delays_s=delays)


def interpolate_delays(
    table: DelayTable,
    time_s: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    *,
    time_method: InterpolationMethod | str = InterpolationMethod.LINEAR,
) -> InterpolatedGains:
    """Return the gains that delays make: exp(2 pi i delay (frequency - reference frequency)), of modulus 1.

    The delay itself is interpolated in time, linear or nearest, between unflagged solutions; before the first and after
    the last it is held.

    Parameters
    ----------
    table : DelayTable
        Solutions, ascending in time.
    time_s : ndarray, shape (time,)
        Times of the data [s].
    frequency_hz : ndarray, shape (channel,)
        Channel frequencies of the data [Hz], of whatever spectral window.
    time_method : InterpolationMethod or str
        ``"linear"`` or ``"nearest"``.

    Returns
    -------
    InterpolatedGains
        Of shape (time, antenna, channel, polarization) of the data; flagged where an antenna and hand has no solution.

    Raises
    ------
    SelectionError
        If the method is not known.
    """
    method = parse_method(time_method, "time")
    _, n_antennas, _, n_hands = table.delays_s.shape
    is_steady = len(table.time_s) == 1
    wanted = table.time_s if is_steady else np.asarray(time_s, np.float64)
    delays = np.zeros((len(wanted), n_antennas, n_hands))
    missing = np.ones((n_antennas, n_hands), np.bool_)
    for antenna, hand in np.ndindex(n_antennas, n_hands):
        valid = ~table.flags[:, antenna, 0, hand]
        if not valid.any():
            continue
        missing[antenna, hand] = False
        values = table.delays_s[valid, antenna, 0, hand]
        delays[:, antenna, hand] = interpolate_series(wanted, table.time_s[valid], values, method)
    offset_hz = np.asarray(frequency_hz, np.float64) - table.frequency_hz[0]
    gains = np.exp(2j * np.pi * delays[:, :, np.newaxis] * offset_hz[:, np.newaxis])
    shape = (len(time_s), n_antennas, len(frequency_hz), n_hands)
    return InterpolatedGains(np.broadcast_to(gains, shape), np.broadcast_to(missing[:, np.newaxis], shape))


def _check_grid(frequency_hz: NDArray[np.float64]) -> float:
    """Return the mean of the channels [Hz], and refuse channels that are not equally spaced."""
    if len(frequency_hz) < 2:
        raise SelectionError(
            f"delays of {len(frequency_hz)} channels: needs two or more; select more channels, or solve no delays"
        )
    steps = np.diff(frequency_hz)
    spacing = float(np.mean(steps))
    if spacing == 0 or np.abs(steps - spacing).max() > 1e-3 * abs(spacing):
        raise SelectionError(
            f"delays need equally spaced channels, found steps of {steps.min()} to {steps.max()} Hz; solve each part "
            "of the band by itself"
        )
    return float(np.mean(frequency_hz))


def _solve_those_with_signal(
    vis_model: NDArray[np.complex128],
    model_power: NDArray[np.float64],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    n_antennas: int,
    offset_hz: NDArray[np.float64],
    order: NDArray[np.int64],
    options: DelayOptions,
) -> _HandSolution | None:
    """Solve an interval and hand, and again without the antennas that turn out to be lost in the noise.

    The delay of such an antenna wanders: it keeps the steps of all from converging, and as the reference it lends its
    error to all others.
    """
    lost = np.zeros(n_antennas, np.bool_)
    lost_snr = np.zeros(n_antennas)
    found = None
    while True:
        power = np.where((lost[antenna1] | lost[antenna2])[:, np.newaxis], 0.0, model_power)
        usable = _select(vis_model, power, antenna1, antenna2, n_antennas, offset_hz, order, options)
        if usable is None:
            return found
        found = _solve_hand(usable, options)
        found = found._replace(snr=np.where(lost, lost_snr, found.snr))
        newly_lost = found.is_solved & (found.snr < options.min_snr)
        if not newly_lost.any():
            return found
        lost |= newly_lost
        lost_snr = found.snr


def _select(
    vis_model: NDArray[np.complex128],
    model_power: NDArray[np.float64],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    n_antennas: int,
    offset_hz: NDArray[np.float64],
    order: NDArray[np.int64],
    options: DelayOptions,
) -> _Hand | None:
    """Return the baselines of an interval and hand that a solution can use; None where there is none."""
    # a baseline with one channel has no slope
    is_enough = np.count_nonzero(model_power > 0, axis=1) >= 2
    power = np.where(is_enough, model_power.sum(axis=1), 0.0)
    usable, valid = select_baselines(power, antenna1, antenna2, n_antennas, options.min_baselines)
    if not usable.any():
        return None
    return _Hand(
        np.ascontiguousarray(vis_model[usable]),
        np.ascontiguousarray(model_power[usable]),
        antenna1[usable].astype(np.int64),
        antenna2[usable].astype(np.int64),
        n_antennas,
        offset_hz,
        order,
        valid,
    )


def _solve_hand(hand: _Hand, options: DelayOptions) -> _HandSolution:
    """Solve one interval and hand: start from the transforms, then gains and Gauss-Newton steps by turns."""
    delays = _starting_delays(hand)
    reason, n_iterations = StopReason.MAX_ITERATIONS, 0
    gain_options = GainOptions(min_baselines=options.min_baselines, min_snr=0.0)
    while True:
        turned = hand.vis_model * _baseline_phasors(hand, delays).conj()
        cell = solve_cell(
            turned.sum(axis=1)[:, np.newaxis],
            hand.model_power.sum(axis=1)[:, np.newaxis],
            hand.antenna1,
            hand.antenna2,
            hand.n_antennas,
            hand.order,
            gain_options,
        )
        matrix, gradient, chi_squared, solved = _normal_equations(hand, turned, cell.gains[:, 0])
        # an antenna that recorded zeros has no gain and a row of zeros
        inverse = np.linalg.pinv(matrix, hermitian=True)
        step = (inverse @ gradient)[len(solved) :] / (2 * math.pi * hand.bandwidth_hz)
        delays[solved] += step
        n_iterations += 1
        if np.abs(step).max(initial=0.0) * hand.bandwidth_hz < _TURNS:
            reason = StopReason.THRESHOLD
            break
        if n_iterations == options.max_iterations:
            break
    degrees = int(2 * np.count_nonzero(hand.model_power)) - len(gradient) - int(hand.valid.sum())
    variance = np.diag(inverse)[len(solved) :] * chi_squared / max(degrees, 1)
    errors = np.zeros(hand.n_antennas)
    errors[solved] = np.sqrt(variance) / (2 * math.pi * hand.bandwidth_hz)
    return _HandSolution(delays, errors, ~cell.flags[:, 0], cell.snr[:, 0], reason, n_iterations)


def _baseline_phasors(hand: _Hand, delays: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return exp(2 pi i (delay 1 - delay 2) (frequency - mean)), shape (baseline, channel)."""
    difference = delays[hand.antenna1] - delays[hand.antenna2]
    phasors: NDArray[np.complex128] = np.exp(2j * np.pi * difference[:, np.newaxis] * hand.frequency_hz)
    return phasors


def _normal_equations(
    hand: _Hand, turned: NDArray[np.complex128], gains: NDArray[np.complex128]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, NDArray[np.int64]]:
    """Return matrix and gradient of phases and delays (in radians over the band), chi-squared, and their antennas."""
    y = hand.frequency_hz / hand.bandwidth_hz
    expected = (gains[hand.antenna1] * gains[hand.antenna2].conj())[:, np.newaxis]
    curvature = hand.model_power * np.abs(expected) ** 2
    slope = (turned * expected.conj()).imag
    solved = np.flatnonzero(hand.valid & (np.arange(hand.n_antennas) != hand.reference))
    blocks = [_laplacian(hand, (curvature * y**power).sum(axis=1))[np.ix_(solved, solved)] for power in range(3)]
    gradients = []
    for power in range(2):
        total = np.zeros(hand.n_antennas)
        per_baseline = (slope * y**power).sum(axis=1)
        np.add.at(total, hand.antenna1, per_baseline)
        np.subtract.at(total, hand.antenna2, per_baseline)
        gradients.append(total[solved])
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.where(hand.model_power > 0, turned / hand.model_power, expected)
    residual = np.abs(observed - expected) ** 2 + (_ROUNDING * np.abs(observed)) ** 2
    chi_squared = float(np.sum(hand.model_power * residual))
    return np.block([[blocks[0], blocks[1]], [blocks[1], blocks[2]]]), np.concatenate(gradients), chi_squared, solved


def _laplacian(hand: _Hand, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix of sum over baselines of weight (x1 - x2)^2, shape (antenna, antenna)."""
    matrix = np.zeros((hand.n_antennas, hand.n_antennas))
    np.add.at(matrix, (hand.antenna1, hand.antenna1), weight)
    np.add.at(matrix, (hand.antenna2, hand.antenna2), weight)
    np.subtract.at(matrix, (hand.antenna1, hand.antenna2), weight)
    np.subtract.at(matrix, (hand.antenna2, hand.antenna1), weight)
    return matrix


def _starting_delays(hand: _Hand) -> NDArray[np.float64]:
    """Return the delays at the peaks of the transforms, against the reference antenna; 0 where not valid."""
    delays = np.zeros(hand.n_antennas)
    phasors = np.zeros((hand.n_antennas, len(hand.frequency_hz)), np.complex128)
    phasors[hand.reference] = 1.0
    waiting: set[int] = set(np.flatnonzero(hand.valid).tolist()) - {hand.reference}
    others: list[int] = []
    while waiting:
        found = {antenna: _find_peak(hand, antenna, phasors) for antenna in sorted(waiting)}
        best = max(found, key=lambda antenna: found[antenna].snr)
        delays[best], phasors[best] = found[best].delay_s, found[best].phasors
        waiting.remove(best)
        others.append(best)
    for _ in range(_SWEEPS):
        for antenna in others:
            peak = _find_peak(hand, antenna, phasors)
            delays[antenna], phasors[antenna] = peak.delay_s, peak.phasors
    return delays


class _Peak(NamedTuple):
    """The peak of the transform of the baselines of one antenna."""

    delay_s: float
    phasors: NDArray[np.complex128]
    """What the delay and the phase of the peak make of a 1, shape (channel,)."""
    snr: float
    """Height over its error, times an unknown factor that is the same for all antennas; -1 without any baseline."""


def _find_peak(hand: _Hand, antenna: int, phasors: NDArray[np.complex128]) -> _Peak:
    """Add up the baselines of an antenna, each turned back by the phasors of the other one, and find the delay.

    Antennas whose phasors are 0 are not known yet, and not used.
    """
    first, second = hand.antenna1 == antenna, hand.antenna2 == antenna
    others = np.concatenate([hand.antenna2[first], hand.antenna1[second]])
    data = np.concatenate([hand.vis_model[first], hand.vis_model[second].conj()])
    stack: NDArray[np.complex128] = (data * phasors[others]).sum(axis=0)
    known = np.abs(phasors[others, 0]) > 0
    power = float(np.concatenate([hand.model_power[first], hand.model_power[second]])[known].sum())
    spacing = hand.bandwidth_hz / (len(stack) - 1)
    cell = np.rint((hand.frequency_hz - hand.frequency_hz.min()) / spacing).astype(np.int64)
    n_points = int(next_fast_len(_PADDING * len(stack)))
    grid = np.zeros(n_points, np.complex128)
    grid[cell] = stack
    height = np.abs(np.fft.fft(grid))
    place = int(height.argmax())
    delay = float(np.fft.fftfreq(n_points, spacing)[place])
    wave: NDArray[np.complex128] = np.exp(2j * np.pi * delay * hand.frequency_hz)
    phase = unit_phasors(np.array([np.vdot(wave, stack)]))[0]
    snr = float(height[place]) / math.sqrt(power) if power > 0 else -1.0
    return _Peak(delay, wave * (phase if phase != 0 else 1.0), snr)
