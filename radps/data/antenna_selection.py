"""Which antennas of data sets are imported.

1. Words are names or patterns of antennas. Those that begin with ``!`` leave antennas out of those that the others
   choose; without others, out of all. (CASA's ``antenna="CM*&&"`` and ``antenna="!CM*"``.)
2. A baseline stays if both of its antennas are chosen. The other antennas are no antennas of the array any more: they
   have no place in tables of solutions, counts, plots, or in the choice of a reference antenna.

A part of which antennas are left out has to be copied: an MSv4 group that is used in place has all of its baselines.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence

import numpy as np

from radps.data.measurement_set import Antennas
from radps.data.sources import SourcePart
from radps.errors import SelectionError

EXCLUDED = "!"
"""Begins a word for antennas that are left out."""


def check_antenna_words(parts: Sequence[SourcePart], words: Sequence[str]) -> None:
    """Refuse words that fit to no antenna.

    Parameters
    ----------
    parts : sequence of SourcePart
        Of all data sets.
    words : sequence of str
        Names or patterns, perhaps with ``!``.

    Raises
    ------
    SelectionError
        With the nearest names, and all antennas that there are.
    """
    names = _antenna_names(parts)
    unknown = [word for word in words if not fnmatch.filter(names, word.removeprefix(EXCLUDED))]
    if not unknown:
        return
    near = [name for word in unknown for name in difflib.get_close_matches(word.removeprefix(EXCLUDED), names, n=2)]
    hint = f"; did you mean {', '.join(map(repr, dict.fromkeys(near)))}?" if near else "."
    raise SelectionError(
        f"antennas of import_data: {', '.join(map(repr, unknown))} fit to no antenna of the data{hint} There are: "
        f"{', '.join(names)}"
    )


def is_chosen(name: str, words: Sequence[str]) -> bool:
    """Return True if an antenna is to be imported."""
    wanted = [word for word in words if not word.startswith(EXCLUDED)]
    unwanted = [word.removeprefix(EXCLUDED) for word in words if word.startswith(EXCLUDED)]
    return (not wanted or _fits(name, wanted)) and not _fits(name, unwanted)


def select_antennas(title: str, parts: Sequence[SourcePart], words: Sequence[str]) -> list[SourcePart]:
    """Return the parts of a data set cut to the baselines of some antennas.

    Parameters
    ----------
    title : str
        Name of the data set.
    parts : sequence of SourcePart
    words : sequence of str
        As of :func:`check_antenna_words`; none = all antennas.

    Returns
    -------
    list of SourcePart
        Those that have such a baseline; antennas count anew.

    Raises
    ------
    SelectionError
        Less than two antennas of the data set are left.
    """
    names = _antenna_names(parts)
    left = [name for name in names if is_chosen(name, words)]
    if words and len(left) < 2:
        raise SelectionError(
            f"antennas {' '.join(words)} of import_data leave {' '.join(left) or 'none'} of the {len(names)} antennas "
            f"of the data set {title}, and a baseline needs two: widen the selection, or leave the data set out of "
            f"data.path. There are: {', '.join(names)}"
        )
    cut = (_cut_part(part, words) for part in parts)
    return [part for part in cut if part is not None]


def _antenna_names(parts: Sequence[SourcePart]) -> list[str]:
    return list(dict.fromkeys(name for part in parts for name in part.description.antennas.names))


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _cut_part(part: SourcePart, words: Sequence[str]) -> SourcePart | None:
    """Return a part with the baselines of some antennas; None if it has none of them."""
    description = part.description
    keep = np.array([is_chosen(name, words) for name in description.antennas.names])
    if keep.all():
        return part
    both = keep[description.antenna1] & keep[description.antenna2]
    if not both.any():
        return None
    number = np.cumsum(keep) - 1
    description = description._replace(
        antennas=_take(description.antennas, np.flatnonzero(keep).tolist()),
        antenna1=number[description.antenna1[both]],
        antenna2=number[description.antenna2[both]],
    )
    rows = None if part.rows is None else part.rows[:, both]
    return part._replace(description=description, rows=rows, chunks=None)


def _take(antennas: Antennas, indices: Sequence[int]) -> Antennas:
    angles = antennas.receptor_angles_rad
    return antennas._replace(
        names=tuple(antennas.names[index] for index in indices),
        stations=tuple(antennas.stations[index] for index in indices),
        positions_m=antennas.positions_m[indices],
        diameters_m=antennas.diameters_m[indices],
        mounts=tuple(antennas.mounts[index] for index in indices),
        receptor_angles_rad=None if angles is None else angles[indices],
    )
