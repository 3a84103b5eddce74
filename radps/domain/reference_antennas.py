"""The reference antenna of gain solutions: the choice of it, and the turn of the phases to it.

Only differences of phases between antennas can be measured. One antenna, the reference, is given phase 0; the phases of
the others then are smooth in time and may be interpolated. Where the reference antenna has no solution, another takes
over with the phase that it had last, so that the phases of the rest do not jump (CASA ``refantmode="flex"``). They
still jump when the one that takes over has drifted meanwhile: choose an antenna that has data all the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from radps.errors import SelectionError


def rank_reference_antennas(positions_m: NDArray[np.float64], flag_fraction: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order antennas by how well they serve as phase reference: near the centre of the array, with few flags.

    The score is the distance from the median position in units of the largest one, plus the flagged fraction; antennas
    without any data come last. Equal scores keep the order of the antennas.

    Parameters
    ----------
    positions_m : ndarray, shape (antenna, 3)
        Positions [m], any Cartesian frame.
    flag_fraction : ndarray, shape (antenna,)
        Flagged fraction of the data of each antenna, 0 to 1.

    Returns
    -------
    ndarray of int, shape (antenna,)
        Antenna indices, best first.
    """
    distance = np.linalg.norm(positions_m - np.median(positions_m, axis=0), axis=1)
    score = distance / max(float(distance.max()), 1e-6) + flag_fraction
    score = np.where(flag_fraction >= 1.0, np.inf, score)
    return np.argsort(score, kind="stable").astype(np.int64)


def order_reference_antennas(
    reference_antenna: int | Sequence[int] | NDArray[np.int64], n_antennas: int
) -> NDArray[np.int64]:
    """Return all antennas, the preferred ones first.

    Raises
    ------
    SelectionError
        An index is not one of the antennas, or there is none.
    """
    wanted = np.atleast_1d(np.asarray(reference_antenna, np.int64))
    outside = wanted[(wanted < 0) | (wanted >= n_antennas)]
    if outside.size or wanted.size == 0:
        found = ", ".join(str(number) for number in outside) or "none given"
        raise SelectionError(
            f"reference antenna: found index {found}, allowed 0 to {n_antennas - 1}; name an antenna of the data"
        )
    return np.array(list(dict.fromkeys([*wanted.tolist(), *range(n_antennas)])), np.int64)


def reference_phases(
    gains: NDArray[np.complex128],
    flags: NDArray[np.bool_],
    reference_antenna: int | Sequence[int] | NDArray[np.int64],
) -> NDArray[np.complex128]:
    """Turn the phases of a table so that those of the reference antenna are 0.

    Where the reference antenna is flagged, the next antenna of the order that has a solution takes over with the phase
    that it had last (CASA ``refantmode="flex"``), so that phases do not jump between solutions and may be interpolated.

    Parameters
    ----------
    gains, flags : ndarray, shape (time, antenna, channel, polarization)
        Gains, ascending in time; flags True = do not use.
    reference_antenna : int or sequence of int
        Antennas in the order of preference. All others follow in the order of their index.

    Returns
    -------
    ndarray of complex128
        Same shape; flagged gains are unchanged.

    Raises
    ------
    SelectionError
        If the reference antenna is not one of the antennas.
    """
    order = order_reference_antennas(reference_antenna, gains.shape[1])
    result = gains.copy()
    for channel, polarization in np.ndindex(gains.shape[2], gains.shape[3]):
        last = np.ones(gains.shape[1], np.complex128)
        for time in range(gains.shape[0]):
            valid = ~flags[time, :, channel, polarization]
            if not valid.any():
                continue
            row = result[time, :, channel, polarization]
            reference = order[np.flatnonzero(valid[order])[0]]
            keep = 1.0 if reference == order[0] else last[reference]
            turned = row * (keep * unit_phasors(row[reference : reference + 1])[0].conjugate())
            if keep == 1.0:
                turned[reference] = abs(row[reference])
            result[time, valid, channel, polarization] = turned[valid]
            last[valid] = unit_phasors(turned[valid])
    return result


def unit_phasors(values: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return the values with modulus 1; 0 stays 0."""
    modulus = np.abs(values)
    unit: NDArray[np.complex128] = np.divide(values, modulus, out=np.zeros_like(values), where=modulus > 0)
    return unit
