"""Solution intervals: which integrations of a scan share one solution.

``"scan"`` is one interval a scan and ``"integration"`` one each (CASA ``solint="inf"`` and ``"int"``). A length in
seconds cuts a scan from its first integration on; the last interval may be shorter. None crosses the end of a scan.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

SolutionInterval = Literal["scan", "integration"] | float
"""How long a solution is: a word, or a length [s]."""

_ROUNDING_S = 1e-3
"""Times that lie this little before the start of an interval belong to it: centres of integrations are rounded."""


def number_intervals(
    time_s: NDArray[np.float64], interval: SolutionInterval, start_s: float | None = None
) -> NDArray[np.int64]:
    """Return the solution interval of each time of a scan, counted from 0 without gaps.

    Parameters
    ----------
    time_s : ndarray, shape (time,)
        Times of the integrations of one scan [s], ascending.
    interval : SolutionInterval
        ``"scan"``, ``"integration"``, or a length [s].
    start_s : float, optional
        Where the first interval starts; by default at the first time.

    Returns
    -------
    ndarray of int64, shape (time,)
        Ascending; for :func:`radps.domain.gains.solve_time_gains`.
    """
    if interval == "scan":
        return np.zeros(len(time_s), np.int64)
    if interval == "integration":
        return np.arange(len(time_s))
    start_s = float(time_s[0]) if start_s is None else start_s
    _, numbers = np.unique((time_s - start_s + _ROUNDING_S) // float(interval), return_inverse=True)
    return np.asarray(numbers, np.int64)
