"""What sky models are on a worker: components and images, and the visibilities that they predict."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.stores import load_array
from radps.domain.model_image import ImagePlace, predict_model_image, predict_taylor_images
from radps.domain.polarization import StokesModel
from radps.domain.sky import Component, component_flux, predict_components
from radps.node_tasks.feeds import FeedRule


class ModelImage(NamedTuple):
    """A model image whose pixels have a common spectrum, or each a Taylor series of its own."""

    url: str
    """Brightness, (term, n_l, n_m): one term with the sum 1, or Taylor terms [Jy/pixel]."""
    place: ImagePlace
    spectrum: Component | None = None
    """Flux density along frequency that the image is multiplied by; its place and size are not used. None: a series."""
    reference_frequency_hz: float = 0.0
    """Of a Taylor series."""


class FieldModel(NamedTuple):
    """What is known of the brightness of a field: the sum of components, and of an image that is not polarized."""

    components: tuple[Component, ...]
    image: ModelImage | None = None
    feeds: FeedRule | None = None
    """Of a model with a polarized component: how to find the angle of the feeds. None: it is not polarized."""


def predict_field(
    uvw_m: NDArray[np.float64], frequency_hz: NDArray[np.float64], model: FieldModel
) -> NDArray[np.complex128]:
    """Return the visibilities of a model (Stokes I), shape (row, channel) [Jy]; ``uvw_m`` is (row, 3)."""
    if model.image is None:
        return predict_components(uvw_m, frequency_hz, model.components)
    visibilities = _predict_image(uvw_m, frequency_hz, model.image)
    if model.components:
        visibilities += predict_components(uvw_m, frequency_hz, model.components)
    return visibilities


def predict_polarized(uvw_m: NDArray[np.float64], frequency_hz: NDArray[np.float64], model: FieldModel) -> StokesModel:
    """Return the visibilities of a model in all Stokes parameters; the image is taken as unpolarized."""
    components = model.components
    flux_jy = component_flux(components, frequency_hz)
    parts = []
    for name in ("q_fraction", "u_fraction", "v_fraction"):
        fraction = np.array([getattr(one, name) for one in components])[:, np.newaxis]
        parts.append(predict_components(uvw_m, frequency_hz, components, flux_jy * fraction))
    return StokesModel(predict_field(uvw_m, frequency_hz, model), *parts)


def _predict_image(
    uvw_m: NDArray[np.float64], frequency_hz: NDArray[np.float64], model: ModelImage
) -> NDArray[np.complex128]:
    images = load_array(model.url)
    if model.spectrum is None:
        return predict_taylor_images(images, uvw_m, frequency_hz, model.place, model.reference_frequency_hz)
    flux_jy = component_flux((model.spectrum,), frequency_hz)[0]
    return predict_model_image(images[0], uvw_m, frequency_hz, model.place, flux_jy)
