"""Types for parameters with a unit: text such as ``"15 arcsec"`` comes in, a float in SI units is kept.

Every type takes a number (already in the unit named below) or a text that astropy reads as a quantity. A unit of
another physical kind is refused with the kind that is expected.

==============  =======  ==========================
type            kept in  examples
==============  =======  ==========================
Angle           rad      ``"15 arcsec"``, ``"2 deg"``
Frequency       Hz       ``"1.42 GHz"``
FluxDensity     Jy       ``"8 mJy"``
Duration        s        ``"5 s"``, ``"2 min"``
Length          m        ``"25 m"``, ``"1 km"``
Speed           m/s      ``"1480 km/s"``
DataSize        bytes    ``"2 GiB"``, ``"500 MB"``
==============  =======  ==========================
"""

from __future__ import annotations

import functools
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_TURN = 6.2832
"""[rad], rounded up. A bare number above it was meant in another unit."""

_EXAMPLES = {
    "rad": ("an angle", "15 arcsec"),
    "Hz": ("a frequency", "1.42 GHz"),
    "Jy": ("a flux density", "8 mJy"),
    "s": ("a duration", "5 s"),
    "m": ("a length", "25 m"),
    "m / s": ("a speed", "1480 km/s"),
    "byte": ("a data size", "2 GiB"),
}


def parse_quantity(value: object, unit: str) -> float:
    """Return a number or the text of a quantity as a float in ``unit``.

    Parameters
    ----------
    value : object
        A finite number in ``unit``, or a text such as ``"15 arcsec"``.
    unit : str
        One of the units of the table above, as astropy spells it.

    Raises
    ------
    ValueError
        The value is no number or quantity of that kind; the text names both.
    """
    kind, example = _EXAMPLES[unit]
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r} is not {kind}; write it like {example!r}")
    if isinstance(value, str):
        value = _parse_text(value, unit)
    elif unit == "rad" and _TURN < abs(value) < float("inf"):
        raise ValueError(
            f"{value} is a number of radians, more than a turn; write {kind} with its unit, like {example!r}"
        )
    number = float(value)
    if not abs(number) < float("inf"):
        raise ValueError(f"{number} is not a finite {kind.split(' ', 1)[1]}")
    return number


@functools.lru_cache(maxsize=1024)
def _parse_text(text: str, unit: str) -> float:
    """Convert the text of a quantity to ``unit``."""
    # Imported here: half a second that a config without quantities, and `radps-run --help`, need not pay.
    from astropy import units

    kind, example = _EXAMPLES[unit]
    try:
        quantity = units.Quantity(text)
    except (TypeError, ValueError):
        raise ValueError(f"{text!r} is not {kind}; write it like {example!r}") from None
    if quantity.unit == units.dimensionless_unscaled:
        raise ValueError(f"{text!r} has no unit; write {kind} like {example!r}")
    try:
        return float(quantity.to_value(unit))
    except units.UnitConversionError:
        raise ValueError(f"{text!r} is in {quantity.unit}, which is not {kind}; write it like {example!r}") from None


def _quantity(unit: str) -> tuple[BeforeValidator, WithJsonSchema]:
    """Return the pydantic metadata of a type that is kept in ``unit``."""
    kind, example = _EXAMPLES[unit]
    schema = WithJsonSchema(
        {
            "anyOf": [{"type": "number"}, {"type": "string"}],
            "description": f"{kind}: a number in {unit}, or a text",
            "examples": [example],
            "unit": unit,
        }
    )
    return BeforeValidator(functools.partial(parse_quantity, unit=unit)), schema


Angle = Annotated[float, *_quantity("rad")]
"""An angle, kept in radians."""
Frequency = Annotated[float, *_quantity("Hz")]
"""A frequency, kept in Hz."""
FluxDensity = Annotated[float, *_quantity("Jy")]
"""A flux density (or a brightness per beam), kept in Jy."""
Duration = Annotated[float, *_quantity("s")]
"""A duration, kept in seconds."""
Length = Annotated[float, *_quantity("m")]
"""A length, kept in metres."""
Speed = Annotated[float, *_quantity("m / s")]
"""A speed, kept in metres per second."""
DataSize = Annotated[float, *_quantity("byte")]
"""An amount of data, kept in bytes."""
