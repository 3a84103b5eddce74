"""Give every calibrator a model of its brightness: a catalogue, components, a table of them, or an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self

from dask.delayed import Delayed
from pydantic import Field, ValidationError, model_validator

from radps.context.fields import INTENT_WORDS
from radps.context.model import Context
from radps.context.records import (
    FluxDensityRecord,
    ObservedField,
    Outcome,
    Record,
    SkyComponent,
    SkyImage,
    SkyModel,
    SpectralWindow,
)
from radps.context.sky import total_flux
from radps.data.component_tables import load_component_table
from radps.data.urls import absolute_url
from radps.domain.flux_models import SCALE, compute_flux_density, get_flux_model
from radps.domain.sky import direction_cosines
from radps.errors import ModelError, SelectionError
from radps.graph_tasks.shapes import run_task
from radps.node_tasks.model_images import ImageSource, StoredImage, store_model_image
from radps.stages._model_scores import Surroundings, measure_extent, score_models, summarise_extent
from radps.stages.base import StageParams
from radps.units import Angle, FluxDensity, Frequency

ASSUMED = "assumed 1 Jy"
"""Origin of the model of a calibrator whose flux density the flux transfer finds."""


class ComponentParams(Record):
    """A point source or Gaussian, as the config or a table gives it."""

    flux: FluxDensity
    """At ``reference_frequency``."""
    reference_frequency: Frequency
    spectral_index: float = 0.0
    curvature: tuple[float, ...] | float = ()
    """log10(S / flux) = spectral_index x + curvature[0] x^2 + ..., x = log10(frequency / reference_frequency)."""
    east: Angle = 0.0
    """From the phase centre, with ``north``."""
    north: Angle = 0.0
    ra: Angle | None = None
    """In place of ``east`` and ``north``, with ``dec``: in the frame of the field (ICRS or FK5 J2000)."""
    dec: Angle | None = None
    major: Angle = 0.0
    """Full width at half maximum; 0 is a point."""
    minor: Angle = 0.0
    position_angle: Angle = 0.0
    """North through east."""
    q_fraction: float = 0.0
    """Stokes Q over I, on the sky (CASA `setjy` with `fluxdensity` of four numbers)."""
    u_fraction: float = 0.0
    """Stokes U over I."""
    v_fraction: float = 0.0
    """Stokes V over I."""

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if (self.ra is None) != (self.dec is None) or (self.ra is not None and (self.east or self.north)):
            raise ValueError("give a component either east and north of the phase centre, or ra and dec")
        polarized = math.hypot(self.q_fraction, self.u_fraction, self.v_fraction)
        if polarized > 1:
            raise ValueError(
                f"q_fraction, u_fraction and v_fraction make {polarized:.3g} of Stokes I; at most 1 is there"
            )
        return self


class ImageParams(Record):
    """A model image; its pixels have a common spectrum."""

    image: str
    """Name of a continuum image of this run, whose CLEAN model is taken, or a FITS file in Jy/pixel (path or URL)."""
    flux: FluxDensity | Literal["image", "catalogue"] = "image"
    """Flux density of all of it at ``reference_frequency``; "image" is the sum of its pixels; "catalogue" is that of
    Perley & Butler 2017 at every frequency (CASA `setjy` with `model`)."""
    reference_frequency: Frequency | Literal["image"] = "image"
    """Where ``flux`` holds; "image" is the frequency of the image."""
    spectral_index: float = 0.0
    curvature: tuple[float, ...] | float = ()
    """As of a component."""


class Params(StageParams):
    """Parameters of the stage `set_model`."""

    writes = ("flux_densities", "sky_models")

    flux_calibrators: tuple[str, ...] = ("flux",)
    """Fields (names, or words such as `flux`) whose models come from the catalogue of Perley & Butler 2017. Where the
    models of some fields are given here, a word that no field has is passed over."""
    other_calibrators: tuple[str, ...] = ("phase", "bandpass")
    """Fields that are taken as points of 1 Jy until the flux transfer; words that no field has are passed over."""
    models: dict[str, tuple[ComponentParams, ...]] = Field(default_factory=dict)
    """Field -> its components, given by the user; these win over the catalogue. Offsets are from the phase centre."""
    model_tables: dict[str, str] = Field(default_factory=dict)
    """Field -> table of its components (ECSV, CSV, VOTable or FITS); its columns are the parameters of a component."""
    model_images: dict[str, ImageParams] = Field(default_factory=dict)
    """Field -> its model image."""

    def files_read(self) -> tuple[str, ...]:
        """Return the tables, and the images of which some may be of this run."""
        return (*self.model_tables.values(), *(one.image for one in self.model_images.values()))

    @model_validator(mode="after")
    def _check_once(self) -> Self:
        names = [*self.models, *self.model_tables, *self.model_images]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"{', '.join(twice)}: more than one model; give it in models, model_tables or model_images"
            )
        return self


class _FieldImage(NamedTuple):
    """A model image of a field, on its way into the store of the step."""

    field: ObservedField
    params: ImageParams
    path: str


def set_model(context: Context, params: Params) -> Outcome | Delayed:
    """Set the models of the calibrators: catalogue, components, images, or 1 Jy until the flux transfer.

    Nothing is predicted here: `calibrate` predicts what it needs on the fly, block by block, so that no model
    visibilities have to be stored and read again. Without tables and images this needs the metadata only, and is done
    at once, without a graph.
    """
    observation = context.require_observation()
    fields = {field.name: field for field in observation.fields}
    names = {
        name: context.field_names(name)[0] for name in (*params.models, *params.model_tables, *params.model_images)
    }
    models = {names[name]: _list_model(fields[names[name]], given, "config") for name, given in params.models.items()}
    given = set(names.values())
    standards = params.flux_calibrators
    for name in _fields_that_exist(context, standards) if given else context.field_names(standards):
        if name not in given:
            components = (_catalogue_component(fields[name], observation.windows),)
            models[name] = SkyModel(field=name, components=components, origin=SCALE)
    for name in _fields_that_exist(context, params.other_calibrators):
        if name not in models and name not in given:
            point = SkyComponent(flux_jy=1.0, reference_frequency_hz=observation.windows[0].frequency_hz[0])
            models[name] = SkyModel(field=name, components=(point,), origin=ASSUMED)
    windows = {name: _windows_of(context, name) for name in (*models, *given)}
    around = Surroundings({name: fields[name] for name in windows}, windows, observation.longest_baseline_m)
    if not params.model_tables and not params.model_images:
        return _finish([], [], [], [], tuple(models.values()), around)
    tables = {fields[names[name]]: absolute_url(path) for name, path in params.model_tables.items()}
    rows = [
        run_task(context, load_component_table, url, name=f"load_table-{field.name}") for field, url in tables.items()
    ]
    images = [
        _FieldImage(fields[names[name]], image, context.new_path("context.zarr", f"{names[name]}/model", suffix=""))
        for name, image in params.model_images.items()
    ]
    stored = [_store_image(context, image) for image in images]
    return run_task(context, _finish, list(tables), rows, images, stored, tuple(models.values()), around)


def _store_image(context: Context, image: _FieldImage) -> Delayed:
    """Return the graph that brings a model image to a field; it computes to a StoredImage."""
    direction = image.field.direction
    known = {one.name: one for one in context.images}
    source = ImageSource(absolute_url(image.params.image))
    if image.params.image in known:
        record = known[image.params.image]
        if record.kind != "continuum":
            raise SelectionError(
                f"model image {record.name!r} of field {image.field.name!r} is a {record.kind}; a continuum image is "
                "needed"
            )
        centre = context.field(record.field).direction
        source = ImageSource(context.locate(record.path), record.cell_size_rad, (centre.ra_rad, centre.dec_rad))
    return run_task(
        context,
        store_model_image,
        source,
        (direction.ra_rad, direction.dec_rad),
        direction.frame,
        context.locate(image.path),
        name=f"store_model-{image.field.name}",
    )


def _finish(
    table_fields: Sequence[ObservedField],
    tables: Sequence[Sequence[dict[str, Any]]],
    images: Sequence[_FieldImage],
    stored: Sequence[StoredImage],
    known: Sequence[SkyModel],
    around: Surroundings,
) -> Outcome:
    """Join the models, and say what the flux density of each one is in its spectral windows."""
    windows = around.windows
    models = [
        *known,
        *(
            _list_model(field, _read_rows(field, rows), "component table")
            for field, rows in zip(table_fields, tables, strict=True)
        ),
        *(_image_model(image, found, windows[image.field.name]) for image, found in zip(images, stored, strict=True)),
    ]
    fluxes = tuple(
        _flux_record(model, window) for model in models if model.origin != ASSUMED for window in windows[model.field]
    )
    extents = {model.field: measure_extent(model, around) for model in models}
    with_flux = [model.field for model in models if model.origin != ASSUMED]
    return Outcome(
        message=_describe(fluxes),
        sky_models=tuple(models),
        flux_densities=fluxes,
        qa=score_models(extents, with_flux, around.longest_baseline_m),
        summary={
            "models": {model.field: model.origin for model in models},
            "extents": {name: summarise_extent(extent) for name, extent in extents.items()},
        },
    )


def _list_model(field: ObservedField, components: Sequence[ComponentParams], origin: str) -> SkyModel:
    """Return the model of a field that is a list of components."""
    return SkyModel(field=field.name, components=tuple(_component(one, field) for one in components), origin=origin)


def _read_rows(field: ObservedField, rows: Sequence[dict[str, Any]]) -> tuple[ComponentParams, ...]:
    """Return the components of the rows of a table."""
    components = []
    for number, row in enumerate(rows, 1):
        try:
            components.append(ComponentParams.model_validate(row))
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise ModelError(f"row {number} of the component table of field {field.name!r}: {problems}") from error
    return tuple(components)


def _component(params: ComponentParams, field: ObservedField) -> SkyComponent:
    """Translate the user's words to the record."""
    east, north = params.east, params.north
    if params.ra is not None and params.dec is not None:
        l, m = direction_cosines(params.ra, params.dec, field.direction.ra_rad, field.direction.dec_rad)
        east, north = float(l), float(m)
    return SkyComponent(
        l=east,
        m=north,
        flux_jy=params.flux,
        reference_frequency_hz=params.reference_frequency,
        spectral_index=params.spectral_index,
        spectral_curvature=_curvature(params),
        major_rad=params.major,
        minor_rad=params.minor,
        position_angle_rad=params.position_angle,
        q_fraction=params.q_fraction,
        u_fraction=params.u_fraction,
        v_fraction=params.v_fraction,
    )


def _curvature(params: ComponentParams | ImageParams) -> tuple[float, ...]:
    return params.curvature if isinstance(params.curvature, tuple) else (params.curvature,)


def _image_model(image: _FieldImage, stored: StoredImage, windows: Sequence[SpectralWindow]) -> SkyModel:
    """Return the model of a field that is an image."""
    params = image.params
    origin = "model image"
    if params.flux == "catalogue":
        spectrum = _catalogue_component(image.field, windows)
        origin = f"model image, {SCALE}"
    else:
        frequency = stored.frequency_hz if params.reference_frequency == "image" else params.reference_frequency
        if frequency is None:
            raise ModelError(f"model image {params.image} has no frequency; give its reference_frequency")
        spectrum = SkyComponent(
            flux_jy=stored.flux_jy if params.flux == "image" else params.flux,
            reference_frequency_hz=frequency,
            spectral_index=params.spectral_index,
            spectral_curvature=_curvature(params),
        )
    place = stored.place
    record = SkyImage(
        path=image.path,
        size=place.grid.shape,
        cell_size_rad=place.grid.cell_size_rad,
        center=place.center,
        spectrum=spectrum,
    )
    return SkyModel(field=image.field.name, image=record, origin=origin)


def _catalogue_component(field: ObservedField, windows: Sequence[SpectralWindow]) -> SkyComponent:
    """Return the point source of a standard calibrator; its spectrum is a polynomial in log10(GHz)."""
    model = get_flux_model(field.name, field.direction.ra_rad, field.direction.dec_rad)
    for window in windows:
        compute_flux_density(model, window.frequency_hz[0])
        compute_flux_density(model, window.frequency_hz[1])
    offset, *slopes = model.coefficients
    return SkyComponent(
        flux_jy=10.0**offset,
        reference_frequency_hz=1e9,
        spectral_index=slopes[0],
        spectral_curvature=tuple(slopes[1:]),
    )


def _flux_record(model: SkyModel, window: SpectralWindow) -> FluxDensityRecord:
    """Return the flux density of a model in the middle of a spectral window."""
    return FluxDensityRecord(
        field=model.field,
        window=window.name,
        flux_jy=total_flux(model, window.middle_hz),
        error_jy=0.0,
        frequency_hz=window.middle_hz,
        origin=model.origin,
    )


def _windows_of(context: Context, field: str) -> tuple[SpectralWindow, ...]:
    """Return the spectral windows that a field was observed in."""
    names = {partition.window for partition in context.visibilities(field)}
    return tuple(window for window in context.require_observation().windows if window.name in names)


def _describe(fluxes: Sequence[FluxDensityRecord]) -> str:
    """Return the flux densities in words; the spectral window is named where there are several."""
    several = len({flux.window for flux in fluxes}) > 1
    return "; ".join(
        f"{flux.field}{f' in {flux.window}' if several else ''}: {flux.flux_jy:.4f} Jy ({flux.origin})"
        for flux in fluxes
    )


def _fields_that_exist(context: Context, words: Sequence[str]) -> tuple[str, ...]:
    """Return the fields of the words; an intent that no field has is passed over, an unknown name is not."""
    found: list[str] = []
    for word in words:
        try:
            found += context.field_names(word)
        except SelectionError:
            if word not in INTENT_WORDS:
                raise
    return tuple(dict.fromkeys(found))
