r"""Decisions of self-calibration: what a solution can reach, whether an image got better, the scale of amplitudes.

1. An image of signal-to-noise ratio R, made of N antennas in the time T, tells the gain of one antenna in the interval
   t and in one of s equal shares of the data (hands, spectral windows) with the signal-to-noise ratio

   .. math:: R_t = R \sqrt{t / T} / \sqrt{s (N - 3)}

   (:func:`expected_solution_snr`). Intervals for which that is too low are not worth a try.
2. The signal-to-noise ratio of an image is its peak over the noise of its residual. A trial is kept if that rises by
   more than a small part, and the beam does not grow: a smaller noise that is bought by flagging the long baselines is
   none (:func:`judge_trial`).
3. Amplitude gains are solved against a model from the same data, so that they tell the scale of the antennas against
   each other, not the scale of all of them. They are divided by the root of the mean of their squares
   (:func:`normalise_amplitudes`; CASA ``gaincal`` ``solnorm``).

Where it fails: gains of s free numbers an interval fit some of the noise, which lowers the residual by about
s / (2 n), n = visibilities of the interval; the smallest improvement that counts has to be above that. A model that
lacks flux on short baselines makes amplitude gains that hide it: image deeper before, or leave amplitudes out.

References
----------
Brogan, Hunter & Fomalont 2018, arXiv:1805.05266 (Advanced gain calibration techniques in radio interferometry); the
self-calibration of the ALMA pipeline (``hif_selfcal``), which estimates and decides alike.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class TrialQuality(NamedTuple):
    """The numbers that an image is judged by."""

    peak_jy: float
    """Largest brightness of the restored image, per beam."""
    noise_jy: float
    """Robust noise of the residual, per beam."""
    beam_area: float
    """Product of the axes of the beam [rad^2]; NaN without a beam."""

    @property
    def snr(self) -> float:
        """Peak over noise; 0 where there is no noise to compare with."""
        return self.peak_jy / self.noise_jy if self.noise_jy > 0 else 0.0


def expected_solution_snr(
    image_snr: float, n_antennas: int, interval_s: float, total_s: float, n_shares: int = 1
) -> float:
    """Return the signal-to-noise ratio that the gain of an antenna will have.

    Parameters
    ----------
    image_snr : float
        Peak over noise of the image of all data.
    n_antennas : int
        Antennas with data.
    interval_s, total_s : float
        Length of the solution interval, and time on source of the image [s].
    n_shares : int
        Equal parts of the data that are solved each by itself: hands, spectral windows.
    """
    part = min(1.0, interval_s / total_s)
    return image_snr * math.sqrt(part / (n_shares * max(n_antennas - 3, 1)))


def judge_trial(
    before: TrialQuality, after: TrialQuality, *, min_improvement: float, max_beam_growth: float
) -> str | None:
    """Return why a trial is dropped, None if it is kept.

    Parameters
    ----------
    before, after : TrialQuality
        Of the best image so far, and of the trial.
    min_improvement : float
        Part by which the signal-to-noise ratio has to rise at least.
    max_beam_growth : float
        Part by which the area of the beam may grow.
    """
    if not after.snr > before.snr * (1.0 + min_improvement):
        return (
            f"the signal-to-noise ratio went from {before.snr:.4g} to {after.snr:.4g}; it has to rise by "
            f"{100 * min_improvement:g} %"
        )
    growth = after.beam_area / before.beam_area - 1.0
    if not growth <= max_beam_growth:
        return f"the area of the beam grew by {100 * growth:.2g} %: too much of the long baselines is flagged"
    return None


def normalise_amplitudes(gains: NDArray[np.complex128], flags: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """Return gains whose squared amplitudes are 1 in the mean over all times and antennas, each hand by itself.

    Parameters
    ----------
    gains : ndarray, shape (time, antenna, channel, polarization)
    flags : ndarray of bool, same shape
        True = not used; these gains stay as they are.
    """
    power = np.where(flags, 0.0, np.abs(gains) ** 2).sum(axis=(0, 1, 2))
    count = np.count_nonzero(~flags, axis=(0, 1, 2))
    scale = np.sqrt(np.divide(power, count, out=np.ones_like(power), where=count > 0))
    return np.where(flags, gains, gains / scale)
