"""Parts of data sets, joined to partitions: one field, one spectral window, one data set each.

1. Antennas of all data sets get one list, so that an index means the same antenna everywhere. An antenna that moved to
   another pad between data sets is another antenna.
2. Fields of the same name and direction are one field; of the same name and another direction they get different names.
3. Parts of a data set that have the same field and the same channels are one partition, whatever their intents. Its
   times and baselines are those of all parts. Windows of the same channels that were observed at the same time (two
   basebands that are tuned alike) stay two: each has data of its own.
4. Windows of different data sets that match share a virtual window (:mod:`radps.data.virtual_windows`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from radps.data.chunks import are_good_storage_chunks
from radps.data.measurement_set import Antennas, MeasurementSetDescription
from radps.data.msv4 import Msv4Address
from radps.data.sources import SourcePart
from radps.data.virtual_windows import SAME_BAND, Band, VirtualMatching, match_virtual_windows
from radps.errors import DataError, SelectionError

SAME_PLACE_M = 1.0
"""Antennas of one name that are closer than this are the same one."""

SAME_DIRECTION_RAD = np.deg2rad(1.0 / 3600)
"""Fields of one name that are closer than this are the same one."""


class JoinedWindow(NamedTuple):
    """A spectral window of one data set."""

    name: str
    virtual: int
    """Number of the virtual window."""
    frequency_hz: npt.NDArray[np.float64]
    """(channel,) ascending [Hz]."""
    channel_width_hz: float
    frame: str
    rest_frequency_hz: float
    """NaN = none given."""
    label: str
    """Its name in the data."""


class JoinedPartition(NamedTuple):
    """One field in one spectral window of one data set."""

    description: MeasurementSetDescription
    dataset: int
    """Number of the data set."""
    window: int
    """Number of the window."""
    parts: tuple[SourcePart, ...]
    """Where its data come from."""
    is_kept: bool
    """True: tasks can work on the MSv4 group of its only part; False: the data have to be copied."""


class JoinedData(NamedTuple):
    """All partitions of all data sets."""

    antennas: Antennas
    windows: tuple[JoinedWindow, ...]
    partitions: tuple[JoinedPartition, ...]


def join_parts(
    datasets: Sequence[tuple[str, Sequence[SourcePart]]],
    intents: Mapping[str, Sequence[str]],
    matching: VirtualMatching = "overlap",
    min_overlap: float = SAME_BAND,
) -> JoinedData:
    """Join the parts of data sets to partitions.

    Parameters
    ----------
    datasets : sequence of (str, sequence of SourcePart)
        Name and parts of each data set.
    intents : mapping
        Field -> MSv4 scan intents, in place of those of the data.
    matching, min_overlap
        How windows of different data sets are matched, as of :func:`match_virtual_windows`.

    Returns
    -------
    JoinedData
        Partitions in the order of data sets and parts; each with the antennas of all.

    Raises
    ------
    SelectionError
        ``intents`` names a field that the data do not have; lists those there are.
    DataError
        Antennas cannot be told apart.
    """
    antennas, renamings = _join_antennas(datasets)
    names = _field_names(datasets)
    windows: list[JoinedWindow] = []
    counts: list[int] = []
    partitions: list[JoinedPartition] = []
    for dataset, (title, parts) in enumerate(datasets):
        keys: dict[tuple[object, ...], int] = {}
        grouped: dict[tuple[str, int], list[int]] = {}
        doubled = _doubled_windows(parts)
        for number, part in enumerate(parts):
            key = _window_key(part.description)
            key = (*key, part.description.spectral_window_name) if key in doubled else key
            if key not in keys:
                keys[key] = len(windows)
                windows.append(_window(part.description, len(windows)))
            grouped.setdefault((names[dataset, number], keys[key]), []).append(number)
        for (field, window), numbers in grouped.items():
            renamed = [_with_antennas(parts[n], antennas, renamings[dataset, n]) for n in numbers]
            windows[window] = _with_rest_frequency(windows[window], renamed)
            stem = f"{title}_{field}_{windows[window].name}"
            description = _join_descriptions(renamed, antennas, field, tuple(intents.get(field, ())))
            description = description._replace(name=_unique(stem, [one.description.name for one in partitions]))
            is_kept = (
                len(renamed) == 1
                and description.scan_names == parts[numbers[0]].description.scan_names
                and _can_keep(parts[numbers[0]], antennas)
            )
            partitions.append(JoinedPartition(description, dataset, window, tuple(renamed), is_kept))
        counts.append(len(keys))
    windows = _with_virtual_windows(windows, counts, matching, min_overlap)
    _check_intents(intents, tuple(dict.fromkeys(names.values())))
    return JoinedData(antennas, tuple(windows), tuple(partitions))


# --- antennas ------------------------------------------------------------------------------------------------------


def _join_antennas(
    datasets: Sequence[tuple[str, Sequence[SourcePart]]],
) -> tuple[Antennas, dict[tuple[int, int], dict[str, str]]]:
    """Return the antennas of all parts, and for each part: name in the part -> name in the list."""
    places: dict[str, npt.NDArray[np.float64]] = {}
    rows: list[tuple[Antennas, int]] = []
    renamings: dict[tuple[int, int], dict[str, str]] = {}
    for dataset, (title, parts) in enumerate(datasets):
        for number, part in enumerate(parts):
            own = part.description.antennas
            renaming = {}
            for index, (name, station) in enumerate(zip(own.names, own.stations, strict=True)):
                place = own.positions_m[index]
                for candidate in (name, f"{name}_{station}"):
                    if candidate not in places:
                        places[candidate] = place
                        rows.append((own, index))
                    if np.linalg.norm(places[candidate] - place) < SAME_PLACE_M:
                        renaming[name] = candidate
                        break
                else:
                    raise DataError(
                        f"antenna {name} on pad {station!r} of {title} is {np.linalg.norm(places[name] - place):.1f} m "
                        "from where the data before have it; correct the names or positions, or import the data sets "
                        "in runs of their own"
                    )
            renamings[dataset, number] = renaming
    return _stack(list(places), rows), renamings


def _stack(names: list[str], rows: list[tuple[Antennas, int]]) -> Antennas:
    """Return the antennas of all rows under their new names."""
    return Antennas(
        names=tuple(names),
        stations=tuple(own.stations[index] for own, index in rows),
        positions_m=np.array([own.positions_m[index] for own, index in rows]),
        diameters_m=np.array([own.diameters_m[index] for own, index in rows]),
        mounts=tuple(own.mounts[index] for own, index in rows),
        receptors=rows[0][0].receptors,
    )


def _with_antennas(part: SourcePart, antennas: Antennas, renaming: dict[str, str]) -> SourcePart:
    """Return a part whose baselines count in the list of all antennas; each band has feeds of its own."""
    own, angles = part.description.antennas.names, part.description.antennas.receptor_angles_rad
    index = np.array([antennas.names.index(renaming[name]) for name in own], np.int64)
    antennas = antennas._replace(receptors=part.description.antennas.receptors)
    if angles is not None:
        every = np.full((len(antennas.names), 2), np.nan)
        every[index] = angles
        antennas = antennas._replace(receptor_angles_rad=every)
    description = part.description._replace(
        antennas=antennas,
        antenna1=index[part.description.antenna1],
        antenna2=index[part.description.antenna2],
    )
    address = part.address
    if isinstance(address, Msv4Address):
        back = {new: old for old, new in address.antenna_names.items()}
        names = {back.get(name, name): new for name, new in renaming.items()}
        names = {old: new for old, new in names.items() if old != new}
        address = address.model_copy(update={"antenna_names": names})
    return part._replace(description=description, address=address)


def _can_keep(part: SourcePart, antennas: Antennas) -> bool:
    """Return True if the group of a part is as radps would write it."""
    own = part.description.antennas
    return (
        part.chunks is not None
        and own.names == antennas.names
        and are_good_storage_chunks(part.description.shape, part.chunks)
    )


# --- fields and windows --------------------------------------------------------------------------------------------


def _field_names(datasets: Sequence[tuple[str, Sequence[SourcePart]]]) -> dict[tuple[int, int], str]:
    """Return (data set, part) -> name of the field, different for different directions."""
    directions: dict[str, npt.NDArray[np.float64]] = {}
    names = {}
    for dataset, (title, parts) in enumerate(datasets):
        for number, part in enumerate(parts):
            ra, dec = part.description.phase_center_rad
            direction = np.array([np.cos(ra) * np.cos(dec), np.sin(ra) * np.cos(dec), np.sin(dec)])
            name, count = part.description.field_name, 1
            while np.linalg.norm(directions.setdefault(name, direction) - direction) > SAME_DIRECTION_RAD:
                name = f"{part.description.field_name}_{title}" + ("" if count == 1 else f"_{count}")
                count += 1
            names[dataset, number] = name
    return names


def _check_intents(intents: Mapping[str, Sequence[str]], names: Sequence[str]) -> None:
    """Refuse intents of fields that there are not."""
    unknown = [name for name in intents if name not in names]
    if unknown:
        raise SelectionError(
            f"data.intents names {', '.join(map(repr, unknown))}, which the data do not have; fields: "
            f"{', '.join(names)}"
        )


def _window_key(description: MeasurementSetDescription) -> tuple[object, ...]:
    """Return what makes a spectral window: channels, frame, polarizations."""
    return (description.frequency_hz.tobytes(), description.spectral_frame, description.polarizations)


def _doubled_windows(parts: Sequence[SourcePart]) -> set[tuple[object, ...]]:
    """Return what two windows of different names have in common that were observed at the same times."""
    doubled = set()
    seen: dict[tuple[object, ...], list[MeasurementSetDescription]] = {}
    for one in (part.description for part in parts):
        key = _window_key(one)
        others = seen.setdefault((*key, one.field_name), [])
        for other in others:
            is_another = other.spectral_window_name != one.spectral_window_name
            if is_another and np.intersect1d(other.time_s, one.time_s).size and _pairs(other) & _pairs(one):
                doubled.add(key)
        others.append(one)
    return doubled


def _pairs(description: MeasurementSetDescription) -> set[tuple[str, str]]:
    """Return the names of the antennas of each baseline."""
    names = description.antennas.names
    ends = zip(description.antenna1.tolist(), description.antenna2.tolist(), strict=True)
    return {(names[first], names[second]) for first, second in ends}


def _window(description: MeasurementSetDescription, number: int) -> JoinedWindow:
    """Return the window of a part; its virtual window is found once all are known."""
    return JoinedWindow(
        name=f"spw{number}",
        virtual=-1,
        frequency_hz=description.frequency_hz,
        channel_width_hz=description.channel_width_hz,
        frame=description.spectral_frame,
        rest_frequency_hz=float("nan"),
        label=description.spectral_window_name,
    )


def _with_virtual_windows(
    windows: Sequence[JoinedWindow], counts: Sequence[int], matching: VirtualMatching, min_overlap: float
) -> list[JoinedWindow]:
    """Return the windows with their virtual windows; ``counts`` says how many each data set has."""
    bands = [Band(window.frequency_hz, window.channel_width_hz, window.frame) for window in windows]
    stops = np.cumsum(counts).tolist()
    datasets = [bands[stop - count : stop] for stop, count in zip(stops, counts, strict=True)]
    numbers = [number for one in match_virtual_windows(datasets, matching, min_overlap) for number in one]
    return [window._replace(virtual=number) for window, number in zip(windows, numbers, strict=True)]


def _with_rest_frequency(window: JoinedWindow, parts: Sequence[SourcePart]) -> JoinedWindow:
    """Return the window with the first rest frequency that one of its fields gives."""
    given = [window.rest_frequency_hz, *(part.description.rest_frequency_hz for part in parts)]
    return window._replace(rest_frequency_hz=next((one for one in given if np.isfinite(one) and one > 0), float("nan")))


# --- partitions ----------------------------------------------------------------------------------------------------


def _join_descriptions(
    parts: Sequence[SourcePart], antennas: Antennas, field: str, intents: tuple[str, ...]
) -> MeasurementSetDescription:
    """Return the metadata of a partition: times, baselines and intents of all its parts."""
    descriptions = [part.description for part in parts]
    scan_of: dict[float, str] = {}
    for one in descriptions:
        for time, scan in zip(one.time_s.tolist(), one.scan_names, strict=True):
            scan_of.setdefault(time, scan)
    times = np.array(sorted(scan_of))
    n_antennas = len(antennas.names)
    pairs = np.unique(np.concatenate([one.antenna1 * n_antennas + one.antenna2 for one in descriptions]))
    integrations = [one.integration_time_s for one in descriptions if np.isfinite(one.integration_time_s)]
    source = descriptions[0].source_name
    return descriptions[0]._replace(
        field_name=field,
        source_name=field if source.lower() in ("", "unknown") else source,
        intents=intents or tuple(dict.fromkeys(intent for one in descriptions for intent in one.intents)),
        time_s=times,
        integration_time_s=float(np.median(integrations)) if integrations else 0.0,
        scan_names=_separate_scans([scan_of[time] for time in times.tolist()]),
        antenna1=pairs // n_antennas,
        antenna2=pairs % n_antennas,
    )


def _separate_scans(names: Sequence[str]) -> tuple[str, ...]:
    """Return scan names of which each one covers one span of times: what comes back later gets a name of its own."""
    separate: list[str] = []
    visits: dict[str, int] = {}
    for number, name in enumerate(names):
        if number == 0 or names[number - 1] != name:
            visits[name] = visits.get(name, 0) + 1
        separate.append(name if visits[name] == 1 else f"{name}.{visits[name]}")
    return tuple(separate)


def _unique(stem: str, taken: Sequence[str]) -> str:
    """Return a name of a zarr group that is not taken."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("._-") or "partition"
    name, count = stem, 1
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    return name
