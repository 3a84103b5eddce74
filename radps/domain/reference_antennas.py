"""The reference antenna of gain solutions: the choice of it, and the turn of the phases to it.

Only differences of phases between antennas can be measured. One antenna, the reference, is given phase 0; the phases of
the others then are smooth in time and may be interpolated. Where the reference antenna has no solution, another stands
in for it (CASA ``refantmode="flex"``), with a phase that is linear in time between those that it has against the
reference antenna before and after. So the phases of the rest do not jump, neither when the reference antenna goes nor
when it comes back, and what is interpolated for it across the gap fits to them; in CASA the stand-in keeps the phase
that it had last. What is left is by how much the stand-in drifts otherwise than linearly: choose an antenna that has
data all the time.
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
    time_s: NDArray[np.float64] | None = None,
) -> NDArray[np.complex128]:
    """Turn the phases of a table so that those of the reference antenna are 0.

    Where the reference antenna is flagged, the next antenna of the order that has a solution stands in for it (CASA
    ``refantmode="flex"``). Its phase is linear in time, by less than half a turn, between those that it has when the
    reference antenna is there, and constant before and after all of these.

    Parameters
    ----------
    gains, flags : ndarray, shape (time, antenna, channel, polarization)
        Gains, ascending in time; flags True = do not use.
    reference_antenna : int or sequence of int
        Antennas in the order of preference. All others follow in the order of their index.
    time_s : ndarray, shape (time,), optional
        Times [s]; evenly spaced by default.

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
    times = np.arange(len(gains), dtype=np.float64) if time_s is None else time_s
    result = gains.copy()
    for channel, polarization in np.ndindex(gains.shape[2], gains.shape[3]):
        column = (slice(None), slice(None), channel, polarization)
        result[column] = _reference_column(result[column], ~flags[column], order, times)
    return result


def _reference_column(
    gains: NDArray[np.complex128], valid: NDArray[np.bool_], order: NDArray[np.int64], time_s: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Turn the gains of a channel and hand, shape (time, antenna)."""
    result = gains.copy()
    last = np.ones(gains.shape[1], np.complex128)
    stands_in = np.full(len(gains), -1)
    for time in np.flatnonzero(valid.any(axis=1)):
        row = result[time]
        reference = order[np.flatnonzero(valid[time, order])[0]]
        keep = 1.0 if reference == order[0] else last[reference]
        turned = row * (keep * unit_phasors(row[reference : reference + 1])[0].conjugate())
        if keep == 1.0:
            turned[reference] = abs(row[reference])
        result[time, valid[time]] = turned[valid[time]]
        last[valid[time]] = unit_phasors(turned[valid[time]])
        stands_in[time] = reference
    in_use = [int(antenna) for antenna in order if valid[:, antenna].any()]
    if in_use:
        _close_jumps(result, valid, in_use[0], stands_in, time_s)
    return result


def _close_jumps(
    gains: NDArray[np.complex128],
    valid: NDArray[np.bool_],
    reference: int,
    stands_in: NDArray[np.int64],
    time_s: NDArray[np.float64],
) -> None:
    """Spread what the phases jump by when the reference antenna comes back over the times when it was away."""
    before = None
    away: list[int] = []
    for time in np.flatnonzero(stands_in >= 0).tolist():
        if stands_in[time] != reference:
            away.append(time)
            continue
        if away and valid[time, stands_in[away[-1]]]:
            antenna = stands_in[away[-1]]
            jump = np.angle(gains[time, antenna] * gains[away[-1], antenna].conjugate())
            span = 0.0 if before is None else time_s[time] - time_s[before]
            for one in away:
                part = (time_s[one] - time_s[before]) / span if span > 0 else 1.0
                gains[one, valid[one]] *= np.exp(1j * jump * part)
        before, away = time, []


def unit_phasors(values: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return the values with modulus 1; 0 stays 0."""
    modulus = np.abs(values)
    unit: NDArray[np.complex128] = np.divide(values, modulus, out=np.zeros_like(values), where=modulus > 0)
    return unit
