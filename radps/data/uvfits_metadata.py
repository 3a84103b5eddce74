"""What is in a UVFITS file: fields, windows, antennas, scans, and which row holds which time and baseline.

:func:`describe_uvfits` gives the metadata of every field and spectral window, and for each the map from time and
baseline to the rows of the file. Telescope, antennas, frequencies and sources are read by pyuvdata. As pyuvdata loads a
whole file even for its metadata, it gets a copy that has the tables and one row of each source.

Atomic times (TAI, IAT) become UTC. Frequencies ascend, as XRADIO has them: a band that is stored downwards is turned
round. A B1950 field comes to FK5 J2000, its (u, v) turned with it.

References
----------
Greisen 2019, AIPS Memo 117 (the format). Keating et al. 2025, JOSS 10, 7482 (pyuvdata).
"""

from __future__ import annotations

import os
import tempfile
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from radps.data.frames import to_modern_frame
from radps.data.measurement_set import Antennas, MeasurementSetDescription
from radps.data.uvfits import (
    BLOCK_BYTES,
    FitsUnit,
    UvfitsAddress,
    UvfitsLayout,
    find_layout,
    parameter_names,
    read_bytes,
    read_units,
    scaling,
)
from radps.domain.earth import DAY_S, UNIX_EPOCH_JD
from radps.errors import DataError

if TYPE_CHECKING:
    from astropy.io import fits

SCAN_GAP_S = 300.0
"""A pause longer than this begins a new scan, as a change of the field does (CASA `importuvfits` does the same)."""

_LIMIT_S = 150 * 365.25 * DAY_S
"""Dates further than this from 1970 are no dates."""
_POLARIZATIONS = {
    1: "I", 2: "Q", 3: "U", 4: "V",
    -1: "RR", -2: "LL", -3: "RL", -4: "LR", -5: "XX", -6: "YY", -7: "XY", -8: "YX",
}  # fmt: skip
_FRAMES = {
    "LSRK": "LSRK",
    "LSRD": "LSRD",
    "BARYCENT": "BARY",
    "HELIOCEN": "BARY",
    "GEOCENTR": "GEO",
    "TOPOCENT": "TOPO",
    "SOURCE": "REST",
}
_VELOCITY_REFERENCES = {1: "LSRK", 2: "BARY", 3: "TOPO"}
"""AIPS keyword VELREF, 256 (radio convention) taken off."""


class UvfitsPart(NamedTuple):
    """One field in one spectral window: its metadata, and where its samples are."""

    description: MeasurementSetDescription
    address: UvfitsAddress
    rows: npt.NDArray[np.int64]
    """(time, baseline) row of the file; -1 = there is none."""


class _Rows(NamedTuple):
    """What the random parameters say of every row; arrays have one entry a row."""

    time_s: npt.NDArray[np.float64]
    """Middle of the integration, UTC [unix s]."""
    antenna1: npt.NDArray[np.int64]
    """Index into the antenna table."""
    antenna2: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    """Number of the source; 0 for all in a file of one source."""
    interval_s: npt.NDArray[np.float64]
    """Length of the integration [s]; no elements if the file does not say."""


class _Source(NamedTuple):
    """A field of the file."""

    name: str
    ra_rad: float
    dec_rad: float
    frame: str
    equinox: float | None


class _Metadata(NamedTuple):
    """What the headers and tables say."""

    telescope: str
    antennas: Antennas
    antenna_numbers: npt.NDArray[np.int64]
    is_atomic_time: bool
    """True: the times of the file are TAI."""
    sources: dict[int, _Source]
    frequency_hz: npt.NDArray[np.float64]
    """(window, channel), as stored."""
    channel_width_hz: npt.NDArray[np.float64]
    """(window,), positive."""
    frequency_offset_hz: dict[int, npt.NDArray[np.float64]]
    """Source -> (window,), where the source table has offsets."""
    rest_frequency_hz: dict[int, npt.NDArray[np.float64]]
    """Source -> (window,); NaN = none."""
    spectral_frame: str
    polarizations: tuple[str, ...]
    observer: str
    project: str


def describe_uvfits(path: str) -> list[UvfitsPart]:
    """Read the metadata of a file: one part for each field and spectral window. No samples are read.

    Parameters
    ----------
    path : str
        A local file.

    Returns
    -------
    list of UvfitsPart
        Fields in the order of the file's source table, for each its spectral windows.

    Raises
    ------
    DataError
        The file is damaged, has no rows, or is of a kind that is not read; the message says which.
    """
    units = read_units(path)
    layout = find_layout(path, units[0])
    parameters = _Parameters(path, units[0].header, layout)
    time_s = parameters.times()
    source = parameters.sources(has_table=any(unit.name == "AIPS SU" for unit in units))
    metadata = _read_metadata(path, units, layout, source)
    rows = _read_rows(path, parameters, metadata, time_s, source)
    scans = _name_scans(rows)
    parts = []
    for number in metadata.sources:
        here = np.flatnonzero(source == number)
        if here.size:
            parts += _describe_source(path, number, rows, here, scans, metadata, layout)
    return parts


class _Parameters:
    """The random parameters of all rows."""

    def __init__(self, path: str, header: fits.Header, layout: UvfitsLayout) -> None:
        self.names = parameter_names(header)
        self._path = path
        self._header = header
        self._values = layout.load(np.arange(layout.n_rows), 0, layout.n_parameters)

    def load(self, name: str, offset: float = 0.0) -> npt.NDArray[np.float64]:
        """Return a parameter of all rows, less ``offset``; those of the same name add up, the large parts first."""
        found = [index for index, known in enumerate(self.names) if known == name]
        if not found:
            raise DataError(
                f"{self._path} has no random parameter {name}; it has {', '.join(self.names)}, and UVFITS needs it"
            )
        scalings = [scaling(self._header, index) for index in found]
        total = np.full(len(self._values), sum(zero for _, _, zero in scalings) - offset)
        for index, scale, _ in scalings:
            total += self._values[:, index].astype(np.float64) * scale
        return total

    def sources(self, *, has_table: bool) -> npt.NDArray[np.int64]:
        """Return the source of each row, 0 where the file has one source and no table of sources."""
        if "SOURCE" not in self.names:
            return np.zeros(len(self._values), np.int64)
        source = self.load("SOURCE").astype(np.int64)
        if has_table:
            return source
        if np.unique(source).size > 1:
            raise DataError(
                f"{self._path} has rows of {np.unique(source).size} sources and no source table (AIPS SU); it is "
                "truncated or damaged, copy it again"
            )
        return np.zeros_like(source)

    def times(self) -> npt.NDArray[np.float64]:
        """Return the time of each row, in the time system of the file [unix s]."""
        time_s = self.load("DATE", UNIX_EPOCH_JD) * DAY_S
        wrong = np.count_nonzero(~(np.abs(time_s) < _LIMIT_S))
        if wrong:
            raise DataError(
                f"{self._path}: {wrong} of {len(time_s)} rows have no date between 1820 and 2120; the file is damaged"
            )
        return time_s

    def antennas(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the two antenna numbers of each row."""
        if "ANTENNA1" in self.names and "ANTENNA2" in self.names:
            self._check_one("SUBARRAY", "subarrays", self.load("SUBARRAY") if "SUBARRAY" in self.names else None)
            return self.load("ANTENNA1").astype(np.int64), self.load("ANTENNA2").astype(np.int64)
        baseline = self.load("BASELINE")
        number = np.floor(baseline + 1e-4).astype(np.int64)
        self._check_one("BASELINE", "subarrays", np.round((baseline - number) * 100))
        # 256 a1 + a2, or in the way of MIRIAD, for more than 255 antennas, 2048 a1 + a2 + 65536.
        base = np.where(number > 65536, 2048, 256)
        number = np.where(number > 65536, number - 65536, number)
        return number // base, number % base

    def check_one_setup(self) -> None:
        """Refuse several frequency setups."""
        self._check_one("FREQSEL", "frequency setups", self.load("FREQSEL") if "FREQSEL" in self.names else None)

    def _check_one(self, name: str, what: str, values: npt.NDArray[np.float64] | None) -> None:
        n_values = 1 if values is None else np.unique(values).size
        if n_values > 1:
            raise DataError(
                f"{self._path} holds {n_values} {what} (random parameter {name}); files of one are read, so split it, "
                "for example by AIPS `UVCOP`"
            )


def _read_rows(
    path: str,
    parameters: _Parameters,
    metadata: _Metadata,
    time_s: npt.NDArray[np.float64],
    source: npt.NDArray[np.int64],
) -> _Rows:
    """Read what the random parameters say of every row."""
    parameters.check_one_setup()
    if metadata.is_atomic_time:
        time_s = _to_utc(time_s)
    numbers = metadata.antenna_numbers
    order = np.argsort(numbers)
    antennas = []
    for wanted in parameters.antennas():
        place = np.minimum(np.searchsorted(numbers, wanted, sorter=order), len(numbers) - 1)
        index = order[place]
        if np.any(numbers[index] != wanted):
            missing = np.unique(wanted[numbers[index] != wanted])
            raise DataError(
                f"{path} has data of the antennas {missing.tolist()}, which its antenna table does not list "
                f"({numbers.min()} to {numbers.max()}); the file is damaged"
            )
        antennas.append(index)
    interval_s = parameters.load("INTTIM") if "INTTIM" in parameters.names else np.zeros(0)
    return _Rows(time_s, antennas[0], antennas[1], source, interval_s)


def _to_utc(time_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return atomic times, counted from 1970-01-01 00:00 TAI, as UTC unix seconds."""
    from astropy.time import Time  # 0.5 s to import

    unique, inverse = np.unique(time_s, return_inverse=True)
    atomic = Time(UNIX_EPOCH_JD + np.floor(unique / DAY_S), np.mod(unique, DAY_S) / DAY_S, format="jd", scale="tai")
    # The difference alone, as a count of days would cost digits.
    leap_s = np.round(((atomic.utc.jd1 - atomic.jd1) + (atomic.utc.jd2 - atomic.jd2)) * DAY_S, 6)
    return np.asarray((unique + leap_s)[inverse])


def _name_scans(rows: _Rows) -> dict[tuple[float, int], str]:
    """Return the scan of each (time, source): a new one where the source changes or after a pause."""
    pairs = np.unique(np.stack([rows.time_s, rows.source.astype(np.float64)], axis=-1), axis=0)
    changes = (np.diff(pairs[:, 1]) != 0) | (np.diff(pairs[:, 0]) > SCAN_GAP_S)
    numbers = np.concatenate([[1], 1 + np.cumsum(changes)])
    return {(time, int(source)): str(number) for (time, source), number in zip(pairs.tolist(), numbers, strict=True)}


def _read_metadata(path: str, units: list[FitsUnit], layout: UvfitsLayout, source: npt.NDArray[np.int64]) -> _Metadata:
    """Read headers and tables by pyuvdata, and what it leaves out from the tables themselves."""
    from astropy.io import fits
    from astropy.utils import iers
    from pyuvdata import UVData  # seconds to import

    _, first_rows = np.unique(source, return_index=True)
    with tempfile.TemporaryDirectory(prefix="radps-") as folder, warnings.catch_warnings():
        # pyuvdata warns of frames and dates that old files do not state, and computes sidereal times nobody needs.
        warnings.simplefilter("ignore")
        excerpt = os.path.join(folder, "excerpt.uvfits")
        _write_excerpt(path, units, layout, first_rows, excerpt)
        data = UVData()
        try:
            names = _separate_sources(excerpt)
            with iers.conf.set_temp("auto_download", False):
                data.read_uvfits(excerpt, read_data=False, run_check=False, background_lsts=False)
            with fits.open(excerpt, memmap=False) as tables:
                sources = tables["AIPS SU"].data if "AIPS SU" in tables else None
                return _metadata(data, units, layout, sources, names)
        except (KeyError, ValueError, IndexError, TypeError, AttributeError, OSError, RuntimeError) as error:
            raise DataError(
                f"{path}: its tables cannot be read ({type(error).__name__}: {error}); the file is damaged, or of a "
                "kind that pyuvdata does not know"
            ) from error


def _write_excerpt(
    path: str, units: list[FitsUnit], layout: UvfitsLayout, rows: npt.NDArray[np.int64], target: str
) -> None:
    """Write a UVFITS file that has the headers, the tables that matter, and a few rows."""
    with open(path, "rb") as stream, open(target, "wb") as out:
        for unit in units:
            if unit.name not in ("", "AIPS AN", "AIPS FQ", "AIPS SU"):
                continue
            stream.seek(unit.start)
            header = stream.read(unit.data - unit.start)
            if unit is units[0]:
                cards = [header[start : start + 80] for start in range(0, len(header), 80)]
                count = f"GCOUNT  = {len(rows):>20d}".ljust(80).encode()
                out.write(b"".join(count if card.startswith(b"GCOUNT  =") else card for card in cards))
                data = b"".join(
                    read_bytes(path, layout.offset + row * layout.row_bytes, layout.row_bytes) for row in rows.tolist()
                )
            else:
                out.write(header)
                data = stream.read(unit.stop - unit.data)
            out.write(data + b"\0" * (-len(data) % BLOCK_BYTES))


def _separate_sources(path: str) -> dict[int, str]:
    """Give sources that a table lists twice names of their own, as pyuvdata asks for; returns number -> old name."""
    from astropy.io import fits

    with fits.open(path, mode="update", memmap=False) as tables:
        table = tables["AIPS SU"].data if "AIPS SU" in tables else None
        if table is None:
            return {}
        names = [str(name).strip() for name in table["SOURCE"]]
        numbers = [int(number) for number in table["ID. NO."]]
        if len(set(names)) == len(names):
            return {}
        table["SOURCE"] = [str(number) for number in numbers]
        return dict(zip(numbers, names, strict=True))


def _metadata(data: Any, units: list[FitsUnit], layout: UvfitsLayout, table: Any, names: dict[int, str]) -> _Metadata:
    """Return what pyuvdata read, with what it leaves out; ``names`` are those of sources that go by others there."""
    header = units[0].header
    shape = (layout.n_windows, layout.n_channels)
    sources = {
        0 if table is None else int(number): _Source(
            name=names.get(int(number), str(entry["cat_name"]).strip()) or "unnamed",
            ra_rad=float(entry["cat_lon"]),
            dec_rad=float(entry["cat_lat"]),
            frame=str(entry["cat_frame"]),
            equinox=None if entry["cat_epoch"] is None else float(entry["cat_epoch"]),
        )
        for number, entry in data.phase_center_catalog.items()
    }
    own_rest = np.full(layout.n_windows, float(header.get("RESTFREQ", header.get("RESTFRQ", np.nan))))
    return _Metadata(
        telescope=str(data.telescope.name).strip(),
        antennas=_antennas(data),
        antenna_numbers=np.asarray(data.telescope.antenna_numbers, np.int64),
        is_atomic_time=str(data.timesys).strip().upper() in ("TAI", "IAT"),
        sources=_unique_names(sources),
        frequency_hz=np.asarray(data.freq_array, np.float64).reshape(shape),
        channel_width_hz=np.abs(np.asarray(data.channel_width, np.float64).reshape(shape)[:, 0]),
        frequency_offset_hz=_source_column(table, "FREQOFF", layout.n_windows),
        rest_frequency_hz={
            number: np.where(own > 0, own, own_rest)
            for number, own in {
                **dict.fromkeys(sources, own_rest),
                **_source_column(table, "RESTFREQ", layout.n_windows),
            }.items()
        },
        spectral_frame=_spectral_frame(header),
        polarizations=tuple(_POLARIZATIONS[int(code)] for code in data.polarization_array),
        observer=str(header.get("OBSERVER", "")).strip(),
        project=str(header.get("PROJECT", "")).strip(),
    )


def _source_column(table: Any, name: str, n_windows: int) -> dict[int, npt.NDArray[np.float64]]:
    """Return source -> (window,) of a column of the source table, if it has one."""
    if table is None or name not in table.names:
        return {}
    values = np.asarray(table[name], np.float64).reshape(len(table), -1)
    return {int(number): np.broadcast_to(row, n_windows) for number, row in zip(table["ID. NO."], values, strict=True)}


def _unique_names(sources: dict[int, _Source]) -> dict[int, _Source]:
    """Return the sources with names that stand for one direction: a number is appended where one has several.

    What is alike stays so, and becomes one field: AIPS lists a source once for each of its qualifiers.
    """
    places: dict[str, set[_Source]] = {}
    for source in sources.values():
        places.setdefault(source.name, set()).add(source)
    return {
        number: source._replace(name=f"{source.name}_{number}") if len(places[source.name]) > 1 else source
        for number, source in sources.items()
    }


def _antennas(data: Any) -> Antennas:
    """Return the antennas; those of the VLA are named as CASA does (VA15), others by the antenna table."""
    telescope = data.telescope
    stations = [name.strip() for name in telescope.antenna_names]
    numbers = [int(number) for number in telescope.antenna_numbers]
    if "VLA" in str(telescope.name).upper():
        names = [
            f"{'EA' if station.upper().startswith('EVLA') else 'VA'}{number:02d}"
            for station, number in zip(stations, numbers, strict=True)
        ]
    else:
        names = [
            station if station and stations.count(station) == 1 else f"ANT{number:02d}"
            for station, number in zip(stations, numbers, strict=True)
        ]
    center = np.array([axis.to_value("m") for axis in telescope.location.geocentric])
    diameters = telescope.antenna_diameters
    mounts = telescope.mount_type or ["other"] * len(names)
    return Antennas(
        names=tuple(names),
        stations=tuple(stations),
        positions_m=np.asarray(telescope.antenna_positions, np.float64) + center,
        diameters_m=np.full(len(names), np.nan) if diameters is None else np.asarray(diameters, np.float64),
        mounts=tuple(str(mount).upper() for mount in mounts),
        receptors=("X", "Y") if int(data.polarization_array[0]) <= -5 else ("R", "L"),
    )


def _spectral_frame(header: fits.Header) -> str:
    """Return the frame of the frequencies by the name of casacore; files that do not say are topocentric."""
    name = str(header.get("SPECSYS", "")).strip().upper()
    return _FRAMES.get(name) or _VELOCITY_REFERENCES.get(int(header.get("VELREF", 0)) % 256, "TOPO")


def _describe_source(
    path: str,
    number: int,
    rows: _Rows,
    here: npt.NDArray[np.int64],
    scans: dict[tuple[float, int], str],
    metadata: _Metadata,
    layout: UvfitsLayout,
) -> list[UvfitsPart]:
    """Return the parts of one field: one for each spectral window, all with the same map of rows."""
    source = metadata.sources[number]
    direction = to_modern_frame(
        source.ra_rad, source.dec_rad, source.frame, source.equinox, telescope=metadata.telescope
    )
    n_antennas = len(metadata.antennas.names)
    times, time_index = np.unique(rows.time_s[here], return_inverse=True)
    pairs, pair_index = np.unique(rows.antenna1[here] * n_antennas + rows.antenna2[here], return_inverse=True)
    row_map = np.full((len(times), len(pairs)), -1, np.int64)
    row_map[time_index, pair_index] = here
    n_lost = here.size - int(np.count_nonzero(row_map >= 0))
    if n_lost:
        raise DataError(
            f"{path}: {n_lost} rows of field {source.name} are of the same time and baseline as another row; keep one "
            "of them, for example by AIPS `UVCOP`"
        )
    parts = []
    for window in range(layout.n_windows):
        frequency_hz = (
            metadata.frequency_hz[window] + metadata.frequency_offset_hz.get(number, np.zeros(layout.n_windows))[window]
        )
        is_reversed = len(frequency_hz) > 1 and bool(frequency_hz[0] > frequency_hz[-1])
        description = MeasurementSetDescription(
            name=f"{number}_{window}",
            field_name=source.name,
            source_name=source.name,
            phase_center_rad=(direction.ra_rad, direction.dec_rad),
            phase_center_frame=direction.frame,
            intents=(),
            time_s=times,
            integration_time_s=_integration_time_s(rows, here, times),
            scan_names=tuple(scans[time, number] for time in times.tolist()),
            frequency_hz=frequency_hz[::-1] if is_reversed else frequency_hz,
            channel_width_hz=float(metadata.channel_width_hz[window]),
            spectral_frame=metadata.spectral_frame,
            rest_frequency_hz=float(metadata.rest_frequency_hz[number][window]),
            spectral_window_name=f"IF {window + 1}",
            polarizations=metadata.polarizations,
            antennas=metadata.antennas,
            antenna1=pairs // n_antennas,
            antenna2=pairs % n_antennas,
            telescope=metadata.telescope,
            observer=metadata.observer,
            project=metadata.project,
        )
        address = UvfitsAddress(
            layout=layout, window=window, is_reversed=is_reversed, uvw_rotation_rad=direction.rotation_rad
        )
        parts.append(UvfitsPart(description, address, row_map))
    return parts


def _integration_time_s(rows: _Rows, here: npt.NDArray[np.int64], times: npt.NDArray[np.float64]) -> float:
    """Return the length of an integration [s]: as the file says, else the distance of two times; NaN = unknown."""
    if rows.interval_s.size:
        return float(np.median(rows.interval_s[here]))
    if len(times) < 2:
        return float("nan")
    # Times in single precision jump about by some ms, so the smallest difference alone would be too small.
    steps = np.diff(times)
    return float(np.median(steps[steps < 1.5 * steps.min()]))
