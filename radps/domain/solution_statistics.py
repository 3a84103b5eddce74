r"""How good gains are: outliers among them, their scatter, the rms of their phases in time.

1. **Outliers** (:func:`flag_outlying_gains`). The amplitudes that an antenna and hand has on one field over time are
   compared with their median. One is an outlier if it is off by more than n times the larger of the robust scatter,
   1.4826 times the median absolute deviation, and the median error of a single amplitude,
   :math:`|g| / (\sqrt{2} \mathrm{snr})`: so steady gains are not judged by rounding. Fewer than five are not judged.
2. **Scatter** (:func:`measure_scatter`). Of each antenna: the median signal-to-noise; the rms of amplitudes relative to
   the median of their field and hand; the rms of phases about their mean after they are unwrapped in time, and that of
   the changes between neighbours in time, which a slow drift does not enter.

Where they fail: an amplitude that changes with elevation or time by more than its scatter looks like outliers at its
ends; phases that turn by more than half a turn between two solutions unwrap wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.gains import GainTable
from radps.domain.statistics import MAD_TO_SIGMA

MIN_SOLUTIONS = 5
"""Solutions that outliers are looked for among."""


class GainScatter(NamedTuple):
    """What the solutions of each antenna scatter by, shape (antenna,); NaN without (enough) unflagged solutions."""

    snr: NDArray[np.float64]
    """Median signal-to-noise."""
    amplitude_rms: NDArray[np.float64]
    """Relative to the median."""
    phase_rms_rad: NDArray[np.float64]
    """About the mean [rad]."""
    phase_step_rad: NDArray[np.float64]
    """Root mean square of the change from one solution to the next [rad]."""


def flag_outlying_gains(table: GainTable, fields: Sequence[str], n_sigma: float) -> tuple[GainTable, int]:
    """Flag gains whose amplitude is far from the others of its antenna, hand, channel and field.

    Parameters
    ----------
    table : GainTable
        Gains along time.
    fields : sequence of str
        Field of each time.
    n_sigma : float
        Deviation from which a gain is an outlier.

    Returns
    -------
    table : GainTable
        With more flags; flagged gains are 1.
    n_outliers : int
        Gains that were flagged.
    """
    flags = table.flags.copy()
    for rows, antenna, channel, hand in _series(table, fields):
        place = (rows, antenna, channel, hand)
        if len(rows) < MIN_SOLUTIONS:
            continue
        amplitude = np.abs(table.gains[place])
        deviation = np.abs(amplitude - np.median(amplitude))
        error = np.median(amplitude / (np.sqrt(2) * table.snr[place]))
        flags[place] = deviation > n_sigma * max(MAD_TO_SIGMA * float(np.median(deviation)), float(error))
    n_outliers = int(np.count_nonzero(flags & ~table.flags))
    return table._replace(flags=flags, gains=np.where(flags, 1.0, table.gains)), n_outliers


def measure_scatter(table: GainTable, fields: Sequence[str]) -> GainScatter:
    """Measure how the gains of every antenna scatter in time.

    Parameters
    ----------
    table : GainTable
        Gains along time.
    fields : sequence of str
        Field of each time; the series of each field, channel and hand counts by itself.
    """
    n_antennas = table.gains.shape[1]
    squares = np.zeros((3, n_antennas))
    counts = np.zeros((3, n_antennas))
    for rows, antenna, channel, hand in _series(table, fields):
        gains = table.gains[rows, antenna, channel, hand]
        if len(rows) < 2:
            continue
        amplitude, phase = np.abs(gains), np.unwrap(np.angle(gains))
        series = (amplitude / np.median(amplitude) - 1, phase - np.mean(phase), np.diff(phase))
        for number, values in enumerate(series):
            squares[number, antenna] += np.sum(values**2)
            counts[number, antenna] += len(values)
    rms = np.sqrt(np.divide(squares, counts, out=np.full_like(squares, np.nan), where=counts > 0))
    snr = np.full(n_antennas, np.nan)
    for antenna in range(n_antennas):
        good = ~table.flags[:, antenna]
        if good.any():
            snr[antenna] = np.median(table.snr[:, antenna][good])
    return GainScatter(snr, *rms)


def _series(table: GainTable, fields: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], int, int, int]]:
    """Return the times of the unflagged gains of each field, antenna, channel and hand."""
    labels = np.array(fields)
    _, n_antennas, n_channels, n_hands = table.gains.shape
    for field in dict.fromkeys(fields):
        for antenna, channel, hand in np.ndindex(n_antennas, n_channels, n_hands):
            rows = np.flatnonzero((labels == field) & ~table.flags[:, antenna, channel, hand])
            yield rows, antenna, channel, hand
