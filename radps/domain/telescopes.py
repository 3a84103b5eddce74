"""What is known of telescopes beyond their data: array configurations, receiver bands, noise of an antenna.

1. The VLA is moved between four configurations. The longest baseline says which one the data are of
   (:func:`guess_vla_configuration`): the one whose full extent is the nearest, in the logarithm. Data of a hybrid
   (DnC, CnB, BnA) or without the outer antennas of an arm come out as the nearest of the four.
2. A receiver band follows from the frequency. Where ALMA's bands 2 and 3 overlap (84 to 116 GHz) the data are taken to
   be of band 3, which has been in use since 2011.
3. The noise of an antenna is its system equivalent flux density; for the VLA's 25 m dishes, with system temperature T
   and aperture efficiency e, ``SEFD = 5.62 T / e`` [Jy].

4. MeerKAT's bands overlap; from 856 MHz on data are taken to be of L band, whose receiver is used the most.

References
----------
NRAO, VLA Observational Status Summary 2018B, section "Performance", table 3.1.1 (longest baselines), and "Receivers"
(frequency ranges); 2018A, section "Sensitivity" (SEFD); mid-2009, table 5 (temperatures and efficiencies).
ALMA Technical Handbook, Cycle 10, table 4.1 (bands 1 and 3 to 10); Yagoubov et al. 2020, A&A 634, A46 (band 2).
SARAO, MeerKAT specifications (digitised bands; SEFD at L band).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

VLA_LONGEST_BASELINES_M = {"A": 36_400.0, "B": 11_100.0, "C": 3_400.0, "D": 1_030.0}
"""Longest baseline of each configuration [m]."""

VLA_BANDS_HZ = {
    "4": (58e6, 84e6),
    "P": (224e6, 480e6),
    "L": (1e9, 2e9),
    "S": (2e9, 4e9),
    "C": (4e9, 8e9),
    "X": (8e9, 12e9),
    "Ku": (12e9, 18e9),
    "K": (18e9, 26.5e9),
    "Ka": (26.5e9, 40e9),
    "Q": (40e9, 50e9),
}
"""Frequency range of each receiver [Hz]; a frequency on a border belongs to the upper band."""

VLA_SYSTEMS = {"L": (35.0, 0.55), "C": (45.0, 0.69), "X": (35.0, 0.63), "K": (65.0, 0.40), "Q": (80.0, 0.35)}
"""System temperature [K] and aperture efficiency; K band: the middle of 50 to 80 K."""

ALMA_BANDS_HZ = {
    1: (35e9, 50e9),
    3: (84e9, 116e9),
    2: (67e9, 116e9),
    4: (125e9, 163e9),
    5: (163e9, 211e9),
    6: (211e9, 275e9),
    7: (275e9, 373e9),
    8: (385e9, 500e9),
    9: (602e9, 720e9),
    10: (787e9, 950e9),
}
"""Frequency range of each receiver band [Hz]; the first one that fits counts."""

MEERKAT_BANDS_HZ = {"L": (856e6, 1712e6), "UHF": (544e6, 1088e6), "S": (1750e6, 3500e6)}
"""Frequency range of each receiver [Hz]; the first one that fits counts."""

MEERKAT_SEFDS_JY = {"L": 425.0}
"""System equivalent flux density of an antenna [Jy]."""

_JY_PER_KELVIN = 5.62
"""SEFD of an antenna of 25 m with 1 K and an efficiency of 1: 2 k / area [Jy]."""

_FARTHEST = 2.0
"""A longest baseline that differs by more than this factor from that of every configuration is of none of them."""


def guess_vla_configuration(longest_baseline_m: float) -> str | None:
    """Return the VLA's configuration with that longest baseline, ``A`` to ``D``; None if it fits to none.

    Parameters
    ----------
    longest_baseline_m : float
        Longest baseline that has data, not projected [m].
    """
    if not longest_baseline_m > 0:
        return None
    distances = {name: abs(math.log(longest_baseline_m / b)) for name, b in VLA_LONGEST_BASELINES_M.items()}
    nearest = min(distances, key=distances.__getitem__)
    return nearest if distances[nearest] < math.log(_FARTHEST) else None


def find_vla_band(frequency_hz: float) -> str | None:
    """Return the letter of the VLA's band at a frequency; None between the bands."""
    return next((band for band, (low, high) in VLA_BANDS_HZ.items() if low <= frequency_hz < high), None)


def find_meerkat_band(frequency_hz: float) -> str | None:
    """Return the name of MeerKAT's band at a frequency; None between the bands."""
    return next((band for band, (low, high) in MEERKAT_BANDS_HZ.items() if low <= frequency_hz < high), None)


def nominal_meerkat_sefd(band: str) -> float | None:
    """Return the system equivalent flux density of a MeerKAT antenna in a band [Jy]; None where it is not known."""
    return MEERKAT_SEFDS_JY.get(band)


def find_alma_receiver(label: str) -> str | None:
    """Return the receiver that the name of an ALMA spectral window begins with, such as ``ALMA_RB_06``; else None."""
    receiver, _, rest = label.partition("#")
    return receiver if rest and receiver.startswith("ALMA_RB_") else None


def find_alma_band(frequency_hz: float) -> int | None:
    """Return the number of ALMA's receiver band at a frequency; None between the bands."""
    return next((band for band, (low, high) in ALMA_BANDS_HZ.items() if low <= frequency_hz < high), None)


def find_alma_arrays(names: Sequence[str], diameters_m: Sequence[float]) -> tuple[str, ...]:
    """Return which of ALMA's arrays antennas belong to: ``12m``, ``7m``, ``TP`` (total power).

    Parameters
    ----------
    names : sequence of str
        Names of the antennas. The four of the total power array are called PM01 to PM04.
    diameters_m : sequence of float
        Diameters of their dishes [m]; 0 = unknown.

    Returns
    -------
    tuple of str
        In the order above. Dishes of 12 m are the total power array if all of them are called PM, else the 12 m array,
        which borrows PM antennas at times.
    """
    large = [name for name, diameter in zip(names, diameters_m, strict=True) if 11.0 < diameter < 13.0]
    is_total_power = all(name.startswith("PM") for name in large)
    found = {
        "12m": bool(large) and not is_total_power,
        "7m": any(6.0 < diameter < 8.0 for diameter in diameters_m),
        "TP": bool(large) and is_total_power,
    }
    return tuple(name for name, is_there in found.items() if is_there)


def nominal_vla_sefd(band: str) -> float | None:
    """Return the system equivalent flux density of a VLA antenna in a band [Jy]; None where the table has none."""
    if band not in VLA_SYSTEMS:
        return None
    temperature_k, efficiency = VLA_SYSTEMS[band]
    return _JY_PER_KELVIN * temperature_k / efficiency
