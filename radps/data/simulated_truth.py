"""The truth of a simulated observation, computed from its model at any time: gains, bandpasses, delays, skies.

Everything is a function of the :class:`~radps.data.observation_model.ObservationModel`; a band is given by its number,
0 for the first one.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.observation_model import Band, ObservationModel, SimulatedComponent, SimulatedField
from radps.domain.array import AntennaArray, Baselines, baselines, local_positions, uvw_from_positions
from radps.domain.attenuated_sources import SeenComponents, see_through_beam
from radps.domain.corruption import (
    Purpose,
    draw_antenna_delays,
    draw_bandpasses,
    draw_gains,
    draw_screen_phases,
    random_stream,
)
from radps.domain.flux_models import compute_flux_density, get_flux_model
from radps.domain.primary_beam import find_pattern
from radps.domain.sky import Component, component_flux, direction_cosines, predict_components
from radps.errors import SelectionError

ALL = slice(None)
N_RECEPTORS = 2
Stokes = Literal["I", "Q", "U", "V"]
_STOKES: tuple[Stokes, ...] = ("I", "Q", "U", "V")


class Schedule(NamedTuple):
    """The integrations of a field."""

    numbers: NDArray[np.int64]
    """Their numbers in the whole observation."""
    elapsed_s: NDArray[np.float64]
    """Middle, from the start of the observation."""
    scan_names: tuple[str, ...]
    on_source: NDArray[np.bool_]
    """False while the antennas are late."""


def true_gains(model: ObservationModel, field_name: str, band: int = 0) -> NDArray[np.complex128]:
    """Return the antenna gains in the integrations of a field.

    Returns
    -------
    ndarray, shape (time, antenna, receptor)
        Raw = gain_i conj(gain_j) true, in square roots of raw units per Jy, with the phases of the atmosphere. Dead
        antennas have gains like the others. Drifts of the phase go with the frequency of the band.

    Raises
    ------
    SelectionError
        There is no such field or band.
    """
    model.find_field(field_name)
    chosen = model.find_band(band)
    elapsed = schedule_of(model, field_name).elapsed_s
    array = array_of(model)
    ratio = chosen.middle_hz / model.band.middle_hz
    errors, atmosphere = model.gains, model.atmosphere
    gains = np.ones((elapsed.size, len(array.names), N_RECEPTORS), np.complex128)
    if errors is not None:
        gains = draw_gains(
            model.seed,
            len(array.names),
            N_RECEPTORS,
            elapsed,
            mean_amplitude=errors.mean_amplitude,
            amplitude_scatter=errors.amplitude_scatter,
            amplitude_drift=errors.amplitude_drift,
            phase_drift_rad=errors.phase_drift,
            timescale_s=errors.timescale,
            band=band,
            frequency_ratio=ratio,
        )
    if atmosphere is not None:
        phases = draw_screen_phases(
            model.seed,
            local_positions(array.positions_m)[:, :2],
            elapsed,
            phase_rms_rad=atmosphere.phase_rms,
            wind_speed_m_s=atmosphere.wind_speed,
            outer_scale_m=atmosphere.outer_scale,
        )
        gains = gains * np.exp(1j * ratio * phases)[:, :, np.newaxis]
    return gains


def true_delays(model: ObservationModel) -> NDArray[np.float64]:
    """Return the delays that all bands have in common [s], shape (antenna, receptor); 0 without `delays`."""
    n_antennas = len(array_of(model).names)
    return draw_antenna_delays(model.seed, n_antennas, N_RECEPTORS, 0.0 if model.delays is None else model.delays.rms)


def true_bandpasses(model: ObservationModel, band: int = 0) -> NDArray[np.complex128]:
    """Return the bandpasses with the delays, shape (antenna, channel, receptor).

    Without delays they are about 1 in the middle of the band; the delays turn about the middle of the first band.

    Raises
    ------
    SelectionError
        There is no such band.
    """
    chosen = model.find_band(band)
    n_antennas = len(array_of(model).names)
    errors = model.bandpasses
    bandpasses = np.ones((n_antennas, chosen.n_channels, N_RECEPTORS), np.complex128)
    if errors is not None:
        bandpasses = draw_bandpasses(
            model.seed,
            n_antennas,
            N_RECEPTORS,
            chosen.n_channels,
            chosen.channel_width,
            amplitude_ripple=errors.amplitude_ripple,
            phase_ripple_rad=errors.phase_ripple,
            delay_s=errors.delay,
            edge_fraction=errors.edge_fraction,
            edge_level=errors.edge_level,
            band=band,
        )
    if model.delays is not None:
        turns = true_delays(model)[:, np.newaxis] * (chosen.frequency_hz - model.band.middle_hz)[:, np.newaxis]
        bandpasses = bandpasses * np.exp(2j * np.pi * turns)
    return bandpasses


def true_components(model: ObservationModel, field_name: str, band: int = 0) -> tuple[Component, ...]:
    """Return the sky of a field; a component with ``flux_standard`` has the flux density at the middle of the band.

    Raises
    ------
    SelectionError
        There is no such field or band.
    ModelError
        A component has an impossible position, or an unknown flux standard.
    """
    field = model.find_field(field_name)
    return tuple(_component(component, field, model.find_band(band)) for component in field.components)


def true_flux(model: ObservationModel, field_name: str, band: int = 0) -> NDArray[np.float64]:
    """Return the flux density [Jy] of each component of a field in each channel, shape (component, channel).

    With a `primary_beam` it is that which the antennas see.

    Raises
    ------
    SelectionError
        There is no such field or band.
    ModelError
        A component has an impossible spectrum, or the flux standard does not cover the band.
    """
    field = model.find_field(field_name)
    chosen = model.find_band(band)
    frequency = chosen.frequency_hz
    flux = component_flux(true_components(model, field_name, band), frequency)
    for row, component in zip(flux, field.components, strict=True):
        if component.flux_standard is not None:
            line = component_flux([_component(component, field, chosen)._replace(flux_jy=0.0)], frequency)[0]
            row[:] = compute_flux_density(get_flux_model(component.flux_standard), frequency) + line
    return flux * true_primary_beam(model, field_name, band) if model.primary_beam else flux


def true_primary_beam(model: ObservationModel, field_name: str, band: int = 0) -> NDArray[np.float64]:
    """Return the power pattern of the antennas at each component of a field, shape (component, channel).

    It is 1 at the phase centre, and 0 beyond the main lobe; of an extended component it is the mean over its Gaussian.

    Raises
    ------
    SelectionError
        There is no such field or band.
    ModelError
        A component has an impossible position, or reaches beyond the main lobe.
    """
    channels = range(model.find_band(band).n_channels)
    return np.stack([one.factors for one in _see_components(model, field_name, band, channels)], axis=-1)


def _see_components(model: ObservationModel, field_name: str, band: int, channels: range) -> list[SeenComponents]:
    """Return the sky of a field as the antennas see it in each channel."""
    array = array_of(model)
    components = true_components(model, field_name, band)
    frequency_hz = model.find_band(band).frequency_hz[channels.start : channels.stop]
    patterns = (find_pattern(array.telescope, float(hz), array.dish_diameter_m) for hz in frequency_hz)
    return [see_through_beam(components, pattern) for pattern in patterns]


def true_visibilities(
    model: ObservationModel,
    field_name: str,
    times: slice = ALL,
    channels: slice = ALL,
    *,
    band: int = 0,
    stokes: Stokes = "I",
) -> NDArray[np.complex128]:
    """Return the visibilities of the sky alone [Jy], shape (time, baseline, channel), in one Stokes parameter.

    Raises
    ------
    SelectionError, ModelError
        As :func:`simulate_block`.
    """
    field = model.find_field(field_name)
    schedule = schedule_of(model, field_name)
    rows = block_range(times, schedule.numbers.size, "integrations", field_name)
    columns = block_range(channels, model.find_band(band).n_channels, "channels", field_name)
    time_s = start_s(model) + schedule.elapsed_s[rows.start : rows.stop]
    uvw = uvw_from_positions(array_of(model).positions_m, time_s, field.ra, field.dec, pairs_of(model))
    return _predict_stokes(model, field, uvw, columns, band, stokes)


def schedule_of(model: ObservationModel, field_name: str) -> Schedule:
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
    return Schedule(np.array(numbers), np.array(elapsed), tuple(scan_names), np.array(on_source))


def block_range(part: slice, size: int, what: str, field_name: str) -> range:
    """Return a slice as a range, or refuse it."""
    start = 0 if part.start is None else part.start
    stop = size if part.stop is None else part.stop
    if part.step not in (None, 1) or not 0 <= start < stop <= size:
        raise SelectionError(
            f"{what} {part.start}:{part.stop}:{part.step} of the simulated field {field_name!r}; it has {size}: give a "
            f"start and a stop from 0 to {size}, the stop above the start, and no step"
        )
    return range(start, stop)


def start_s(model: ObservationModel) -> float:
    """Return the start of the observation, UTC [unix s]."""
    return model.start.timestamp()


def array_of(model: ObservationModel) -> AntennaArray:
    """Return the antennas, drawn or from their tables."""
    return model.layout.build(random_stream(model.seed, Purpose.ARRAY))


def pairs_of(model: ObservationModel) -> Baselines:
    """Return the baselines."""
    return baselines(len(array_of(model).names), autocorrelations=model.autocorrelations)


def _component(component: SimulatedComponent, field: SimulatedField, band: Band) -> Component:
    """Return a component of the model as the Fourier sum needs it."""
    l, m = component.east, component.north
    if component.ra is not None and component.dec is not None:
        l, m = (float(cosine) for cosine in direction_cosines(component.ra, component.dec, field.ra, field.dec))
    flux, reference = component.flux, component.reference_frequency
    if component.flux_standard is not None:
        reference = band.middle_hz
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


def predict_sky(
    model: ObservationModel,
    field: SimulatedField,
    uvw_m: NDArray[np.float64],
    channels: range,
    band: int,
    parallactic_angle_rad: NDArray[np.float64] | None = None,
) -> NDArray[np.complex128]:
    """Return the visibilities of a field's sky, as feeds see it that are turned by an angle, (time,) [rad].

    Turned feeds see (Q + iU) exp(-2i psi) in place of Q + iU.

    Returns
    -------
    ndarray, shape (time, baseline, channel, 1) or (time, baseline, channel, polarization)
        The same for all correlations, or those of each: RR = I + V, RL = Q + iU, LR = Q - iU, LL = I - V;
        XX = I + Q, XY = U + iV, YX = U - iV, YY = I - Q (Hamaker & Bregman 1996, A&AS 117, 161).
    """
    intensity = _predict_stokes(model, field, uvw_m, channels, band, "I")
    is_polarized = any(one.q_fraction or one.u_fraction or one.v_fraction for one in field.components)
    names = model.polarization_names
    if not is_polarized and len(names) == N_RECEPTORS:
        return intensity[..., np.newaxis]
    parts = (_predict_stokes(model, field, uvw_m, channels, band, stokes) for stokes in _STOKES[1:])
    q, u, v = parts if is_polarized else (np.zeros_like(intensity),) * 3
    if parallactic_angle_rad is not None:
        twice = 2 * parallactic_angle_rad[:, np.newaxis, np.newaxis]
        q, u = q * np.cos(twice) + u * np.sin(twice), u * np.cos(twice) - q * np.sin(twice)
    correlations = {
        "RR": intensity + v,
        "RL": q + 1j * u,
        "LR": q - 1j * u,
        "LL": intensity - v,
        "XX": intensity + q,
        "XY": u + 1j * v,
        "YX": u - 1j * v,
        "YY": intensity - q,
    }
    return np.stack([correlations[name] for name in names], axis=-1)


def _predict_stokes(
    model: ObservationModel,
    field: SimulatedField,
    uvw_m: NDArray[np.float64],
    channels: range,
    band: int,
    stokes: Stokes,
) -> NDArray[np.complex128]:
    """Return the visibilities of one Stokes parameter, shape (time, baseline, channel)."""
    chosen = slice(channels.start, channels.stop)
    components = true_components(model, field.name, band)
    # The spectra are computed for the whole band and then cut: a library's exp may depend on the length of the array.
    flux = true_flux(model, field.name, band)[:, chosen]
    if stokes != "I":
        fractions = [getattr(one, f"{stokes.lower()}_fraction") for one in field.components]
        flux = flux * np.reshape(fractions, (-1, 1))
    frequency, rows = model.find_band(band).frequency_hz[chosen], uvw_m.reshape(-1, 3)
    shape = (*uvw_m.shape[:2], len(channels))
    if not model.primary_beam or not any(one.major_rad > 0 for one in components):
        return predict_components(rows, frequency, components, flux).reshape(shape)
    # The beam is narrower at higher frequencies: what is seen of an extended source has a size of its own in a channel.
    visibilities = np.empty((len(rows), len(channels)), np.complex128)
    for number, seen in enumerate(_see_components(model, field.name, band, channels)):
        one = slice(number, number + 1)
        visibilities[:, one] = predict_components(rows, frequency[one], seen.components, flux[:, one])
    return visibilities.reshape(shape)
