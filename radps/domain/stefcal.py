r"""Antenna gains and bandpasses from visibilities of a known model: StefCal.

The visibility of the baseline of antennas i and j is taken to be :math:`V_{ij} = g_i g_j^* M_{ij}` plus noise, each
hand of polarization by itself. The gains minimise :math:`\chi^2 = \sum w |V_{ij} - g_i g_j^* M_{ij}|^2`.

1. **Sums.** All that :math:`\chi^2` needs of a solution interval are, per baseline, :math:`A_{ij} = \sum w V M^*` and
   :math:`B_{ij} = \sum w |M|^2`. They are summed once (:mod:`radps.domain.gain_sums`) and merge by addition, so an
   interval may be summed in pieces, and any number of integrations costs the iteration nothing.
2. **Selection.** Antennas with too few baselines are dropped until none is left that has too few; of what remains the
   largest set of antennas that baselines connect is kept. All others are flagged.
3. **Gain steps.** With the other gains held, the best gain of an antenna is
   :math:`g_i = \sum_j A_{ij} g_j / \sum_j B_{ij} |g_j|^2` (for phases only: the same, scaled to modulus 1). All
   antennas take the step at once; every second step is averaged with the gains before it, without which the amplitudes
   would oscillate. :func:`radps.domain.solver.solve` does the steps, until the gains change by less than the tolerance.
4. **Errors.** The error of a gain, real and imaginary part together, is
   :math:`\sigma_i = (2 \chi^2_a / (\nu \sum_j B_{ij} |g_j|^2))^{1/2}`, with :math:`\chi^2_a` of the *averaged*
   visibilities A/B and its :math:`\nu` degrees of freedom. So it follows from the scatter between baselines, closure
   errors included, and needs no absolute weights. The signal-to-noise is :math:`|g_i| / \sigma_i`. CASA's
   agrees on average and to 5 % for well-constrained gains (10 to 20 % for single channels). For phases alone only what
   is perpendicular to the model counts as noise, so that raw data, whose amplitudes are not those of the model, serve.
5. **Mode.** For phases alone the gains of step 3 have modulus 1. For amplitudes alone the complex gains are solved and
   their phases dropped, so that phases left in the data do not lower the amplitudes. (CASA ``calmode="a"`` drops
   the phases of the visibilities instead, whose moduli are biased upwards by the noise.)
6. **Reference.** Phases are turned so that the reference antenna has phase 0.

Where it fails: with a wrong model; where the phase winds within an interval (the amplitudes come out low); where the
signal of the interval is below the noise on every baseline (the iteration then ends at a local minimum; the solutions
are flagged by their signal-to-noise). The scheme is the least-squares one: a single strong outlier pulls the solution,
unless the sums are those of :mod:`radps.domain.robust_gains`.

References
----------
Salvini & Wijnholds 2014, A&A 571, A97 (StefCal); CASA ``gaincal`` and ``bandpass`` for the behaviour
(``calmode`` p, a, ap; ``minblperant`` 4, ``minsnr`` 3, no normalisation of the bandpass: it carries the flux scale).
"""

from __future__ import annotations

import enum
import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from radps.domain.reference_antennas import reference_phases, unit_phasors
from radps.domain.solver import IterationControl, ModelUpdate, Residual, SolverResult, solve

_ROUNDING = 6e-8
"""Relative rounding error of complex64 data: noise below it is not believed."""


class GainMode(enum.StrEnum):
    """What is solved for."""

    PHASE = "phase"
    """Phases only; all amplitudes are 1."""
    AMPLITUDE = "amplitude"
    """Amplitudes only: the moduli of the complex gains."""
    AMPLITUDE_PHASE = "amplitude_phase"
    """Complex gains."""


class Robustness(enum.StrEnum):
    """What becomes of visibilities that are far off the solution; see :mod:`radps.domain.robust_gains`."""

    NONE = "none"
    """Least squares: all data with the weights that they have."""
    HUBER = "huber"
    """They count the less the farther they are off."""
    REJECT = "reject"
    """They are left out, after a start with ``huber``."""


class GainOptions(NamedTuple):
    """What is asked of a solution."""

    mode: GainMode = GainMode.AMPLITUDE_PHASE
    """Complex gains, their phases or their amplitudes only."""
    min_baselines: int = 4
    """Antennas with fewer baselines that have data are flagged (CASA ``minblperant``)."""
    min_snr: float = 3.0
    """Solutions with a lower signal-to-noise ratio are flagged (CASA ``minsnr``)."""
    tolerance: float = 1e-9
    """Converged when a gain step changes the gains by less than this, relative to their size."""
    max_iterations: int = 500
    """Limit of gain steps; solutions that have not converged by then are flagged."""
    robust: Robustness = Robustness.NONE
    """Weights of outlying visibilities, where data are summed; sums that are there already are taken as they are."""


class GainSolution(NamedTuple):
    """The gains of one interval and channel."""

    gains: NDArray[np.complex128]
    """Shape (antenna, polarization); 1 where flagged."""
    flags: NDArray[np.bool_]
    """True = do not use; same shape."""
    snr: NDArray[np.float64]
    """Modulus of the gain over the error of the complex gain; same shape; 0 where there is no solution."""
    stop_reason: NDArray[np.int8]
    """:class:`~radps.domain.solver.StopReason` of every polarization, shape (polarization,)."""
    n_iterations: NDArray[np.int32]
    """Gain steps, shape (polarization,)."""
    history: tuple[SolverResult, ...]
    """How the iteration went, one entry a polarization."""


class _GainProblem:
    """The gains of one interval, channel and hand, as :class:`radps.domain.solver.Problem`."""

    def __init__(
        self,
        vis_model: NDArray[np.complex128],
        model_power: NDArray[np.float64],
        antenna1: NDArray[np.int64],
        antenna2: NDArray[np.int64],
        start: NDArray[np.complex128],
        *,
        phase_only: bool,
    ) -> None:
        self.gains = start
        self.curvature = np.zeros(len(start))
        self._data = (vis_model, model_power, antenna1, antenna2)
        self._phase_only = phase_only
        self._best = np.zeros_like(start)
        self._steps = 0

    def residual_update(self) -> Residual:
        """Find the best gain of every antenna with the others held; the residual is the relative change to it."""
        return Residual(_best_gains(*self._data, self.gains, self._phase_only, self._best, self.curvature))

    def model_update(self, goal: float, max_iterations: int) -> ModelUpdate:
        """Take the step; every second one is averaged with the gains before it."""
        del goal, max_iterations  # a step is one iteration, and cannot be cut short
        if self._steps % 2:
            averaged = 0.5 * (self.gains + self._best)
            self.gains = unit_phasors(averaged) if self._phase_only else averaged
        else:
            self.gains = self._best.copy()
        self._steps += 1
        return ModelUpdate(iterations=1)


def solve_cell(
    vis_model: NDArray[np.complex128],
    model_power: NDArray[np.float64],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    n_antennas: int,
    order: NDArray[np.int64],
    options: GainOptions,
) -> GainSolution:
    """Solve the hands of one interval and channel; the sums have shape (baseline, polarization)."""
    n_polarizations = vis_model.shape[1]
    gains = np.ones((n_antennas, n_polarizations), np.complex128)
    flags = np.ones((n_antennas, n_polarizations), np.bool_)
    snr = np.zeros((n_antennas, n_polarizations))
    history = []
    for polarization in range(n_polarizations):
        usable, valid = select_baselines(
            model_power[:, polarization], antenna1, antenna2, n_antennas, options.min_baselines
        )
        baselines = np.flatnonzero(usable)
        if baselines.size == 0:
            history.append(solve(_NoData(), IterationControl()))
            continue
        reference = int(order[np.flatnonzero(valid[order])[0]])
        solution, found, found_snr = _solve_hand(
            vis_model[baselines, polarization],
            model_power[baselines, polarization],
            antenna1[baselines].astype(np.int64),
            antenna2[baselines].astype(np.int64),
            valid,
            reference,
            options,
        )
        history.append(solution)
        good = valid & (found_snr >= options.min_snr) & solution.stop_reason.is_converged
        flags[:, polarization] = ~good
        gains[good, polarization] = np.abs(found[good]) if options.mode is GainMode.AMPLITUDE else found[good]
        snr[valid, polarization] = found_snr[valid]
    return GainSolution(
        _refer_to_unflagged(gains, flags, order),
        flags,
        snr,
        np.array([solution.stop_reason for solution in history], np.int8),
        np.array([solution.n_iterations for solution in history], np.int32),
        tuple(history),
    )


class _NoData:
    """A problem without data: the loop ends at once with the reason for it."""

    def residual_update(self) -> Residual:
        """Return that there is nothing to compare."""
        return Residual(math.nan)

    def model_update(self, goal: float, max_iterations: int) -> ModelUpdate:
        """Change nothing."""
        del goal, max_iterations
        return ModelUpdate(iterations=0)


def _solve_hand(
    vis_model: NDArray[np.complex128],
    model_power: NDArray[np.float64],
    antenna1: NDArray[np.int64],
    antenna2: NDArray[np.int64],
    valid: NDArray[np.bool_],
    reference: int,
    options: GainOptions,
) -> tuple[SolverResult, NDArray[np.complex128], NDArray[np.float64]]:
    """Return how the iteration ended, the gains and their signal-to-noise, both of shape (antenna,)."""
    phase_only = options.mode is GainMode.PHASE
    start = _starting_gains(vis_model, model_power, antenna1, antenna2, valid, reference, phase_only=phase_only)
    problem = _GainProblem(vis_model, model_power, antenna1, antenna2, start, phase_only=phase_only)
    # a gain step cannot diverge beyond the data, and a good start makes the first residual uncommonly small
    control = IterationControl(
        max_cycles=options.max_iterations,
        max_iterations=options.max_iterations,
        threshold=options.tolerance,
        divergence_factor=math.inf,
    )
    solution = solve(problem, control)
    if phase_only:
        return solution, problem.gains, _phase_snr(vis_model, model_power, antenna1, antenna2, problem.gains, valid)
    scale = _residual_variance(vis_model, model_power, antenna1, antenna2, problem.gains, int(valid.sum()))
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = np.where(valid, np.abs(problem.gains) * np.sqrt(0.5 * problem.curvature / scale), 0.0)
    return solution, problem.gains, snr


def _starting_gains(
    vis_model: NDArray[np.complex128],
    model_power: NDArray[np.float64],
    antenna1: NDArray[np.int64],
    antenna2: NDArray[np.int64],
    valid: NDArray[np.bool_],
    reference: int,
    *,
    phase_only: bool,
) -> NDArray[np.complex128]:
    """Guess gains: phases of the baselines to the reference antenna, one amplitude for all; 0 where not valid."""
    start = valid.astype(np.complex128)
    second = antenna1 == reference
    start[antenna2[second]] = unit_phasors(vis_model[second]).conj()
    first = antenna2 == reference
    start[antenna1[first]] = unit_phasors(vis_model[first])
    start[~valid] = 0
    if phase_only:
        return start
    return start * math.sqrt(float(np.sum(np.abs(vis_model))) / float(np.sum(model_power)))


def _residual_variance(
    vis_model: NDArray[np.complex128],
    model_power: NDArray[np.float64],
    antenna1: NDArray[np.int64],
    antenna2: NDArray[np.int64],
    gains: NDArray[np.complex128],
    n_antennas: int,
) -> float:
    """Return chi-squared per degree of freedom of the averaged visibilities, not below their rounding error.

    Without degrees of freedom (three antennas or fewer) it is 1: the weights are taken at their word.
    """
    degrees = 2 * len(vis_model) - (2 * n_antennas - 1)
    if degrees <= 0:
        return 1.0
    observed = vis_model / model_power
    residual = np.abs(observed - gains[antenna1] * gains[antenna2].conj())
    rounding = _ROUNDING * np.abs(observed)
    floor = float(np.sum(model_power * rounding**2))
    return max(float(np.sum(model_power * residual**2)), floor, float(np.finfo(np.float64).tiny)) / degrees


def _phase_snr(
    vis_model: NDArray[np.complex128],
    model_power: NDArray[np.float64],
    antenna1: NDArray[np.int64],
    antenna2: NDArray[np.int64],
    gains: NDArray[np.complex128],
    valid: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the signal-to-noise of phases, shape (antenna,); amplitudes that are not 1 are signal, not noise.

    Only what is perpendicular to the model on a baseline is noise, with a degree of freedom a baseline.
    """
    turned = vis_model * gains[antenna1].conj() * gains[antenna2]
    degrees = len(vis_model) - (int(valid.sum()) - 1)
    noise = float(np.sum((turned.imag**2 + (_ROUNDING * np.abs(turned)) ** 2) / model_power))
    scale = max(noise, float(np.finfo(np.float64).tiny)) / degrees if degrees > 0 else 1.0
    signal, power = np.zeros(len(gains)), np.zeros(len(gains))
    for antennas in (antenna1, antenna2):
        np.add.at(signal, antennas, turned.real)
        np.add.at(power, antennas, model_power)
    snr: NDArray[np.float64] = np.maximum(signal, 0.0) / np.sqrt(2 * scale * np.where(valid, power, 1.0))
    return np.where(valid, snr, 0.0)


def _refer_to_unflagged(
    gains: NDArray[np.complex128], flags: NDArray[np.bool_], order: NDArray[np.int64]
) -> NDArray[np.complex128]:
    """Turn each hand, shape (antenna, polarization), so that its first unflagged antenna of the order has phase 0."""
    return reference_phases(gains[np.newaxis, :, np.newaxis], flags[np.newaxis, :, np.newaxis], order)[0, :, 0]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def select_baselines(
    model_power: NDArray[np.float64],
    antenna1: NDArray[Any],
    antenna2: NDArray[Any],
    n_antennas: int,
    min_baselines: int,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the usable baselines and the antennas that they connect into the largest set."""
    n_baselines = len(antenna1)
    usable = np.zeros(n_baselines, np.bool_)
    for b in range(n_baselines):
        usable[b] = model_power[b] > 0 and antenna1[b] != antenna2[b]
    changed = True
    while changed:
        changed = False
        count = np.zeros(n_antennas, np.int64)
        for b in range(n_baselines):
            if usable[b]:
                count[antenna1[b]] += 1
                count[antenna2[b]] += 1
        for b in range(n_baselines):
            if usable[b] and min(count[antenna1[b]], count[antenna2[b]]) < min_baselines:
                usable[b] = False
                changed = True
    # every antenna gets the lowest index of its set: pass on the lower one along baselines until nothing changes
    label = np.arange(n_antennas)
    changed = True
    while changed:
        changed = False
        for b in range(n_baselines):
            if usable[b] and label[antenna1[b]] != label[antenna2[b]]:
                low = min(label[antenna1[b]], label[antenna2[b]])
                label[antenna1[b]] = low
                label[antenna2[b]] = low
                changed = True
    largest = np.argmax(np.bincount(label, minlength=n_antennas))
    valid = np.zeros(n_antennas, np.bool_)
    for b in range(n_baselines):
        usable[b] = usable[b] and label[antenna1[b]] == largest
        if usable[b]:
            valid[antenna1[b]] = True
            valid[antenna2[b]] = True
    return usable, valid


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _best_gains(
    vis_model: NDArray[np.complex128],
    model_power: NDArray[np.float64],
    antenna1: NDArray[np.int64],
    antenna2: NDArray[np.int64],
    gains: NDArray[np.complex128],
    phase_only: bool,
    best: NDArray[np.complex128],
    curvature: NDArray[np.float64],
) -> float:
    """Write the best gain of each antenna with the others held, and return the relative change to it."""
    best[:] = 0
    curvature[:] = 0
    for b in range(len(antenna1)):
        i, j = antenna1[b], antenna2[b]
        best[i] += vis_model[b] * gains[j]
        best[j] += vis_model[b].conjugate() * gains[i]
        curvature[i] += model_power[b] * (gains[j].real ** 2 + gains[j].imag ** 2)
        curvature[j] += model_power[b] * (gains[i].real ** 2 + gains[i].imag ** 2)
    change, size = 0.0, 0.0
    for i in range(len(gains)):
        norm = abs(best[i]) if phase_only else curvature[i]
        if norm > 0:
            best[i] = best[i] / norm
        else:
            best[i] = 0
        change = max(change, abs(best[i] - gains[i]))
        size = max(size, abs(best[i]))
    if size == 0.0:
        return np.nan
    return change / size
