"""What the assessment of images does on a worker: boil a convergence table down to the numbers that are judged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from radps.data.convergence import STATISTICS, load_convergence
from radps.domain.solver import StopReason


class ImageQuality(NamedTuple):
    """The numbers behind the scores of an image; channels without data do not count, and 0 is for no data at all."""

    n_channels: int
    """Channels with data."""
    n_converged: int
    """Of these, ended at the threshold."""
    worst_residual: float
    """Largest peak of a residual in units of its channel's noise."""
    worst_noise: float
    """Largest noise of a channel in units of the median."""
    deepest_negative: float = 0.0
    """Modulus of the deepest negative of the image in units of its channel's noise."""
    residual_excess: float = 0.0
    """Standard deviation of a residual over its noise, the largest one: 1 for noise alone."""


def measure_image_quality(convergence_url: str) -> ImageQuality:
    """Read a convergence table and return the numbers that are judged."""
    found = load_convergence(convergence_url)
    reasons = [StopReason(int(reason)) for reason in found.stop_reasons]
    with_data = np.array([reason is not StopReason.NO_DATA for reason in reasons])
    if not with_data.any():
        return ImageQuality(0, 0, 0.0, 0.0)
    columns = dict(zip(STATISTICS, found.statistics[with_data].T, strict=True))
    noise = columns["noise"]
    last = np.isfinite(found.peak_residual[with_data]).sum(axis=1) - 1
    peaks = found.peak_residual[with_data][np.arange(len(last)), last]
    smallest = float(np.finfo(np.float32).tiny)
    safe = np.maximum(noise, smallest)
    return ImageQuality(
        n_channels=int(with_data.sum()),
        n_converged=sum(reason.is_converged for reason in reasons),
        worst_residual=float((peaks / safe).max()),
        worst_noise=float(noise.max() / max(float(np.median(noise)), smallest)),
        deepest_negative=float((np.maximum(-columns["min"], 0.0) / safe).max()),
        residual_excess=float((columns["residual_rms"] / safe).max()),
    )
