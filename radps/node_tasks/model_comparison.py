"""Calibrated visibilities against the model of their field: sums in cells of uv distance and frequency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.node_tasks.blocks import Block
from radps.node_tasks.prediction import FieldModel
from radps.node_tasks.solving import load_corrected, predict_model
from radps.node_tasks.visibility_histograms import HistogramRanges, find_cells

N_CELLS = 50


class ModelSums(NamedTuple):
    """Weighted sums over the unflagged visibilities V and their model M, in (uv distance, frequency) x cells."""

    weight: NDArray[np.float64]
    """(2, cell)"""
    observed: NDArray[np.complex128]
    """Of V conj(M) / abs(M): the part of V along M is real, whatever the structure of the source."""
    model: NDArray[np.float64]
    """Of abs(M)."""


def compare_with_model(block: Block, ranges: HistogramRanges, model: FieldModel) -> ModelSums:
    """Add up a block of calibrated data and its model; autocorrelations have no weight."""
    data = load_corrected(block, ())
    predicted = predict_model(block, data, model)
    size = np.abs(predicted)
    weight = np.where(data.flags | (size == 0), 0.0, data.weights.astype(np.float64))
    weight[:, data.antenna1 == data.antenna2] = 0.0
    along = np.divide(np.conj(predicted), size, out=np.zeros(size.shape, np.complex128), where=size > 0)
    observed = (weight * data.visibilities * along).sum(axis=-1)
    length_m = np.hypot(data.uvw_m[..., 0], data.uvw_m[..., 1])
    distance = length_m[..., None] * data.frequency_hz / SPEED_OF_LIGHT_M_S
    frequency = find_cells(data.frequency_hz, *ranges.frequency_hz, N_CELLS)
    cells = (
        find_cells(distance, 0.0, ranges.longest_wavelengths, N_CELLS).ravel(),
        np.broadcast_to(frequency, distance.shape).ravel(),
    )
    total = weight.sum(axis=-1)
    modelled = (weight * size).sum(axis=-1).ravel()
    return ModelSums(
        weight=np.stack([_add_up(cell, total.ravel()) for cell in cells]),
        observed=np.stack([_add_up(cell, observed.real.ravel()) for cell in cells])
        + 1j * np.stack([_add_up(cell, observed.imag.ravel()) for cell in cells]),
        model=np.stack([_add_up(cell, modelled) for cell in cells]),
    )


def add_model_sums(parts: Sequence[ModelSums]) -> ModelSums:
    """Add up the sums of blocks."""
    return ModelSums(*(np.sum(group, axis=0) for group in zip(*parts, strict=True)))


def _add_up(cells: NDArray[np.int32], values: NDArray[np.float64]) -> NDArray[np.float64]:
    sums: NDArray[np.float64] = np.bincount(cells, weights=values, minlength=N_CELLS + 2).astype(np.float64)
    return sums[1:-1]
