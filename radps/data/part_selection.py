"""Which parts of data sets are imported: what the user asks for, and what no stage could use is left out.

1. Fields, windows and intents decide over whole parts, scans over the times of a part, antennas over its baselines
   (:mod:`radps.data.antenna_selection`). Each word of a selection has to fit to something in one of the data sets.
2. Without a selection of windows, those are left out that are there for the observatory: radiometers and total-power
   detectors, which have no cross-correlations (ALMA's WVR and SQLD), and windows of one channel that are the average of
   another window of the data set (ALMA's CH_AVG).
3. Without a selection of intents, parts are left out that were observed for nothing but pointing, focus, atmosphere,
   water vapour, sideband ratios, or to set up the system, or off the source.
4. Fields that follow a moving source, and several pointings at one source (a mosaic), are refused.

References
----------
ASDM Short Table Descriptions, 2016, enumerations CScanIntent and CSpectralResolutionType (ALMA).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from radps.data.antenna_selection import check_antenna_words, select_antennas
from radps.data.measurement_set import MeasurementSetDescription
from radps.data.sources import SourcePart
from radps.errors import DataError, SelectionError

SETUP_INTENTS = (
    "CALIBRATE_ANTENNA",
    "CALIBRATE_ATMOSPHERE",
    "CALIBRATE_FOCUS",
    "CALIBRATE_POINTING",
    "CALIBRATE_SIDEBAND_RATIO",
    "CALIBRATE_WVR",
    "SYSTEM_CONFIGURATION",
)
"""Beginnings of intents of which data are neither calibrated with nor imaged."""

_TARGET = ("OBSERVE_TARGET", "TARGET")
_SAME_DIRECTION_RAD = np.deg2rad(1.0 / 3600)
_RANGE = re.compile(r"(\d+)~(\d+)")


class DataSelection(BaseModel):
    """What is wanted of the data sets; empty = all that can be used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fields: tuple[str, ...] = ()
    """Names or patterns (``J1*``)."""
    windows: tuple[str, ...] = ()
    """Numbers as the data count them (``"17"``), or names or patterns of the data (``*FULL_RES*``)."""
    scans: tuple[str, ...] = ()
    """Names, or ranges of numbers (``"4~9"``)."""
    intents: tuple[str, ...] = ()
    """MSv4 intents or their beginnings, as ``OBSERVE_TARGET``."""
    antennas: tuple[str, ...] = ()
    """Names or patterns (``DA*``); those with ``!`` are left out (``!CM*``)."""


class SelectedParts(NamedTuple):
    """What is left of the data sets."""

    datasets: list[tuple[str, list[SourcePart]]]
    """Name and parts of each."""
    left_out: tuple[str, ...]
    """What was left out without being asked for, in words."""


def select_parts(
    datasets: Sequence[tuple[str, Sequence[SourcePart]]],
    selection: DataSelection,
    intents: Mapping[str, Sequence[str]] | None = None,
    *,
    is_first: bool = True,
) -> SelectedParts:
    """Choose parts of data sets.

    Parameters
    ----------
    datasets : sequence of (str, sequence of SourcePart)
        Name and parts of each data set.
    selection : DataSelection
    intents : mapping, optional
        Field -> MSv4 scan intents, in place of those of the data.
    is_first : bool
        False: the words of the selection were found in other data sets before, and need not fit to something in these.

    Returns
    -------
    SelectedParts

    Raises
    ------
    SelectionError
        A word fits to nothing, or nothing is left of a data set; lists what there is.
    DataError
        A field that is left follows a moving source, or is one of several pointings at its source.
    """
    given = dict(intents or {})
    parts = [(title, number, part) for title, own in datasets for number, part in enumerate(own)]
    if is_first:
        _check_words("fields", selection.fields, _field_texts(parts), fnmatch.fnmatchcase)
        _check_words("windows", selection.windows, _window_texts(datasets), fnmatch.fnmatchcase)
        _check_words("scans", selection.scans, _scan_texts(parts), _is_scan)
        _check_words("intents", selection.intents, _intent_texts(parts, given), _begins)
        check_antenna_words([part for _, _, part in parts], selection.antennas)
    left_out: list[str] = []
    chosen = []
    for title, own in datasets:
        kept = [part for part in own if _fits(part.description.field_name, selection.fields)]
        kept = _select_windows(title, own, kept, selection.windows, left_out)
        kept = _select_intents(title, kept, selection.intents, given, left_out)
        kept = _select_scans(kept, selection.scans)
        kept = select_antennas(title, kept, selection.antennas) if kept else kept
        if not kept:
            raise SelectionError(
                f"nothing of the data set {title} is selected by fields {_words(selection.fields)}, windows "
                f"{_words(selection.windows)}, scans {_words(selection.scans)}, intents {_words(selection.intents)} "
                f"and antennas {_words(selection.antennas)} together; widen the selection, or leave the data set out "
                "of data.path"
            )
        _check_moving(title, kept)
        _check_mosaics(title, kept, given)
        chosen.append((title, kept))
    return SelectedParts(chosen, tuple(dict.fromkeys(left_out)))


# --- words ---------------------------------------------------------------------------------------------------------


def _check_words(what: str, words: Sequence[str], texts: Sequence[str], fits: Callable[[str, str], bool]) -> None:
    """Refuse words that fit to nothing in any data set."""
    unknown = [word for word in words if not any(fits(text, word) for text in texts)]
    if unknown:
        raise SelectionError(
            f"{what} of import_data: {', '.join(map(repr, unknown))} fit to nothing in the data; there are: "
            f"{', '.join(dict.fromkeys(texts)) or 'none'}"
        )


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _begins(text: str, word: str) -> bool:
    return text.startswith(word)


def _is_scan(name: str, word: str) -> bool:
    """Return True if a scan is the one that a word names, or in its range of numbers."""
    match = _RANGE.fullmatch(word)
    if match and name.isdecimal():
        return int(match[1]) <= int(name) <= int(match[2])
    return name == word


def _words(words: Sequence[str]) -> str:
    return " ".join(words) or "(all)"


def _field_texts(parts: Sequence[tuple[str, int, SourcePart]]) -> list[str]:
    return [part.description.field_name for _, _, part in parts]


def _scan_texts(parts: Sequence[tuple[str, int, SourcePart]]) -> list[str]:
    names = {name for _, _, part in parts for name in part.description.scan_names}
    return sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def _intent_texts(parts: Sequence[tuple[str, int, SourcePart]], given: Mapping[str, Sequence[str]]) -> list[str]:
    return [intent for _, _, part in parts for intent in _intents(part.description, given)]


def _window_texts(datasets: Sequence[tuple[str, Sequence[SourcePart]]]) -> list[str]:
    return [text for _, own in datasets for texts in window_names(own).values() for text in texts]


# --- windows -------------------------------------------------------------------------------------------------------


def window_key(description: MeasurementSetDescription) -> tuple[object, ...]:
    """Return what tells the spectral windows of a data set apart."""
    return (description.spectral_window_name, description.frequency_hz.tobytes(), description.polarizations)


def window_names(parts: Sequence[SourcePart]) -> dict[tuple[object, ...], tuple[str, str]]:
    """Return window -> number and name. XRADIO appends an MSv2's number to the name; else they count in their order."""
    keys = dict.fromkeys(window_key(part.description) for part in parts)
    names = [str(key[0]) for key in keys]
    numbers = [match[1] if (match := re.search(r"_(\d+)$", name)) else "" for name in names]
    if not all(numbers) or len(set(numbers)) < len(numbers):
        numbers = [str(place) for place in range(len(names))]
    return {key: (number, name) for key, number, name in zip(keys, numbers, names, strict=True)}


def _select_windows(
    title: str, own: Sequence[SourcePart], parts: list[SourcePart], words: Sequence[str], left_out: list[str]
) -> list[SourcePart]:
    """Return the parts of the windows that are asked for, or that can be used."""
    names = window_names(own)
    if words:
        return [part for part in parts if any(_fits(text, words) for text in names[window_key(part.description)])]
    useless = dict(_useless_windows(own))
    if len(useless) == len(names):
        return parts
    for key, reason in useless.items():
        number, name = names[key]
        left_out.append(f"window {number} of {title} ({name}: {reason})")
    return [part for part in parts if window_key(part.description) not in useless]


def _useless_windows(parts: Sequence[SourcePart]) -> Iterator[tuple[tuple[object, ...], str]]:
    """Yield the windows of a data set that no stage can use, and why."""
    first: dict[tuple[object, ...], MeasurementSetDescription] = {}
    for part in parts:
        first.setdefault(window_key(part.description), part.description)
    crossed = {
        window_key(part.description) for part in parts if np.any(part.description.antenna1 != part.description.antenna2)
    }
    for key, one in first.items():
        if key not in crossed:
            yield key, f"{len(one.frequency_hz)} channels of {' '.join(one.polarizations)}, no cross-correlations"
        elif any(_is_average(one, other) for other in first.values()):
            yield key, "the average of another window in one channel"


def _is_average(one: MeasurementSetDescription, other: MeasurementSetDescription) -> bool:
    """Return True if a window is one channel that lies in another, wider window."""
    low, high = float(other.frequency_hz.min()), float(other.frequency_hz.max())
    return (
        len(one.frequency_hz) == 1
        and len(other.frequency_hz) > 1
        and one.polarizations == other.polarizations
        and low <= float(one.frequency_hz[0]) <= high
        # An average is as wide as what it was made of, but for channels at the edges.
        and one.channel_width_hz > 0.5 * (high - low)
    )


# --- intents and scans ---------------------------------------------------------------------------------------------


def _intents(description: MeasurementSetDescription, given: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(given.get(description.field_name, ())) or description.intents


def _select_intents(
    title: str,
    parts: list[SourcePart],
    words: Sequence[str],
    given: Mapping[str, Sequence[str]],
    left_out: list[str],
) -> list[SourcePart]:
    """Return the parts that were observed for what is asked for, or for something that stages use."""
    if words:
        return [
            part
            for part in parts
            if any(intent.startswith(word) for intent in _intents(part.description, given) for word in words)
        ]
    kept = [part for part in parts if not _is_setup(_intents(part.description, given))]
    for part in parts:
        own = _intents(part.description, given)
        if _is_setup(own):
            scans = ", ".join(dict.fromkeys(part.description.scan_names))
            left_out.append(f"scans {scans} of {title} ({part.description.field_name}: {', '.join(own)})")
    return kept


def _is_setup(intents: Sequence[str]) -> bool:
    """Return True if there are intents and none of them is of use."""
    return bool(intents) and all(
        intent.startswith(SETUP_INTENTS) or intent.endswith("#OFF_SOURCE") for intent in intents
    )


def _select_scans(parts: list[SourcePart], words: Sequence[str]) -> list[SourcePart]:
    """Return the parts cut to some scans, without those that have none of them."""
    if not words:
        return parts
    cut = []
    for part in parts:
        keep = np.array([any(_is_scan(name, word) for word in words) for name in part.description.scan_names])
        if not keep.any():
            continue
        if keep.all():
            cut.append(part)
            continue
        description = part.description._replace(
            time_s=part.description.time_s[keep],
            scan_names=tuple(name for name, wanted in zip(part.description.scan_names, keep, strict=True) if wanted),
        )
        rows = None if part.rows is None else part.rows[keep]
        # The group has more times than are wanted, so that it cannot be used as it is.
        cut.append(part._replace(description=description, rows=rows, chunks=None))
    return cut


# --- what is not done yet ------------------------------------------------------------------------------------------


def _check_moving(title: str, parts: Sequence[SourcePart]) -> None:
    """Refuse fields that follow a moving source."""
    moving = dict.fromkeys(part.description.field_name for part in parts if part.description.is_moving)
    if moving:
        others = dict.fromkeys(part.description.field_name for part in parts if not part.description.is_moving)
        raise DataError(
            f"{title}: {', '.join(moving)} follow an ephemeris: moving sources are not supported yet; leave them out "
            f"by the parameter fields of import_data. Other fields: {', '.join(others) or 'none'}"
        )


def _check_mosaics(title: str, parts: Sequence[SourcePart], given: Mapping[str, Sequence[str]]) -> None:
    """Refuse several pointings at one target."""
    pointings: dict[str, dict[str, tuple[float, float]]] = {}
    for part in parts:
        one = part.description
        own = _intents(one, given)
        source = one.source_name
        if source.lower() in ("", "unknown") or (own and not any(intent.startswith(_TARGET) for intent in own)):
            continue
        pointings.setdefault(source, {})[one.field_name] = one.phase_center_rad
    for source, fields in pointings.items():
        farthest = _farthest_rad(list(fields.values()))
        if farthest > _SAME_DIRECTION_RAD:
            raise DataError(
                f"{title}: the source {source} was observed at {len(fields)} pointings ({', '.join(fields)}), up to "
                f"{np.rad2deg(farthest) * 60:.2f} arcmin apart: mosaics are not imaged yet; choose one pointing of it "
                "by the parameter fields of import_data"
            )


def _farthest_rad(directions: Sequence[tuple[float, float]]) -> float:
    """Return the largest angle between two directions [rad]."""
    ra, dec = np.array(directions).T
    vectors = np.stack([np.cos(ra) * np.cos(dec), np.sin(ra) * np.cos(dec), np.sin(dec)], axis=-1)
    chord = np.linalg.norm(vectors[:, np.newaxis] - vectors, axis=-1).max()
    return float(2 * np.arcsin(min(1.0, chord / 2)))
