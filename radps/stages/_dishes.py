"""The dishes of an array, as the primary beam of an image needs them: all of one diameter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from radps.context.observation import Observation, list_some
from radps.errors import SelectionError

_MOST_NAMED = 4
"""Antennas of one kind that an error names."""


def find_dish_diameter(observation: Observation, parameter: str) -> float | None:
    """Return the diameter of the dishes [m]; None = the data do not say. ``parameter`` is the one that asks for it.

    Raises
    ------
    SelectionError
        There are dishes of several diameters, which have no primary beam in common; says what to import instead.
    """
    kinds: dict[float, list[str]] = {}
    for antenna in observation.antennas:
        if antenna.diameter_m > 0:
            kinds.setdefault(round(antenna.diameter_m, 2), []).append(antenna.name)
    if len(kinds) > 1:
        raise SelectionError(_refuse_kinds(kinds, [antenna.name for antenna in observation.antennas], parameter))
    return next(iter(kinds), None)


def find_patterns(names: Iterable[str], everyone: Iterable[str]) -> tuple[str, ...]:
    """Return patterns that fit to some antennas and no others: their leading letters, or else their names."""
    own = list(names)
    others = [name for name in everyone if name not in own]
    patterns: dict[str, None] = {}
    for name in own:
        match = re.match(r"[^\W\d]+", name)
        is_clear = match is not None and not any(other.startswith(match[0]) for other in others)
        patterns[f"{match[0]}*" if match is not None and is_clear else name] = None
    return tuple(patterns)


def _refuse_kinds(kinds: dict[float, list[str]], everyone: Sequence[str], parameter: str) -> str:
    found, remedies = [], []
    for size, names in sorted(kinds.items()):
        words = ", ".join(f'"{word}"' for word in find_patterns(names, everyone))
        found.append(f"{len(names)} of {size:g} m ({list_some(names, _MOST_NAMED)})")
        remedies.append(f"`import_data: {{antennas: [{words}]}}`")
    return (
        f"{parameter}: the array has dishes of {len(kinds)} diameters, {' and '.join(found)}, whose "
        f"baselines have no primary beam in common. Take one kind, by {' or '.join(remedies)}, or leave out "
        f"{parameter}"
    )
