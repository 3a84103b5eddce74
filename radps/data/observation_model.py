"""What a simulated observation consists of: array, band, fields with their skies, scans, and what corrupts the data.

The model is everything: each datum is a function of it (:mod:`radps.data.simulate`), so that it travels to the tasks in
place of arrays, and the truth can be computed from it again at any time. Quantities take a number in SI units or a text
with a unit, such as ``"1.42 GHz"``. This module imports nothing heavy: workflow files are checked with it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from radps.domain.array import (
    AlmaConfiguration,
    AntennaArray,
    VlaConfiguration,
    alma_array,
    meerkat_array,
    random_array,
    vla_array,
)
from radps.errors import RadpsError, SelectionError
from radps.units import Angle, Duration, FluxDensity, Frequency, Length, Speed

FLUX_INTENT = "CALIBRATE_FLUX#ON_SOURCE"
BANDPASS_INTENT = "CALIBRATE_BANDPASS#ON_SOURCE"
PHASE_INTENT = "CALIBRATE_PHASE#ON_SOURCE"
TARGET_INTENT = "OBSERVE_TARGET#ON_SOURCE"

_POSITION_TEXT = "give a component either east and north of the phase centre, or ra and dec"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SimulatedComponent(_Frozen):
    """A point or Gaussian source of a field, with a power-law continuum and perhaps a line."""

    east: Angle = 0.0
    """Direction cosine l from the phase centre (SIN projection) [rad]."""
    north: Angle = 0.0
    """Direction cosine m from the phase centre [rad]."""
    ra: Angle | None = None
    """Right ascension (ICRS) [rad], with ``dec`` in place of ``east`` and ``north``."""
    dec: Angle | None = None
    """Declination (ICRS) [rad]."""
    flux: FluxDensity = 0.0
    """Integrated continuum flux density at ``reference_frequency`` [Jy]; as the antennas see it, unless the observation
    has a `primary_beam`."""
    reference_frequency: Annotated[Frequency, Field(gt=0)] = 1.4e9
    """Where ``flux`` holds [Hz]."""
    spectral_index: float = 0.0
    """The continuum goes as frequency to this power."""
    flux_standard: str | None = None
    """A standard calibrator, e.g. ``3C286``, whose spectrum (Perley & Butler 2017) takes the place of ``flux``."""
    major: Annotated[Angle, Field(ge=0)] = 0.0
    """FWHM of the major axis [rad]; 0 = a point."""
    minor: Annotated[Angle, Field(ge=0)] = 0.0
    """FWHM of the minor axis [rad]."""
    position_angle: Angle = 0.0
    """Of the major axis, from north through east [rad]."""
    line_peak: FluxDensity = 0.0
    """Flux density of a Gaussian spectral line at its centre [Jy]; 0 = no line, negative = absorption."""
    line_center: Frequency = 0.0
    """Centre of the line [Hz], in the frame of the band."""
    line_width: Annotated[Frequency, Field(ge=0)] = 0.0
    """FWHM of the line [Hz]."""
    q_fraction: float = 0.0
    """Stokes Q over I, of continuum and line; seen by the correlations of `polarizations`."""
    u_fraction: float = 0.0
    """Stokes U over I."""
    v_fraction: float = 0.0
    """Stokes V over I."""

    @model_validator(mode="after")
    def _check(self) -> SimulatedComponent:
        if (self.ra is None) != (self.dec is None) or (self.ra is not None and (self.east or self.north)):
            raise ValueError(_POSITION_TEXT)
        if self.east**2 + self.north**2 >= 1:
            raise ValueError(f"east = {self.east}, north = {self.north} rad are outside of the hemisphere")
        if self.line_peak and not self.line_width:
            raise ValueError(f"a line of {self.line_peak} Jy has no width; give line_width, its FWHM")
        polarized = float(np.hypot(np.hypot(self.q_fraction, self.u_fraction), self.v_fraction))
        if polarized > 1:
            raise ValueError(
                f"q_fraction, u_fraction and v_fraction make {polarized:.3g} of Stokes I; at most 1 is there"
            )
        if self.flux_standard is not None and self.flux:
            raise ValueError("give a component either flux or flux_standard")
        return self


class SimulatedField(_Frozen):
    """A direction that is observed, why, and what is there."""

    name: str = Field(min_length=1)
    ra: Angle
    """Right ascension of the phase centre (ICRS) [rad]."""
    dec: Annotated[Angle, Field(ge=-np.pi / 2, le=np.pi / 2)]
    """Declination of the phase centre (ICRS) [rad]."""
    intents: tuple[str, ...] = (TARGET_INTENT,)
    """MSv4 scan intents."""
    components: tuple[SimulatedComponent, ...] = ()
    """Its sky; empty = nothing but noise."""


class SimulatedScan(_Frozen):
    """A visit to a field."""

    field: str
    """Name of the field."""
    n_integrations: PositiveInt


class Band(_Frozen):
    """A spectral window."""

    name: str = "spw0"
    start_frequency: Annotated[Frequency, Field(gt=0)]
    """Centre of the first channel [Hz]."""
    channel_width: Annotated[Frequency, Field(gt=0)]
    """Distance of the channels [Hz]; the frequency rises with the number of the channel."""
    n_channels: PositiveInt
    spectral_frame: Literal["TOPO", "LSRK", "BARY"] = "LSRK"
    """Frame of the frequencies."""
    rest_frequency: Annotated[Frequency, Field(gt=0)] = 1420.405751768e6
    """Of the line to look for [Hz]; the default is HI."""

    @property
    def frequency_hz(self) -> NDArray[np.float64]:
        """Centres of the channels, shape (channel,) [Hz]."""
        return np.asarray(self.start_frequency + self.channel_width * np.arange(self.n_channels), np.float64)

    @property
    def middle_hz(self) -> float:
        """Centre of the channel in the middle [Hz]."""
        return float(self.frequency_hz[self.n_channels // 2])


class VlaLayout(_Frozen):
    """The VLA."""

    kind: Literal["vla"] = "vla"
    configuration: VlaConfiguration = "D"
    """A (36 km) to D (1 km)."""
    n_antennas: Annotated[int, Field(ge=2, le=27)] = 27
    """Fewer than 27 are spread over the arms."""

    def build(self, rng: np.random.Generator) -> AntennaArray:
        """Return the antennas; nothing of it is random."""
        return vla_array(self.configuration, self.n_antennas)


class AlmaLayout(_Frozen):
    """ALMA."""

    kind: Literal["alma"] = "alma"
    configuration: AlmaConfiguration = "C-1"
    """Of the 12 m array: C-1 (161 m), C-4 (784 m), C-7 (3.6 km); or the 7 m array."""
    n_antennas: Annotated[int, Field(ge=2)] | None = None
    """Fewer than all 43 (7 m: 10) are spread from the centre to the edge."""

    def build(self, rng: np.random.Generator) -> AntennaArray:
        """Return the antennas; nothing of it is random."""
        return alma_array(self.configuration, self.n_antennas)


class MeerkatLayout(_Frozen):
    """MeerKAT."""

    kind: Literal["meerkat"] = "meerkat"
    n_antennas: Annotated[int, Field(ge=2, le=64)] = 64
    """Fewer than 64 are spread from the centre to the edge."""

    def build(self, rng: np.random.Generator) -> AntennaArray:
        """Return the antennas; nothing of it is random."""
        return meerkat_array(self.n_antennas)


class RandomLayout(_Frozen):
    """Antennas in a disc at the place of the VLA, drawn from the seed of the observation."""

    kind: Literal["random"] = "random"
    n_antennas: Annotated[int, Field(ge=2)]
    longest_baseline: Annotated[Length, Field(gt=0)]
    """Diameter of the disc [m]."""
    dish_diameter: Annotated[Length, Field(gt=0)] = 25.0
    """[m]."""

    def build(self, rng: np.random.Generator) -> AntennaArray:
        """Draw the antennas."""
        return random_array(self.n_antennas, self.longest_baseline, rng, self.dish_diameter)


class GainErrors(_Frozen):
    """Antenna gains along time; see :func:`radps.domain.corruption.draw_gains`."""

    mean_amplitude: PositiveFloat = 1.0
    """Of a typical antenna: the square is raw units per Jy."""
    amplitude_scatter: Annotated[float, Field(ge=0)] = 0.1
    """Relative, between antennas and hands."""
    amplitude_drift: Annotated[float, Field(ge=0)] = 0.03
    """Relative, along time."""
    phase_drift: Annotated[Angle, Field(ge=0)] = 0.5
    """Standard deviation along time [rad], on top of a random constant."""
    timescale: Annotated[Duration, Field(gt=0)] = 3600.0
    """The drifts have periods of 1 to 4 times this [s]."""


class BandpassErrors(_Frozen):
    """Bandpasses, constant in time; see :func:`radps.domain.corruption.draw_bandpasses`."""

    amplitude_ripple: Annotated[float, Field(ge=0)] = 0.05
    """Relative standard deviation along frequency."""
    phase_ripple: Annotated[Angle, Field(ge=0)] = 0.05
    """Standard deviation along frequency [rad]."""
    delay: Annotated[Duration, Field(ge=0)] = 2e-9
    """Standard deviation of the residual delay of an antenna and hand [s]."""
    edge_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.06
    """Part of the band, at each end, where the amplitude falls off."""
    edge_level: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Amplitude at the very ends, relative to the middle."""


class DelayErrors(_Frozen):
    """Delays of the antennas, the same in all bands and constant in time (CASA's K)."""

    rms: Annotated[Duration, Field(ge=0)] = 5e-9
    """Standard deviation of the delay of an antenna and hand [s]; it turns about the middle of the first band."""


class Atmosphere(_Frozen):
    """Phases of the troposphere, a screen in the wind; see :func:`radps.domain.corruption.draw_screen_phases`."""

    phase_rms: Annotated[Angle, Field(ge=0)] = 0.5
    """Standard deviation of the phase of a baseline of 1 km, at the middle of the first band [rad]."""
    wind_speed: Annotated[Speed, Field(ge=0)] = 10.0
    """Of the screen, towards the east [m/s]."""
    outer_scale: Annotated[Length, Field(gt=0)] = 6000.0
    """Longest wave of the screen [m]."""


class Noise(_Frozen):
    """Noise of the receivers."""

    sefd: Annotated[FluxDensity, Field(gt=0)] = 420.0
    """System equivalent flux density of an antenna and hand [Jy]; the default is the VLA's at 1.4 GHz (NRAO, Guide to
    Observing with the VLA, table of sensitivities)."""
    efficiency: Annotated[float, Field(gt=0, le=1)] = 0.93
    """Of the correlator."""


class InterferenceErrors(_Frozen):
    """Signals from the ground; see :func:`radps.domain.corruption.draw_interference`."""

    carrier_channels: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Channels that have a carrier all the time."""
    carrier_flux: Annotated[FluxDensity, Field(ge=0)] = 100.0
    """Typical strength of a carrier [Jy]."""
    bursts_per_hour: Annotated[float, Field(ge=0)] = 0.0
    """Mean number of bursts."""
    burst_duration: Annotated[Duration, Field(gt=0)] = 30.0
    """Mean length [s]."""
    burst_channels: PositiveInt = 4
    """Channels that a burst fills."""
    burst_flux: Annotated[FluxDensity, Field(ge=0)] = 500.0
    """Typical strength of a burst [Jy]."""


class NoisyAntenna(_Frozen):
    """An antenna with more noise than its weights say."""

    name: str
    sefd_factor: PositiveFloat
    """Its SEFD over that of the others."""


class ObservationModel(_Frozen):
    """A simulated observation: some spectral windows, some fields, scans one after the other."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = "simulation"
    """Name of the data set; its partitions are ``<name>_0``, ``<name>_1``, ... in the order of the fields, and
    ``<name>_0_0``, ``<name>_0_1``, ... (field, band) if there are several bands."""
    seed: Annotated[int, Field(ge=0)] = 1
    """Of everything that is random."""
    start: AwareDatetime = datetime(2026, 3, 20, 9, 15, tzinfo=UTC)
    """Start of the first scan, with its time zone."""
    integration_time: Annotated[Duration, Field(gt=0)] = 30.0
    """[s]."""
    slew_time: Annotated[Duration, Field(ge=0)] = 60.0
    """Time without data between two scans [s]."""
    late_integrations: Annotated[int, Field(ge=0)] = 0
    """At the start of each scan, integrations in which the antennas do not yet see the sky (to be quacked)."""
    layout: Annotated[VlaLayout | AlmaLayout | MeerkatLayout | RandomLayout, Field(discriminator="kind")] = VlaLayout()
    autocorrelations: bool = False
    """True = the data have the autocorrelations too."""
    polarizations: Literal["RR LL", "XX YY", "RR RL LR LL", "XX XY YX YY"] = "RR LL"
    """The correlations; without leakage between the feeds."""
    feeds_turn: bool = False
    """True = the feeds turn against the sky by the parallactic angle, as those of alt-azimuth mounts do; False = they
    keep their angle, X to the north, as on an equatorial mount."""
    receptor_angle: Angle = 0.0
    """Angle at which the feeds are mounted [rad], of X (or R) from the north of the mount through its east; it adds to
    that by which the mount turns. The partitions have it as ANTENNA_RECEPTOR_ANGLE."""
    primary_beam: bool = False
    """True = each component is seen through the primary beam of the antennas, channel by channel; one that is extended
    as the Gaussian of the moments of its product with the beam."""
    band: Band
    """The (first) spectral window; interference is there only."""
    further_bands: tuple[Band, ...] = ()
    """More spectral windows, observed at the same time."""
    fields: Annotated[tuple[SimulatedField, ...], Field(min_length=1)]
    scans: Annotated[tuple[SimulatedScan, ...], Field(min_length=1)]
    gains: GainErrors | None = GainErrors()
    """None = all gains are 1."""
    bandpasses: BandpassErrors | None = BandpassErrors()
    """None = all bandpasses are 1."""
    delays: DelayErrors | None = None
    atmosphere: Atmosphere | None = None
    noise: Noise | None = Noise()
    """None = no noise; the weights are 1."""
    interference: InterferenceErrors | None = None
    dead_antennas: tuple[str, ...] = ()
    """Antennas that deliver noise only."""
    noisy_antennas: tuple[NoisyAntenna, ...] = ()

    @property
    def polarization_names(self) -> tuple[str, ...]:
        """The correlations one by one."""
        return tuple(self.polarizations.split())

    @property
    def bands(self) -> tuple[Band, ...]:
        """All spectral windows."""
        return (self.band, *self.further_bands)

    @property
    def n_integrations(self) -> int:
        """Integrations of the whole observation."""
        return sum(scan.n_integrations for scan in self.scans)

    def find_field(self, name: str) -> SimulatedField:
        """Return a field by its name.

        Raises
        ------
        SelectionError
            There is no such field.
        """
        for field in self.fields:
            if field.name == name:
                return field
        names = ", ".join(field.name for field in self.fields)
        raise SelectionError(f"the simulated observation {self.name!r} has no field {name!r}; it has {names}")

    def find_band(self, number: int) -> Band:
        """Return a spectral window by its number.

        Raises
        ------
        SelectionError
            There is no such band.
        """
        if not 0 <= number < len(self.bands):
            last = len(self.bands) - 1
            raise SelectionError(f"the simulated observation {self.name!r} has no band {number}; it has 0 to {last}")
        return self.bands[number]

    def partition_name(self, field_name: str, band: int = 0) -> str:
        """Return the name of the partition of a field and band.

        Raises
        ------
        SelectionError
            There is no such field or band.
        """
        self.find_band(band)
        name = f"{self.name}_{self.fields.index(self.find_field(field_name))}"
        return f"{name}_{band}" if self.further_bands else name

    @model_validator(mode="after")
    def _check(self) -> ObservationModel:
        problems = [*self._field_problems(), *self._antenna_problems()]
        names = [band.name for band in self.bands]
        problems += [f"the band {name!r} is there twice" for name in sorted(set(names)) if names.count(name) > 1]
        if self.interference is not None:
            outside = [c for c in self.interference.carrier_channels if c >= self.band.n_channels]
            if outside:
                problems.append(
                    f"interference.carrier_channels {outside}: the last channel is {self.band.n_channels - 1}"
                )
            if self.interference.bursts_per_hour and self.interference.burst_channels > self.band.n_channels:
                problems.append(
                    f"interference.burst_channels {self.interference.burst_channels}: "
                    f"the band has {self.band.n_channels} channels"
                )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _field_problems(self) -> list[str]:
        """Return what is wrong between fields and scans."""
        names = [field.name for field in self.fields]
        visited = {scan.field for scan in self.scans}
        problems = [f"the field {name!r} is there twice" for name in sorted(set(names)) if names.count(name) > 1]
        known = ", ".join(names)
        problems += [f"a scan of the field {name!r}: the fields are {known}" for name in sorted(visited - set(names))]
        problems += [f"the field {name!r} has no scan" for name in names if name not in visited]
        return problems

    def _antenna_problems(self) -> list[str]:
        """Return which antennas are named that the array does not have, or why there is no such array."""
        try:
            known = self.layout.build(np.random.default_rng(0)).names
        except RadpsError as error:
            return [f"layout: {error}"]
        named = {*self.dead_antennas, *(antenna.name for antenna in self.noisy_antennas)}
        return [
            f"a broken antenna {name!r}: the antennas are {known[0]} to {known[-1]}"
            for name in sorted(named - set(known))
        ]
