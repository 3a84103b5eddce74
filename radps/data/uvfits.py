"""UVFITS files: what is in them, and blocks of their samples, in the conventions of MSv4.

1. :func:`check_uvfits` compares the size of the file with its headers, so that a truncated file is found at once.
2. :func:`describe_uvfits` gives the metadata of every field and spectral window, and for each the map from
   (time, baseline) to the rows of the file. Telescope, antennas, frequencies and sources are read by pyuvdata. As
   pyuvdata loads a whole file even for its metadata, it gets a copy that has the tables and one row of each source.
3. :func:`load_rows` reads the samples of some rows straight from the file: memory goes with the block, not the file.

Conventions. The visibilities and the (u, v, w) of UVFITS are those of MSv4 (docs/conventions.md), the latter in seconds
of light travel; pyuvdata has both with the other sign. A weight that is not positive means a flag; its modulus is kept.
Atomic times (TAI, IAT) become UTC. Frequencies ascend, as XRADIO has them: a band that is stored downwards is turned
round. A B1950 field comes to FK5 J2000, its (u, v) turned with it.

References
----------
Greisen 2019, AIPS Memo 117 (the format). Keating et al. 2025, JOSS 10, 7482 (pyuvdata).
"""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from radps.data.frames import rotate_uvw, to_modern_frame
from radps.data.measurement_set import Antennas, MeasurementSetDescription
from radps.data.urls import format_bytes
from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.errors import DataError

if TYPE_CHECKING:
    from astropy.io import fits

SCAN_GAP_S = 300.0
"""A pause longer than this begins a new scan, as a change of the field does (CASA `importuvfits` does the same)."""

_BLOCK = 2880
_READ_BYTES = 4 * 2**20
"""Bytes read from a file at once, unless a row is longer."""
_GAP_BYTES = 16 * 2**10
"""Bytes that are read in vain rather than jumped over."""
_UNIX_EPOCH_JD = 2440587.5
_DAY_S = 86400.0
_LIMIT_S = 150 * 365.25 * _DAY_S
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
_TYPES = {-32: ">f4", -64: ">f8", 8: ">u1", 16: ">i2", 32: ">i4"}


class UvfitsLayout(BaseModel):
    """Where the samples of a file lie: what a task needs to read them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    offset: int
    """First byte of the first row."""
    n_rows: int
    n_parameters: int
    """Random parameters at the start of each row."""
    bitpix: int
    n_windows: int
    n_channels: int
    n_polarizations: int
    scale: float
    zero: float
    """Sample = stored number * scale + zero."""
    uvw: tuple[tuple[int, float, float], ...]
    """Of u, v and w: index of the parameter, scale and zero, to seconds."""

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.element.itemsize * (self.n_parameters + self.samples_per_window * self.n_windows)

    @property
    def samples_per_window(self) -> int:
        """Stored numbers of a row in one window: real and imaginary parts and weights."""
        return self.n_channels * self.n_polarizations * 3

    @property
    def element(self) -> np.dtype[Any]:
        """Type of a stored number."""
        return np.dtype(_TYPES[self.bitpix])

    def load(self, rows: npt.NDArray[np.int64], first: int, count: int) -> npt.NDArray[Any]:
        """Read ``count`` numbers of each row from the number ``first`` on; shape (row, count), in native byte order.

        The rows ascend. Reading is by blocks that jump over what is not wanted, not by a memory map, whose pages would
        count as memory of the worker.
        """
        size = self.element.itemsize
        raw = np.empty((len(rows), count * size), np.uint8)
        for begin, end in _runs(rows, self.row_bytes, count * size):
            length = int(rows[end - 1] - rows[begin]) * self.row_bytes + count * size
            start = self.offset + int(rows[begin]) * self.row_bytes + first * size
            block = _read_bytes(self.path, start, length)
            there = (int(rows[end - 1] - rows[begin]) + 1, count * size)
            wanted = np.ndarray(there, np.uint8, block, strides=(self.row_bytes, 1))
            raw[begin:end] = wanted[rows[begin:end] - rows[begin]]
        numbers = raw.view(self.element)
        return numbers.byteswap(inplace=True).view(self.element.newbyteorder("="))


class UvfitsAddress(BaseModel):
    """One field in one spectral window of a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: UvfitsLayout
    window: int
    """Index along the axis of windows (IF)."""
    is_reversed: bool
    """True: the channels are stored downwards in frequency."""
    uvw_rotation_rad: float
    """For :func:`~radps.data.frames.rotate_uvw`."""


def _runs(rows: npt.NDArray[np.int64], row_bytes: int, wanted_bytes: int) -> list[tuple[int, int]]:
    """Cut ascending rows into ranges (begin, end) that are read at once: with small gaps, and of limited length."""
    if not len(rows):
        return []
    breaks = np.flatnonzero(np.diff(rows) * row_bytes - wanted_bytes > _GAP_BYTES) + 1
    runs = []
    for begin, end in pairwise([0, *breaks.tolist(), len(rows)]):
        # Rows of a run are numbered in steps of what fits into a block.
        blocks = (rows[begin:end] - rows[begin]) // max(1, _READ_BYTES // row_bytes)
        edges = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), end - begin]
        runs += [(begin + one, begin + other) for one, other in pairwise(edges)]
    return runs


def _read_bytes(path: str, start: int, length: int) -> bytes:
    """Read bytes of a file; one that became shorter since it was described is an error."""
    with open(path, "rb", buffering=0) as stream:
        block = os.pread(stream.fileno(), length, start)
        while len(block) < length:
            more = os.pread(stream.fileno(), length - len(block), start + len(block))
            if not more:
                raise DataError(
                    f"{path} ends at byte {start + len(block)}, {length - len(block)} bytes before the end of a block "
                    "of rows; it was changed while it was imported, so begin again"
                )
            block += more
    return block


class UvfitsPart(NamedTuple):
    """One field in one spectral window: its metadata, and where its samples are."""

    description: MeasurementSetDescription
    address: UvfitsAddress
    rows: npt.NDArray[np.int64]
    """(time, baseline) row of the file; -1 = there is none."""


class UvfitsRows(NamedTuple):
    """Samples of some rows."""

    visibilities: npt.NDArray[np.complex64]
    """(row, channel, polarization)."""
    flags: npt.NDArray[np.bool_]
    """Same shape; True = do not use."""
    weights: npt.NDArray[np.float32]
    """Same shape; at least 0."""
    uvw_m: npt.NDArray[np.float64]
    """(row, 3) [m]."""


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


class _Unit(NamedTuple):
    """A header and data unit of a file."""

    header: fits.Header
    name: str
    """Name of the table, empty for the visibilities."""
    start: int
    """First byte of the header."""
    data: int
    """First byte of the data."""
    stop: int
    """One after the last byte of the data; the unit is padded to whole blocks."""


def check_uvfits(path: str) -> None:
    """Refuse a file that is no UVFITS, is shorter than its headers say, or of a kind that is not read.

    Parameters
    ----------
    path : str
        A local file.

    Raises
    ------
    DataError
        With what the headers promise and what there is.
    """
    _read_units(path)


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
    units = _read_units(path)
    layout = _find_layout(path, units[0])
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


def load_rows(address: UvfitsAddress, rows: npt.NDArray[np.int64], channels: slice) -> UvfitsRows:
    """Read the samples of some rows.

    Parameters
    ----------
    address : UvfitsAddress
        The file and the spectral window.
    rows : ndarray, (row,) int64
        Rows of the file, ascending.
    channels : slice
        Channels in ascending order of frequency; without a step.

    Returns
    -------
    UvfitsRows
        Samples in the conventions of MSv4.

    Raises
    ------
    DataError
        The file became shorter since it was described.
    """
    layout = address.layout
    start, stop, _ = channels.indices(layout.n_channels)
    if address.is_reversed:
        start, stop = layout.n_channels - stop, layout.n_channels - start
    per_channel = layout.n_polarizations * 3
    first = layout.n_parameters + address.window * layout.samples_per_window + start * per_channel
    numbers = layout.load(rows, first, (stop - start) * per_channel)
    samples = numbers.reshape(len(rows), stop - start, layout.n_polarizations, 3)
    if layout.bitpix != -32:
        samples = samples.astype(np.float32 if layout.bitpix in (8, 16) else np.float64)
    if (layout.scale, layout.zero) != (1.0, 0.0):
        samples = samples * layout.scale + layout.zero
    if address.is_reversed:
        samples = samples[:, ::-1]
    visibilities = np.empty(samples.shape[:-1], np.complex64)
    visibilities.real, visibilities.imag = samples[..., 0], samples[..., 1]
    weights = samples[..., 2].astype(np.float32)
    parameters = layout.load(rows, 0, layout.n_parameters)
    uvw_s = np.stack(
        [parameters[:, index].astype(np.float64) * scale + zero for index, scale, zero in layout.uvw], axis=-1
    )
    return UvfitsRows(
        visibilities=visibilities,
        flags=np.logical_not(weights > 0),
        weights=np.abs(weights),
        uvw_m=rotate_uvw(uvw_s * SPEED_OF_LIGHT_M_S, address.uvw_rotation_rad),
    )


# --- headers --------------------------------------------------------------------------------------


def _read_units(path: str) -> list[_Unit]:
    """Return the units of a file, the visibilities first; see :func:`check_uvfits`."""
    size = os.path.getsize(path)
    units: list[_Unit] = []
    position = 0
    with open(path, "rb") as stream:
        while position < size:
            unit = _read_unit(stream, path, position)
            if unit is None:
                break
            what = f"table {unit.name}" if units else f"{unit.header.get('GCOUNT', 0)} rows of visibilities"
            if unit.stop > size:
                raise DataError(
                    f"{path} is truncated: by its headers the {what} end at byte {unit.stop} "
                    f"({format_bytes(unit.stop)}), and the file has {size} ({format_bytes(size)}); copy it again"
                )
            units.append(unit)
            position = -(-unit.stop // _BLOCK) * _BLOCK
    if not units:
        raise DataError(f"{path} is no FITS file; check the path")
    names = [unit.name for unit in units]
    if "AIPS AN" not in names:
        raise DataError(
            f"{path} has no antenna table (AIPS AN) after the visibilities; tables found: "
            f"{', '.join(filter(None, names)) or 'none'}. It is truncated or damaged; copy it again"
        )
    return units


def _read_unit(stream: BinaryIO, path: str, position: int) -> _Unit | None:
    """Read a header; None where the rest of the file is no unit but padding."""
    from astropy.io import fits  # 0.3 s to import

    stream.seek(position)
    word = stream.read(8)
    if word != (b"XTENSION" if position else b"SIMPLE  "):
        return None
    stream.seek(position)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = fits.Header.fromfile(stream, endcard=True)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{path} is truncated or damaged: the header at byte {position} has no end ({error}); copy it again"
        ) from error
    if not position and not header.get("GROUPS"):
        axes = " x ".join(str(header[f"NAXIS{axis + 1}"]) for axis in range(header["NAXIS"])) or "no data"
        raise DataError(
            f"{path} is a FITS file without visibilities (random groups): it holds {axes}; UVFITS files are read, "
            "images and FITS-IDI are not"
        )
    start = stream.tell()
    name = str(header.get("EXTNAME", "")).strip()
    return _Unit(header, name, position, start, start + _data_bytes(header))


def _data_bytes(header: fits.Header) -> int:
    """Return the bytes of the data of a unit."""
    axes = [int(header[f"NAXIS{axis + 1}"]) for axis in range(int(header["NAXIS"]))]
    if not axes:
        return 0
    cells = math.prod(axes[1:] if header.get("GROUPS") else axes)
    groups, parameters = int(header.get("GCOUNT", 1)), int(header.get("PCOUNT", 0))
    return abs(int(header["BITPIX"])) // 8 * groups * (parameters + cells)


def _find_layout(path: str, unit: _Unit) -> UvfitsLayout:
    """Return where the samples lie, and refuse axes that are not the standard ones."""
    header = unit.header
    names = [str(header.get(f"CTYPE{axis}", "")).strip() for axis in range(2, int(header["NAXIS"]) + 1)]
    has_windows = len(names) > 3 and names[3] == "IF"
    rest = names[4:] if has_windows else names[3:]
    sizes = [int(header[f"NAXIS{axis}"]) for axis in range(2, int(header["NAXIS"]) + 1)]
    if names[:3] != ["COMPLEX", "STOKES", "FREQ"] or sizes[0] != 3 or any(size != 1 for size in sizes[-len(rest) :]):
        found = ", ".join(f"{name} {size}" for name, size in zip(names, sizes, strict=True))
        raise DataError(
            f"{path} has the axes {found}; UVFITS files are read with the axes COMPLEX 3, STOKES, FREQ, IF (or none), "
            "RA 1, DEC 1; write it again by AIPS `FITTP` or CASA `exportuvfits`"
        )
    if not int(header["GCOUNT"]):
        raise DataError(f"{path} holds no visibilities: GCOUNT is 0")
    return UvfitsLayout(
        path=path,
        offset=unit.data,
        n_rows=int(header["GCOUNT"]),
        n_parameters=int(header["PCOUNT"]),
        bitpix=int(header["BITPIX"]),
        n_windows=sizes[3] if has_windows else 1,
        n_channels=sizes[2],
        n_polarizations=sizes[1],
        scale=float(header.get("BSCALE", 1.0)),
        zero=float(header.get("BZERO", 0.0)),
        uvw=_find_uvw(path, header),
    )


def _parameter_names(header: fits.Header) -> list[str]:
    """Return the names of the random parameters; two may have the same, their values then add up."""
    return [str(header.get(f"PTYPE{index + 1}", "")).strip() for index in range(int(header["PCOUNT"]))]


def _scaling(header: fits.Header, index: int) -> tuple[int, float, float]:
    """Return index, scale and zero of a random parameter."""
    return index, float(header.get(f"PSCAL{index + 1}", 1.0)), float(header.get(f"PZERO{index + 1}", 0.0))


def _find_uvw(path: str, header: fits.Header) -> tuple[tuple[int, float, float], ...]:
    """Return index, scale and zero of u, v and w."""
    names = _parameter_names(header)
    for suffix in ("", "--", "---SIN"):
        wanted = [axis + suffix for axis in ("UU", "VV", "WW")]
        if all(name in names for name in wanted):
            return tuple(_scaling(header, names.index(name)) for name in wanted)
    raise DataError(
        f"{path} has the random parameters {', '.join(names)}; the baseline vectors are read as UU, VV, WW or "
        "UU---SIN, VV---SIN, WW---SIN. Other projections (NCP) come to SIN by AIPS `UVFIX`"
    )


# --- random parameters ----------------------------------------------------------------------------


class _Parameters:
    """The random parameters of all rows."""

    def __init__(self, path: str, header: fits.Header, layout: UvfitsLayout) -> None:
        self.names = _parameter_names(header)
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
        scalings = [_scaling(self._header, index) for index in found]
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
        time_s = self.load("DATE", _UNIX_EPOCH_JD) * _DAY_S
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
    atomic = Time(_UNIX_EPOCH_JD + np.floor(unique / _DAY_S), np.mod(unique, _DAY_S) / _DAY_S, format="jd", scale="tai")
    # The difference alone, as a count of days would cost digits.
    leap_s = np.round(((atomic.utc.jd1 - atomic.jd1) + (atomic.utc.jd2 - atomic.jd2)) * _DAY_S, 6)
    return np.asarray((unique + leap_s)[inverse])


def _name_scans(rows: _Rows) -> dict[tuple[float, int], str]:
    """Return the scan of each (time, source): a new one where the source changes or after a pause."""
    pairs = np.unique(np.stack([rows.time_s, rows.source.astype(np.float64)], axis=-1), axis=0)
    changes = (np.diff(pairs[:, 1]) != 0) | (np.diff(pairs[:, 0]) > SCAN_GAP_S)
    numbers = np.concatenate([[1], 1 + np.cumsum(changes)])
    return {(time, int(source)): str(number) for (time, source), number in zip(pairs.tolist(), numbers, strict=True)}


# --- tables ---------------------------------------------------------------------------------------


def _read_metadata(path: str, units: list[_Unit], layout: UvfitsLayout, source: npt.NDArray[np.int64]) -> _Metadata:
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
            with iers.conf.set_temp("auto_download", False):
                data.read_uvfits(excerpt, read_data=False, run_check=False, background_lsts=False)
            with fits.open(excerpt, memmap=False) as tables:
                sources = tables["AIPS SU"].data if "AIPS SU" in tables else None
                return _metadata(data, units, layout, sources)
        except (KeyError, ValueError, IndexError, TypeError, AttributeError, OSError, RuntimeError) as error:
            raise DataError(
                f"{path}: its tables cannot be read ({type(error).__name__}: {error}); the file is damaged, or of a "
                "kind that pyuvdata does not know"
            ) from error


def _write_excerpt(
    path: str, units: list[_Unit], layout: UvfitsLayout, rows: npt.NDArray[np.int64], target: str
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
                    _read_bytes(path, layout.offset + row * layout.row_bytes, layout.row_bytes) for row in rows.tolist()
                )
            else:
                out.write(header)
                data = stream.read(unit.stop - unit.data)
            out.write(data + b"\0" * (-len(data) % _BLOCK))


def _metadata(data: Any, units: list[_Unit], layout: UvfitsLayout, table: Any) -> _Metadata:
    """Return what pyuvdata read, with what it leaves out."""
    header = units[0].header
    shape = (layout.n_windows, layout.n_channels)
    sources = {
        0 if table is None else int(number): _Source(
            name=str(entry["cat_name"]).strip() or "unnamed",
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
    """Return the sources with names that are unique: the number is appended where one occurs twice."""
    names = [source.name for source in sources.values()]
    return {
        number: source._replace(name=f"{source.name}_{number}") if names.count(source.name) > 1 else source
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


# --- fields ---------------------------------------------------------------------------------------


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
