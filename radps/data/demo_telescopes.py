"""Ready-made observations of other telescopes: ALMA on a disc in CO and dust, MeerKAT on a field at L band.

Both have linear feeds that turn against the sky, its brightness is seen through the primary beam, antennas have delays,
and the troposphere has phases.

- ALMA, configuration C-1, band 6: a window of narrow channels on CO 2-1 and one or two of 2 GHz for the continuum,
  observed at the same time. At these frequencies radps knows no standard calibrator, the flux density of J1058+0133 is
  given to `set_model`: 3.5 Jy at 230 GHz, spectral index -0.5, Q of 3 % and U of -2 %.
- MeerKAT, 856 to 1712 MHz, four correlations: a wide field of sources with different spectral indices, one of them
  extended, one polarized, with an interfering signal in one channel. The flux calibrator is 3C286.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from radps.data.demo_observation import demo_observation, flux_calibrator
from radps.data.observation_model import (
    BANDPASS_INTENT,
    FLUX_INTENT,
    PHASE_INTENT,
    TARGET_INTENT,
    AlmaLayout,
    Atmosphere,
    Band,
    DelayErrors,
    GainErrors,
    InterferenceErrors,
    MeerkatLayout,
    Noise,
    ObservationModel,
    SimulatedComponent,
    SimulatedField,
    SimulatedScan,
)

DemoTelescope = Literal["vla", "alma", "meerkat"]

CO_HZ = 230.538e9
"""Rest frequency of CO 2-1 (CDMS catalogue)."""
_ALMA_SEFD_JY = 3600.0
"""2 k T / (efficiency area) of a dish of 12 m with 100 K and 0.68 (ALMA Technical Handbook, Cycle 10, chapter 9)."""
_MEERKAT_SEFD_JY = 425.0
"""At L band (SARAO, MeerKAT specifications)."""
_MEERKAT_START_HZ, _MEERKAT_WIDTH_HZ = 856e6, 856e6
_L_BAND_HZ = 1.284e9


class DemoObservation(BaseModel):
    """A ready-made observation, by the name of its telescope."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    telescope: DemoTelescope
    """vla: HI in D configuration; alma: CO 2-1 and dust, several windows; meerkat: wide-band continuum at L band."""
    size: Literal["tiny", "small"] = "small"
    """tiny: about ten antennas and 16 channels, for tests; small: for demonstrations."""
    seed: int = Field(default=1, ge=0)
    """Of everything that is random."""

    def build(self) -> ObservationModel:
        """Return the whole observation."""
        makers = {"vla": demo_observation, "alma": alma_observation, "meerkat": meerkat_observation}
        return makers[self.telescope](self.size, seed=self.seed)


def alma_observation(size: Literal["tiny", "small"] = "small", *, seed: int = 1) -> ObservationModel:
    """Return ALMA's demo.

    Parameters
    ----------
    size : {"tiny", "small"}
        tiny: 10 antennas, windows of 16 channels, 0.5 MB of visibilities; small: 24 antennas, a line window of 64 and
        two continuum windows of 32 channels, 32 MB.
    seed : int

    Returns
    -------
    ObservationModel
        Fields ``J1058+0133``, ``J1037-2934`` and ``disc``; bands ``CO`` and ``continuum1`` (small: ``continuum2`` too).
    """
    is_small = size == "small"
    line_channels, wide_channels = (64, 32) if is_small else (16, 16)
    width = 32e6 / line_channels
    wide = [
        Band(
            name=f"continuum{number}",
            start_frequency=center - 1e9 + 1e9 / wide_channels,
            channel_width=2e9 / wide_channels,
            n_channels=wide_channels,
            spectral_frame="TOPO",
            rest_frequency=CO_HZ,
        )
        for number, center in enumerate((233.0e9, 218.0e9), 1)
    ]
    return ObservationModel(
        name=f"alma_{size}",
        seed=seed,
        start=datetime(2026, 3, 20, 3, 0, tzinfo=UTC),
        integration_time=10.0,
        slew_time=20.0,
        layout=AlmaLayout(configuration="C-1", n_antennas=24 if is_small else 10),
        polarizations="XX YY",
        feeds_turn=True,
        primary_beam=True,
        band=Band(
            name="CO",
            start_frequency=CO_HZ - 0.5 * (line_channels - 1) * width,
            channel_width=width,
            n_channels=line_channels,
            spectral_frame="TOPO",
            rest_frequency=CO_HZ,
        ),
        further_bands=tuple(wide if is_small else wide[:1]),
        fields=_alma_fields(),
        scans=_scans(("J1058+0133", 12 if is_small else 4), ("J1037-2934", 3), ("disc", 18 if is_small else 4)),
        gains=GainErrors(mean_amplitude=0.1, phase_drift=0.3, timescale=600.0),
        delays=DelayErrors(rms=0.1e-9),
        atmosphere=Atmosphere(phase_rms=0.6),
        noise=Noise(sefd=_ALMA_SEFD_JY if is_small else 0.1 * _ALMA_SEFD_JY),
    )


def meerkat_observation(size: Literal["tiny", "small"] = "small", *, seed: int = 1) -> ObservationModel:
    """Return MeerKAT's demo.

    Parameters
    ----------
    size : {"tiny", "small"}
        tiny: 10 antennas, 16 channels, 0.6 MB of visibilities; small: 24 antennas, 32 channels, 20 MB.
    seed : int

    Returns
    -------
    ObservationModel
        Fields ``3C286``, ``J1311-2216`` and ``field``; one band of 856 MHz.
    """
    is_small = size == "small"
    n_channels = 32 if is_small else 16
    width = _MEERKAT_WIDTH_HZ / n_channels
    return ObservationModel(
        name=f"meerkat_{size}",
        seed=seed,
        start=datetime(2026, 3, 20, 0, 0, tzinfo=UTC),
        integration_time=8.0,
        slew_time=30.0,
        layout=MeerkatLayout(n_antennas=24 if is_small else 10),
        polarizations="XX XY YX YY",
        feeds_turn=True,
        primary_beam=True,
        band=Band(
            name="L",
            start_frequency=_MEERKAT_START_HZ + 0.5 * width,
            channel_width=width,
            n_channels=n_channels,
            spectral_frame="TOPO",
        ),
        fields=_meerkat_fields(),
        scans=_scans(("3C286", 10 if is_small else 4), ("J1311-2216", 4), ("field", 25 if is_small else 4)),
        gains=GainErrors(mean_amplitude=0.5, phase_drift=0.2, timescale=1800.0),
        delays=DelayErrors(rms=2e-9),
        atmosphere=Atmosphere(phase_rms=0.05),
        noise=Noise(sefd=_MEERKAT_SEFD_JY),
        interference=InterferenceErrors(carrier_channels=(n_channels // 3,)),
    )


def _scans(bandpass: tuple[str, int], phase: tuple[str, int], target: tuple[str, int]) -> tuple[SimulatedScan, ...]:
    """Return a scan of the bandpass calibrator, and two of the target with the phase calibrator around them."""
    order = (bandpass, phase, target, phase, target, phase)
    return tuple(SimulatedScan(field=name, n_integrations=count) for name, count in order)


def _alma_fields() -> tuple[SimulatedField, ...]:
    """Return calibrators and a disc of dust, with a companion, whose two halves are seen in CO."""
    bandpass = SimulatedField(
        name="J1058+0133",
        ra="164.6233542 deg",
        dec="1.5663400 deg",
        intents=(FLUX_INTENT, BANDPASS_INTENT),
        components=(
            SimulatedComponent(
                flux=3.5, reference_frequency=230e9, spectral_index=-0.5, q_fraction=0.03, u_fraction=-0.02
            ),
        ),
    )
    phase = SimulatedField(
        name="J1037-2934",
        ra="159.3169838 deg",
        dec="-29.5674280 deg",
        intents=(PHASE_INTENT,),
        components=(SimulatedComponent(flux=1.0, reference_frequency=230e9, spectral_index=-0.6),),
    )
    disc = SimulatedComponent(
        flux=0.5,
        reference_frequency=230e9,
        spectral_index=2.5,
        major="3 arcsec",
        minor="2 arcsec",
        position_angle="60 deg",
    )
    companion = SimulatedComponent(
        east="6 arcsec", north="-4 arcsec", flux=0.1, reference_frequency=230e9, spectral_index=2.0
    )
    halves = [
        SimulatedComponent(
            east=f"{side * 0.9} arcsec",
            north=f"{side * 0.5} arcsec",
            major="2 arcsec",
            minor="1.5 arcsec",
            position_angle="60 deg",
            line_peak=1.0,
            line_center=CO_HZ + side * 1.5e6,
            line_width=2.5e6,
        )
        for side in (-1, 1)
    ]
    target = SimulatedField(
        name="disc",
        ra="160 deg",
        dec="-31 deg",
        intents=(TARGET_INTENT,),
        components=(disc, companion, *halves),
    )
    return bandpass, phase, target


def _meerkat_fields() -> tuple[SimulatedField, ...]:
    """Return calibrators and a field of sources of different spectra; one is extended, one polarized."""
    phase = SimulatedField(
        name="J1311-2216",
        ra="197.9137917 deg",
        dec="-22.2782222 deg",
        intents=(PHASE_INTENT,),
        components=(SimulatedComponent(flux=4.9, reference_frequency=_L_BAND_HZ, spectral_index=-1.1),),
    )
    points = [  # east, north [arcmin], flux density [Jy], spectral index, Q / I
        (0.0, 0.0, 0.3, -0.7, 0.0),
        (6.5, 4.0, 0.2, -0.9, 0.1),
        (-5.0, 7.5, 0.1, 0.4, 0.0),
        (-8.0, -6.0, 0.06, -1.2, 0.0),
        (3.0, -9.0, 0.04, 0.0, 0.0),
    ]
    sources = [
        SimulatedComponent(
            east=f"{east} arcmin",
            north=f"{north} arcmin",
            flux=jy,
            reference_frequency=_L_BAND_HZ,
            spectral_index=index,
            q_fraction=q,
            u_fraction=-0.5 * q,
        )
        for east, north, jy, index, q in points
    ]
    extended = SimulatedComponent(
        east="-3 arcmin",
        north="-2.5 arcmin",
        flux=0.15,
        reference_frequency=_L_BAND_HZ,
        spectral_index=-0.8,
        major="60 arcsec",
        minor="35 arcsec",
        position_angle="20 deg",
    )
    target = SimulatedField(
        name="field", ra="199 deg", dec="-20 deg", intents=(TARGET_INTENT,), components=(*sources, extended)
    )
    return flux_calibrator(), phase, target
