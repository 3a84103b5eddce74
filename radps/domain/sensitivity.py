"""The thermal noise to expect of an image, by the radiometer equation.

With natural weights and N equal antennas the noise of an image is ::

    sigma = SEFD / sqrt(n_pol N (N - 1) bandwidth time)                      [Jy/beam]

As N (N - 1) is twice the number of baselines, data of several kinds (windows, days) add up as inverse variances,
``1 / sigma^2 = sum of 2 n_pol n_baselines bandwidth time / SEFD^2``.

It is a lower limit: flags, other weights than natural, losses in the correlator, confusion, sidelobes of bright sources
and errors of the calibration all add to it.

References
----------
Thompson, Moran & Swenson 2017, Interferometry and Synthesis in Radio Astronomy, section 6.2.
NRAO, VLA Observational Status Summary 2018A, section "Sensitivity", equation 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Exposure(NamedTuple):
    """Data of one kind."""

    sefd_jy: float
    """System equivalent flux density of an antenna [Jy]."""
    n_baselines: int
    """Cross-correlations."""
    n_polarizations: int
    """Parallel hands, 1 or 2."""
    time_s: float
    """Time on source."""
    bandwidth_hz: float


def expected_noise(exposures: Sequence[Exposure]) -> float:
    """Return the thermal noise of an image that is made of all exposures [Jy/beam]; infinite where there are none."""
    inverse_variance = sum(
        2 * one.n_polarizations * one.n_baselines * one.time_s * one.bandwidth_hz / one.sefd_jy**2 for one in exposures
    )
    return 1 / math.sqrt(inverse_variance) if inverse_variance > 0 else math.inf
