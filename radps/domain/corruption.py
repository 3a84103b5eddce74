"""What a real instrument does to visibilities: gains, bandpasses, noise, interference, and broken antennas.

For baseline (i, j), time t, channel f and the receptors p, q of a correlation the observed visibility is ::

    V = G_i(t, p) B_i(f, p) conj(G_j(t, q) B_j(f, q)) (R_i R_j (M(t, f, pq) + I_i(t, f) conj(I_j(t, f))) + N)

with the sky M [Jy], interference I [sqrt(Jy)], R = 0 for a dead antenna (or one that is still on its way to the source)
and 1 otherwise, and noise N [Jy] before the gains, as the noise of a receiver is.

1. Gains: amplitude and phase of each antenna and hand are a constant plus three sinusoids of random period and phase;
   if asked for, the phases of a turbulent screen over the array come on top.
2. Bandpasses: a ripple in amplitude and phase, a residual delay, and a roll-off at both edges; if asked for, a delay
   that all bands have in common.
3. Noise: real and imaginary part of one correlation have the standard deviation of the radiometer equation,
   ``sigma = SEFD / (efficiency sqrt(2 width time))``, times sqrt(k_i k_j) where antennas have k times the SEFD.
4. Interference: carriers and bursts. Each has its own random phase and phase rate at every antenna.

Everything comes from a seed. Gains and bandpasses of an antenna do not depend on how many antennas there are. The noise
of a cell (integration, channel) comes from a counter-based generator set to that cell (Salmon et al. 2011), so that any
block of the data has the same bits, whatever blocks are asked for, in whatever order. Polarization leakage, position
errors and pointing errors are left out.

References
----------
Thompson, Moran & Swenson 2017, Interferometry and Synthesis in Radio Astronomy, chapter 6 (noise), 7 (gains).
Salmon, Moraes, Dror & Shaw 2011, Proc. SC11, 16 ("Parallel random numbers: as easy as 1, 2, 3").
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.special import j0

from radps.domain.sky import sine_cosine_of_turns
from radps.errors import SelectionError

_N_SINUSOIDS = 3
_N_WAVES = 256


class Purpose(enum.IntEnum):
    """What a stream of random numbers is for; part of its key, so that no two effects share numbers."""

    GAINS = 1
    BANDPASS = 2
    NOISE = 3
    INTERFERENCE = 4
    ARRAY = 5
    DELAY = 6
    ATMOSPHERE = 7


class Interference(NamedTuple):
    """Signals from the ground, as seen by the receivers; E of them."""

    start_s: NDArray[np.float64]
    """First moment, seconds from the start of the observation; shape (E,)."""
    stop_s: NDArray[np.float64]
    """Last moment, shape (E,)."""
    first_channel: NDArray[np.int64]
    """Shape (E,)."""
    stop_channel: NDArray[np.int64]
    """One past the last channel, shape (E,)."""
    flux_jy: NDArray[np.float64]
    """Shape (E,)."""
    phase_turns: NDArray[np.float64]
    """At each antenna at time 0, shape (E, antenna)."""
    rate_turns_per_s: NDArray[np.float64]
    """Change of the phase, shape (E, antenna)."""


PARALLEL_RECEPTORS = np.array([[0, 0], [1, 1]])
"""Receptors of the first and the second antenna that a correlation is of: RR and LL, or XX and YY."""
ALL_RECEPTORS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
"""The same of RR, RL, LR, LL, or of XX, XY, YX, YY."""


def random_stream(seed: int, purpose: Purpose, *numbers: int) -> np.random.Generator:
    """Return the random numbers of one effect: a stream of its own for each seed, purpose and further numbers."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(purpose, *numbers))))


def radiometer_noise(
    sefd_jy: float, channel_width_hz: float, integration_time_s: float, efficiency: float = 1.0
) -> float:
    """Return the standard deviation [Jy] of the real part of one correlation of a cross-correlation.

    Parameters
    ----------
    sefd_jy : float
        System equivalent flux density of one antenna and hand.
    channel_width_hz, integration_time_s : float
    efficiency : float
        Of the correlator, 0 to 1.
    """
    return sefd_jy / (efficiency * math.sqrt(2.0 * channel_width_hz * integration_time_s))


def draw_gains(
    seed: int,
    n_antennas: int,
    n_polarizations: int,
    time_s: NDArray[np.float64],
    *,
    mean_amplitude: float = 1.0,
    amplitude_scatter: float = 0.1,
    amplitude_drift: float = 0.03,
    phase_drift_rad: float = 0.5,
    timescale_s: float = 3600.0,
    band: int = 0,
    frequency_ratio: float = 1.0,
) -> NDArray[np.complex128]:
    """Draw antenna gains as smooth functions of time.

    The drifts are those of all bands, the constants (electronics) are of each band by itself.

    Parameters
    ----------
    seed : int
    n_antennas, n_polarizations : int
    time_s : ndarray, shape (time,)
        Seconds from the start of the observation.
    mean_amplitude : float
        Amplitude of a typical antenna.
    amplitude_scatter : float
        Relative standard deviation between antennas and hands.
    amplitude_drift : float
        Relative standard deviation along time.
    phase_drift_rad : float
        Standard deviation of the phase along time, on top of a constant phase between -pi and pi.
    timescale_s : float
        The sinusoids have periods of 1 to 4 times this.
    band : int
        Number of the spectral window.
    frequency_ratio : float
        The drift of the phase is that of the first band times this, as that of a delay.

    Returns
    -------
    ndarray, complex128, shape (time, antenna, polarization)
        Never zero.
    """
    gains = np.empty((time_s.size, n_antennas, n_polarizations), np.complex128)
    for antenna in range(n_antennas):
        rng = random_stream(seed, Purpose.GAINS, antenna)
        for polarization in range(n_polarizations):
            level = mean_amplitude * math.exp(amplitude_scatter * rng.standard_normal())
            constant = rng.uniform(-np.pi, np.pi)
            if band:
                own = random_stream(seed, Purpose.GAINS, antenna, polarization, band)
                level = mean_amplitude * math.exp(amplitude_scatter * own.standard_normal())
                constant = own.uniform(-np.pi, np.pi)
            amplitude = level * np.exp(amplitude_drift * _wander(rng, time_s / timescale_s))
            phase = constant + frequency_ratio * phase_drift_rad * _wander(rng, time_s / timescale_s)
            gains[:, antenna, polarization] = amplitude * np.exp(1j * phase)
    return gains


def draw_bandpasses(
    seed: int,
    n_antennas: int,
    n_polarizations: int,
    n_channels: int,
    channel_width_hz: float,
    *,
    amplitude_ripple: float = 0.05,
    phase_ripple_rad: float = 0.05,
    delay_s: float = 2e-9,
    edge_fraction: float = 0.06,
    edge_level: float = 0.2,
    band: int = 0,
) -> NDArray[np.complex128]:
    """Draw bandpasses: ripple, delay, and a roll-off at the edges.

    Parameters
    ----------
    seed : int
    n_antennas, n_polarizations, n_channels : int
    channel_width_hz : float
    amplitude_ripple : float
        Relative standard deviation along frequency.
    phase_ripple_rad : float
        Standard deviation along frequency.
    delay_s : float
        Standard deviation, between antennas and hands, of the residual delay.
    edge_fraction : float
        Part of the band, at each end, where the amplitude falls off; 0 = none.
    edge_level : float
        Amplitude at the very ends, relative to the middle.
    band : int
        Number of the spectral window; each one has bandpasses of its own.

    Returns
    -------
    ndarray, complex128, shape (antenna, channel, polarization)
        Never zero. The delay turns about the middle of the band.
    """
    place = (np.arange(n_channels) + 0.5) / n_channels
    offset_hz = (place - 0.5) * n_channels * channel_width_hz
    edge = np.ones(n_channels)
    if edge_fraction > 0:
        inward = np.minimum(1.0, np.minimum(place, 1.0 - place) / edge_fraction)
        edge = edge_level + (1.0 - edge_level) * np.sin(0.5 * np.pi * inward) ** 2
    bandpasses = np.empty((n_antennas, n_channels, n_polarizations), np.complex128)
    for antenna in range(n_antennas):
        rng = random_stream(seed, Purpose.BANDPASS, antenna, *((band,) if band else ()))
        for polarization in range(n_polarizations):
            delay = delay_s * rng.standard_normal()
            amplitude = edge * np.exp(amplitude_ripple * _wander(rng, 2.0 * place))
            phase = phase_ripple_rad * _wander(rng, 2.0 * place) + 2 * np.pi * delay * offset_hz
            bandpasses[antenna, :, polarization] = amplitude * np.exp(1j * phase)
    return bandpasses


def draw_antenna_delays(seed: int, n_antennas: int, n_polarizations: int, rms_s: float) -> NDArray[np.float64]:
    """Draw the delays of the antennas.

    Returns
    -------
    ndarray, shape (antenna, polarization)
        Seconds, normal with the standard deviation ``rms_s``. The gain is exp(2 pi i delay (f - reference)).
    """
    return np.stack(
        [
            rms_s * random_stream(seed, Purpose.DELAY, antenna).standard_normal(n_polarizations)
            for antenna in range(n_antennas)
        ]
    )


def draw_screen_phases(
    seed: int,
    east_north_m: NDArray[np.float64],
    time_s: NDArray[np.float64],
    *,
    phase_rms_rad: float,
    wind_speed_m_s: float = 10.0,
    outer_scale_m: float = 6000.0,
) -> NDArray[np.float64]:
    """Draw the phases of a turbulent screen that the wind blows over the array.

    The screen is a sum of plane waves with the spectrum of Kolmogorov turbulence: the variance of the phase between two
    antennas rises as distance^(5/3) up to about the outer scale.

    Parameters
    ----------
    seed : int
    east_north_m : ndarray, shape (antenna, 2)
        Local coordinates of the antennas.
    time_s : ndarray, shape (time,)
        Seconds from the start of the observation.
    phase_rms_rad : float
        Standard deviation of the phase between two antennas 1 km apart.
    wind_speed_m_s : float
        Towards the east.
    outer_scale_m : float
        Longest wave; the shortest one is 10 m.

    Returns
    -------
    ndarray, shape (time, antenna)
        Phases [rad]; a time or an antenna has the same ones whatever others are asked for.

    References
    ----------
    Thompson, Moran & Swenson 2017, section 13.1 (structure function of the troposphere).
    """
    rng = random_stream(seed, Purpose.ATMOSPHERE)
    wavenumber = 2 * np.pi / np.exp(rng.uniform(math.log(10.0), math.log(max(outer_scale_m, 20.0)), _N_WAVES))
    direction, start = rng.uniform(0.0, 2 * np.pi, (2, _N_WAVES))
    power = wavenumber ** (-5.0 / 3.0)
    # The variance between two places, over all directions and starts, is the sum of power (1 - J0(k distance)).
    power *= phase_rms_rad**2 / np.sum(power * (1.0 - j0(wavenumber * 1000.0)))
    phases = np.zeros((time_s.size, len(east_north_m)))
    for k, angle, phase, amplitude in zip(wavenumber, direction, start, np.sqrt(power), strict=True):
        place = east_north_m[np.newaxis, :, 0] - wind_speed_m_s * time_s[:, np.newaxis]
        phases += amplitude * np.cos(k * (place * math.cos(angle) + east_north_m[:, 1] * math.sin(angle)) + phase)
    return phases


def draw_interference(
    seed: int,
    n_antennas: int,
    n_channels: int,
    duration_s: float,
    *,
    carrier_channels: tuple[int, ...] = (),
    carrier_flux_jy: float = 100.0,
    bursts_per_hour: float = 0.0,
    burst_duration_s: float = 30.0,
    burst_channels: int = 4,
    burst_flux_jy: float = 500.0,
) -> Interference:
    """Draw narrow carriers that are always on, and short bursts.

    Parameters
    ----------
    seed : int
    n_antennas, n_channels : int
    duration_s : float
        Length of the observation.
    carrier_channels : tuple of int
        Channels with a carrier.
    carrier_flux_jy, burst_flux_jy : float
        Typical strength; each signal has its own, within a factor of about 2.
    bursts_per_hour : float
        Mean number.
    burst_duration_s : float
        Mean length.
    burst_channels : int
        Channels that a burst fills.

    Returns
    -------
    Interference

    Raises
    ------
    SelectionError
        A carrier lies outside the band, or a burst is wider than the band.
    """
    outside = [channel for channel in carrier_channels if not 0 <= channel < n_channels]
    if outside:
        raise SelectionError(f"interference in channels {outside}; the band has the channels 0 to {n_channels - 1}")
    if bursts_per_hour and not 1 <= burst_channels <= n_channels:
        raise SelectionError(f"bursts of {burst_channels} channels; the band has {n_channels}: ask for 1 to that many")
    rng = random_stream(seed, Purpose.INTERFERENCE)
    n_carriers = len(carrier_channels)
    n_bursts = int(rng.poisson(bursts_per_hour * duration_s / 3600.0))
    n_signals = n_carriers + n_bursts
    strength = np.exp(0.7 * rng.standard_normal(n_signals))
    start = duration_s * rng.random(n_bursts)
    stop = start + rng.exponential(burst_duration_s, n_bursts)
    bursts = rng.integers(0, max(1, n_channels - burst_channels + 1), n_bursts)
    first = np.concatenate([np.array(carrier_channels, np.int64), bursts])
    return Interference(
        start_s=np.concatenate([np.full(n_carriers, -np.inf), start]),
        stop_s=np.concatenate([np.full(n_carriers, np.inf), stop]),
        first_channel=first,
        stop_channel=first + np.repeat([1, burst_channels], [n_carriers, n_bursts]),
        flux_jy=strength * np.repeat([carrier_flux_jy, burst_flux_jy], [n_carriers, n_bursts]),
        phase_turns=rng.random((n_signals, n_antennas)),
        # The fringe rate that the correlator tracks out of the sky it puts onto the ground: some mHz.
        rate_turns_per_s=0.02 * rng.standard_normal((n_signals, n_antennas)),
    )


def draw_noise(
    seed: int,
    integrations: Sequence[int],
    channels: Sequence[int],
    n_baselines: int,
    n_polarizations: int,
    band: int = 0,
) -> NDArray[np.float32]:
    """Draw standard normal numbers for a block of the data.

    Parameters
    ----------
    seed : int
    integrations, channels : sequence of int
        Numbers of the integrations of the observation and of the channels of the band.
    n_baselines, n_polarizations : int
    band : int
        Number of the spectral window.

    Returns
    -------
    ndarray, float32, shape (time, channel, baseline, polarization, 2)
        Real and imaginary parts, of unit variance each. The numbers of a (time, channel) cell are its own.
    """
    numbers = np.empty((len(integrations), len(channels), n_baselines, n_polarizations, 2), np.float32)
    key = np.random.SeedSequence(seed, spawn_key=(Purpose.NOISE,)).generate_state(2, np.uint64)
    bits = np.random.Philox(key=key)
    generator = np.random.Generator(bits)
    state = bits.state
    for row, integration in enumerate(integrations):
        for column, channel in enumerate(channels):
            # Word 0 counts within the cell; setting the state of one generator is 15 times faster than a new one.
            state["state"]["counter"][1:4] = channel, integration, band
            bits.state = state
            generator.standard_normal(dtype=np.float32, out=numbers[row, column])
    return numbers


def corrupt_visibilities(
    model_jy: NDArray[np.complex128],
    antenna1: NDArray[np.int64],
    antenna2: NDArray[np.int64],
    *,
    gains: NDArray[np.complex128],
    bandpasses: NDArray[np.complex128],
    noise: NDArray[np.float32],
    noise_jy: NDArray[np.float64],
    system_jy: NDArray[np.float64],
    response: NDArray[np.float64],
    interference: Interference,
    time_s: NDArray[np.float64],
    first_channel: int = 0,
    receptors: NDArray[np.int64] = PARALLEL_RECEPTORS,
) -> NDArray[np.complex64]:
    """Observe a sky: add interference and noise, and multiply by gains and bandpasses.

    Parameters
    ----------
    model_jy : ndarray, shape (time, baseline, channel) or (time, baseline, channel, polarization)
        Visibilities of the sky, the same for all correlations, or those of each.
    antenna1, antenna2 : ndarray, shape (baseline,)
    gains : ndarray, shape (time, antenna, receptor)
    bandpasses : ndarray, shape (antenna, channel, receptor)
    noise : ndarray, shape (time, channel, baseline, polarization, 2)
        Standard normal numbers, from :func:`draw_noise`.
    noise_jy : ndarray, shape (antenna,)
        Standard deviation of the noise of a correlation of two antennas like this one; 0 = no noise.
    system_jy : ndarray, shape (antenna,)
        Power of the receiver, which only autocorrelations see.
    response : ndarray, shape (time, antenna)
        1, or 0 where the antenna does not see the sky.
    interference : Interference
    time_s : ndarray, shape (time,)
        Seconds from the start of the observation.
    first_channel : int
        Number in the band of the first channel of the block.
    receptors : ndarray, shape (polarization, 2)
        Receptors of the two antennas that each correlation is of; default: the two parallel hands.

    Returns
    -------
    ndarray, complex64, shape (time, baseline, channel, polarization)
        An element does not depend on which others are asked for, to the last bit.
    """
    n_channels = model_jy.shape[2]
    seen = (interference.first_channel < first_channel + n_channels) & (interference.stop_channel > first_channel)
    voltages = _interference_voltages(
        interference.start_s[seen],
        interference.stop_s[seen],
        interference.flux_jy[seen],
        interference.phase_turns[seen],
        interference.rate_turns_per_s[seen],
        np.asarray(time_s, np.float64),
    )
    edges = np.stack([interference.first_channel[seen], interference.stop_channel[seen]], axis=1) - first_channel
    observed: NDArray[np.complex64] = _corrupt(
        np.ascontiguousarray(model_jy if model_jy.ndim == 4 else model_jy[..., np.newaxis]),
        np.asarray(receptors, np.int64),
        antenna1,
        antenna2,
        np.ascontiguousarray(gains),
        np.ascontiguousarray(bandpasses),
        np.ascontiguousarray(noise),
        np.asarray(noise_jy, np.float64),
        np.asarray(system_jy, np.float64),
        np.ascontiguousarray(response, np.float64),
        voltages,
        np.clip(edges, 0, n_channels),
    )
    return observed


def _wander(rng: np.random.Generator, phase: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a smooth random function of unit variance: sinusoids of 1/4 to 1 turn per unit of ``phase``."""
    rate = rng.uniform(0.25, 1.0, _N_SINUSOIDS)
    start = rng.random(_N_SINUSOIDS)
    waves = [
        math.sqrt(2.0 / _N_SINUSOIDS) * np.sin(2 * np.pi * (r * phase + s)) for r, s in zip(rate, start, strict=True)
    ]
    return np.asarray(sum(waves))


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _interference_voltages(
    start_s: NDArray[np.float64],
    stop_s: NDArray[np.float64],
    flux_jy: NDArray[np.float64],
    phase_turns: NDArray[np.float64],
    rate_turns_per_s: NDArray[np.float64],
    time_s: NDArray[np.float64],
) -> NDArray[np.complex128]:
    """Return the signal of each interference at each time and antenna [sqrt(Jy)], 0 while it is off."""
    n_signals, n_antennas = phase_turns.shape
    voltages = np.zeros((n_signals, time_s.size, n_antennas), np.complex128)
    for signal in range(n_signals):
        scale = math.sqrt(flux_jy[signal])
        for t in range(time_s.size):
            if start_s[signal] <= time_s[t] <= stop_s[signal]:
                for antenna in range(n_antennas):
                    turns = phase_turns[signal, antenna] + rate_turns_per_s[signal, antenna] * time_s[t]
                    sine, cosine = sine_cosine_of_turns(turns)
                    voltages[signal, t, antenna] = complex(scale * cosine, scale * sine)
    return voltages


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _corrupt(
    model_jy: NDArray[np.complex128],
    receptors: NDArray[np.int64],
    antenna1: NDArray[np.int64],
    antenna2: NDArray[np.int64],
    gains: NDArray[np.complex128],
    bandpasses: NDArray[np.complex128],
    noise: NDArray[np.float32],
    noise_jy: NDArray[np.float64],
    system_jy: NDArray[np.float64],
    response: NDArray[np.float64],
    voltages: NDArray[np.complex128],
    edges: NDArray[np.int64],
) -> NDArray[np.complex64]:
    """Apply the equation of the module, in compiled scalar arithmetic: the same bits in every block."""
    n_times, n_baselines, n_channels, n_models = model_jy.shape
    n_polarizations = len(receptors)
    observed = np.empty((n_times, n_baselines, n_channels, n_polarizations), np.complex64)
    sky = np.empty((n_channels, n_models), np.complex128)
    for t in range(n_times):
        for b in range(n_baselines):
            i, j = antenna1[b], antenna2[b]
            sky[:] = model_jy[t, b]
            for signal in range(voltages.shape[0]):
                power = voltages[signal, t, i] * np.conj(voltages[signal, t, j])
                for c in range(edges[signal, 0], edges[signal, 1]):
                    for k in range(n_models):
                        sky[c, k] += power
            seen = response[t, i] * response[t, j]
            sigma = math.sqrt(noise_jy[i] * noise_jy[j])
            for c in range(n_channels):
                for p in range(n_polarizations):
                    first, second = receptors[p]
                    source = sky[c, min(p, n_models - 1)]
                    if i == j and first == second:  # the power of one signal: real, and its noise has no imaginary part
                        total = seen * source.real + system_jy[i]
                        value = complex(total + math.sqrt(2.0) * sigma * noise[t, c, b, p, 0], 0.0)
                    else:
                        value = seen * source + sigma * complex(noise[t, c, b, p, 0], noise[t, c, b, p, 1])
                    here, there = (
                        gains[t, i, first] * bandpasses[i, c, first],
                        gains[t, j, second] * bandpasses[j, c, second],
                    )
                    observed[t, b, c, p] = here * np.conj(there) * value
    return observed
