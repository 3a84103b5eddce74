"""Give every calibrator a model of its brightness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from radps.context.model import Context
from radps.context.records import (
    FluxDensityRecord,
    ObservedField,
    Outcome,
    Record,
    SkyComponent,
    SkyModel,
    SpectralWindow,
)
from radps.context.sky import to_components
from radps.domain.flux_models import SCALE, compute_flux_density, get_flux_model
from radps.domain.sky import component_flux
from radps.errors import SelectionError
from radps.stages.base import StageParams
from radps.units import Angle, FluxDensity, Frequency

ASSUMED = "assumed 1 Jy"
"""Origin of the model of a calibrator whose flux density the flux transfer finds."""


class ComponentParams(Record):
    """A point source or Gaussian, as the config gives it."""

    flux: FluxDensity
    reference_frequency: Frequency
    spectral_index: float = 0.0
    east: Angle = 0.0
    north: Angle = 0.0
    major: Angle = 0.0
    minor: Angle = 0.0
    position_angle: Angle = 0.0


class Params(StageParams):
    """Parameters of the stage `set_model`."""

    writes = ("flux_densities", "sky_models")

    flux_calibrators: tuple[str, ...] = ("flux",)
    """Fields (names, or words such as `flux`) whose models come from the catalogue of Perley & Butler 2017."""
    other_calibrators: tuple[str, ...] = ("phase", "bandpass")
    """Fields that are taken as points of 1 Jy until the flux transfer; words that no field has are passed over."""
    models: dict[str, tuple[ComponentParams, ...]] = Field(default_factory=dict)
    """Field -> its components, given by the user; these win over the catalogue. Offsets are from the phase centre."""


def set_model(context: Context, params: Params) -> Outcome:
    """Set the models of the calibrators: catalogue, user's components, or 1 Jy until the flux transfer.

    It needs the metadata only, so that it is done at once, without a graph.
    """
    observation = context.require_observation()
    fields = {field.name: field for field in observation.fields}
    given = {name: context.field_names(name)[0] for name in params.models}
    models = {
        field: SkyModel(field=field, origin="config", components=tuple(_component(one) for one in params.models[name]))
        for name, field in given.items()
    }
    for name in context.field_names(params.flux_calibrators):
        if name not in models:
            models[name] = _catalogue_model(fields[name], observation.windows)
    for name in _fields_that_exist(context, params.other_calibrators):
        if name not in models:
            point = SkyComponent(flux_jy=1.0, reference_frequency_hz=observation.windows[0].frequency_hz[0])
            models[name] = SkyModel(field=name, components=(point,), origin=ASSUMED)
    known = [model for model in models.values() if model.origin != ASSUMED]
    fluxes = tuple(_flux_record(model, window) for model in known for window in _windows_of(context, model.field))
    return Outcome(
        message=_describe(fluxes, observation.windows),
        sky_models=tuple(models.values()),
        flux_densities=fluxes,
        summary={"models": {model.field: model.origin for model in models.values()}},
    )


def _component(params: ComponentParams) -> SkyComponent:
    """Translate the user's words to the record."""
    return SkyComponent(
        l=params.east,
        m=params.north,
        flux_jy=params.flux,
        reference_frequency_hz=params.reference_frequency,
        spectral_index=params.spectral_index,
        major_rad=params.major,
        minor_rad=params.minor,
        position_angle_rad=params.position_angle,
    )


def _catalogue_model(field: ObservedField, windows: Sequence[SpectralWindow]) -> SkyModel:
    """Return the point source of a standard calibrator; its spectrum is a polynomial in log10(GHz)."""
    model = get_flux_model(field.name, field.direction.ra_rad, field.direction.dec_rad)
    for window in windows:
        compute_flux_density(model, window.frequency_hz[0])
        compute_flux_density(model, window.frequency_hz[1])
    offset, *slopes = model.coefficients
    component = SkyComponent(
        flux_jy=10.0**offset,
        reference_frequency_hz=1e9,
        spectral_index=slopes[0],
        spectral_curvature=tuple(slopes[1:]),
    )
    return SkyModel(field=field.name, components=(component,), origin=SCALE)


def _flux_record(model: SkyModel, window: SpectralWindow) -> FluxDensityRecord:
    """Return the flux density of a model in the middle of a spectral window."""
    middle = 0.5 * sum(window.frequency_hz)
    flux = float(component_flux(to_components(model), np.array([middle])).sum())
    return FluxDensityRecord(
        field=model.field, window=window.name, flux_jy=flux, error_jy=0.0, frequency_hz=middle, origin=model.origin
    )


def _windows_of(context: Context, field: str) -> tuple[SpectralWindow, ...]:
    """Return the spectral windows that a field was observed in."""
    names = {partition.window for partition in context.visibilities(field)}
    return tuple(window for window in context.require_observation().windows if window.name in names)


def _describe(fluxes: Sequence[FluxDensityRecord], windows: Sequence[SpectralWindow]) -> str:
    """Return the flux densities in words; the spectral window is named where there are several."""
    places = [f"{flux.field} in {flux.window}" if len(windows) > 1 else flux.field for flux in fluxes]
    return "; ".join(
        f"{place}: {flux.flux_jy:.4f} Jy ({flux.origin})" for place, flux in zip(places, fluxes, strict=True)
    )


def _fields_that_exist(context: Context, words: Sequence[str]) -> tuple[str, ...]:
    """Return the fields of the words; an intent that nobody has is passed over, an unknown name is not."""
    found: list[str] = []
    for word in words:
        try:
            found += context.field_names(word)
        except SelectionError:
            if word not in ("phase", "bandpass"):
                raise
    return tuple(dict.fromkeys(found))
