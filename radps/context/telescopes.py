"""What only one telescope has: a typed model for each telescope that radps knows more of than the data say.

The models form a discriminated union by ``telescope``. :func:`describe_telescope` fills them at import; the tables that
it reads from, and their sources, stand in :mod:`radps.domain.telescopes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from radps.context.base import Record
from radps.domain.telescopes import (
    find_alma_arrays,
    find_alma_band,
    find_alma_receiver,
    find_meerkat_band,
    find_vla_band,
    guess_vla_configuration,
    nominal_meerkat_sefd,
    nominal_vla_sefd,
)

MeerkatBand = Literal["UHF", "L", "S"]
VlaBand = Literal["4", "P", "L", "S", "C", "X", "Ku", "K", "Ka", "Q"]


class VlaExtension(Record):
    """What the VLA has."""

    telescope: Literal["VLA"] = "VLA"
    configuration: Literal["A", "B", "C", "D"] | None
    """Guessed from the longest baseline; None if it fits to none."""
    bands: dict[str, VlaBand | None]
    """Spectral window -> receiver; None where the frequency is between the bands."""

    def describe(self) -> str:
        """Return a line for tables."""
        return f"VLA, configuration {self.configuration or 'unknown'}, band {_listing(self.bands.values())}"

    def nominal_sefd_jy(self, window: str) -> float | None:
        """Return the nominal noise of an antenna in a spectral window [Jy], None if it is not known."""
        band = self.bands.get(window)
        return None if band is None else nominal_vla_sefd(band)


class AlmaExtension(Record):
    """What ALMA has."""

    telescope: Literal["ALMA"] = "ALMA"
    arrays: tuple[Literal["12m", "7m", "TP"], ...]
    """The arrays that the antennas belong to, by their diameters."""
    bands: dict[str, Annotated[int, Field(ge=1, le=10)] | None]
    """Spectral window -> receiver band; None where the frequency is between the bands."""
    receivers: dict[str, str | None] = Field(default_factory=dict)
    """Spectral window -> receiver, such as ``ALMA_RB_06``, as the data name it; None where they do not."""

    def describe(self) -> str:
        """Return a line for tables."""
        return f"ALMA, array {_listing(self.arrays)}, band {_listing(self.bands.values())}"

    def nominal_sefd_jy(self, window: str) -> float | None:
        """Return None: the noise of an ALMA antenna goes with the weather."""
        return None


class MeerkatExtension(Record):
    """What MeerKAT has."""

    telescope: Literal["MeerKAT"] = "MeerKAT"
    bands: dict[str, MeerkatBand | None]
    """Spectral window -> receiver; None where the frequency is between the bands."""

    def describe(self) -> str:
        """Return a line for tables."""
        return f"MeerKAT, band {_listing(self.bands.values())}"

    def nominal_sefd_jy(self, window: str) -> float | None:
        """Return the nominal noise of an antenna in a spectral window [Jy], None if it is not known."""
        band = self.bands.get(window)
        return None if band is None else nominal_meerkat_sefd(band)


TelescopeExtension = Annotated[VlaExtension | AlmaExtension | MeerkatExtension, Field(discriminator="telescope")]


def describe_telescope(
    telescope: str,
    *,
    antennas: Sequence[str],
    diameters_m: Sequence[float],
    longest_baseline_m: float,
    middles_hz: Mapping[str, float],
    labels: Mapping[str, str] | None = None,
) -> VlaExtension | AlmaExtension | MeerkatExtension | None:
    """Return the model of a telescope; None if radps has none of its own for it.

    Parameters
    ----------
    telescope : str
        Its name, as the data have it; EVLA is the VLA.
    antennas : sequence of str
        Names of the antennas.
    diameters_m : sequence of float
        Their diameters [m]; 0 = unknown.
    longest_baseline_m : float
        Longest baseline that has data [m].
    middles_hz : mapping
        Spectral window -> the middle of its band [Hz].
    labels : mapping, optional
        Spectral window -> its name in the data.
    """
    name = telescope.upper()
    if name in ("VLA", "EVLA", "JVLA"):
        return VlaExtension.model_validate(
            {
                "configuration": guess_vla_configuration(longest_baseline_m),
                "bands": {window: find_vla_band(middle) for window, middle in middles_hz.items()},
            }
        )
    if name in ("ALMA", "ACA"):
        return AlmaExtension.model_validate(
            {
                "arrays": find_alma_arrays(antennas, diameters_m),
                "bands": {window: find_alma_band(middle) for window, middle in middles_hz.items()},
                "receivers": {window: find_alma_receiver(label) for window, label in (labels or {}).items()},
            }
        )
    if name == "MEERKAT":
        return MeerkatExtension.model_validate(
            {"bands": {window: find_meerkat_band(middle) for window, middle in middles_hz.items()}}
        )
    return None


def _listing(values: Iterable[object]) -> str:
    """Join the different values that are known."""
    known = dict.fromkeys(str(value) for value in values if value is not None)
    return ", ".join(known) or "unknown"
