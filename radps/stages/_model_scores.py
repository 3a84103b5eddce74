"""Judge the models of calibrators by what is known before a solution: their flux density, and how far they hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from radps.context.records import ObservedField, QAScore, ScoreScope, SkyModel, SpectralWindow
from radps.context.scores import score_between
from radps.context.sky import to_component, total_flux
from radps.domain.flux_models import SCALE, compute_flux_density, find_flux_model, longest_point_baseline
from radps.domain.sky import mean_amplitude


class Surroundings(NamedTuple):
    """What the models of calibrators are judged against."""

    fields: Mapping[str, ObservedField]
    windows: Mapping[str, Sequence[SpectralWindow]]
    """Field -> the spectral windows that it was observed in."""
    longest_baseline_m: float


class ModelExtent(NamedTuple):
    """How large a model is for the array; numbers are those of the spectral window where it is resolved most."""

    kind: str
    """``point``, ``components`` or ``image``."""
    point_baseline_m: float
    """Baseline up to which a catalogued source is a point, to 5 %; NaN for all others."""
    longest_part: float
    """Mean amplitude on the longest baseline over the flux density; NaN for images."""
    catalogue_difference: float
    """Largest difference of the flux density to the catalogue, relative; NaN where it is not in the catalogue."""


def measure_extent(model: SkyModel, around: Surroundings) -> ModelExtent:
    """Return how large a model is for the array, and what the catalogue says of its flux density."""
    field = around.fields[model.field]
    middles = [window.middle_hz for window in around.windows[model.field]]
    fluxes = [total_flux(model, middle) for middle in middles]
    known = find_flux_model(field.name, field.direction.ra_rad, field.direction.dec_rad)
    difference = math.nan
    if known is not None:
        differences = [
            abs(flux / float(compute_flux_density(known, middle)) - 1)
            for middle, flux in zip(middles, fluxes, strict=True)
            if known.minimum_hz <= middle <= known.maximum_hz
        ]
        difference = max(differences, default=math.nan)
    if model.image is not None:
        return ModelExtent("image", math.nan, math.nan, difference)
    is_catalogued = known is not None and model.origin == SCALE
    components = tuple(map(to_component, model.components))
    parts = [
        mean_amplitude(components, around.longest_baseline_m, middle) / flux
        for middle, flux in zip(middles, fluxes, strict=True)
        if flux > 0
    ]
    return ModelExtent(
        kind="point" if len(components) == 1 and components[0].major_rad == 0 else "components",
        point_baseline_m=longest_point_baseline(known.size_rad, max(middles))
        if known is not None and is_catalogued and middles
        else math.nan,
        longest_part=min(parts, default=math.nan),
        catalogue_difference=difference,
    )


def score_models(
    models: Mapping[str, ModelExtent], known: Sequence[str], longest_baseline_m: float
) -> tuple[QAScore, ...]:
    """Return the scores of models, by field; ``known`` are the fields whose flux density is not assumed."""
    scores = [
        score_between(
            "calibrators of known flux density",
            len(known),
            unit="",
            good=1,
            bad=0,
            applies_to="all calibrators",
            hint="nothing ties the gains to a flux scale: give one by flux_calibrators or models",
        )
    ]
    for name in known:
        extent, where = models[name], {"applies_to": name, "scope": ScoreScope.FIELD}
        if math.isfinite(extent.point_baseline_m):
            scores.append(_score_point(extent, longest_baseline_m, where))
        elif math.isfinite(extent.longest_part):
            scores.append(_score_resolved(extent, where))
        if math.isfinite(extent.catalogue_difference):
            scores.append(_score_difference(extent, where))
    return tuple(scores)


def summarise_extent(extent: ModelExtent) -> dict[str, Any]:
    """Return the numbers of a model as plain JSON; None where they have no meaning."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in extent._asdict().items()
    }


def _score_point(extent: ModelExtent, longest_baseline_m: float, where: dict[str, Any]) -> QAScore:
    """Score how far out in the array a catalogued source is a point."""
    return score_between(
        "baselines on which the point model holds",
        100 * min(1.0, extent.point_baseline_m / longest_baseline_m),
        unit="% of the longest one",
        # The largest angular size is that of the faint outskirts too: NRAO takes 3C286 for a point at 20 cm in the C
        # configuration, which is half by this measure.
        good=50.0,
        bad=0.0,
        hint="longer ones resolve the source: give its image by model_images with flux: catalogue",
        **where,
    )


def _score_resolved(extent: ModelExtent, where: dict[str, Any]) -> QAScore:
    """Score what the model leaves for the longest baselines to be solved from."""
    return score_between(
        "flux density left on the longest baseline",
        100 * extent.longest_part,
        unit="%",
        good=30.0,
        bad=1.0,
        hint="the calibrator is resolved out: gains of outer antennas are noisy and lean on details of the model",
        **where,
    )


def _score_difference(extent: ModelExtent, where: dict[str, Any]) -> QAScore:
    """Score the flux density against the catalogue."""
    return score_between(
        "difference to the catalogue",
        100 * extent.catalogue_difference,
        unit="%",
        good=3.0,
        bad=30.0,
        hint=f"{SCALE} has another flux density; check the model, its unit and its reference frequency",
        **where,
    )
