"""What is in a data set, before it is imported: fields, spectral windows, scans and antennas (CASA `listobs`).

No visibilities are read, and nothing is converted or written. Of an MSv2 the tables are read, and of its main table the
columns that tell times, fields, windows and scans, block by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from radps.data import msv2
from radps.data.casacore_tables import open_table
from radps.data.measurement_set import MeasurementSetDescription
from radps.data.part_selection import window_key, window_names
from radps.data.sources import SourceKind, SourcePart, describe_source, find_source
from radps.data.urls import local_path
from radps.domain.earth import DAY_S, UNIX_EPOCH_MJD

_UNIX_EPOCH_MJD_S = UNIX_EPOCH_MJD * DAY_S
"""Times of an MSv2 count seconds from MJD 0."""
_CORRELATIONS = {
    1: "I", 2: "Q", 3: "U", 4: "V",
    5: "RR", 6: "RL", 7: "LR", 8: "LL", 9: "XX", 10: "XY", 11: "YX", 12: "YY",
}  # fmt: skip


class ListedField(NamedTuple):
    """A field, under the name that a config takes."""

    name: str
    direction_rad: tuple[float, float]
    """Right ascension and declination [rad], in the frame of the data set; of a UVFITS file in ICRS or FK5 J2000."""
    intents: tuple[str, ...]
    """As the data have them; empty = they do not say."""


class ListedWindow(NamedTuple):
    """A spectral window, under the number that `import_data: {windows}` takes."""

    number: str
    name: str
    n_channels: int
    frequency_hz: tuple[float, float]
    """First and last channel, ascending [Hz]."""
    channel_width_hz: float
    polarizations: tuple[str, ...]


class ListedScan(NamedTuple):
    """A scan of one field."""

    name: str
    field: str
    start_s: float
    """Start of its first integration, UTC [unix s]."""
    stop_s: float
    windows: tuple[str, ...]
    """Numbers of the windows."""


class DataSetListing(NamedTuple):
    """All that a config has to know of a data set."""

    path: str
    kind: SourceKind
    telescope: str
    observer: str
    antennas: tuple[str, ...]
    fields: tuple[ListedField, ...]
    windows: tuple[ListedWindow, ...]
    scans: tuple[ListedScan, ...]
    """In the order of their times."""


class _Span(NamedTuple):
    """When a field was observed in a window during a scan."""

    scan: str
    field: str
    window: str
    start_s: float
    stop_s: float


def list_dataset(path: str) -> DataSetListing:
    """List what is in a data set.

    Parameters
    ----------
    path : str
        UVFITS file, MSv2 folder, or MSv4 processing set (also any fsspec URL).

    Returns
    -------
    DataSetListing

    Raises
    ------
    DataError
        There is nothing, something that radps does not read, or a damaged data set.
    """
    kind = find_source(path)
    if kind is SourceKind.MSV2:
        return _list_msv2(local_path(path))
    return _list_parts(path, kind, describe_source(path, kind))


def _list_parts(path: str, kind: SourceKind, parts: Sequence[SourcePart]) -> DataSetListing:
    """List a data set from the descriptions of its parts, of one field and spectral window each."""
    names = window_names(parts)
    first = parts[0].description
    fields: dict[str, ListedField] = {}
    windows: dict[str, ListedWindow] = {}
    spans = []
    for part in parts:
        one = part.description
        number = names[window_key(one)][0]
        known = fields.get(one.field_name)
        intents = tuple(dict.fromkeys((*(known.intents if known else ()), *one.intents)))
        fields[one.field_name] = ListedField(one.field_name, one.phase_center_rad, intents)
        windows.setdefault(number, _describe_window(number, one))
        spans += _spans_of(part, number)
    antennas = tuple(dict.fromkeys(name for part in parts for name in part.description.antennas.names))
    return DataSetListing(
        path, kind, first.telescope, first.observer, antennas, tuple(fields.values()), tuple(windows.values()),
        _join_spans(spans),
    )  # fmt: skip


def _describe_window(number: str, description: MeasurementSetDescription) -> ListedWindow:
    """Return the spectral window of a part."""
    return ListedWindow(
        number,
        description.spectral_window_name,
        len(description.frequency_hz),
        (float(description.frequency_hz.min()), float(description.frequency_hz.max())),
        description.channel_width_hz,
        description.polarizations,
    )


def _spans_of(part: SourcePart, window: str) -> list[_Span]:
    """Return the scans of a part."""
    one = part.description
    scans = np.asarray(one.scan_names)
    half = 0.5 * one.integration_time_s if np.isfinite(one.integration_time_s) else 0.0
    return [
        _Span(name, one.field_name, window, float(times.min()) - half, float(times.max()) + half)
        for name, times in ((name, one.time_s[scans == name]) for name in dict.fromkeys(one.scan_names))
    ]


def _join_spans(spans: Sequence[_Span]) -> tuple[ListedScan, ...]:
    """Return the scans of all windows, in the order of their times."""
    joined: dict[tuple[str, str], list[_Span]] = {}
    for span in spans:
        joined.setdefault((span.scan, span.field), []).append(span)
    scans = [
        ListedScan(
            scan,
            field,
            min(one.start_s for one in own),
            max(one.stop_s for one in own),
            tuple(dict.fromkeys(one.window for one in own)),
        )
        for (scan, field), own in joined.items()
    ]
    return tuple(sorted(scans, key=lambda one: one.start_s))


# --- MSv2 ----------------------------------------------------------------------------------------------------------


def _list_msv2(path: str) -> DataSetListing:
    """List an MSv2 from its tables."""
    known = msv2.read_names(path)
    fields = open_table(path, "FIELD")
    original = [str(name) for name in fields("NAME")]
    names = [known.fields.get(f"{name}_{number}", f"{name}_{number}") for number, name in enumerate(original)]
    directions = np.asarray(fields("PHASE_DIR"), float)[:, 0]
    spans, intents = _read_main(path, names)
    observation = open_table(path, "OBSERVATION")
    antennas = open_table(path, "ANTENNA")
    seen = {span.field for span in spans}
    windows = _list_windows(path)
    return DataSetListing(
        path,
        SourceKind.MSV2,
        str(observation("TELESCOPE_NAME")[0]),
        str(observation("OBSERVER")[0]),
        tuple(
            known.antennas.get(f"{name}_{station}", f"{name}_{station}")
            for name, station in zip(antennas("NAME"), antennas("STATION"), strict=True)
        ),
        tuple(
            {
                name: ListedField(name, (float(ra) % (2 * np.pi), float(dec)), intents.get(name, ()))
                for name, (ra, dec) in zip(names, directions, strict=True)
                if name in seen
            }.values()
        ),
        tuple(window for window in windows if any(span.window == window.number for span in spans)),
        _join_spans(spans),
    )


def _list_windows(path: str) -> list[ListedWindow]:
    """Return the spectral windows of an MSv2 with their correlations."""
    windows, setups, described = (
        open_table(path, name) for name in ("SPECTRAL_WINDOW", "POLARIZATION", "DATA_DESCRIPTION")
    )
    names, widths = windows("NAME"), windows("TOTAL_BANDWIDTH")
    listed = []
    pairs = zip(described("SPECTRAL_WINDOW_ID").tolist(), described("POLARIZATION_ID").tolist(), strict=True)
    for window, setup in dict(pairs).items():
        # Row by row: windows have different numbers of channels.
        frequency = np.ravel(windows("CHAN_FREQ", slice(window, window + 1)))
        correlations = np.ravel(setups("CORR_TYPE", slice(setup, setup + 1)))
        listed.append(
            ListedWindow(
                str(window),
                str(names[window]),
                len(frequency),
                (float(frequency.min()), float(frequency.max())),
                float(widths[window]) / len(frequency),
                tuple(_CORRELATIONS.get(int(number), str(number)) for number in correlations),
            )
        )
    return listed


def _read_main(path: str, fields: Sequence[str]) -> tuple[list[_Span], dict[str, tuple[str, ...]]]:
    """Return scans, and the intents of each field, from the main table of an MSv2."""
    main = open_table(path)
    windows = open_table(path, "DATA_DESCRIPTION")("SPECTRAL_WINDOW_ID")
    states = open_table(path, "STATE")
    modes = [str(mode) for mode in states("OBS_MODE")] if states.n_rows else []
    ends: dict[tuple[int, int, int, int], tuple[float, float]] = {}
    for time, interval, *numbers in main.pieces(
        ("TIME", "INTERVAL", "SCAN_NUMBER", "FIELD_ID", "DATA_DESC_ID", "STATE_ID")
    ):
        found, where = np.unique(np.stack(numbers, axis=1), axis=0, return_inverse=True)
        time_s, half = time - _UNIX_EPOCH_MJD_S, 0.5 * interval
        first, last = np.full(len(found), np.inf), np.full(len(found), -np.inf)
        np.minimum.at(first, where.ravel(), time_s - half)
        np.maximum.at(last, where.ravel(), time_s + half)
        for key, begin, end in zip(map(tuple, found.tolist()), first.tolist(), last.tolist(), strict=True):
            known = ends.get(key, (begin, end))
            ends[key] = (min(known[0], begin), max(known[1], end))
    intents: dict[str, tuple[str, ...]] = {}
    spans = []
    for (scan, field, description, state), (begin, end) in ends.items():
        words = modes[state].split(",") if 0 <= state < len(modes) and modes[state] else []
        intents[fields[field]] = tuple(dict.fromkeys((*intents.get(fields[field], ()), *words)))
        spans.append(_Span(str(scan), fields[field], str(windows[description]), begin, end))
    return spans, intents
