"""MSv2 data sets: XRADIO converts them to MSv4, from which they are taken in like any other processing set.

XRADIO makes names unique by appending the number of the field, and for some arrays the station of the antenna.
:func:`read_names` gives the names of the MSv2 back, which are what its users know.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from radps.data import stores
from radps.data.casacore_tables import open_table
from radps.errors import DataError


class Msv2Names(NamedTuple):
    """Names by which XRADIO knows things -> names of the MSv2."""

    fields: dict[str, str]
    antennas: dict[str, str]
    sources: dict[str, str]
    """Of every field: its name in the MSv2, which several pointings of a mosaic have in common."""


def convert_msv2(path: str, url: str) -> str:
    """Convert an MSv2 to a processing set, one partition for each field; memory stays below some 100 MB.

    Parameters
    ----------
    path : str
        Folder of the MSv2; it is not changed.
    url : str
        The processing set, ending in ``.ps.zarr``; what an interrupted conversion left there is removed.

    Returns
    -------
    str
        The URL of the processing set.

    Raises
    ------
    DataError
        XRADIO cannot read the MSv2; with its reason.
    """
    from xradio.measurement_set import convert_msv2_to_processing_set  # seconds to import

    stores.delete(url)
    with _quiet():
        try:
            convert_msv2_to_processing_set(path, url, partition_scheme=["FIELD_ID"], with_pointing=False)
        # XRADIO and casacore raise whatever comes up: there is no common class.
        except Exception as error:
            raise DataError(
                f"{path}: XRADIO cannot convert this MSv2 ({type(error).__name__}: {error}); is it whole?"
            ) from error
    return url


def read_names(path: str) -> Msv2Names:
    """Return the names of fields and antennas of an MSv2, by the names that XRADIO gives them.

    Fields of one name and direction, as of data sets that were put together, are one field. Names that are not unique
    else stay as XRADIO has them.

    Raises
    ------
    DataError
        A table is missing or damaged.
    """
    fields, antennas, stations = (
        [str(value) for value in open_table(path, table)(column).tolist()]
        for table, column in (("FIELD", "NAME"), ("ANTENNA", "NAME"), ("ANTENNA", "STATION"))
    )
    places = _directions(path, len(fields))
    single = {
        name for name in fields if len({place for one, place in zip(fields, places, strict=True) if one == name}) == 1
    }
    return Msv2Names(
        fields={f"{name}_{number}": name for number, name in enumerate(fields) if name in single},
        antennas={
            f"{name}_{station}": name
            for name, station in zip(antennas, stations, strict=True)
            if antennas.count(name) == 1
        },
        sources={f"{name}_{number}": name for number, name in enumerate(fields)},
    )


def _directions(path: str, n_fields: int) -> list[tuple[object, ...]]:
    """Return what tells the phase centres of the fields apart: to 0.02 arcsec, or not at all where they move."""
    try:
        centers = open_table(path, "FIELD")("PHASE_DIR").astype(np.float64)
    except DataError:  # rows of different shapes, or none
        return [(number,) for number in range(n_fields)]
    return [tuple(np.round(one, 7).ravel().tolist()) for one in centers]


def drop_source_number(name: str) -> str:
    """Return the name of a source in the MSv2: XRADIO appends its SOURCE_ID, to that of every source."""
    own, separator, number = name.rpartition("_")
    return own if separator and number.lstrip("-").isdigit() else name


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep XRADIO's progress out of the log, and its notes on formats, which the user cannot act on."""
    logger = logging.getLogger("toolviper")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
