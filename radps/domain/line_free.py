r"""Find the channels without line from a small dirty cube and the mean visibility spectrum.

With natural weights every pixel of a dirty cube is a mean visibility, with the phase turned to its direction, and all
pixels of a channel have the same noise. The mean visibility is the same for the phase centre, with all baselines.

1. **Noise** of channel c: from the difference to its neighbours, in which the continuum cancels: 1.4826 MAD over the
   pixels of :math:`(D_c - D_{c \pm 1}) / \sqrt 2`. Of the two and of the typical value for the channel's weight the
   middle one counts, so that a line on one side does not raise it, and the rolled-off edge of a band does.
2. **Start**: of the spectrum of the pixel that deviates most from a straight line, smoothed by the boxcar in which it
   does, the straight line through the medians of two blocks of channels that has the highest score = channels within
   ``START_SIGMA`` - channels below it. So emission over more than half of the band does not become the continuum;
   absorption may cover up to a third. Again for other pixels, in the channels that are left.
3. **Baseline**: a polynomial of low order in every pixel, fitted to the channels that count as line-free.
4. **Search**: residual over noise, at every pixel, in boxcars of 1, 2, 4, ... channels, from narrow to wide; channels
   that a narrow one found take no part in wider ones. The threshold is where Gaussian noise gives ``EXPECTED_FALSE``
   windows a search (Bonferroni). The error of the baseline is added to that of the residual.
5. **Growth**: from each found range outwards, as long as its brightest pixel stays above ``GROWTH_SIGMA``, then by a
   twentieth of its width, at least one channel. Line-free ranges that are then shorter than ``MIN_RANGE`` are line.
6. Steps 3 to 5 are repeated with the new channels until they stay the same. If they go in circles, a channel that was
   line in one of them is line.
7. A channel with more than ``MAX_NOISE`` times the noise that its weight tells is not line-free either: a fit with
   weights that are not calibrated would take the noise of the edges of the band into all channels.

A channel of interference is found as well, and is not line-free.

Where it fails: a line over the whole band that is as flat as the continuum is continuum; absorption over more than a
third of the band is mistaken for emission in the rest; a line that stays below the threshold in every boxcar is not
seen; a bright source at the edge of the image of a wide band, whose sidelobes move with frequency, needs a higher
order.

References
----------
CASA pipeline ``hif_findcont`` (peak and MAD of the channels of a dirty cube, baseline from the lowest channels).
Rousseeuw & Croux 1993, J. Am. Stat. Assoc. 88, 1273 (MAD).
"""

from __future__ import annotations

import enum
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from radps.domain.statistics import MAD_TO_SIGMA
from radps.errors import DataError

EXPECTED_FALSE = 0.05
"""Windows above the threshold in a search of pure noise."""

START_SIGMA = 3.0
"""Half width of the corridor around the first straight line."""

GROWTH_SIGMA = 2.0
"""A range grows while the residual of its brightest pixel is above."""

MIN_RANGE = 2
"""Shortest line-free range [channel]."""

MAX_NOISE = 1.25
"""Noise of a line-free channel over the noise that is typical for its weight; the estimate is good to 4 to 6 %."""

START_PIXELS = 4
"""Pixels that the first channels are chosen from."""

MAX_ROUNDS = 12
"""Rounds of baseline and search at most."""

_N_BLOCKS = 16
"""Blocks of channels whose medians the first straight lines go through."""
_BLOCK_PIXELS = 512
"""Pixels whose residuals are in memory at once."""


class Coverage(enum.StrEnum):
    """How much of the band is line-free."""

    SOME = "some"
    """A part of it."""
    ALL = "all"
    """No line was found: all channels with data, but the noisiest."""
    NONE = "none"
    """Too few channels are without line: no continuum can be taken from them."""
    NO_DATA = "no data"
    """There are fewer than three channels with data."""


class LineFreeChannels(NamedTuple):
    """Channels without line, and what they were found from."""

    line_free: NDArray[np.bool_]
    """True = continuum only; shape (channel,). All False if too few are left."""
    coverage: Coverage
    """How much of the band is line-free."""
    significance: NDArray[np.float64]
    """Largest residual of the channel in units of its noise, over all pixels; NaN without data."""
    noise_jy: NDArray[np.float64]
    """Noise of a pixel [Jy/beam]; NaN without data."""
    threshold: float
    """Significance from which a residual is a line."""


class _Cube(NamedTuple):
    """Channels with data alone."""

    pixels: NDArray[np.float32]
    """(channel, pixel) [Jy/beam]; the last pixel is the mean visibility, scaled to the noise of the others."""
    noise: NDArray[np.float64]
    powers: NDArray[np.float64]
    """Powers of the frequency scaled to -1..1, (channel, order + 1)."""


def find_line_free_channels(
    images: NDArray[np.float32],
    mean_visibility: NDArray[np.float64],
    image_weights: NDArray[np.float64],
    mean_weights: NDArray[np.float64],
    *,
    order: int = 1,
    min_fraction: float = 0.05,
) -> LineFreeChannels:
    """Find the channels without line.

    Parameters
    ----------
    images : ndarray of float32, shape (channel, n_l, n_m)
        Dirty cube with natural weights [Jy/beam]; NaN = no data.
    mean_visibility : ndarray of float64, shape (channel,)
        Real part of the weighted mean of the visibilities [Jy]; NaN = no data.
    image_weights, mean_weights : ndarray of float64, shape (channel,)
        Sums of the weights of the image and of the mean [Jy^-2]; only their ratios matter. 0 = no data.
    order : int
        Order of the baseline in frequency.
    min_fraction : float
        With less than this part of the channels with data line-free (or fewer than ``order + 2``) the coverage is NONE.

    Returns
    -------
    LineFreeChannels
        For all channels.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    n_channels = len(images)
    if not all(one.shape == (n_channels,) for one in (mean_visibility, image_weights, mean_weights)):
        raise DataError(
            f"line search: {n_channels} images, mean visibilities of shape {mean_visibility.shape}, weights of shapes "
            f"{image_weights.shape} and {mean_weights.shape}; give one number a channel"
        )
    pixels = images.reshape(n_channels, -1)
    valid = (image_weights > 0) & (mean_weights > 0) & np.isfinite(mean_visibility) & np.isfinite(pixels).all(axis=1)
    line_free = np.zeros(n_channels, np.bool_)
    significance, noise = np.full(n_channels, np.nan), np.full(n_channels, np.nan)
    if valid.sum() < max(3, order + 2):
        return LineFreeChannels(line_free, Coverage.NO_DATA, significance, noise, np.inf)
    noise[valid] = estimate_channel_noise(pixels[valid], image_weights[valid])
    scale = np.sqrt(mean_weights[valid] / image_weights[valid])
    mean = mean_visibility[valid] * scale  # the noise of the mean is smaller by this
    scaled = np.linspace(-1.0, 1.0, n_channels)[valid]
    cube = _Cube(
        np.concatenate([pixels[valid], mean[:, np.newaxis].astype(np.float32)], axis=1),
        noise[valid],
        np.vander(scaled, order + 1, increasing=True),
    )
    threshold = choose_threshold(*cube.pixels.shape)
    least = max(order + 2, min_fraction * valid.sum())
    is_line, significance[valid] = _search(cube, threshold, least)
    relative = noise[valid] * np.sqrt(image_weights[valid])
    is_free = ~is_line & (relative <= MAX_NOISE * np.median(relative))
    if is_free.sum() < least:
        return LineFreeChannels(line_free, Coverage.NONE, significance, noise, threshold)
    line_free[valid] = is_free
    return LineFreeChannels(line_free, Coverage.SOME if is_line.any() else Coverage.ALL, significance, noise, threshold)


def estimate_channel_noise(pixels: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the noise of a pixel in every channel, from the differences to the neighbours.

    Parameters
    ----------
    pixels : ndarray of float32, shape (channel, pixel)
        Two channels or more; finite.
    weights : ndarray of float64, shape (channel,)
        Sums of weights, positive; the noise is expected to go with their root.

    Returns
    -------
    ndarray of float64, shape (channel,)
        In the unit of the pixels, positive.
    """
    difference = np.diff(pixels, axis=0)
    spread = np.abs(difference - np.median(difference, axis=1, keepdims=True))
    pairs = MAD_TO_SIGMA / np.sqrt(2) * np.median(spread, axis=1).astype(np.float64)
    before, after = np.concatenate([pairs[:1], pairs]), np.concatenate([pairs, pairs[-1:]])
    smaller = np.minimum(before, after)
    typical = np.median(smaller * np.sqrt(weights)) / np.sqrt(weights)
    noise: NDArray[np.float64] = np.median([before, after, typical], axis=0)
    # Data without any noise: rounding of single precision is left.
    rounding = float(np.finfo(np.float32).eps) * float(np.abs(pixels).max())
    return np.maximum(noise, max(rounding, float(np.finfo(np.float32).tiny)))


def choose_threshold(n_channels: int, n_pixels: int) -> float:
    """Return the significance that noise exceeds ``EXPECTED_FALSE`` times in a search, pixels taken as independent."""
    n_windows = 2 * n_channels * n_pixels * len(_widths(n_channels))
    return float(norm.isf(EXPECTED_FALSE / n_windows))


def find_start_channels(spectrum: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the channels near the straight line that has the most channels close to it, and few below it.

    Parameters
    ----------
    spectrum : ndarray of float64, shape (channel,)
        Finite.
    noise : ndarray of float64, shape (channel,)
        Its standard deviation.

    Returns
    -------
    ndarray of bool, shape (channel,)
        True = close.
    """
    channel = np.arange(spectrum.size, dtype=np.float64)
    blocks = np.array_split(np.arange(spectrum.size), min(_N_BLOCKS, spectrum.size))
    centres = [(float(np.mean(block)), float(np.median(spectrum[block]))) for block in blocks]
    lines = [(level, 0.0) for _, level in centres]
    for (first, low), (second, high) in combinations(centres, 2):
        slope = (high - low) / (second - first)
        lines.append((low - slope * first, slope))
    best, best_score = np.ones(spectrum.size, np.bool_), -np.inf
    for level, slope in lines:
        deviation = (spectrum - level - slope * channel) / noise
        close = np.abs(deviation) < START_SIGMA
        score = float(close.sum()) - float((deviation <= -START_SIGMA).sum())
        if score > best_score:
            best, best_score = close, score
    return best


def _search(cube: _Cube, threshold: float, least: float) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which channels are line, and the largest significance of each."""
    free = _start(cube, threshold)
    seen: list[NDArray[np.bool_]] = []
    significance = np.full(len(cube.noise), np.inf)
    for _ in range(MAX_ROUNDS):
        if free.sum() < least:
            return np.ones_like(free), significance
        is_line, significance = _search_once(cube, free, threshold)
        circle = [number for number, one in enumerate(seen) if np.array_equal(one, is_line)]
        if circle:
            return np.any(seen[circle[0] :], axis=0), significance
        seen.append(is_line)
        free = ~is_line
    return np.any(seen[-2:], axis=0), significance


def _start(cube: _Cube, threshold: float) -> NDArray[np.bool_]:
    """Return the channels to begin with: those that are on a straight line in the pixels that are least straight."""
    free = np.ones(len(cube.noise), np.bool_)
    for _ in range(START_PIXELS):
        residual, covariance = _subtract_baseline(cube, free)
        peaks = {width: _boxcar_peaks(residual, cube, covariance, free, width) for width in _widths(len(free))}
        width = max(peaks, key=lambda one: float(peaks[one].max()))
        if peaks[width].max() <= threshold:
            break
        first = int(peaks[width].argmax())
        used = free[first : first + width]
        weight = (used / cube.noise[first : first + width] ** 2)[:, np.newaxis]
        pixel = int(np.abs((residual[first : first + width] * weight).sum(axis=0)).argmax())
        closer = free & find_start_channels(*_smooth(cube.pixels[:, pixel], cube.noise, width))
        if closer.sum() <= cube.powers.shape[1] or np.array_equal(closer, free):
            break
        free = closer
    return free


def _smooth(
    spectrum: NDArray[np.float32], noise: NDArray[np.float64], width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of a boxcar around each channel, shorter at the ends, and its noise."""
    kernel = np.ones(width)
    weight = np.convolve(1.0 / noise**2, kernel)[width // 2 :][: noise.size]
    total = np.convolve(spectrum.astype(np.float64) / noise**2, kernel)[width // 2 :][: noise.size]
    return total / weight, 1.0 / np.sqrt(weight)


def _subtract_baseline(cube: _Cube, free: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return what the baseline through the free channels leaves, and the covariance of its coefficients."""
    root = 1.0 / cube.noise[free, np.newaxis]
    inverse = np.linalg.pinv(cube.powers[free] * root)
    projection = cube.powers @ (inverse * root.T)
    residual = np.empty_like(cube.pixels)
    for start in range(0, cube.pixels.shape[1], _BLOCK_PIXELS):
        block = cube.pixels[:, start : start + _BLOCK_PIXELS].astype(np.float64)
        residual[:, start : start + _BLOCK_PIXELS] = block - projection @ block[free]
    return residual, inverse @ inverse.T


def _search_once(
    cube: _Cube, free: NDArray[np.bool_], threshold: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return the channels with line above the baseline through the free ones, and the largest significance of each."""
    residual, covariance = _subtract_baseline(cube, free)
    found = np.zeros(len(free), np.bool_)
    narrow = np.zeros(len(free))
    for width in _widths(len(free)):
        peak = _boxcar_peaks(residual, cube, covariance, ~found, width)
        if width == 1:
            narrow = peak
        for start in np.flatnonzero(peak > threshold):
            found[start : start + width] = True
    return _drop_short(_grow(found, (residual / cube.noise[:, np.newaxis]).astype(np.float32))), narrow


def _boxcar_peaks(
    residual: NDArray[np.float32],
    cube: _Cube,
    covariance: NDArray[np.float64],
    used: NDArray[np.bool_],
    width: int,
) -> NDArray[np.float64]:
    """Return the largest significance over all pixels of each window, shape (n_channels - width + 1,).

    A window with less than half of its channels left has 0.
    """
    weight = used / cube.noise**2

    def add_up(values: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.cumsum(np.concatenate([np.zeros_like(values[:1]), values]), axis=0)
        difference: NDArray[np.float64] = total[width:] - total[:-width]
        return difference

    total = add_up(weight)
    enough = 2 * add_up(used.astype(np.float64)) > width
    safe = np.where(enough, total, 1.0)
    powers = add_up(cube.powers * weight[:, np.newaxis]) / safe[:, np.newaxis]
    error = np.sqrt(1.0 / safe + np.einsum("ci,ij,cj->c", powers, covariance, powers))
    peak = np.zeros(len(total))
    for start in range(0, residual.shape[1], _BLOCK_PIXELS):
        block = residual[:, start : start + _BLOCK_PIXELS] * weight[:, np.newaxis]
        peak = np.maximum(peak, np.abs(add_up(block)).max(axis=1))
    return np.where(enough, peak / safe / error, 0.0)


def _grow(found: NDArray[np.bool_], deviation: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the found ranges, grown along their brightest pixels and then by a margin."""
    grown = found.copy()
    for start, stop in find_channel_runs(found):
        first = _walk(deviation, start, -1)
        last = _walk(deviation, stop - 1, 1)
        margin = max(1, round((last + 1 - first) / 20))
        grown[max(0, first - margin) : last + 1 + margin] = True
    return grown


def _walk(deviation: NDArray[np.float32], channel: int, step: int) -> int:
    """Return the last channel in a direction that is still above the growth level in the pixel of the first one."""
    pixel = int(np.abs(deviation[channel]).argmax())
    sign = np.sign(deviation[channel, pixel])
    while 0 <= channel + step < len(deviation) and sign * deviation[channel + step, pixel] > GROWTH_SIGMA:
        channel += step
    return channel


def _drop_short(is_line: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the line channels, with line-free ranges that are too short among them."""
    result = is_line.copy()
    for start, stop in find_channel_runs(~is_line):
        if stop - start < MIN_RANGE:
            result[start:stop] = True
    return result


def find_channel_runs(mask: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """Return the ranges of True, half-open, in ascending order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))).tolist()
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def _widths(n_channels: int) -> tuple[int, ...]:
    """Return the widths of the boxcars: powers of two up to a third of the band."""
    return tuple(2**k for k in range(max(1, (max(n_channels, 3) // 3).bit_length())))
