"""What the assessment of images does on a worker: boil a convergence table down to numbers, count data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.convergence import STATISTICS, load_convergence
from radps.domain.polarization import parallel_hands
from radps.domain.solver import StopReason
from radps.errors import DataError
from radps.node_tasks.blocks import Block


class ImageQuality(NamedTuple):
    """The numbers behind the scores of an image; channels without data do not count, and 0 is for no data at all."""

    n_channels: int
    """Channels with data."""
    n_converged: int
    """Of these, ended at the threshold."""
    worst_residual: float
    """Largest peak of a residual, inside of a mask or not, in units of its channel's noise."""
    worst_noise: float
    """Largest noise of a channel in units of the median."""
    deepest_negative: float = 0.0
    """Modulus of the deepest negative of the image in units of its channel's noise."""
    residual_excess: float = 0.0
    """Standard deviation of a residual over its noise, the largest one: 1 for noise alone."""


def measure_image_quality(convergence_url: str) -> ImageQuality:
    """Read a convergence table and return the numbers that are judged.

    Raises
    ------
    DataError
        The table is of an earlier radps, and lacks some of them.
    """
    found = load_convergence(convergence_url)
    reasons = [StopReason(int(reason)) for reason in found.stop_reasons]
    with_data = np.array([reason is not StopReason.NO_DATA for reason in reasons])
    if not with_data.any():
        return ImageQuality(0, 0, 0.0, 0.0)
    columns = dict(zip(STATISTICS, found.statistics[with_data].T, strict=True))
    if missing := [name for name, column in columns.items() if np.isnan(column).all()]:
        raise DataError(
            f"the table {convergence_url} has no {', '.join(missing)}: an earlier radps made it; image again, by "
            "--redo and the step of the image"
        )
    noise = columns["noise"]
    smallest = float(np.finfo(np.float32).tiny)
    safe = np.maximum(noise, smallest)
    return ImageQuality(
        n_channels=int(with_data.sum()),
        n_converged=sum(reason.is_converged for reason in reasons),
        worst_residual=float((columns["residual_peak"] / safe).max()),
        worst_noise=float(noise.max() / max(float(np.median(noise)), smallest)),
        deepest_negative=float((np.maximum(-columns["min"], 0.0) / safe).max()),
        residual_excess=float((columns["residual_rms"] / safe).max()),
    )


class ChannelCounts(NamedTuple):
    """Numbers of visibilities in consecutive channels."""

    first: int
    """First channel."""
    counts: NDArray[np.int64]
    """Shape (channel,)."""

    def of(self, ranges: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """Return the numbers in the channels of half-open ranges, one after the other."""
        return np.concatenate([self.counts[start - self.first : stop - self.first] for start, stop in ranges])


def count_visibilities(block: Block) -> ChannelCounts:
    """Count the visibilities of a block that go into Stokes I: cross-correlations whose parallel hands are unflagged.

    Each hand counts. Cells without data may be unflagged in MSv4 that is used in place; they have no baseline vector.
    """
    data = block.load(("flag", "uvw"))
    hands = parallel_hands(data.polarizations)
    flagged = data.flags[:, data.antenna1 != data.antenna2][..., hands].any(axis=-1)
    return ChannelCounts(block.channels[0], len(hands) * np.count_nonzero(~flagged, axis=(0, 1)).astype(np.int64))


def add_counts(parts: Sequence[ChannelCounts]) -> ChannelCounts:
    """Add up the counts of blocks of a partition."""
    first = min(part.first for part in parts)
    counts = np.zeros(max(part.first + len(part.counts) for part in parts) - first, np.int64)
    for part in parts:
        counts[part.first - first : part.first - first + len(part.counts)] += part.counts
    return ChannelCounts(first, counts)
