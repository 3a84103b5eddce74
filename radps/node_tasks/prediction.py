"""What sky models are on a worker: components and images, and the visibilities that they predict."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.stores import load_array
from radps.domain.model_image import ImagePlace, predict_model_image
from radps.domain.sky import Component, component_flux, predict_components


class ModelImage(NamedTuple):
    """A model image whose pixels have a common spectrum."""

    url: str
    """Brightness, (n_l, n_m), with the sum 1."""
    place: ImagePlace
    spectrum: Component
    """Its flux density along frequency; its place and size are not used."""


class FieldModel(NamedTuple):
    """What is known of the brightness of a field: the sum of components and of an image."""

    components: tuple[Component, ...]
    image: ModelImage | None = None


def predict_field(
    uvw_m: NDArray[np.float64], frequency_hz: NDArray[np.float64], model: FieldModel
) -> NDArray[np.complex128]:
    """Return the visibilities of a model (Stokes I), shape (row, channel) [Jy]; ``uvw_m`` is (row, 3)."""
    visibilities = predict_components(uvw_m, frequency_hz, model.components)
    if model.image is None:
        return visibilities
    flux_jy = component_flux((model.image.spectrum,), frequency_hz)[0]
    image = load_array(model.image.url)
    return visibilities + predict_model_image(image, uvw_m, frequency_hz, model.image.place, flux_jy)
