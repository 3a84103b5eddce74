"""Simulated observations with a known truth, in the MSv4 schema, from a test's size to tens of GB.

1. An :class:`~radps.data.observation_model.ObservationModel` says everything;
   :func:`~radps.data.demo_observation.demo_observation` has ready ones.
2. :func:`simulate_block` computes any block (integrations x channels) of a field from it. Blocks do not depend on each
   other: any block has the same bits, however the data are cut.
3. :func:`create_simulation` makes the empty processing set, one partition a field; :func:`write_simulated_block` fills
   in whole chunks, from as many tasks as there are.
4. :func:`simulate_observation` does it all in this process, for tests and notebooks.
5. The truth comes from the model again: :func:`true_gains`, :func:`true_bandpasses`, :func:`true_components`,
   :func:`true_flux`, :func:`true_visibilities`.

The data are raw: multiplied by gains and bandpasses, nothing flagged. Weights are those of the radiometer equation in
Jy^-2, so they fit the data once these are calibrated; a noisy antenna has more noise than they say, and a dead one
looks like any other to them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from radps.data import measurement_set
from radps.data.demo_observation import demo_observation
from radps.data.measurement_set import Antennas, MeasurementSetDescription
from radps.data.observation_model import Band, ObservationModel, SimulatedComponent, SimulatedField
from radps.data.stores import exists
from radps.data.urls import absolute_url, join_url
from radps.domain.array import AntennaArray, Baselines, baselines, horizontal_direction, uvw_from_positions
from radps.domain.corruption import (
    Interference,
    Purpose,
    corrupt_visibilities,
    draw_bandpasses,
    draw_gains,
    draw_interference,
    draw_noise,
    radiometer_noise,
    random_stream,
)
from radps.domain.flux_models import compute_flux_density, get_flux_model
from radps.domain.sky import Component, component_flux, direction_cosines, predict_components
from radps.errors import DataError, SelectionError

ALL = slice(None)
DEFAULT_CHUNKS = (64, 16)
"""Integrations and channels of a zarr chunk."""


class SimulatedBlock(NamedTuple):
    """A block of raw data of one field."""

    visibilities: NDArray[np.complex64]
    """Shape (time, baseline, channel, polarization), raw units."""
    flags: NDArray[np.bool_]
    """Same shape, True = do not use; nothing is flagged yet."""
    weights: NDArray[np.float32]
    """Same shape [Jy^-2]."""
    uvw_m: NDArray[np.float64]
    """Shape (time, baseline, 3), MSv4 sign [m]."""


class SimulationTruth(BaseModel):
    """What was simulated, in short."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partitions: dict[str, str]
    """Field -> URL of its MSv4 group."""
    flux_jy: dict[str, float]
    """Field -> flux density of all its components at the middle of the band [Jy]."""
    noise_jy: float
    """Standard deviation of the real part of one visibility, once calibrated [Jy]."""
    dead_antennas: tuple[str, ...]
    noisy_antennas: tuple[str, ...]
    interference_channels: tuple[int, ...]
    """Channels with a carrier."""
    n_visibilities: int
    """Of all partitions, all correlations counted."""


class _Schedule(NamedTuple):
    """The integrations of a field."""

    numbers: NDArray[np.int64]
    """Their numbers in the whole observation."""
    elapsed_s: NDArray[np.float64]
    """Middle, from the start of the observation."""
    scan_names: tuple[str, ...]
    on_source: NDArray[np.bool_]
    """False while the antennas are late."""


def describe_observation(model: ObservationModel) -> list[MeasurementSetDescription]:
    """Return the metadata of the partitions: one for each field, in the order of the model.

    Raises
    ------
    SelectionError
        A field is below the horizon in one of its scans.
    """
    array = _array(model)
    receptors: tuple[str, str] = ("R", "L") if model.polarizations == "RR LL" else ("X", "Y")
    antennas = Antennas(
        names=array.names,
        stations=array.stations,
        positions_m=array.positions_m,
        diameters_m=np.full(len(array.names), array.dish_diameter_m),
        mounts=("ALT-AZ",) * len(array.names),
        receptors=receptors,
    )
    pairs = _pairs(model)
    descriptions = []
    for number, field in enumerate(model.fields):
        schedule = _schedule(model, field.name)
        time_s = _start_s(model) + schedule.elapsed_s
        _check_is_up(array, field, time_s)
        descriptions.append(
            MeasurementSetDescription(
                name=f"{model.name}_{number}",
                field_name=field.name,
                source_name=field.name,
                phase_center_rad=(field.ra, field.dec),
                phase_center_frame="icrs",
                intents=field.intents,
                time_s=time_s,
                integration_time_s=model.integration_time,
                scan_names=schedule.scan_names,
                frequency_hz=model.band.frequency_hz,
                channel_width_hz=model.band.channel_width,
                spectral_frame=model.band.spectral_frame,
                rest_frequency_hz=model.band.rest_frequency,
                spectral_window_name=model.band.name,
                polarizations=model.polarization_names,
                antennas=antennas,
                antenna1=pairs.antenna1,
                antenna2=pairs.antenna2,
                telescope=array.telescope,
                observer="radps simulator",
                project=f"seed {model.seed}",
            )
        )
    return descriptions


def simulate_block(
    model: ObservationModel, field_name: str, times: slice = ALL, channels: slice = ALL
) -> SimulatedBlock:
    """Compute a block of the raw data of a field.

    Parameters
    ----------
    model : ObservationModel
    field_name : str
    times, channels : slice
        Of the integrations of this field, and of the band; without steps.

    Returns
    -------
    SimulatedBlock
        Bit-identical for any way to cut the data.

    Raises
    ------
    SelectionError
        There is no such field, or the block is empty or lies outside of the data.
    ModelError
        A component has an impossible position or spectrum.
    """
    field = model.find_field(field_name)
    schedule = _schedule(model, field_name)
    rows = _range(times, schedule.numbers.size, "integrations", field_name)
    columns = _range(channels, model.band.n_channels, "channels", field_name)
    array, pairs = _array(model), _pairs(model)
    elapsed = schedule.elapsed_s[rows.start : rows.stop]
    uvw = uvw_from_positions(array.positions_m, _start_s(model) + elapsed, field.ra, field.dec, pairs)
    sky = _predict_sky(model, field, uvw, columns)
    sigma, sefd_factors = _noise_jy(model), _sefd_factors(model, array)
    numbers = schedule.numbers[rows.start : rows.stop].tolist()
    n_polarizations = len(model.polarization_names)
    visibilities = corrupt_visibilities(
        sky,
        pairs.antenna1,
        pairs.antenna2,
        gains=true_gains(model, field_name)[rows.start : rows.stop],
        bandpasses=true_bandpasses(model)[:, columns.start : columns.stop],
        noise=draw_noise(model.seed, numbers, columns, pairs.antenna1.size, n_polarizations),
        noise_jy=sigma * sefd_factors,
        system_jy=sefd_factors * (model.noise.sefd if model.noise else 0.0),
        response=_response(model, array, schedule.on_source[rows.start : rows.stop]),
        interference=_interference(model, len(array.names)),
        time_s=elapsed,
        first_channel=columns.start,
    )
    weight = np.float32(1.0 / sigma**2 if sigma > 0 else 1.0)
    return SimulatedBlock(
        visibilities, np.zeros(visibilities.shape, np.bool_), np.full(visibilities.shape, weight, np.float32), uvw
    )


def block_memory_bytes(model: ObservationModel, n_times: int, n_channels: int) -> int:
    """Return the memory [bytes] that :func:`simulate_block` needs at its peak for a block of that size."""
    n_baselines, n_polarizations = _pairs(model).antenna1.size, len(model.polarization_names)
    cells = n_times * n_baselines * n_channels
    # Of each cell: the sky; of each visibility: noise, the result, and either its flag and weight or nothing.
    return int(cells * (16 + n_polarizations * (8 + 8 + 5)) + 3 * 8 * 2 * n_times * n_baselines)


def create_simulation(url: str, model: ObservationModel, *, chunks: tuple[int, int] = DEFAULT_CHUNKS) -> dict[str, str]:
    """Create the processing set of an observation, with all its metadata and no data; may be repeated.

    Parameters
    ----------
    url : str
        The new processing set.
    model : ObservationModel
    chunks : tuple of int
        Integrations and channels of a zarr chunk; cut to the size of a field where that is smaller.

    Returns
    -------
    dict
        Field -> URL of its MSv4 group.

    Raises
    ------
    DataError
        There is something else at the URL.
    SelectionError
        A field is below the horizon in one of its scans.
    """
    descriptions = describe_observation(model)
    measurement_set.create_processing_set(url)
    partitions = {}
    for description in descriptions:
        n_times, _, n_channels, _ = description.shape
        size = (min(chunks[0], n_times), min(chunks[1], n_channels))
        partitions[description.field_name] = measurement_set.create_measurement_set(url, description, chunks=size)
    measurement_set.consolidate_processing_set(url)
    return partitions


def write_simulated_block(url: str, model: ObservationModel, field_name: str, times: slice, channels: slice) -> int:
    """Compute a block and write it; the block that holds channel 0 writes the uvw of its times too.

    Parameters
    ----------
    url : str
        The processing set, from :func:`create_simulation`.
    model : ObservationModel
        The same one.
    field_name : str
    times, channels : slice
        Whole chunks.

    Returns
    -------
    int
        Visibilities written.

    Raises
    ------
    DataError
        The slices cut a chunk.
    SelectionError, ModelError
        As :func:`simulate_block`.
    """
    number = model.fields.index(model.find_field(field_name))
    target = join_url(url, f"{model.name}_{number}")
    block = simulate_block(model, field_name, times, channels)
    measurement_set.write_visibilities(
        target,
        times=times,
        channels=channels,
        visibilities=block.visibilities,
        flags=block.flags,
        weights=block.weights,
    )
    if channels.start in (None, 0):
        measurement_set.write_uvw(target, times=times, uvw_m=block.uvw_m)
    return block.visibilities.size


def simulate_observation(
    url: str, model: ObservationModel | None = None, *, chunks: tuple[int, int] = DEFAULT_CHUNKS
) -> SimulationTruth:
    """Simulate an observation in this process and write it as an MSv4 processing set.

    Parameters
    ----------
    url : str
        The new processing set: a path or any fsspec URL; by custom it ends in ``.ps.zarr``.
    model : ObservationModel, optional
        Default: :func:`demo_observation`.
    chunks : tuple of int
        Integrations and channels of a zarr chunk, computed one at a time.

    Returns
    -------
    SimulationTruth

    Raises
    ------
    DataError
        There is something at the URL already.
    SelectionError
        A field is below the horizon in one of its scans.
    ModelError
        A component has an impossible position or spectrum.
    """
    model = model if model is not None else demo_observation()
    url = absolute_url(url)
    if exists(url):
        raise DataError(f"there is something at {url} already; choose another place for the simulation, or delete it")
    partitions = create_simulation(url, model, chunks=chunks)
    written = 0
    for field in model.fields:
        n_times = _schedule(model, field.name).numbers.size
        for start in range(0, n_times, chunks[0]):
            times = slice(start, min(start + chunks[0], n_times))
            for first in range(0, model.band.n_channels, chunks[1]):
                channels = slice(first, min(first + chunks[1], model.band.n_channels))
                written += write_simulated_block(url, model, field.name, times, channels)
    middle = model.band.n_channels // 2
    return SimulationTruth(
        partitions=partitions,
        flux_jy={field.name: float(true_flux(model, field.name)[:, middle].sum()) for field in model.fields},
        noise_jy=_noise_jy(model),
        dead_antennas=model.dead_antennas,
        noisy_antennas=tuple(antenna.name for antenna in model.noisy_antennas),
        interference_channels=model.interference.carrier_channels if model.interference else (),
        n_visibilities=written,
    )


def true_gains(model: ObservationModel, field_name: str) -> NDArray[np.complex128]:
    """Return the antenna gains in the integrations of a field.

    Returns
    -------
    ndarray, shape (time, antenna, polarization)
        Raw = gain_i conj(gain_j) true, in square roots of raw units per Jy. Dead antennas have gains like the others.

    Raises
    ------
    SelectionError
        There is no such field.
    """
    model.find_field(field_name)
    elapsed = _schedule(model, field_name).elapsed_s
    n_antennas, n_polarizations = model.layout.n_antennas, len(model.polarization_names)
    errors = model.gains
    if errors is None:
        return np.ones((elapsed.size, n_antennas, n_polarizations), np.complex128)
    return draw_gains(
        model.seed,
        n_antennas,
        n_polarizations,
        elapsed,
        mean_amplitude=errors.mean_amplitude,
        amplitude_scatter=errors.amplitude_scatter,
        amplitude_drift=errors.amplitude_drift,
        phase_drift_rad=errors.phase_drift,
        timescale_s=errors.timescale,
    )


def true_bandpasses(model: ObservationModel) -> NDArray[np.complex128]:
    """Return the bandpasses, shape (antenna, channel, polarization), about 1 in the middle of the band."""
    n_antennas, n_polarizations = model.layout.n_antennas, len(model.polarization_names)
    errors = model.bandpasses
    if errors is None:
        return np.ones((n_antennas, model.band.n_channels, n_polarizations), np.complex128)
    return draw_bandpasses(
        model.seed,
        n_antennas,
        n_polarizations,
        model.band.n_channels,
        model.band.channel_width,
        amplitude_ripple=errors.amplitude_ripple,
        phase_ripple_rad=errors.phase_ripple,
        delay_s=errors.delay,
        edge_fraction=errors.edge_fraction,
        edge_level=errors.edge_level,
    )


def true_components(model: ObservationModel, field_name: str) -> tuple[Component, ...]:
    """Return the sky of a field; a component with ``flux_standard`` has the flux density at the middle of the band.

    Raises
    ------
    SelectionError
        There is no such field.
    ModelError
        A component has an impossible position, or an unknown flux standard.
    """
    field = model.find_field(field_name)
    return tuple(_component(component, field, model.band) for component in field.components)


def true_flux(model: ObservationModel, field_name: str) -> NDArray[np.float64]:
    """Return the flux density [Jy] of each component of a field in each channel, shape (component, channel).

    Raises
    ------
    SelectionError
        There is no such field.
    ModelError
        A component has an impossible spectrum, or the flux standard does not cover the band.
    """
    field = model.find_field(field_name)
    frequency = model.band.frequency_hz
    flux = component_flux(true_components(model, field_name), frequency)
    for row, component in zip(flux, field.components, strict=True):
        if component.flux_standard is not None:
            line = component_flux([_component(component, field, model.band)._replace(flux_jy=0.0)], frequency)[0]
            row[:] = compute_flux_density(get_flux_model(component.flux_standard), frequency) + line
    return flux


def true_visibilities(
    model: ObservationModel, field_name: str, times: slice = ALL, channels: slice = ALL
) -> NDArray[np.complex128]:
    """Return the visibilities of the sky alone [Jy], shape (time, baseline, channel).

    Raises
    ------
    SelectionError, ModelError
        As :func:`simulate_block`.
    """
    field = model.find_field(field_name)
    schedule = _schedule(model, field_name)
    rows = _range(times, schedule.numbers.size, "integrations", field_name)
    columns = _range(channels, model.band.n_channels, "channels", field_name)
    time_s = _start_s(model) + schedule.elapsed_s[rows.start : rows.stop]
    uvw = uvw_from_positions(_array(model).positions_m, time_s, field.ra, field.dec, _pairs(model))
    return _predict_sky(model, field, uvw, columns)


def _schedule(model: ObservationModel, field_name: str) -> _Schedule:
    """Lay out the scans one after the other, and return the integrations of one field."""
    numbers: list[int] = []
    elapsed: list[float] = []
    scan_names: list[str] = []
    on_source: list[bool] = []
    first, start = 0, 0.0
    for scan_number, scan in enumerate(model.scans, 1):
        if scan.field == field_name:
            for place in range(scan.n_integrations):
                numbers.append(first + place)
                elapsed.append(start + (place + 0.5) * model.integration_time)
                scan_names.append(str(scan_number))
                on_source.append(place >= model.late_integrations)
        first += scan.n_integrations
        start += scan.n_integrations * model.integration_time + model.slew_time
    return _Schedule(np.array(numbers), np.array(elapsed), tuple(scan_names), np.array(on_source))


def _range(part: slice, size: int, what: str, field_name: str) -> range:
    """Return a slice as a range, or refuse it."""
    start = 0 if part.start is None else part.start
    stop = size if part.stop is None else part.stop
    if part.step not in (None, 1) or not 0 <= start < stop <= size:
        raise SelectionError(
            f"{what} {part.start}:{part.stop}:{part.step} of the simulated field {field_name!r}; it has {size}: give a "
            f"start and a stop from 0 to {size}, the stop above the start, and no step"
        )
    return range(start, stop)


def _start_s(model: ObservationModel) -> float:
    return model.start.timestamp()


def _array(model: ObservationModel) -> AntennaArray:
    return model.layout.build(random_stream(model.seed, Purpose.ARRAY))


def _pairs(model: ObservationModel) -> Baselines:
    return baselines(model.layout.n_antennas, autocorrelations=model.autocorrelations)


def _check_is_up(array: AntennaArray, field: SimulatedField, time_s: NDArray[np.float64]) -> None:
    elevation = horizontal_direction(array.positions_m, time_s, field.ra, field.dec).elevation_rad
    if elevation.min() <= 0:
        lowest = time_s[elevation.argmin()]
        raise SelectionError(
            f"the simulated field {field.name!r} is {-np.rad2deg(elevation.min()):.1f} degrees below the horizon of "
            f"{array.telescope} at {np.datetime64(int(lowest), 's')} UTC; "
            "move the start of the observation, or the field"
        )


def _component(component: SimulatedComponent, field: SimulatedField, band: Band) -> Component:
    """Return a component of the model as the Fourier sum needs it."""
    l, m = component.east, component.north
    if component.ra is not None and component.dec is not None:
        l, m = (float(cosine) for cosine in direction_cosines(component.ra, component.dec, field.ra, field.dec))
    flux, reference = component.flux, component.reference_frequency
    if component.flux_standard is not None:
        reference = float(band.frequency_hz[band.n_channels // 2])
        flux = float(compute_flux_density(get_flux_model(component.flux_standard), reference))
    return Component(
        l=l,
        m=m,
        flux_jy=flux,
        reference_frequency_hz=reference,
        spectral_index=component.spectral_index,
        major_rad=component.major,
        minor_rad=component.minor,
        position_angle_rad=component.position_angle,
        line_peak_jy=component.line_peak,
        line_center_hz=component.line_center,
        line_width_hz=component.line_width,
    )


def _predict_sky(
    model: ObservationModel, field: SimulatedField, uvw_m: NDArray[np.float64], channels: range
) -> NDArray[np.complex128]:
    """Return the visibilities of a field's sky, shape (time, baseline, channel)."""
    chosen = slice(channels.start, channels.stop)
    components = true_components(model, field.name)
    # The spectra are computed for the whole band and then cut: a library's exp may depend on the length of the array.
    flux = true_flux(model, field.name)[:, chosen]
    frequency = model.band.frequency_hz[chosen]
    return predict_components(uvw_m.reshape(-1, 3), frequency, components, flux).reshape(
        *uvw_m.shape[:2], len(channels)
    )


def _noise_jy(model: ObservationModel) -> float:
    """Return the nominal noise of a visibility [Jy]; 0 = none."""
    if model.noise is None:
        return 0.0
    return radiometer_noise(model.noise.sefd, model.band.channel_width, model.integration_time, model.noise.efficiency)


def _sefd_factors(model: ObservationModel, array: AntennaArray) -> NDArray[np.float64]:
    """Return how much noisier than nominal each antenna is."""
    factors = {antenna.name: antenna.sefd_factor for antenna in model.noisy_antennas}
    return np.array([factors.get(name, 1.0) for name in array.names], np.float64)


def _response(model: ObservationModel, array: AntennaArray, on_source: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 1 where an antenna sees the sky, else 0; shape (time, antenna)."""
    alive = np.array([name not in model.dead_antennas for name in array.names])
    return np.asarray(on_source[:, None] & alive[None, :], np.float64)


def _interference(model: ObservationModel, n_antennas: int) -> Interference:
    """Draw the interference of the whole observation."""
    duration = model.n_integrations * model.integration_time + (len(model.scans) - 1) * model.slew_time
    errors = model.interference
    if errors is None:
        return draw_interference(model.seed, n_antennas, model.band.n_channels, duration)
    return draw_interference(
        model.seed,
        n_antennas,
        model.band.n_channels,
        duration,
        carrier_channels=errors.carrier_channels,
        carrier_flux_jy=errors.carrier_flux,
        bursts_per_hour=errors.bursts_per_hour,
        burst_duration_s=errors.burst_duration,
        burst_channels=errors.burst_channels,
        burst_flux_jy=errors.burst_flux,
    )
