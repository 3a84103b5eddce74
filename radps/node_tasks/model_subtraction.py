"""Subtract the visibilities of a model image from a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.visibilities import write_chunk
from radps.domain.polarization import parallel_hands
from radps.errors import ModelError
from radps.node_tasks.blocks import Block
from radps.node_tasks.model_images import StoredImage
from radps.node_tasks.prediction import FieldModel, ModelImage, predict_field


class SubtractedPower(NamedTuple):
    """The power of the visibilities of a field before and after; sums over its unflagged parallel hands."""

    field: str
    weight: float
    """Sum of weights [Jy^-2]."""
    before: float
    """Sum of weight times |V|^2."""
    after: float


def stored_model(url: str, stored: StoredImage, reference_frequency_hz: float | None = None) -> FieldModel:
    """Return the model of a field that is an image as :func:`~radps.node_tasks.model_images.store_model_image` left it.

    Raises
    ------
    ModelError
        Neither the image nor the caller says at which frequency it holds.
    """
    frequency = stored.frequency_hz if reference_frequency_hz is None else reference_frequency_hz
    if frequency is None:
        raise ModelError("the model image has no frequency; give its reference_frequency")
    return FieldModel((), ModelImage(url, stored.place, reference_frequency_hz=frequency))


def subtract_model_block(
    block: Block,
    stored: StoredImage,
    field: str,
    image_url: str,
    visibility_url: str,
    reference_frequency_hz: float | None = None,
    spectral_index: float = 0.0,
) -> SubtractedPower:
    """Subtract a model image from the parallel hands of a block, and write the difference.

    Autocorrelations and cross hands stay as they are. ``spectral_index`` is that of all of the model, on top of its
    Taylor terms. The model is that of all of the block at once; it is subtracted time by time, without a second copy.
    """
    data = block.load()
    cross = np.flatnonzero(data.antenna1 != data.antenna2)
    hands = parallel_hands(data.polarizations)
    model = stored_model(image_url, stored, reference_frequency_hz)
    predicted = predict_field(data.uvw_m[:, cross].reshape(-1, 3), data.frequency_hz, model)
    if spectral_index and model.image is not None:
        predicted *= (data.frequency_hz / model.image.reference_frequency_hz) ** spectral_index
    predicted = predicted.reshape(len(data.time_s), len(cross), len(data.frequency_hz), 1)
    place = np.ix_(cross, np.arange(len(data.frequency_hz)), np.array(hands))
    total = np.zeros(3)
    for time, model_now in enumerate(predicted):
        left = data.visibilities[time]
        weights = np.where(data.flags[time][place], 0.0, data.weights[time][place].astype(np.float64))
        before = _power(left[place], weights)
        left[place] -= model_now.astype(np.complex64)
        total += weights.sum(), before, _power(left[place], weights)
    write_chunk(visibility_url, data.visibilities, times=block.time_slice, channels=block.channel_slice)
    return SubtractedPower(field, *total.tolist())


def add_subtracted_power(parts: Sequence[SubtractedPower]) -> SubtractedPower:
    """Add up the sums of disjoint blocks of a field, in their order."""
    return SubtractedPower(
        parts[0].field,
        sum(part.weight for part in parts),
        sum(part.before for part in parts),
        sum(part.after for part in parts),
    )


def _power(values: NDArray[np.complex64], weights: NDArray[np.float64]) -> float:
    return float((weights * (values.real.astype(np.float64) ** 2 + values.imag.astype(np.float64) ** 2)).sum())
