"""From the records of sky models to what the domain predicts from."""

from __future__ import annotations

from radps.context.records import SkyModel
from radps.domain.sky import Component


def to_components(model: SkyModel) -> tuple[Component, ...]:
    """Return the components of a model: small, and pickled with a task."""
    return tuple(Component(**component.model_dump()) for component in model.components)
