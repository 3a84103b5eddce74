"""UVFITS files: blocks of their samples, in the conventions of MSv4; what is in them is in ``uvfits_metadata``.

1. :func:`check_uvfits` compares the size of the file with its headers, so that a truncated file is found at once.
2. :func:`load_rows` reads the samples of some rows straight from the file: memory goes with the block, not the file.

Conventions. The visibilities and the (u, v, w) of UVFITS are those of MSv4 (docs/conventions.md), the latter in seconds
of light travel; pyuvdata has both with the other sign. A weight that is not positive means a flag; its modulus is kept.

References
----------
Greisen 2019, AIPS Memo 117 (the format).
"""

from __future__ import annotations

import math
import os
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from radps.data.frames import rotate_uvw
from radps.data.urls import format_bytes
from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.errors import DataError

if TYPE_CHECKING:
    from astropy.io import fits

BLOCK_BYTES = 2880
"""FITS files are made of blocks of this size."""
_READ_BYTES = 4 * 2**20
"""Bytes read from a file at once, unless a row is longer."""
_GAP_BYTES = 16 * 2**10
"""Bytes that are read in vain rather than jumped over."""
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
            block = read_bytes(self.path, start, length)
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


def read_bytes(path: str, start: int, length: int) -> bytes:
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


class FitsUnit(NamedTuple):
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
    read_units(path)


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


def read_units(path: str) -> list[FitsUnit]:
    """Return the units of a file, the visibilities first; see :func:`check_uvfits`."""
    size = os.path.getsize(path)
    units: list[FitsUnit] = []
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
            position = -(-unit.stop // BLOCK_BYTES) * BLOCK_BYTES
    if not units:
        raise DataError(f"{path} is no FITS file; check the path")
    names = [unit.name for unit in units]
    if "AIPS AN" not in names:
        raise DataError(
            f"{path} has no antenna table (AIPS AN) after the visibilities; tables found: "
            f"{', '.join(filter(None, names)) or 'none'}. It is truncated or damaged; copy it again"
        )
    return units


def _read_unit(stream: BinaryIO, path: str, position: int) -> FitsUnit | None:
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
    return FitsUnit(header, name, position, start, start + _data_bytes(header))


def _data_bytes(header: fits.Header) -> int:
    """Return the bytes of the data of a unit."""
    axes = [int(header[f"NAXIS{axis + 1}"]) for axis in range(int(header["NAXIS"]))]
    if not axes:
        return 0
    cells = math.prod(axes[1:] if header.get("GROUPS") else axes)
    groups, parameters = int(header.get("GCOUNT", 1)), int(header.get("PCOUNT", 0))
    return abs(int(header["BITPIX"])) // 8 * groups * (parameters + cells)


def find_layout(path: str, unit: FitsUnit) -> UvfitsLayout:
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


def parameter_names(header: fits.Header) -> list[str]:
    """Return the names of the random parameters; two may have the same, their values then add up."""
    return [str(header.get(f"PTYPE{index + 1}", "")).strip() for index in range(int(header["PCOUNT"]))]


def scaling(header: fits.Header, index: int) -> tuple[int, float, float]:
    """Return index, scale and zero of a random parameter."""
    return index, float(header.get(f"PSCAL{index + 1}", 1.0)), float(header.get(f"PZERO{index + 1}", 0.0))


def _find_uvw(path: str, header: fits.Header) -> tuple[tuple[int, float, float], ...]:
    """Return index, scale and zero of u, v and w."""
    names = parameter_names(header)
    for suffix in ("", "--", "---SIN"):
        wanted = [axis + suffix for axis in ("UU", "VV", "WW")]
        if all(name in names for name in wanted):
            return tuple(scaling(header, names.index(name)) for name in wanted)
    raise DataError(
        f"{path} has the random parameters {', '.join(names)}; the baseline vectors are read as UU, VV, WW or "
        "UU---SIN, VV---SIN, WW---SIN. Other projections (NCP) come to SIN by AIPS `UVFIX`"
    )
