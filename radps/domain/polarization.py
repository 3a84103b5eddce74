"""Stokes I from the correlations of circular or linear feeds.

1. I = (RR + LL) / 2 or (XX + YY) / 2: the plain mean of the two parallel hands, as CASA, not the weighted mean, so that
   a polarized source does not leak into I when the hands have different weights.
2. A sample is used only where both hands are unflagged, finite and of positive weight.
3. weight = sum of the two weights, which is the inverse variance of the mean where the two are equal.

Data that are Stokes I already pass with their own flags and weights.

References
----------
Hamaker, Bregman & Sault 1996, A&AS 117, 137.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from radps.errors import DataError

PARALLEL_HANDS = (("RR", "LL"), ("XX", "YY"), ("I", "I"))
"""Pairs of correlations whose mean is Stokes I."""


class StokesI(NamedTuple):
    """Visibilities of Stokes I with the weights that say where they are usable."""

    visibilities: NDArray[np.complex64]
    """Shape (time, baseline, channel) [Jy]; 0 where unusable."""
    weights: NDArray[np.float32]
    """Shape (time, baseline, channel) [Jy^-2]; 0 where unusable."""


def to_stokes_i(
    visibilities: NDArray[np.complex64],
    flags: NDArray[np.bool_],
    weights: NDArray[np.float32],
    polarizations: Sequence[str],
) -> StokesI:
    """Average the parallel hands.

    Parameters
    ----------
    visibilities : ndarray of complex64, shape (time, baseline, channel, polarization)
        Visibilities [Jy].
    flags : ndarray of bool, same shape
        True = do not use.
    weights : ndarray of float32, same shape
        Weights [Jy^-2].
    polarizations : sequence of str
        Names along the last axis, such as ``["RR", "RL", "LR", "LL"]``.

    Returns
    -------
    StokesI
        Visibilities and weights, zero where a hand is missing.

    Raises
    ------
    DataError
        If the polarizations contain no pair of parallel hands.
    """
    names = [str(name) for name in polarizations]
    for first, second in PARALLEL_HANDS:
        if first in names and second in names:
            shape = visibilities.shape[:3]
            stokes = np.zeros(shape, np.complex64)
            total = np.zeros(shape, np.float32)
            hands = (names.index(first), names.index(second))
            _average_hands(visibilities, flags, weights, *hands, stokes, total)
            return StokesI(stokes, total)
    raise DataError(
        f"no Stokes I from the polarizations {names}: needs RR and LL, or XX and YY, or I; "
        "select data with both parallel hands"
    )


def parallel_hands(polarizations: Sequence[str]) -> list[int]:
    """Return the indices of the parallel hands, for which gains of antennas are solved.

    Parameters
    ----------
    polarizations : sequence of str
        Names along the polarization axis.

    Raises
    ------
    DataError
        If there is none.
    """
    names = [str(name) for name in polarizations]
    found = [names.index(name) for name in ("RR", "LL", "XX", "YY") if name in names]
    if not found:
        raise DataError(f"no parallel hands among the polarizations {names}: needs RR, LL, XX or YY to calibrate")
    return found


@numba.njit(cache=True, nogil=True)
def _average_hands(visibilities, flags, weights, first, second, stokes, total):  # type: ignore[no-untyped-def]
    """Fill ``stokes`` and ``total`` in place; a single product (first == second) counts once."""
    n_time, n_baseline, n_channel = stokes.shape
    for t in range(n_time):
        for b in range(n_baseline):
            for c in range(n_channel):
                if flags[t, b, c, first] or flags[t, b, c, second]:
                    continue
                weight_1 = weights[t, b, c, first]
                weight_2 = weights[t, b, c, second]
                mean = (visibilities[t, b, c, first] + visibilities[t, b, c, second]) * np.float32(0.5)
                weight = weight_1 if first == second else weight_1 + weight_2
                if (
                    weight_1 > 0
                    and weight_2 > 0
                    and np.isfinite(weight)
                    and np.isfinite(mean.real)
                    and np.isfinite(mean.imag)
                ):
                    stokes[t, b, c] = mean
                    total[t, b, c] = weight
