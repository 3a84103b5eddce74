"""Data sets as users have them: what kind one is, and the parts that it consists of.

====================  ================================================  ============================
kind                  known by                                          read by
====================  ================================================  ============================
UVFITS                a FITS file with random groups                    :mod:`radps.data.uvfits`
MSv2                  a folder with a casacore table ``table.dat``      :mod:`radps.data.msv2`
MSv4                  a zarr group: a processing set, or one MSv4       :mod:`radps.data.msv4`
====================  ================================================  ============================

A part is one field in one spectral window: its metadata, and the address by which tasks read its data.
"""

from __future__ import annotations

import enum
import os
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from radps.data import msv2, msv4, stores, uvfits, uvfits_metadata
from radps.data.measurement_set import MeasurementSetDescription
from radps.data.msv4 import Msv4Address
from radps.data.urls import is_local, local_path
from radps.data.uvfits import UvfitsAddress
from radps.errors import DataError

_WHAT_IS_READ = "radps reads UVFITS files, MSv2 folders, and MSv4 processing sets (zarr)"
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_HEAD_BYTES = 512
_INTENT_KINDS = ("CALIBRATE_", "OBSERVE_")
_TAR_MAGIC = slice(257, 262)


class SourceKind(enum.StrEnum):
    """What a data set is."""

    UVFITS = "uvfits"
    """One file, random groups."""
    MSV2 = "msv2"
    """A folder of casacore tables."""
    MSV4 = "msv4"
    """A zarr processing set, or one of its groups."""


class SourcePart(NamedTuple):
    """One field in one spectral window of a data set."""

    description: MeasurementSetDescription
    """Metadata, with the names that the user knows."""
    address: UvfitsAddress | Msv4Address
    """Where its data are."""
    rows: npt.NDArray[np.int64] | None
    """(time, baseline) row of a UVFITS file, -1 = none; None for MSv4."""
    chunks: tuple[int, int, int, int] | None
    """Chunks of an MSv4 group that tasks can work on as it is; None = the data have to be copied."""


def find_source(path: str) -> SourceKind:
    """Find out what a data set is, from its content.

    Parameters
    ----------
    path : str
        A file or folder; for MSv4 also any fsspec URL.

    Returns
    -------
    SourceKind
        Its kind.

    Raises
    ------
    DataError
        There is nothing, or something that radps does not read, or a truncated file; the message says what was found.
    """
    if not is_local(path):
        return _find_remote(path)
    place = local_path(path)
    if not os.path.exists(place):
        raise DataError(f"there is no file or folder {place}; check the path")
    try:
        if os.path.isdir(place):
            return _find_folder(place)
        with open(place, "rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except PermissionError as error:
        raise DataError(
            f"{place} may not be read by this user ({error.strerror}: {error.filename}); have its permissions changed, "
            "or copy it"
        ) from error
    if not head:
        raise DataError(f"{place} is empty (0 bytes); copy it again")
    if not head.startswith(b"SIMPLE  ="):
        raise DataError(f"{place} is {_describe_file(head)}, which is not read; {_WHAT_IS_READ}")
    uvfits.check_uvfits(place)
    return SourceKind.UVFITS


def describe_source(
    path: str, kind: SourceKind, *, data_group: str = "base", names: msv2.Msv2Names | None = None
) -> list[SourcePart]:
    """Read the metadata of a data set; no visibilities are read.

    Parameters
    ----------
    path : str
        The data set; for MSv2, the processing set that :func:`radps.data.msv2.convert_msv2` made of it.
    kind : SourceKind
        Of :func:`find_source`.
    data_group : str
        For MSv2 and MSv4: which version of the data, ``base`` or ``corrected``.
    names : Msv2Names, optional
        For MSv2: the names to give back.

    Returns
    -------
    list of SourcePart
        At least one.

    Raises
    ------
    DataError
        The data set is damaged, empty, or of a kind that is not read.
    """
    if kind is SourceKind.UVFITS:
        if data_group != "base":
            raise DataError(f"{path} is a UVFITS file, which has no data group {data_group!r}; leave it at 'base'")
        return [
            SourcePart(part.description, part.address, part.rows, None)
            for part in uvfits_metadata.describe_uvfits(local_path(path))
        ]
    parts = msv4.describe_processing_set(path, data_group=data_group)
    return [
        _rename(SourcePart(_with_whole_intents(part.description), part.address, None, chunks), names)
        for part, chunks in ((one, one.chunks if one.is_whole else None) for one in parts)
    ]


def _with_whole_intents(description: MeasurementSetDescription) -> MeasurementSetDescription:
    """Return a description with the intents of MSv4: MeerKAT calls a target TARGET, and leaves #ON_SOURCE out.

    XRADIO says None for an MSv2 without states, as importuvfits and programs of low-frequency arrays write them.
    """
    said = [intent for intent in description.intents if intent != "None"]
    intents = ["OBSERVE_TARGET" if intent == "TARGET" else intent for intent in said]
    return description._replace(
        intents=tuple(
            f"{intent}#ON_SOURCE" if "#" not in intent and intent.startswith(_INTENT_KINDS) else intent
            for intent in intents
        )
    )


def _find_remote(path: str) -> SourceKind:
    """Return the kind of a data set of an object store."""
    if not stores.exists(path):
        raise DataError(f"there is nothing at {path}; check the URL")
    if stores.exists(stores.join_url(path, "table.dat")) or not _is_zarr(path):
        raise DataError(f"{path}: only MSv4 (zarr) is read from there; copy files and MSv2 folders to the local disk")
    return _find_zarr(path)


def _find_folder(place: str) -> SourceKind:
    """Return the kind of a folder."""
    names = sorted(os.listdir(place))
    if "table.dat" in names:
        if "ANTENNA" not in names:
            raise DataError(
                f"{place} is a casacore table without the table ANTENNA: an image or calibration table, or a damaged "
                f"MSv2; {_WHAT_IS_READ}"
            )
        _check_is_no_calibration(place)
        return SourceKind.MSV2
    if _is_zarr(place):
        return _find_zarr(place)
    if "ASDM.xml" in names:
        raise DataError(f"{place} is an ASDM, which is not read yet; make an MSv2 of it by CASA `importasdm`")
    found = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise DataError(f"{place} is a folder with {found or 'nothing in it'}; {_WHAT_IS_READ}")


def _check_is_no_calibration(place: str) -> None:
    """Refuse a calibration table, which has the tables of an MSv2 around it."""
    info = os.path.join(place, "table.info")
    if not os.path.exists(info):
        return
    with open(info, encoding="utf-8", errors="replace") as stream:
        lines = dict(line.split(" = ", 1) for line in stream.read().splitlines() if " = " in line)
    if lines.get("Type", "").strip() == "Calibration":
        raise DataError(
            f"{place} is a calibration table of CASA ({lines.get('SubType', '').strip() or 'of some kind'}), not "
            "visibilities. radps solves for its own (`calibrate`): name the MSv2 in data.path, or apply the table to "
            "it by CASA `applycal` and import its column CORRECTED_DATA by `import_data: {data_group: corrected}`"
        )


def _is_zarr(url: str) -> bool:
    return any(stores.exists(stores.join_url(url, name)) for name in ("zarr.json", ".zgroup"))


def _find_zarr(url: str) -> SourceKind:
    """Return the kind of a zarr group."""
    kind = stores.open_group(url).attrs.get("type")
    # Older programs write no type into the root; its groups then say what they are.
    if kind in ("processing_set", "visibility", None):
        return SourceKind.MSV4
    raise DataError(f"{url} is a zarr group of type {kind!r}, not of visibilities; {_WHAT_IS_READ}")


def _describe_file(head: bytes) -> str:
    """Return in words what a file is."""
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            return f"compressed ({name}; unpack it first)"
    if head[_TAR_MAGIC] == b"ustar":
        return "a tar archive (unpack it first)"
    if head.startswith(b"\x89HDF"):
        return "an HDF5 file"
    return f"no FITS file (it begins with {head[:8]!r})"


def _rename(part: SourcePart, names: msv2.Msv2Names | None) -> SourcePart:
    """Return a part with the names of the MSv2 that it comes from."""
    if names is None or not isinstance(part.address, Msv4Address):
        return part
    own = part.description.antennas.names
    new = tuple(names.antennas.get(name, name) for name in own)
    field, source = part.description.field_name, part.description.source_name
    is_nameless = source.lower() in ("", "unknown")
    description = part.description._replace(
        field_name=names.fields.get(field, field),
        source_name=names.sources.get(field, field) if is_nameless else msv2.drop_source_number(source),
        antennas=part.description.antennas._replace(names=new),
    )
    renamed = {old: name for old, name in zip(own, new, strict=True) if old != name}
    # The group keeps its own names, so that it cannot be handed on as it is.
    return part._replace(
        description=description,
        address=part.address.model_copy(update={"antenna_names": renamed}),
        chunks=None if renamed else part.chunks,
    )
