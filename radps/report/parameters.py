"""Parameters of a step as a reader wants them: in units of the field, with their meaning, the changed ones marked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

_LONG_VALUE = 300
_UNITS = {
    "rad": ((math.pi / 180, "deg"), (math.pi / 10_800, "arcmin"), (math.pi / 648_000, "arcsec")),
    "Hz": ((1e9, "GHz"), (1e6, "MHz"), (1e3, "kHz"), (1.0, "Hz")),
    "Jy": ((1.0, "Jy"), (1e-3, "mJy"), (1e-6, "uJy")),
    "s": ((3600.0, "h"), (60.0, "min"), (1.0, "s")),
    "m": ((1e3, "km"), (1.0, "m")),
    "m / s": ((1e3, "km/s"), (1.0, "m/s")),
    "byte": ((2.0**30, "GiB"), (2.0**20, "MiB"), (1.0, "bytes")),
}
"""Units that numbers are shown in: the first one in which a number is 1 or more, else the last one."""


class ParameterMeaning(NamedTuple):
    """What a stage says of one of its parameters."""

    name: str
    default: str
    """As JSON; ``required`` if there is none."""
    unit: str
    """Of plain numbers, empty for anything else; a text such as ``15 arcsec`` may have any unit of the kind."""
    meaning: str


Meanings = Mapping[str, tuple[ParameterMeaning, ...]]
"""Stage -> its parameters."""


def parameter_rows(values: Mapping[str, Any], meanings: tuple[ParameterMeaning, ...]) -> list[dict[str, Any]]:
    """Return the rows of a table of parameters, those that differ from their default first.

    Parameters
    ----------
    values : mapping
        Parameter -> the value that was used, as JSON.
    meanings : tuple of ParameterMeaning
        What is known of them; of a stage that is not there any more nothing is.
    """
    known = {one.name: one for one in meanings}
    rows = []
    for name, value in values.items():
        meaning = known.get(name, ParameterMeaning(name, json.dumps(value), "", ""))
        is_changed = json.dumps(value) != meaning.default
        default = _show_default(meaning) if is_changed else ""
        rows.append(
            {
                "name": name,
                "value": format_value(value, meaning.unit),
                "is_changed": is_changed,
                "default": default,
                "meaning": meaning.meaning,
            }
        )
    return sorted(rows, key=lambda row: not row["is_changed"])


def format_value(value: Any, unit: str = "") -> str:
    """Return a value as text: a number in a unit that suits it, anything else as it is written in a config."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return _format_number(value, unit)
    if isinstance(value, list) and all(isinstance(one, (str, int, float)) for one in value):
        return shorten(", ".join(format_value(one, unit) for one in value) or "none")
    return shorten(value if isinstance(value, str) else json.dumps(_without_none(value), ensure_ascii=False))


def _without_none(value: Any) -> Any:
    """Return nested parameters without those that say nothing."""
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return [_without_none(one) for one in value] if isinstance(value, list) else value


def shorten(text: str) -> str:
    """Return a text, cut where it is long."""
    return text if len(text) <= _LONG_VALUE else text[:_LONG_VALUE] + " ..."


def _format_number(number: float, unit: str) -> str:
    if not unit or number == 0:
        return f"{number:.10g} {'' if number == 0 else unit}".rstrip()
    steps = _UNITS.get(unit, ((1.0, unit),))
    # 1 arcsec in radians and back is a little less than 1.
    size, name = next((step for step in steps if abs(number) >= step[0] * (1 - 1e-9)), steps[-1])
    return f"{number / size:.6g} {name}"


def _show_default(meaning: ParameterMeaning) -> str:
    """Return the default as its value is shown; that there is none, in words."""
    try:
        return format_value(json.loads(meaning.default), meaning.unit)
    except json.JSONDecodeError:
        return meaning.default
