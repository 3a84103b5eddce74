"""The primary beam of a wide band: Taylor terms of the sky from those of the sky times the beam.

1. The antennas see A(f) I(f), and A gets narrower with frequency. The Taylor terms J_q of an image are the weighted
   least-squares fit to what is seen, with x = ln(f / f0) and the sum over channels of imaging weight w::

       sum_j H_ij J_j = sum w x^i A I,    H_ij = sum w x^(i + j)

2. With the Taylor terms I_q of the sky, I = sum_q I_q x^q, the right side is sum_j M_ij I_j, where M holds the moments
   of the beam, M_ij = sum w x^(i + j) A. So the terms of the sky are (:func:`correct_terms`)::

       I = M^-1 H J

   With one term this is the division by the mean of the beams of all channels; with two, the spectral index is
   I_1 / I_0.
3. A depends on the distance from the phase centre alone: its moments are computed along a radius, and interpolated.

CASA's ``widebandpbcor`` fits a polynomial P to the beam, with the same weights, and divides by it as by a polynomial:
I_0 = J_0 / P_0, I_1 = (J_1 - P_1 I_0) / P_0. What that cuts off, P_1 I_1 x^2, is in the fit of 1. and goes into I_0:
at the half-power point of a beam, for an index of -0.7, I_0 is 1.1 % too large over 32 % of bandwidth, and 4.8 % over
two thirds. The equations of 2. leave what two terms cut off without a beam, 0.2 % and 0.9 %. Both give the same index
to 0.004.

It fails where the beam is not what the formulae say: squinted, turned with the dish, or in its sidelobes. Noise of the
slope goes into I_0: at half power its noise is that of J_0 / A and 4 % over 32 % of bandwidth, 15 % over two thirds.

References
----------
Rau & Cornwell 2011, A&A 532, A71, section 3.3; CASA task ``widebandpbcor``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.geometry import ImageGrid
from radps.domain.multiterm import spectral_powers
from radps.domain.primary_beam import MIN_CUTOFF, distance_from_centre, find_pattern, keep_main_lobe

N_RADII = 8192
"""Of the profile of the beam; between them it is linear, to 1e-6 where an image is ten beams wide."""


class ChannelWeights(NamedTuple):
    """What each channel weighs in an image."""

    frequency_hz: NDArray[np.float64]
    """Shape (channel,) [Hz]."""
    weight: NDArray[np.float64]
    """Sums of imaging weights, shape (channel,)."""


class BeamMoments(NamedTuple):
    """Means over the channels with their weights, along the distance from the phase centre."""

    radius_rad: NDArray[np.float64]
    """Shape (radius,), from 0 to the corner of the image [rad]."""
    beam: NDArray[np.float64]
    """Of x^q A, q = 0 ... 2 n - 2; shape (2 n - 1, radius)."""
    plain: NDArray[np.float64]
    """Of x^q, shape (2 n - 1,)."""


class CorrectedTerms(NamedTuple):
    """An image without the primary beam."""

    terms: NDArray[np.float32]
    """Shape (term, n_l, n_m); NaN beyond the cutoff."""
    pattern: NDArray[np.float32]
    """The mean of the beams of all channels, shape (n_l, n_m); 0 beyond the cutoff."""


def add_channel_weights(parts: Sequence[ChannelWeights]) -> ChannelWeights:
    """Add up the weights of the parts of an image, in their order; frequencies ascend, each is there once."""
    frequencies = np.concatenate([part.frequency_hz for part in parts])
    weights = np.concatenate([part.weight for part in parts])
    distinct, places = np.unique(frequencies, return_inverse=True)
    return ChannelWeights(distinct, np.bincount(places, weights=weights, minlength=distinct.size).astype(np.float64))


def beam_moments(
    grid: ImageGrid,
    channels: ChannelWeights,
    reference_hz: float,
    n_terms: int,
    telescope: str,
    *,
    dish_diameter_m: float | None = None,
) -> BeamMoments:
    """Return the moments of the primary beam over the channels of an image.

    Parameters
    ----------
    grid : ImageGrid
        The image.
    channels : ChannelWeights
        Its channels; all weights 0: there are no data, and the moments are 0.
    reference_hz : float
        Frequency f0 of the Taylor terms [Hz].
    n_terms : int
        Taylor terms n.
    telescope, dish_diameter_m
        As for :func:`radps.domain.primary_beam.primary_beam`; the main lobe of each channel is taken down to
        0.03, where the polynomials end.

    Raises
    ------
    DataError
        The telescope has no pattern, and there is no diameter.
    """
    samples = np.linspace(0, float(distance_from_centre(grid, 0).max()), N_RADII)  # the corner is in row 0
    total = channels.weight.sum()
    shares = channels.weight / total if total > 0 else np.zeros_like(channels.weight)
    powers = spectral_powers(channels.frequency_hz, reference_hz, 2 * n_terms - 1) * shares
    profiles = np.zeros((len(powers), N_RADII))
    for power, hz in zip(powers.T, channels.frequency_hz, strict=True):
        pattern = find_pattern(telescope, float(hz), dish_diameter_m)
        profiles += power[:, np.newaxis] * keep_main_lobe(pattern, samples, MIN_CUTOFF)
    return BeamMoments(samples, profiles, powers.sum(axis=1))


def find_beam_region(grid: ImageGrid, moments: BeamMoments, level: float) -> NDArray[np.bool_]:
    """Return where the mean of the beams of all channels is at or above a level, shape (n_l, n_m)."""
    region = np.zeros(grid.shape, np.bool_)
    for row in range(grid.n_l):
        region[row] = np.interp(distance_from_centre(grid, row), moments.radius_rad, moments.beam[0]) >= level
    return region


def correct_terms(
    terms: NDArray[np.float32], grid: ImageGrid, moments: BeamMoments, *, cutoff: float
) -> CorrectedTerms:
    """Return the Taylor terms of the sky, I = M^-1 H J.

    Parameters
    ----------
    terms : ndarray of float32, shape (term, n_l, n_m)
        J_q, of the sky times the primary beam [Jy/beam].
    grid : ImageGrid
        The image.
    moments : BeamMoments
        Of the same grid and number of terms.
    cutoff : float
        Where the mean of the beams is below this, the result is blank.
    """
    order = np.arange(len(terms))
    powers = order[:, np.newaxis] + order
    corrected = np.full(terms.shape, np.nan, np.float32)
    pattern = np.zeros(grid.shape, np.float32)
    for row in range(grid.n_l):  # the matrices of a large image at once would take many times its memory
        radius = distance_from_centre(grid, row)
        beam = np.stack([np.interp(radius, moments.radius_rad, profile) for profile in moments.beam])
        inside = beam[0] >= cutoff
        matrices = np.moveaxis(beam[:, inside][powers], -1, 0)  # (pixel, term, term)
        seen = (moments.plain[powers] @ terms[:, row, inside]).T  # (pixel, term)
        corrected[:, row, inside] = np.linalg.solve(matrices, seen[..., np.newaxis])[..., 0].T
        pattern[row, inside] = beam[0, inside]
    return CorrectedTerms(corrected, pattern)
