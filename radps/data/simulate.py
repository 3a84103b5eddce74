"""Simulated observations with a known truth, in the MSv4 schema, from a test's size to tens of GB.

1. An :class:`~radps.data.observation_model.ObservationModel` says everything;
   :func:`~radps.data.demo_observation.demo_observation` has ready ones.
2. :func:`simulate_block` computes any block (integrations x channels) of a field from it. Blocks do not depend on each
   other: any block has the same bits, however the data are cut.
3. :func:`create_simulation` makes the empty processing set, one partition a field and band;
   :func:`write_simulated_block` fills in whole chunks, from as many tasks as there are.
4. :func:`simulate_observation` does it all in this process, for tests and notebooks.
5. The truth comes from the model again: :mod:`radps.data.simulated_truth`.

The data are raw: multiplied by gains and bandpasses, nothing flagged. Weights are those of the radiometer equation in
Jy^-2, so they fit the data once these are calibrated; a noisy antenna has more noise than they say, and a dead one
looks like any other to them.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from radps.data import measurement_set
from radps.data.demo_observation import demo_observation
from radps.data.measurement_set import Antennas, MeasurementSetDescription
from radps.data.observation_model import Band, ObservationModel, SimulatedField
from radps.data.simulated_truth import (
    ALL,
    array_of,
    block_range,
    pairs_of,
    predict_sky,
    schedule_of,
    start_s,
    true_bandpasses,
    true_flux,
    true_gains,
)
from radps.data.stores import exists
from radps.data.urls import absolute_url, join_url
from radps.domain.array import AntennaArray, horizontal_direction, uvw_from_positions
from radps.domain.corruption import (
    ALL_RECEPTORS,
    PARALLEL_RECEPTORS,
    Interference,
    corrupt_visibilities,
    draw_interference,
    draw_noise,
    radiometer_noise,
)
from radps.errors import DataError, SelectionError

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
    """Field -> URL of its MSv4 group; with several bands, ``field/band`` -> URL."""
    flux_jy: dict[str, float]
    """Field -> flux density of all its components at the middle of the (first) band [Jy]."""
    noise_jy: float
    """Standard deviation of the real part of one visibility of the (first) band, once calibrated [Jy]."""
    dead_antennas: tuple[str, ...]
    noisy_antennas: tuple[str, ...]
    interference_channels: tuple[int, ...]
    """Channels of the (first) band with a carrier."""
    n_visibilities: int
    """Of all partitions, all correlations counted."""


def describe_observation(model: ObservationModel) -> list[MeasurementSetDescription]:
    """Return the metadata of the partitions: of each field in the order of the model, and of its bands.

    Raises
    ------
    SelectionError
        A field is below the horizon in one of its scans.
    """
    array = array_of(model)
    is_circular = model.polarizations.startswith("RR")
    angles = (model.receptor_angle, model.receptor_angle + (0.0 if is_circular else np.pi / 2))
    antennas = Antennas(
        names=array.names,
        stations=array.stations,
        positions_m=array.positions_m,
        diameters_m=np.full(len(array.names), array.dish_diameter_m),
        mounts=("ALT-AZ" if model.feeds_turn else "EQUATORIAL",) * len(array.names),
        receptors=("R", "L") if is_circular else ("X", "Y"),
        receptor_angles_rad=np.tile(angles, (len(array.names), 1)),
    )
    descriptions = []
    for field in model.fields:
        _check_is_up(array, field, start_s(model) + schedule_of(model, field.name).elapsed_s)
        descriptions += [_describe(model, field, number, array, antennas) for number in range(len(model.bands))]
    return descriptions


def _describe(
    model: ObservationModel, field: SimulatedField, number: int, array: AntennaArray, antennas: Antennas
) -> MeasurementSetDescription:
    """Return the metadata of a field in a band."""
    band, schedule, pairs = model.bands[number], schedule_of(model, field.name), pairs_of(model)
    return MeasurementSetDescription(
        name=model.partition_name(field.name, number),
        field_name=field.name,
        source_name=field.name,
        phase_center_rad=(field.ra, field.dec),
        phase_center_frame="icrs",
        intents=field.intents,
        time_s=start_s(model) + schedule.elapsed_s,
        integration_time_s=model.integration_time,
        scan_names=schedule.scan_names,
        frequency_hz=band.frequency_hz,
        channel_width_hz=band.channel_width,
        spectral_frame=band.spectral_frame,
        rest_frequency_hz=band.rest_frequency,
        spectral_window_name=band.name,
        polarizations=model.polarization_names,
        antennas=antennas,
        antenna1=pairs.antenna1,
        antenna2=pairs.antenna2,
        telescope=array.telescope,
        observer="radps simulator",
        project=f"seed {model.seed}",
    )


def simulate_block(
    model: ObservationModel, field_name: str, times: slice = ALL, channels: slice = ALL, *, band: int = 0
) -> SimulatedBlock:
    """Compute a block of the raw data of a field.

    Parameters
    ----------
    model : ObservationModel
    field_name : str
    times, channels : slice
        Of the integrations of this field, and of the band; without steps.
    band : int
        Number of the spectral window.

    Returns
    -------
    SimulatedBlock
        Bit-identical for any way to cut the data.

    Raises
    ------
    SelectionError
        There is no such field or band, or the block is empty or lies outside of the data.
    ModelError
        A component has an impossible position or spectrum.
    """
    field, window = model.find_field(field_name), model.find_band(band)
    schedule = schedule_of(model, field_name)
    rows = block_range(times, schedule.numbers.size, "integrations", field_name)
    columns = block_range(channels, window.n_channels, "channels", field_name)
    array, pairs = array_of(model), pairs_of(model)
    elapsed = schedule.elapsed_s[rows.start : rows.stop]
    uvw = uvw_from_positions(array.positions_m, start_s(model) + elapsed, field.ra, field.dec, pairs)
    angle = np.full(elapsed.size, model.receptor_angle) if model.receptor_angle else None
    if model.feeds_turn:
        where = horizontal_direction(array.positions_m, start_s(model) + elapsed, field.ra, field.dec)
        angle = where.parallactic_angle_rad + model.receptor_angle
    sigma, sefd_factors = _noise_jy(model, window), _sefd_factors(model, array)
    numbers = schedule.numbers[rows.start : rows.stop].tolist()
    n_polarizations = len(model.polarization_names)
    visibilities = corrupt_visibilities(
        predict_sky(model, field, uvw, columns, band, angle),
        pairs.antenna1,
        pairs.antenna2,
        gains=true_gains(model, field_name, band)[rows.start : rows.stop],
        bandpasses=true_bandpasses(model, band)[:, columns.start : columns.stop],
        noise=draw_noise(model.seed, numbers, columns, pairs.antenna1.size, n_polarizations, band),
        noise_jy=sigma * sefd_factors,
        system_jy=sefd_factors * (model.noise.sefd if model.noise else 0.0),
        response=_response(model, array, schedule.on_source[rows.start : rows.stop]),
        interference=_interference(model, band, len(array.names)),
        time_s=elapsed,
        first_channel=columns.start,
        receptors=PARALLEL_RECEPTORS if n_polarizations == len(PARALLEL_RECEPTORS) else ALL_RECEPTORS,
    )
    weight = np.float32(1.0 / sigma**2 if sigma > 0 else 1.0)
    return SimulatedBlock(
        visibilities, np.zeros(visibilities.shape, np.bool_), np.full(visibilities.shape, weight, np.float32), uvw
    )


def block_memory_bytes(model: ObservationModel, n_times: int, n_channels: int) -> int:
    """Return the memory [bytes] that :func:`simulate_block` needs at its peak for a block of that size."""
    n_baselines, n_polarizations = pairs_of(model).antenna1.size, len(model.polarization_names)
    cells = n_times * n_baselines * n_channels
    # Of each cell: the sky, and if it is polarized its Stokes parameters and correlations, these twice while they are
    # stacked; of each visibility: noise, the result, and either its flag and weight or nothing.
    is_polarized = any(
        one.q_fraction or one.u_fraction or one.v_fraction for field in model.fields for one in field.components
    )
    sky = 16 if n_polarizations == len(PARALLEL_RECEPTORS) and not is_polarized else 16 * (4 + 8 + n_polarizations)
    return int(cells * (sky + n_polarizations * (8 + 8 + 5)) + 3 * 8 * 2 * n_times * n_baselines)


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
        Field -> URL of its MSv4 group; with several bands, ``field/band`` -> URL.

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
        created = measurement_set.create_measurement_set(url, description, chunks=size)
        key = description.field_name
        partitions[f"{key}/{description.spectral_window_name}" if model.further_bands else key] = created
    measurement_set.consolidate_processing_set(url)
    return partitions


def write_simulated_block(
    url: str, model: ObservationModel, field_name: str, times: slice, channels: slice, *, band: int = 0
) -> int:
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
    band : int
        Number of the spectral window.

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
    target = join_url(url, model.partition_name(field_name, band))
    block = simulate_block(model, field_name, times, channels, band=band)
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
    for field, (number, band) in itertools.product(model.fields, enumerate(model.bands)):
        n_times = schedule_of(model, field.name).numbers.size
        for start in range(0, n_times, chunks[0]):
            times = slice(start, min(start + chunks[0], n_times))
            for first in range(0, band.n_channels, chunks[1]):
                channels = slice(first, min(first + chunks[1], band.n_channels))
                written += write_simulated_block(url, model, field.name, times, channels, band=number)
    middle = model.band.n_channels // 2
    return SimulationTruth(
        partitions=partitions,
        flux_jy={field.name: float(true_flux(model, field.name)[:, middle].sum()) for field in model.fields},
        noise_jy=_noise_jy(model, model.band),
        dead_antennas=model.dead_antennas,
        noisy_antennas=tuple(antenna.name for antenna in model.noisy_antennas),
        interference_channels=model.interference.carrier_channels if model.interference else (),
        n_visibilities=written,
    )


def _check_is_up(array: AntennaArray, field: SimulatedField, time_s: NDArray[np.float64]) -> None:
    elevation = horizontal_direction(array.positions_m, time_s, field.ra, field.dec).elevation_rad
    if elevation.min() <= 0:
        lowest = time_s[elevation.argmin()]
        raise SelectionError(
            f"the simulated field {field.name!r} is {-np.rad2deg(elevation.min()):.1f} degrees below the horizon of "
            f"{array.telescope} at {np.datetime64(int(lowest), 's')} UTC; "
            "move the start of the observation, or the field"
        )


def _noise_jy(model: ObservationModel, band: Band) -> float:
    """Return the nominal noise of a visibility [Jy]; 0 = none."""
    if model.noise is None:
        return 0.0
    return radiometer_noise(model.noise.sefd, band.channel_width, model.integration_time, model.noise.efficiency)


def _sefd_factors(model: ObservationModel, array: AntennaArray) -> NDArray[np.float64]:
    """Return how much noisier than nominal each antenna is."""
    factors = {antenna.name: antenna.sefd_factor for antenna in model.noisy_antennas}
    return np.array([factors.get(name, 1.0) for name in array.names], np.float64)


def _response(model: ObservationModel, array: AntennaArray, on_source: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 1 where an antenna sees the sky, else 0; shape (time, antenna)."""
    alive = np.array([name not in model.dead_antennas for name in array.names])
    return np.asarray(on_source[:, None] & alive[None, :], np.float64)


def _interference(model: ObservationModel, band: int, n_antennas: int) -> Interference:
    """Draw the interference of the whole observation, which is in the first band."""
    duration = model.n_integrations * model.integration_time + (len(model.scans) - 1) * model.slew_time
    errors = model.interference
    if errors is None or band:
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
