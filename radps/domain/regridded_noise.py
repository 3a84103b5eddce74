"""The noise of the channels of a cube that are mixtures of those of the data (:mod:`radps.domain.regridding`).

With natural weights a channel of a cube is the sum of its samples by their number. At a time t, in which a frequency of
the image is that of the data times a factor, each part q of the channel is a mixture of two channels k of the data,

    s_q = sum over k of a_qk v_k,    sum over k of a_qk = 1,

and parts that use the same channel share its noise. Of c_k visibilities of equal variance in the channel k the samples
have the sum of weights D and the variance V of their weighted sum, in units of the weight of a visibility,

    D = mean over t of the sum over q of n_q,    V = mean over t of the sum over k of c_k (sum over q of a_qk)^2,

with n_q the smaller one of the numbers of the two channels. The noise of the channel is sqrt(V) / D: it is that of the
visibilities where a channel takes one each (V = D), less where two are mixed (V = D / 2 in the middle between two), and
more than the bandwidth says where a channel is narrower than those of the data.

Where it fails: where two neighbouring channels are flagged at different times, fewer mixtures are left than D counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.regridding import SAME_PLACE, SpectralAxis, count_channel_parts, part_frequencies


class WindowChannels(NamedTuple):
    """The channels of a spectral window, evenly spaced."""

    ends_hz: tuple[float, float]
    """Centres of channel 0 and of the last one, in the frame of the data [Hz]."""
    n_channels: int
    width_hz: float
    """Width of a channel [Hz]."""
    usable: tuple[int, int]
    """First channel that may be used, and one after the last."""


class MixedCounts(NamedTuple):
    """The samples of the channels of a cube, in numbers of visibilities of the data."""

    samples: NDArray[np.float64]
    """(channel,) sum of the weights of the samples, in those of a visibility."""
    variance: NDArray[np.float64]
    """(channel,) variance of the weighted sum of the samples, in the same unit; of independent ones it is their
    number."""


def count_mixtures(
    axis: SpectralAxis, factors: NDArray[np.float64], window: WindowChannels, counts: NDArray[np.int64]
) -> MixedCounts:
    """Return what the channels of a cube have of the visibilities of a window.

    Parameters
    ----------
    axis : SpectralAxis
        The cube.
    factors : ndarray, shape (time,)
        Frequencies of the image over those of the data, at times that stand for equal parts of the data.
    window : WindowChannels
    counts : ndarray of int, shape (channel,)
        Unflagged visibilities in each channel of the window, of all times.
    """
    n_parts = count_channel_parts(axis.step_hz, window.width_hz)
    wanted_hz = part_frequencies(axis, np.arange(axis.n_channels)[:, np.newaxis], n_parts)
    samples, variance = np.zeros(axis.n_channels), np.zeros(axis.n_channels)
    for factor in factors.tolist():
        low, high, far = _neighbours(wanted_hz / factor, window, is_linear=axis.interpolation == "linear")
        is_inside = (low >= window.usable[0]) & (high < window.usable[1])
        low, high = np.where(is_inside, low, 0), np.where(is_inside, high, 0)
        numbers = np.where(is_inside, np.minimum(counts[low], counts[high]), 0)
        samples += numbers.sum(axis=1)
        variance += _sum_squares(low, high, np.where(numbers > 0, far, np.nan), counts)
    return MixedCounts(samples / len(factors), variance / len(factors))


def _neighbours(
    wanted_hz: NDArray[np.float64], window: WindowChannels, *, is_linear: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the two channels that each part is mixed of, and the share of the second; -1 = there are none."""
    if window.n_channels == 1:
        inside = np.abs(wanted_hz - window.ends_hz[0]) <= window.width_hz / 2
        places = np.where(inside, 0.0, -1.0)
    else:
        places = (wanted_hz - window.ends_hz[0]) / ((window.ends_hz[1] - window.ends_hz[0]) / (window.n_channels - 1))
    nearest = np.floor(places + 0.5)
    is_mixed = is_linear & (np.abs(places - nearest) > SAME_PLACE)
    low = np.where(is_mixed, np.floor(places), nearest).astype(np.int64)
    return low, low + is_mixed, np.where(is_mixed, places - low, 0.0)


def _sum_squares(
    low: NDArray[np.int64], high: NDArray[np.int64], far: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the variance of each channel at one time; arrays (channel, part), a share of NaN = no sample."""
    n_channels = len(low)
    is_used = np.isfinite(far)
    first = np.where(is_used, low, len(counts)).min(axis=1, keepdims=True)
    span = int((high - first)[is_used].max(initial=0)) + 1
    total = np.zeros(n_channels * span)
    for place, share in ((low, 1.0 - far), (high, far)):
        keys = np.arange(n_channels)[:, np.newaxis] * span + place - first
        total += np.bincount(keys[is_used], share[is_used], minlength=total.size)
    used = np.minimum(first + np.arange(span), len(counts) - 1)
    return np.asarray((total.reshape(n_channels, span) ** 2 * counts[used]).sum(axis=1), np.float64)
