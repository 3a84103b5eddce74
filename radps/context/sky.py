"""From the records of sky models to what the domain predicts from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from radps.context.model import Context
from radps.context.records import SkyComponent, SkyModel
from radps.domain.geometry import ImageGrid
from radps.domain.model_image import ImagePlace
from radps.domain.sky import Component, component_flux
from radps.node_tasks.feeds import FeedRule
from radps.node_tasks.prediction import FieldModel, ModelImage


def to_component(record: SkyComponent) -> Component:
    """Return a component of a model."""
    return Component(**record.model_dump())


def to_field_model(context: Context, model: SkyModel) -> FieldModel:
    """Return a model as tasks predict from it: its components, and where its image is."""
    image = model.image
    return FieldModel(
        components=tuple(map(to_component, model.components)),
        image=None
        if image is None
        else ModelImage(
            url=context.locate(image.path),
            place=ImagePlace(ImageGrid(*image.size, image.cell_size_rad), image.center),
            spectrum=to_component(image.spectrum),
        ),
        feeds=_feed_rule(context, model),
    )


def _feed_rule(context: Context, model: SkyModel) -> FeedRule | None:
    """Return how the angle of the feeds is found, if the model is polarized."""
    if not any(one.q_fraction or one.u_fraction or one.v_fraction for one in model.components):
        return None
    direction = context.field(model.field).direction
    remedy = f"give field {model.field!r} a model without q_fraction and u_fraction"
    return FeedRule(direction.ra_rad, direction.dec_rad, remedy=remedy)


def total_flux(model: SkyModel, frequency_hz: float) -> float:
    """Return the flux density of all of a model at a frequency [Jy]."""
    spectra = (*model.components, *([model.image.spectrum] if model.image else []))
    frequency: NDArray[np.float64] = np.array([frequency_hz])
    return float(component_flux(tuple(map(to_component, spectra)), frequency).sum())
