r"""Flux densities of standard calibrators on the scale of Perley & Butler 2017.

1. A field is matched to a calibrator by its name (any of the aliases, alone or at the start of the name, so that
   ``1331+30500002_0`` is 3C286), and, where its position is known, by its position.
2. The flux density is :math:`\log_{10} S = a_0 + a_1 x + a_2 x^2 + \ldots` with
   :math:`x = \log_{10}(\nu / \mathrm{GHz})`, S in Jy.

3. A source of the largest angular size :math:`\theta` is a point up to the baseline on which a Gaussian of that full
   width at half maximum loses 5 % of its flux density, :math:`b = \sqrt{-4 \ln 2 \ln 0.95} / (\pi \theta)`
   wavelengths (:func:`longest_point_baseline`). Sources that are mostly a compact core, as 3C286, hold further.

Where it fails: the models are spectra of point sources, total intensity only. Where the array resolves the source
(3C48, 3C138, 3C147 and 3C286 beyond 8 to 35 kilowavelengths by that measure, the others much earlier) an image model is
needed. 3C48, 3C138 and 3C147 vary by per cents over years at high frequencies.

References
----------
Perley & Butler 2017, ApJS 230, 7, table 1 (largest angular sizes) and table 6 (coefficients and frequency ranges).
Positions: VLA calibrator manual and NED, J2000.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.errors import ModelError

SCALE = "Perley-Butler 2017"
"""Name of the flux-density scale, for records."""

_MATCH_RADIUS_RAD = math.radians(2.0 / 60.0)
"""A field within 2 arcmin of a calibrator is that one: pointing centres are rounded, and none has a neighbour."""

_POINT_LOSS = 0.05
"""Part of the flux density that may be missing on a baseline, if a model is still to be a point."""


class FluxModel(NamedTuple):
    """Spectrum of a calibrator."""

    name: str
    """Usual name."""
    aliases: tuple[str, ...]
    """Other names, B1950 and J2000 ones included."""
    right_ascension_rad: float
    """J2000 [rad]."""
    declination_rad: float
    """J2000 [rad]."""
    coefficients: tuple[float, ...]
    """a_0, a_1, ... of log10(S / Jy) in powers of log10(frequency / GHz)."""
    minimum_hz: float
    """Lowest frequency of the fit [Hz]."""
    maximum_hz: float
    """Highest frequency of the fit [Hz]."""
    size_rad: float
    """Largest angular size [rad]."""


def _model(
    name: str,
    aliases: str,
    right_ascension: str,
    declination: str,
    size_arcsec: float,
    range_ghz: tuple[float, float],
    *coefficients: float,
) -> FluxModel:
    """Build a line of the table from sexagesimal coordinates (hours, degrees)."""
    hours = [float(part) for part in right_ascension.split(":")]
    degrees = [float(part) for part in declination.lstrip("+-").split(":")]
    sign = -1.0 if declination.startswith("-") else 1.0
    return FluxModel(
        name,
        tuple(aliases.split()),
        math.radians(15.0 * (hours[0] + hours[1] / 60 + hours[2] / 3600)),
        math.radians(sign * (degrees[0] + degrees[1] / 60 + degrees[2] / 3600)),
        coefficients,
        range_ghz[0] * 1e9,
        range_ghz[1] * 1e9,
        math.radians(size_arcsec / 3600),
    )


# fmt: off
FLUX_MODELS: tuple[FluxModel, ...] = (
    _model("J0133-3629", "0131-367 B0131-367", "01:33:57.6", "-36:29:34",
           840.0, (0.2, 4.0), 1.0440, -0.6619, -0.2252),
    _model("3C48", "3C48.0 0134+329 B0134+329 0137+331 J0137+3309 J0137+331", "01:37:41.2994", "+33:09:35.133",
           1.2, (0.05, 50.0), 1.3253, -0.7553, -0.1914, 0.0498),
    _model("3C123", "0433+295 B0433+295 0437+296 J0437+2940 J0437+296", "04:37:04.3753", "+29:40:13.819",
           44.0, (0.05, 50.0), 1.8017, -0.7884, -0.1035, -0.0248, 0.0090),
    _model("J0444-2809", "0442-282 B0442-282", "04:44:37.7", "-28:09:54",
           120.0, (0.2, 2.0), 0.9710, -0.8938, -0.1176),
    _model("3C138", "0518+165 B0518+165 0521+166 J0521+1638 J0521+166", "05:21:09.8860", "+16:38:22.051",
           0.7, (0.2, 50.0), 1.0088, -0.4981, -0.1552, -0.0102, 0.0223),
    _model("3C147", "0538+498 B0538+498 0542+498 J0542+4951 J0542+498", "05:42:36.1379", "+49:51:07.234",
           0.9, (0.05, 50.0), 1.4516, -0.6961, -0.2007, 0.0640, -0.0464, 0.0289),
    _model("3C196", "0809+483 B0809+483 0813+482 J0813+4813 J0813+482", "08:13:36.033", "+48:13:02.56",
           7.0, (0.05, 50.0), 1.2872, -0.8530, -0.1534, -0.0200, 0.0201),
    _model("Hydra A", "3C218 0915-118 B0915-118 0918-120 J0918-1205 J0918-120", "09:18:05.651", "-12:05:43.99",
           480.0, (0.05, 12.0), 1.7795, -0.9176, -0.0843, -0.0139, 0.0295),
    _model("3C286", "1328+307 B1328+307 1331+305 J1331+3030 J1331+305", "13:31:08.2880", "+30:30:32.959",
           3.0, (0.05, 50.0), 1.2481, -0.4507, -0.1798, 0.0357),
    _model("3C295", "1409+524 B1409+524 1411+522 J1411+5212 J1411+522", "14:11:20.519", "+52:12:09.97",
           5.0, (0.05, 50.0), 1.4701, -0.7658, -0.2780, -0.0347, 0.0399),
)
# fmt: on
"""The calibrators whose coefficients are certain, in the order of right ascension."""


def find_flux_model(
    name: str, right_ascension_rad: float | None = None, declination_rad: float | None = None
) -> FluxModel | None:
    """Find the standard calibrator that a field observes.

    Parameters
    ----------
    name : str
        Name of the field. It matches when the whole of it, or a word of it, is the name or an alias of a calibrator;
        case, blanks and underscores do not count (``3c 48``, ``J0137+3309=3C48``, ``3C48_bandpass``). A coordinate name
        may go on with digits (``1331+30500002_0``), another may not (``3C486`` is not 3C48).
    right_ascension_rad, declination_rad : float, optional
        Direction of the field, J2000 [rad]. Where given it decides: a field with the name of a calibrator elsewhere on
        the sky is none, and a field of any name within 2 arcmin of a calibrator is that one.

    Returns
    -------
    FluxModel or None
        None where no standard calibrator matches.
    """
    if right_ascension_rad is not None and declination_rad is not None:
        for model in FLUX_MODELS:
            if _separation_rad(model, right_ascension_rad, declination_rad) <= _MATCH_RADIUS_RAD:
                return model
        return None
    words = [_simplify(name), *(_simplify(word) for word in re.split(r"[\s_=,;:/()]+", name))]
    for model in FLUX_MODELS:
        aliases = [_simplify(alias) for alias in (model.name, *model.aliases)]
        if any(_is_designation(word, alias) for word in words for alias in aliases):
            return model
    return None


def get_flux_model(
    name: str, right_ascension_rad: float | None = None, declination_rad: float | None = None
) -> FluxModel:
    """Return the standard calibrator that a field observes; see :func:`find_flux_model`.

    Raises
    ------
    ModelError
        If it is not a standard calibrator; the message lists them.
    """
    model = find_flux_model(name, right_ascension_rad, declination_rad)
    if model is None:
        known = ", ".join(known.name for known in FLUX_MODELS)
        place = "" if right_ascension_rad is None else " at its position"
        raise ModelError(
            f"field {name!r}: no standard flux calibrator of {SCALE} has this name{place}; known are {known}. "
            "Give its flux density by hand, or take another flux calibrator"
        )
    return model


def compute_flux_density(model: FluxModel, frequency_hz: NDArray[Any] | float) -> NDArray[np.float64]:
    """Return the flux density of a calibrator.

    Parameters
    ----------
    model : FluxModel
        The calibrator.
    frequency_hz : ndarray or float, any shape
        Frequencies [Hz].

    Returns
    -------
    ndarray of float64, same shape
        Stokes I [Jy].

    Raises
    ------
    ModelError
        If a frequency is outside of the range of the fit.
    """
    frequency = np.asarray(frequency_hz, np.float64)
    outside = ~((frequency >= model.minimum_hz) & (frequency <= model.maximum_hz))
    if outside.any():
        found = float(frequency[outside].flat[0])
        raise ModelError(
            f"{model.name}: the model of {SCALE} holds from {model.minimum_hz / 1e9:g} to "
            f"{model.maximum_hz / 1e9:g} GHz, asked for {found / 1e9:g} GHz; take another flux calibrator, or "
            "give the flux density by hand"
        )
    log_flux = np.polynomial.polynomial.polyval(np.log10(frequency / 1e9), model.coefficients)
    return np.asarray(10.0**log_flux, np.float64)


def longest_point_baseline(size_rad: float, frequency_hz: float) -> float:
    """Return the baseline [m] up to which a source loses less than 5 % of its flux density against a point.

    Parameters
    ----------
    size_rad : float
        Largest angular size, taken as the full width at half maximum of a Gaussian [rad]; 0 = a point.
    frequency_hz : float
        Frequency [Hz].
    """
    if size_rad == 0:
        return math.inf
    wavelengths = math.sqrt(-4 * math.log(2) * math.log(1 - _POINT_LOSS)) / (math.pi * size_rad)
    return wavelengths * SPEED_OF_LIGHT_M_S / frequency_hz


def _separation_rad(model: FluxModel, right_ascension_rad: float, declination_rad: float) -> float:
    """Return the angle between a calibrator and a direction (haversine formula: exact for small angles) [rad]."""
    half_dec = math.sin(0.5 * (declination_rad - model.declination_rad)) ** 2
    half_ra = math.sin(0.5 * (right_ascension_rad - model.right_ascension_rad)) ** 2
    haversine = half_dec + math.cos(declination_rad) * math.cos(model.declination_rad) * half_ra
    return 2.0 * math.asin(math.sqrt(min(1.0, haversine)))


def _simplify(name: str) -> str:
    """Return the name in capitals without blanks, underscores and leading zeros of a catalogue number (3C048)."""
    return re.sub(r"^3C0+", "3C", re.sub(r"[\s_]", "", name).upper())


def _is_designation(word: str, alias: str) -> bool:
    """Return whether a word is the alias, or a coordinate name that has the alias with fewer digits."""
    if word == alias:
        return True
    return ("+" in alias or "-" in alias) and word.startswith(alias) and word[len(alias) :].isdigit()
