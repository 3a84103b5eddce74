"""What one block of data adds to a continuum image, and how such parts are added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from radps.data.stores import join_url, load_array
from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.domain.gridding import DirtySum
from radps.domain.multiterm import dirty_terms, predict_terms, psf_terms, spectral_powers
from radps.domain.normal_operator import large_grid
from radps.domain.wideband_beam import ChannelWeights, add_channel_weights
from radps.domain.wideband_operator import operator_sums
from radps.node_tasks.cube_imaging import ImagingRules
from radps.node_tasks.samples import Samples, Source, load_samples, weigh_samples

IMAGES_AT_ONCE = 2
"""Parts that are added by one task: each is a set of large images, and all are in its memory."""


class ContinuumRules(NamedTuple):
    """How a continuum image is made."""

    imaging: ImagingRules
    reference_hz: float
    """Frequency f0 of the image and of the Taylor terms."""
    n_terms: int = 1
    """Taylor terms."""
    longest_w: float = 0.0
    """max|w| of all data [wavelengths]."""
    series: int = 0
    """Terms of the series in w by which residuals are made without the visibilities; 0 = by the visibilities."""


class FirstSums(NamedTuple):
    """What the first look at a block makes."""

    psf: DirtySum
    """Images of shape (2 n_terms - 1, 1 + series // 2, p_l, p_m): the PSFs, and the other terms of the operator."""
    dirty: DirtySum
    """Images of shape (n_terms, n_l, n_m)."""
    channels: ChannelWeights
    """What each channel weighs in them: by it the primary beam is averaged."""


def find_longest_w(source: Source) -> float:
    """Return the largest |w| of a block [wavelengths]; 0 if it has none."""
    address = source.address
    w_m = load_array(address.uvw, (slice(*source.times),))[..., 2]
    frequency_hz = load_array(join_url(address.store, "frequency"), (slice(*source.channels),))
    longest_m = float(np.max(np.abs(w_m), initial=0.0, where=np.isfinite(w_m)))
    return longest_m * float(frequency_hz.max()) / SPEED_OF_LIGHT_M_S


def find_maximum(parts: Sequence[float]) -> float:
    """Return the largest of some numbers."""
    return max(parts)


def load_block(source: Source) -> Samples:
    """Read a block, to be kept for the sums of all cycles."""
    return load_samples([source])


def sum_first(source: Source | Samples, rules: ContinuumRules) -> FirstSums:
    """Return a block's part of the dirty images and of the PSFs, which are twice the size of the image.

    A block is given as it is to be read, or as it was read and kept.
    """
    imaging = rules.imaging
    samples = load_samples([source]) if isinstance(source, Source) else source
    weights = weigh_samples(samples, imaging.weighting, imaging.grid)
    epsilon = imaging.clean.epsilon
    powers = spectral_powers(samples.frequency_hz, rules.reference_hz, 2 * rules.n_terms - 1)
    seen = samples.uvw_m, samples.frequency_hz
    if rules.series:
        psf = operator_sums(*seen, weights, imaging.grid, powers, rules.longest_w, rules.series, epsilon=epsilon)
    else:
        plain = psf_terms(*seen, weights, large_grid(imaging.grid), powers, epsilon=epsilon)
        psf = plain._replace(image=plain.image[:, np.newaxis])
    dirty = dirty_terms(
        *seen,
        samples.visibilities,
        weights,
        imaging.grid,
        powers[: rules.n_terms],
        epsilon=epsilon,
        w_term=imaging.clean.w_term,
    )
    channels = ChannelWeights(samples.frequency_hz, weights.sum(axis=0, dtype=np.float64))
    return FirstSums(psf, dirty, channels)


def sum_residual(source: Source | Samples, rules: ContinuumRules, model_url: str, epsilon: float) -> DirtySum:
    """Return a block's part of the residual images of a model, to an accuracy of ``epsilon``."""
    imaging = rules.imaging
    samples = load_samples([source]) if isinstance(source, Source) else source
    powers = spectral_powers(samples.frequency_hz, rules.reference_hz, rules.n_terms)
    model = predict_terms(
        load_array(model_url),
        samples.uvw_m,
        samples.frequency_hz,
        imaging.grid,
        powers,
        epsilon=epsilon,
        w_term=imaging.clean.w_term,
    )
    return dirty_terms(
        samples.uvw_m,
        samples.frequency_hz,
        samples.visibilities - model.astype(np.complex64, copy=False),
        weigh_samples(samples, imaging.weighting, imaging.grid),
        imaging.grid,
        powers,
        epsilon=epsilon,
        w_term=imaging.clean.w_term,
    )


def add_first(parts: Sequence[FirstSums]) -> FirstSums:
    """Add up first looks in their order."""
    return FirstSums(
        add_images([part.psf for part in parts]),
        add_images([part.dirty for part in parts]),
        add_channel_weights([part.channels for part in parts]),
    )


def add_images(parts: Sequence[DirtySum]) -> DirtySum:
    """Add up parts, in their precision; few at once, so that errors of rounding stay small."""
    total = parts[0].image
    for number, part in enumerate(parts[1:]):
        total = np.add(total, part.image, out=total if number else None)  # the parts themselves stay as they are
    return DirtySum(total, sum(part.weight for part in parts))
