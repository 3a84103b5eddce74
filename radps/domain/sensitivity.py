"""The thermal noise to expect of an image, by the radiometer equation.

With natural weights and N equal antennas the noise of an image is ::

    sigma = SEFD / sqrt(n_pol N (N - 1) bandwidth time)                      [Jy/beam]

As N (N - 1) is twice the number of baselines, data of several kinds (windows, days) add up as inverse variances,
``1 / sigma^2 = sum of 2 n_pol n_baselines bandwidth time / SEFD^2``.

Once the data are there, their unflagged visibilities are counted instead (:func:`expected_noise_of_counts`): flags, and
what the calibration could not correct, are then in the expected noise.

It is a lower limit: other weights than natural, losses in the correlator, confusion, sidelobes of bright sources and
errors of the calibration all add to it, and where they are not counted, flags.

References
----------
Thompson, Moran & Swenson 2017, Interferometry and Synthesis in Radio Astronomy, section 6.2.
NRAO, VLA Observational Status Summary 2018A, section "Sensitivity", equation 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


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


def expected_noise_of_counts(
    n_visibilities: Sequence[NDArray[np.int64] | NDArray[np.float64]],
    sefd_jy: Sequence[float],
    time_s: Sequence[float],
    bandwidth_hz: Sequence[float],
    variance: Sequence[NDArray[np.float64]] | None = None,
) -> NDArray[np.float64]:
    """Return the thermal noise of images of Stokes I that are made of counted visibilities, with natural weights.

    Parameters
    ----------
    n_visibilities : sequence of ndarray, shape (image,)
        Of each kind of data (window, day): unflagged cross-correlations of the parallel hands in each image, both hands
        counted.
    sefd_jy, time_s, bandwidth_hz : sequence of float
        Of each kind: noise of an antenna [Jy], length of an integration [s], bandwidth of a visibility [Hz].
    variance : sequence of ndarray, shape (image,), optional
        Of each kind: variance of the sum of the visibilities, in units of that of one; by default their number, as they
        are independent. Mixtures of channels are not (:mod:`radps.domain.regridded_noise`).

    Returns
    -------
    ndarray, shape (image,)
        Standard deviation [Jy/beam]; infinite for an image without visibilities.
    """
    weights = [
        2 * time * width / sefd**2 for sefd, time, width in zip(sefd_jy, time_s, bandwidth_hz, strict=True)
    ]  # of one visibility [Jy^-2]
    total = _sum_weighted(weights, n_visibilities)
    spread = _sum_weighted(weights, n_visibilities if variance is None else variance)
    noise_jy = np.full(total.shape, np.inf)
    np.divide(np.sqrt(spread), total, out=noise_jy, where=total > 0)
    return noise_jy


def _sum_weighted(
    weights: Sequence[float], counts: Sequence[NDArray[np.int64] | NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return the sum of the kinds, (image,)."""
    return np.asarray(sum(weight * count for weight, count in zip(weights, counts, strict=True)), np.float64)
