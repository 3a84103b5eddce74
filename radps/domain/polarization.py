"""Stokes parameters from the correlations of circular or linear feeds.

1. Of Stokes I: I = (RR + LL) / 2 or (XX + YY) / 2: the plain mean of the two parallel hands, as CASA, not the weighted
   mean, so that a polarized source does not leak into I when the hands have different weights.
2. A sample is used only where both hands are unflagged, finite and of positive weight.
3. weight = sum of the two weights, which is the inverse variance of the mean where the two are equal.

4. The others: circular feeds see RR = I + V, LL = I - V, RL = Q + iU, LR = Q - iU; linear ones XX = I + Q, YY = I - Q,
   XY = U + iV, YX = U - iV, with X to the north and Y to the east (IAU). Each Stokes parameter is the half sum or half
   difference of two correlations, with the same rules for flags and weights as I.
5. The feeds of an alt-azimuth mount turn against the sky by the parallactic angle; with the angle at which they are
   mounted it is psi, and what they see of Q + iU is (Q + iU) exp(-2i psi). It is turned back. Q and U are then both
   needed, and get the mean of their weights.

Data that are Stokes parameters already pass with their own flags and weights.

Taken for granted: gains of both feeds are calibrated, their phase difference too; leakage between the feeds is not
corrected. The feeds of all antennas are at one angle.

References
----------
Hamaker, Bregman & Sault 1996, A&AS 117, 137. Hamaker & Bregman 1996, A&AS 117, 161 (signs).
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


class _Recipe(NamedTuple):
    """A Stokes parameter as (first + sign second) times a factor."""

    first: str
    second: str
    sign: int
    factor: complex


_CIRCULAR: dict[str, _Recipe] = {
    "I": _Recipe("RR", "LL", 1, 0.5),
    "Q": _Recipe("RL", "LR", 1, 0.5),
    "U": _Recipe("RL", "LR", -1, -0.5j),
    "V": _Recipe("RR", "LL", -1, 0.5),
}
_LINEAR: dict[str, _Recipe] = {
    "I": _Recipe("XX", "YY", 1, 0.5),
    "Q": _Recipe("XX", "YY", -1, 0.5),
    "U": _Recipe("XY", "YX", 1, 0.5),
    "V": _Recipe("XY", "YX", -1, -0.5j),
}
_DIRECT: dict[str, _Recipe] = {name: _Recipe(name, name, 1, 0.5) for name in ("I", "Q", "U", "V")}


class StokesModel(NamedTuple):
    """Model visibilities [Jy], on the sky, all of one shape (..., channel)."""

    i: NDArray[np.complex128]
    q: NDArray[np.complex128]
    u: NDArray[np.complex128]
    v: NDArray[np.complex128]


class StokesI(NamedTuple):
    """Visibilities of a Stokes parameter with the weights that say where they are usable."""

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
            _combine_pair(visibilities, flags, weights, *hands, np.float32(1), np.float32(0.5), stokes, total)
            return StokesI(stokes, total)
    raise DataError(
        f"no Stokes I from the polarizations {names}: needs RR and LL, or XX and YY, or I; "
        "select data with both parallel hands"
    )


def to_stokes(
    visibilities: NDArray[np.complex64],
    flags: NDArray[np.bool_],
    weights: NDArray[np.float32],
    polarizations: Sequence[str],
    stokes: Sequence[str],
    parallactic_angle_rad: NDArray[np.float64] | None = None,
) -> tuple[StokesI, ...]:
    """Return Stokes parameters on the sky.

    Parameters
    ----------
    visibilities, flags, weights, polarizations
        As for :func:`to_stokes_i`.
    stokes : sequence of str
        Any of I, Q, U, V.
    parallactic_angle_rad : ndarray, shape (time,), optional
        Of the feeds [rad]; None: they do not turn against the sky, or the data are corrected for it.

    Returns
    -------
    tuple of StokesI
        One for each name, zero where a correlation is missing.

    Raises
    ------
    DataError
        A correlation that is needed is not there.
    """
    is_turning = parallactic_angle_rad is not None
    recipes = find_recipes(polarizations, stokes, is_turning=is_turning)
    names = [str(name) for name in polarizations]
    found: dict[str, StokesI] = {}
    for name, recipe in recipes.items():
        if name == "I":
            found[name] = to_stokes_i(visibilities, flags, weights, polarizations)
            continue
        plane = np.zeros(visibilities.shape[:3], np.complex64)
        total = np.zeros(visibilities.shape[:3], np.float32)
        pair = names.index(recipe.first), names.index(recipe.second)
        signed = np.float32(recipe.sign), np.complex64(recipe.factor)
        _combine_pair(visibilities, flags, weights, *pair, *signed, plane, total)
        found[name] = StokesI(plane, total)
    if parallactic_angle_rad is not None and "Q" in found:
        found["Q"], found["U"] = _turn_back(found["Q"], found["U"], parallactic_angle_rad)
    return tuple(found[name] for name in stokes)


def find_recipes(polarizations: Sequence[str], stokes: Sequence[str], *, is_turning: bool) -> dict[str, _Recipe]:
    """Return what each Stokes parameter is made of; with turning feeds Q and U both, where one is asked for.

    Raises
    ------
    DataError
        A correlation that is needed is not there.
    """
    names = {str(name) for name in polarizations}
    wanted = list(stokes)
    if is_turning and {"Q", "U"} & set(wanted):
        wanted = [*dict.fromkeys((*wanted, "Q", "U"))]
    table = next((one for one in (_CIRCULAR, _LINEAR) if names & _correlations(one)), _DIRECT)
    needed = _correlations({name: table[name] for name in wanted})
    if not needed <= names:
        order = ("RR", "RL", "LR", "LL", "XX", "XY", "YX", "YY", "I", "Q", "U", "V")
        missing = ", ".join(one for one in order if one in needed - names)
        turning = " with feeds that turn against the sky" if is_turning and {"Q", "U"} & set(wanted) else ""
        raise DataError(
            f"no Stokes {''.join(stokes)} from the polarizations {[str(name) for name in polarizations]}: "
            f"{missing} needed{turning}; ask for fewer Stokes parameters, or select data with these correlations"
        )
    return {name: table[name] for name in wanted}


def _correlations(recipes: dict[str, _Recipe]) -> set[str]:
    return {name for recipe in recipes.values() for name in (recipe.first, recipe.second)}


def _turn_back(q: StokesI, u: StokesI, angle_rad: NDArray[np.float64]) -> tuple[StokesI, StokesI]:
    """Turn Q and U of the feeds to the sky; used only where both are."""
    cosine, sine = (function(2 * angle_rad)[:, np.newaxis, np.newaxis] for function in (np.cos, np.sin))
    cosine, sine = cosine.astype(np.float32), sine.astype(np.float32)
    weights = np.where((q.weights > 0) & (u.weights > 0), 0.5 * (q.weights + u.weights), 0).astype(np.float32)
    used = weights > 0
    on_sky = (
        q.visibilities * cosine - u.visibilities * sine,
        q.visibilities * sine + u.visibilities * cosine,
    )
    return StokesI(np.where(used, on_sky[0], 0), weights), StokesI(np.where(used, on_sky[1], 0), weights)


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


def find_receptors(polarizations: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which hand's gain each correlation has at its first, and at its second antenna.

    ``RL`` is receptor R of the first antenna with receptor L of the second one.

    Parameters
    ----------
    polarizations : sequence of str
        Names along the polarization axis, in any order.

    Returns
    -------
    tuple of ndarray of int, shape (polarization,)
        Places in :func:`parallel_hands`.

    Raises
    ------
    DataError
        If there is no parallel hand, or a correlation is of a receptor without one.
    """
    names = [str(name) for name in polarizations]
    receptors = [names[hand][0] for hand in parallel_hands(names)]
    lost = [name for name in names if not set(name) <= set(receptors)]
    if lost:
        raise DataError(
            f"no gains for {', '.join(lost)} of the polarizations {names}: the parallel hand of each receptor is "
            "needed; select data with both"
        )
    first, second = (np.array([receptors.index(name[place]) for name in names]) for place in (0, -1))
    return first, second


def to_parallel_hands(
    model: StokesModel, polarizations: Sequence[str], parallactic_angle_rad: NDArray[np.float64] | None = None
) -> NDArray[np.complex128]:
    """Return what the parallel hands see of a polarized model.

    RR = I + V and LL = I - V, whatever the angle; XX = I + Q' and YY = I - Q' with Q' = Q cos 2 psi + U sin 2 psi.

    Parameters
    ----------
    model : StokesModel
        Shape (time, baseline, channel) [Jy].
    polarizations : sequence of str
        Of RR, LL, XX, YY.
    parallactic_angle_rad : ndarray, shape (time,), optional
        psi [rad]; None: the feeds do not turn against the sky.

    Returns
    -------
    ndarray of complex128, shape (time, baseline, channel, polarization)
    """
    q = model.q
    if parallactic_angle_rad is not None:
        twice = 2 * parallactic_angle_rad[:, np.newaxis, np.newaxis]
        q = model.q * np.cos(twice) + model.u * np.sin(twice)
    hands = {"RR": model.v, "LL": -model.v, "XX": q, "YY": -q}
    return np.stack([model.i + hands[name] for name in polarizations], axis=-1)


@numba.njit(cache=True, nogil=True)
def _combine_pair(visibilities, flags, weights, first, second, sign, factor, stokes, total):  # type: ignore[no-untyped-def]
    """Fill ``stokes`` and ``total`` in place with (first + sign second) factor; a single product counts once."""
    n_time, n_baseline, n_channel = stokes.shape
    for t in range(n_time):
        for b in range(n_baseline):
            for c in range(n_channel):
                if flags[t, b, c, first] or flags[t, b, c, second]:
                    continue
                weight_1 = weights[t, b, c, first]
                weight_2 = weights[t, b, c, second]
                value = (visibilities[t, b, c, first] + sign * visibilities[t, b, c, second]) * factor
                weight = weight_1 if first == second else weight_1 + weight_2
                if (
                    weight_1 > 0
                    and weight_2 > 0
                    and np.isfinite(weight)
                    and np.isfinite(value.real)
                    and np.isfinite(value.imag)
                ):
                    stokes[t, b, c] = value
                    total[t, b, c] = weight
