"""Parameters of the kinds of solutions of the stage `calibrate`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator

from radps.context.selection import ChannelRange
from radps.node_tasks.bandpass import BandpassRule
from radps.units import Duration

Interval = Literal["scan", "integration"] | Annotated[Duration, Field(gt=0.0)]
"""Length of a solution: a word, or a time [s]."""


class SolutionParams(BaseModel):
    """Base of the parameters of one kind of solution."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Delays(SolutionParams):
    """How delays are solved (CASA `gaintype="K"`)."""

    calibrators: tuple[str, ...] = ()
    """Fields that they are solved on; by default that of the bandpass."""
    channels: ChannelRange | None = None
    """Channels used, such as "6~56"; by default the inner 80 % of the band."""
    solution_interval: Interval = "scan"
    """Length of a solution: a scan, an integration, or a time such as "60 s" within scans."""
    min_snr: float = Field(default=5.0, ge=0.0)
    """Solutions with a lower signal-to-noise ratio are flagged; noise alone reaches 3 to 4."""


class PhaseUp(SolutionParams):
    """Phases that are taken out of the bandpass calibrator before its bandpass is solved, and not applied to data."""

    solution_interval: Interval = "integration"
    """Length of a solution: a scan, an integration, or a time such as "60 s" within scans."""
    min_snr: float = Field(default=3.0, ge=0.0)
    """Solutions with a lower signal-to-noise ratio are flagged, and their data not used for the bandpass."""


class Bandpass(SolutionParams):
    """How the bandpass is solved."""

    phase_up: PhaseUp | None = None
    """Take phases out before, so that what they drift by does not lower the amplitudes; none by default."""
    average: PositiveInt | Literal["auto"] = 1
    """Channels that share a solution, interpolated back to channels (CASA `solint="inf,4chan"`); "auto": as many as
    `target_snr` needs."""
    target_snr: float = Field(default=15.0, gt=0.0)
    """Signal-to-noise ratio of a solution that `average: auto` aims at."""
    kind: Literal["channels", "smoothed", "polynomial"] = "channels"
    """The solutions as they are, smoothed over frequency, or polynomials of amplitude and phase (CASA `bandtype`)."""
    smoothing: int = Field(default=7, ge=3)
    """Solutions that a line of the kind `smoothed` is fitted to, an odd number."""
    amplitude_degree: int = Field(default=3, ge=0, le=30)
    """Degree of a polynomial of amplitudes (CASA `degamp`)."""
    phase_degree: int = Field(default=3, ge=0, le=30)
    """Degree of a polynomial of phases (CASA `degphase`)."""

    @field_validator("smoothing")
    @classmethod
    def _check_odd(cls, width: int) -> int:
        if width % 2 == 0:
            raise ValueError(f"smoothing over {width} solutions has no middle; use {width + 1}")
        return width

    @property
    def is_plain(self) -> bool:
        """True if the bandpass is that of single channels."""
        return self.kind == "channels" and self.average == 1

    @property
    def rule(self) -> BandpassRule:
        """What is made of the solutions."""
        return BandpassRule(self.kind, self.smoothing, self.amplitude_degree, self.phase_degree)


class Phases(SolutionParams):
    """Phases on a short interval, solved before the gains and applied beside them."""

    solution_interval: Interval = "integration"
    """Length of a solution for the calibrators; other fields are corrected by phases of scans."""
    combine_windows: bool = False
    """One solution from all spectral windows together, which have to have their bandpass from the same scan (CASA
    `combine="spw"`)."""
    scale_with_frequency: bool = False
    """Take the phases for those of a delay, as the troposphere's: in the middle of a spectral window they are those of
    the solutions times the ratio of the frequencies (CASA `interp="linearPD"`). By default they are the same at all
    frequencies."""
    min_snr: float = Field(default=3.0, ge=0.0)
    """Solutions with a lower signal-to-noise ratio are flagged."""
