"""Observations with known gains, for the tests of the calibration kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray


class Corrupted(NamedTuple):
    """Data that known gains made of a known sky."""

    visibilities: NDArray[np.complex128]
    model: NDArray[np.complex128]
    flags: NDArray[np.bool_]
    weights: NDArray[np.float64]
    antenna1: NDArray[np.int64]
    antenna2: NDArray[np.int64]
    n_antennas: int
    gains: NDArray[np.complex128]
    """The truth, shape (antenna, polarization)."""

    @property
    def geometry(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Arguments that all solvers take."""
        return self.antenna1, self.antenna2, self.n_antennas


def draw_corrupted(
    seed: int = 1,
    *,
    n_antennas: int = 9,
    n_times: int = 3,
    n_channels: int = 4,
    noise: float = 0.0,
    phase_only: bool = False,
) -> Corrupted:
    """Draw gains of two hands and a sky that differs from baseline to baseline, and corrupt it.

    ``noise`` is the standard deviation of a real part, relative to a sky of about 1 and gains of about 1.
    """
    rng = np.random.default_rng(seed)
    antenna1, antenna2 = np.triu_indices(n_antennas, k=1)
    amplitude = np.ones((n_antennas, 2)) if phase_only else np.exp(0.3 * rng.standard_normal((n_antennas, 2)))
    gains = amplitude * np.exp(2j * np.pi * rng.random((n_antennas, 2)))
    shape = (n_times, len(antenna1), n_channels, 2)
    model = (1.0 + 0.3 * rng.standard_normal(shape)) * np.exp(0.5j * rng.standard_normal(shape))
    observed = gains[antenna1][:, np.newaxis] * gains[antenna2].conj()[:, np.newaxis] * model
    observed = observed + noise * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    weights = rng.uniform(0.5, 2.0, shape)
    return Corrupted(observed, model, np.zeros(shape, np.bool_), weights, antenna1, antenna2, n_antennas, gains)


@pytest.fixture
def draw() -> Callable[..., Corrupted]:
    """Draws corrupted data; see :func:`draw_corrupted`."""
    return draw_corrupted
