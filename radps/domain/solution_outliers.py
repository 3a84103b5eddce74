"""Antennas that the calibration shows to be bad: no solutions, amplitudes off, amplitudes that jump.

A solution is the gain of an antenna in one cell: one time (of a table of gains) or one channel (of a bandpass). In each
hand, by itself:

1. Cells in which fewer than three antennas have a solution say nothing about an antenna and are left out.
2. The level of a solution is its amplitude over the median amplitude of all antennas in the same cell, so that what
   all antennas share (the roll-off of the band, a change of the source or of the scale) drops out.
3. A solution is bad if it is flagged; or its level is below ``lowest_level`` or above ``highest_level``; or the
   logarithm of its level is off the antenna's own median by more than ``n_sigma`` times the scatter of all antennas
   (1.4826 MAD, hardly moved by bad ones) and by more than ``min_jump``.
4. An antenna is bad in that hand if more than ``max_bad_fraction`` of its solutions are.

Where it fails: phases are not looked at, since they may do anything between two scans; a fault in most of the antennas
is taken for the rule; an antenna that is bad for less than the fraction stays (its flagged solutions flag its data
anyway when they are applied). Gains for phases alone have no amplitudes, so only missing solutions count.

References
----------
CASA pipeline: ``hif_lowgainflag`` (``fnm_lo_limit`` 0.5, ``fnm_hi_limit`` 1.5; ``tmf1_limit``, the fraction of
solutions that are flagged) and ``hif_gainflag`` (scatter in units of the MAD).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.statistics import MAD_TO_SIGMA

_FEWEST_ANTENNAS = 3
"""Fewer have no median worth the name."""


class OutlierLimits(NamedTuple):
    """From where on a solution and an antenna are bad."""

    max_bad_fraction: float = 0.5
    """Antennas with a larger fraction of bad solutions are bad."""
    lowest_level: float = 0.5
    """Smallest amplitude of a gain, over the median of all antennas (CASA ``fnm_lo_limit``)."""
    highest_level: float = 2.0
    """Largest one."""
    n_sigma: float = 6.0
    """Jumps of the amplitude are bad above this many sigma of the scatter of all antennas ..."""
    min_jump: float = 0.1
    """... and above this much, relative: a very steady array makes no bad antennas."""


class SolutionFractions(NamedTuple):
    """Fractions of the solutions of each antenna and hand; arrays of shape (antenna, polarization)."""

    missing: NDArray[np.float64]
    """Flagged, where others have a solution."""
    off_level: NDArray[np.float64]
    """With an amplitude that is too low or too high."""
    jumping: NDArray[np.float64]
    """With an amplitude far off the antenna's own median."""
    bad: NDArray[np.float64]
    """With any of these."""

    def is_outlier(self, limits: OutlierLimits) -> NDArray[np.bool_]:
        """Return which antennas are bad, shape (antenna, polarization)."""
        return np.asarray(self.bad > limits.max_bad_fraction)


def judge_solutions(
    gains: NDArray[np.complex128],
    flags: NDArray[np.bool_],
    limits: OutlierLimits = OutlierLimits(),  # noqa: B008 - a NamedTuple is immutable
) -> SolutionFractions:
    """Return which fractions of the solutions of each antenna are bad.

    Parameters
    ----------
    gains : ndarray of complex, shape (time, antenna, channel, polarization)
        Of one table.
    flags : ndarray of bool, same shape
        True = no solution.
    limits : OutlierLimits
        What is bad.

    Returns
    -------
    SolutionFractions
        0 for all antennas of a hand that has no cell with three solutions.
    """
    n_antennas, n_polarizations = gains.shape[1], gains.shape[3]
    found = np.zeros((4, n_antennas, n_polarizations))
    for hand in range(n_polarizations):
        amplitude = np.moveaxis(np.abs(gains[..., hand]), 1, -1).reshape(-1, n_antennas)
        flagged = np.moveaxis(flags[..., hand], 1, -1).reshape(-1, n_antennas)
        enough = np.count_nonzero(~flagged, axis=1) >= _FEWEST_ANTENNAS
        if enough.any():
            found[:, :, hand] = _judge_hand(amplitude[enough], flagged[enough], limits)
    return SolutionFractions(*found)


def _judge_hand(
    amplitude: NDArray[np.float64], flagged: NDArray[np.bool_], limits: OutlierLimits
) -> NDArray[np.float64]:
    """Return the four fractions, shape (4, antenna), from arrays of shape (cell, antenna)."""
    used = np.where(flagged, np.nan, amplitude)
    level = used / np.nanmedian(used, axis=1, keepdims=True)
    off_level = (level < limits.lowest_level) | (level > limits.highest_level)
    with np.errstate(divide="ignore"):
        logarithm = np.log(level)
    silent = flagged.all(axis=0)
    own = np.zeros(flagged.shape[1])
    own[~silent] = np.nanmedian(logarithm[:, ~silent], axis=0)
    with np.errstate(invalid="ignore"):  # an amplitude of exactly 0 all the time: minus infinity less itself
        deviation = np.abs(logarithm - own)
    sigma = MAD_TO_SIGMA * float(np.nanmedian(deviation))
    jumping = deviation > max(limits.n_sigma * sigma, math.log1p(limits.min_jump))
    bad = flagged | off_level | jumping
    return np.array([part.mean(axis=0) for part in (flagged, off_level, jumping, bad)])


def flag_receptors(
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    polarizations: Sequence[str],
    bad: Iterable[tuple[int, str]],
) -> NDArray[np.bool_]:
    """Flag all correlations in which a bad receptor takes part.

    Parameters
    ----------
    antenna1, antenna2 : ndarray of int, shape (baseline,)
        Antenna indices.
    polarizations : sequence of str
        Correlations: ``RL`` is receptor R of antenna 1 with receptor L of antenna 2.
    bad : iterable of (int, str)
        Antennas and receptors, such as ``(3, "R")``.

    Returns
    -------
    ndarray of bool, shape (1, baseline, 1, polarization)
        True = do not use.
    """
    mask = np.zeros((1, len(antenna1), 1, len(polarizations)), np.bool_)
    for antenna, receptor in bad:
        for number, correlation in enumerate(polarizations):
            if correlation[0] == receptor:
                mask[0, :, 0, number] |= antenna1 == antenna
            if correlation[-1] == receptor:
                mask[0, :, 0, number] |= antenna2 == antenna
    return mask
