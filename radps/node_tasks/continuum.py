"""What continuum subtraction does on a worker: fit and subtract a block of times, all channels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from radps.data.visibilities import write_chunk
from radps.domain.continuum import subtract_polynomial
from radps.node_tasks.blocks import Block


class SubtractSummary(NamedTuple):
    """What the subtraction of a block did."""

    field: str
    n_rows: int
    """Times x baselines x polarizations."""
    n_empty: int
    """Of these, rows without data."""
    n_failed: int
    """Rows with data that have too few line-free channels; they are flagged."""


def subtract_continuum_block(
    block: Block, field: str, line_free: tuple[tuple[int, int], ...], order: int, visibility_url: str, flag_url: str
) -> SubtractSummary:
    """Fit the line-free channels (half-open ranges) of a block of whole rows; write what is left, and its flags."""
    data = block.load(("visibility", "flag", "weight"))
    mask = np.zeros(len(data.frequency_hz), np.bool_)
    for start, stop in line_free:
        mask[start:stop] = True
    line = subtract_polynomial(data.visibilities, data.flags, data.weights, data.frequency_hz, mask, order)
    where = {"times": block.time_slice, "channels": block.channel_slice}
    write_chunk(visibility_url, line.visibilities.astype(np.complex64, copy=False), **where)
    write_chunk(flag_url, line.flags, **where)
    n_times, n_baselines, _, n_polarizations = data.flags.shape
    n_empty = int(data.flags.all(axis=2).sum())
    return SubtractSummary(field, n_times * n_baselines * n_polarizations, n_empty, line.n_failed)
