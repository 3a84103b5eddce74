"""Masks that users give, on a worker: read and checked once, and kept in a store by channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from radps.data.images import ImageDescription
from radps.data.masks import load_mask
from radps.data.stores import create_array, load_array, open_array, write_region


def prepare_mask(url: str, description: ImageDescription, mask_url: str) -> None:
    """Bring a file of a user to the pixels of an image, and keep it; doing it twice changes nothing."""
    mask = load_mask(url, description)
    create_array(mask_url, mask.shape, chunks=(1, *mask.shape[1:]), dtype=np.bool_, dims=("frequency", "l", "m"))
    write_region(mask_url, (slice(None),) * 3, mask)


def load_channel_mask(mask_url: str, channel: int) -> NDArray[np.bool_]:
    """Return the mask of a channel, shape (n_l, n_m)."""
    row = channel if open_array(mask_url).shape[0] > 1 else 0
    return np.asarray(load_array(mask_url, (slice(row, row + 1),))[0], np.bool_)
