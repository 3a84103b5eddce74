"""A ready-made observation: an hour of the VLA on a galaxy in HI, as the old ones, with calibrators in between.

The flux and bandpass calibrator is 3C286 with its spectrum of Perley & Butler 2017; a phase calibrator is visited
before and after each scan of the target; the target field has continuum sources and a rotating galaxy in HI, whose two
halves are Gaussians of different velocity. One antenna is dead, one is noisy, two channels have interference.

Those of ALMA and MeerKAT are in :mod:`radps.data.demo_telescopes`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from radps.data.observation_model import (
    BANDPASS_INTENT,
    FLUX_INTENT,
    PHASE_INTENT,
    TARGET_INTENT,
    Band,
    GainErrors,
    InterferenceErrors,
    Noise,
    NoisyAntenna,
    ObservationModel,
    SimulatedComponent,
    SimulatedField,
    SimulatedScan,
    VlaLayout,
)
from radps.domain.array import VlaConfiguration

DemoSize = Literal["tiny", "small", "large"]

_CENTER_HZ = 1413.4e6
"""Middle of the band: HI at 1,480 km/s (radio definition)."""
_BANDWIDTH_HZ = 1.5625e6


class _Size(NamedTuple):
    """What differs between the sizes."""

    configuration: VlaConfiguration
    n_antennas: int
    n_channels: int
    integration_time_s: float
    flux_scan: int
    phase_scan: int
    target_scan: int
    n_target_scans: int
    sefd_jy: float


_SIZES: dict[DemoSize, _Size] = {
    "tiny": _Size("D", 9, 16, 30.0, 3, 2, 3, 2, 100.0),
    "small": _Size("D", 27, 64, 30.0, 8, 4, 12, 4, 420.0),
    "large": _Size("C", 27, 2048, 3.0, 80, 40, 120, 4, 420.0),
}


def demo_observation(size: DemoSize = "small", *, seed: int = 1) -> ObservationModel:
    """Return a ready-made observation.

    Parameters
    ----------
    size : {"tiny", "small", "large"}
        tiny: 9 antennas, 16 channels, 0.2 MB of visibilities, for tests; small: 27 antennas, 64 channels, 30 MB, for
        the demo; large: 27 antennas, 2,048 channels, 10 GB.
    seed : int

    Returns
    -------
    ObservationModel
        Fields ``3C286``, ``J1445+0958`` and ``N5921``.
    """
    chosen = _SIZES[size]
    last = chosen.n_antennas
    scans = [SimulatedScan(field="3C286", n_integrations=chosen.flux_scan)]
    phase = SimulatedScan(field="J1445+0958", n_integrations=chosen.phase_scan)
    for _ in range(chosen.n_target_scans):
        scans += [phase, SimulatedScan(field="N5921", n_integrations=chosen.target_scan)]
    width = _BANDWIDTH_HZ / chosen.n_channels
    return ObservationModel(
        name=f"demo_{size}",
        seed=seed,
        integration_time=chosen.integration_time_s,
        layout=VlaLayout(configuration=chosen.configuration, n_antennas=chosen.n_antennas),
        autocorrelations=True,
        band=Band(
            start_frequency=_CENTER_HZ - 0.5 * (chosen.n_channels - 1) * width,
            channel_width=width,
            n_channels=chosen.n_channels,
        ),
        fields=_fields(),
        scans=(*scans, phase),
        gains=GainErrors(mean_amplitude=0.3),
        noise=Noise(sefd=chosen.sefd_jy),
        interference=InterferenceErrors(carrier_channels=_carriers(chosen.n_channels)),
        dead_antennas=(f"ea{last // 3:02d}",),
        noisy_antennas=(NoisyAntenna(name=f"ea{2 * last // 3:02d}", sefd_factor=4.0),),
    )


def _carriers(n_channels: int) -> tuple[int, ...]:
    """Return two channels away from the line and from the edges."""
    return (n_channels // 8 + 1, 13 * n_channels // 16)


def _fields() -> tuple[SimulatedField, ...]:
    """Return calibrators and target."""
    phase = SimulatedField(
        name="J1445+0958",
        ra="221.3186067 deg",
        dec="9.9766869 deg",
        intents=(PHASE_INTENT,),
        components=(SimulatedComponent(flux=2.5, reference_frequency=_CENTER_HZ, spectral_index=-0.4),),
    )
    target = SimulatedField(
        name="N5921", ra="230.5 deg", dec="5.0666667 deg", intents=(TARGET_INTENT,), components=_target_components()
    )
    return flux_calibrator(), phase, target


def flux_calibrator() -> SimulatedField:
    """Return 3C286 as flux and bandpass calibrator."""
    return SimulatedField(
        name="3C286",
        ra="202.7845333 deg",
        dec="30.5091553 deg",
        intents=(FLUX_INTENT, BANDPASS_INTENT),
        components=(SimulatedComponent(flux_standard="3C286"),),
    )


def _target_components() -> tuple[SimulatedComponent, ...]:
    """Return five continuum sources, one of them extended, and the two halves of a galaxy in HI."""
    points = [  # east, north [arcmin], flux density [Jy], spectral index
        (8.0, 5.5, 0.25, -0.8),
        (-6.25, 9.0, 0.15, -0.7),
        (-9.5, -4.0, 0.08, -0.6),
        (4.5, -8.0, 0.05, 0.0),
    ]
    continuum = [
        SimulatedComponent(
            east=f"{east} arcmin",
            north=f"{north} arcmin",
            flux=flux,
            reference_frequency=_CENTER_HZ,
            spectral_index=index,
        )
        for east, north, flux, index in points
    ]
    extended = SimulatedComponent(
        east="-2 arcmin",
        north="-7.5 arcmin",
        flux=0.1,
        reference_frequency=_CENTER_HZ,
        spectral_index=-0.7,
        major="90 arcsec",
        minor="50 arcsec",
        position_angle="35 deg",
    )
    halves = [
        SimulatedComponent(
            east=f"{side * 0.6} arcmin",
            north=f"{side * 0.9} arcmin",
            major="100 arcsec",
            minor="70 arcsec",
            position_angle="33 deg",
            line_peak=0.2,
            line_center=_CENTER_HZ + side * 0.12e6,
            line_width=0.16e6,
        )
        for side in (-1, 1)
    ]
    return (*continuum, extended, *halves)
