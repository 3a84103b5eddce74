"""The noise of mixed channels, against the mixing itself: each datum is followed into each channel of the cube."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.regridded_noise import WindowChannels, count_mixtures
from radps.domain.regridding import ChannelData, Interpolation, SpectralAxis, regrid_channel

FIRST_HZ, STEP_HZ, N_CHANNELS = 1.4e9, 1e4, 20
FACTORS = 1.0 + np.array([0.0, 2.3e-6, -1.1e-6])
"""Up to a third of a channel."""
USABLE = (1, 18)
FLAGGED = 11


def follow_data(axis: SpectralAxis, step_hz: float, channel: int) -> tuple[float, float]:
    """Return the sum of the weights of a channel's samples, and the variance of their weighted sum, of unit data."""
    ends = (FIRST_HZ, FIRST_HZ + step_hz * (N_CHANNELS - 1))
    weights = np.ones((len(FACTORS), 1, N_CHANNELS), np.float32)
    weights[:, :, FLAGGED] = 0.0
    variance, samples = 0.0, 0.0
    for place in np.ndindex(weights.shape):
        one = np.zeros(weights.shape, np.complex64)
        one[place] = 1.0
        data = ChannelData(one, weights, 0, ends, N_CHANNELS, STEP_HZ, USABLE)
        found = regrid_channel(data, FACTORS, axis, channel)
        variance += float((found.weights * found.visibilities.real).sum()) ** 2
        samples = float(found.weights.sum())
    return samples, variance


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("width", [STEP_HZ, 0.4 * STEP_HZ, 2.5 * STEP_HZ, -3.0 * STEP_HZ])
@pytest.mark.parametrize("step_hz", [STEP_HZ, -STEP_HZ])
def test_mixtures_have_the_noise_of_what_they_are_mixed_of(
    step_hz: float, width: float, interpolation: Interpolation
) -> None:
    axis = SpectralAxis(FIRST_HZ + 6.3 * step_hz, width, 3, "LSRK", interpolation)
    counts = np.full(N_CHANNELS, len(FACTORS))
    counts[FLAGGED] = 0
    window = WindowChannels((FIRST_HZ, FIRST_HZ + step_hz * (N_CHANNELS - 1)), N_CHANNELS, STEP_HZ, USABLE)
    found = count_mixtures(axis, FACTORS, window, counts)
    expected = [follow_data(axis, step_hz, channel) for channel in range(3)]
    np.testing.assert_allclose(np.transpose(expected), found, rtol=1e-5, atol=1e-5)  # weights are float32
    assert found.samples.max() > 0


def test_channels_that_are_those_of_the_data_have_its_counts_and_others_none() -> None:
    counts: NDArray[np.int64] = np.arange(N_CHANNELS) + 5
    window = WindowChannels((FIRST_HZ, FIRST_HZ + STEP_HZ * (N_CHANNELS - 1)), N_CHANNELS, STEP_HZ, (0, N_CHANNELS))
    found = count_mixtures(SpectralAxis(FIRST_HZ - 2 * STEP_HZ, STEP_HZ, 5, "LSRK"), np.ones(4), window, counts)
    np.testing.assert_allclose(found, [[0, 0, 5, 6, 7]] * 2)
    one = WindowChannels((FIRST_HZ, FIRST_HZ), 1, STEP_HZ, (0, 1))
    found = count_mixtures(SpectralAxis(FIRST_HZ, STEP_HZ, 3, "LSRK"), np.ones(4), one, np.array([9]))
    np.testing.assert_allclose(found, [[9, 0, 0]] * 2)
