"""Tables of flags before and after a step: one small zarr group a spectral window, readable by xarray as it is.

::

    RUN/context.zarr/<step>-<attempt>/<window>/flags
        ANTENNA       (field_name, antenna_name, count)    each visibility counts for both of its antennas
        CHANNEL       (field_name, frequency, count)
        POLARIZATION  (field_name, polarization, count)

``count`` is one of ``data``, ``before`` and ``after``: visibilities, and how many of them are flagged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from radps.data import stores
from radps.data.measurement_set import software
from radps.domain.flagging import FlagStatistics

COUNTS = ("data", "before", "after")
"""What is counted."""


class FlagTable(NamedTuple):
    """Where the table of a spectral window is, and its axes."""

    url: str
    window: str
    antenna_names: tuple[str, ...]
    polarizations: tuple[str, ...]
    frequency_hz: tuple[float, float]
    """Centres of the first and of the last channel [Hz]."""
    n_channels: int


def save_flag_table(table: FlagTable, statistics: Mapping[str, FlagStatistics]) -> str:
    """Write the table of a window; one that a repeated task finds there is written over.

    Parameters
    ----------
    table : FlagTable
        Where, and its axes.
    statistics : mapping of str to FlagStatistics
        Field -> its counts in this window.

    Returns
    -------
    str
        The URL of the table.
    """
    stores.require_parents(table.url)
    attrs = {"type": "flag_statistics", "window": table.window, "creator": software()}
    stores.require_group(table.url, attrs)
    frequency_hz = np.linspace(*table.frequency_hz, table.n_channels)
    for name, values, attributes in (
        ("field_name", list(statistics), {}),
        ("count", list(COUNTS), {}),
        ("antenna_name", list(table.antenna_names), {}),
        ("polarization", list(table.polarizations), {}),
        ("frequency", frequency_hz, {"type": "spectral_coord", "units": "Hz"}),
    ):
        stores.save_array(stores.join_url(table.url, name), values, dims=(name,), attrs=attributes, overwrite=True)
    for name, axis in (("ANTENNA", "antenna_name"), ("CHANNEL", "frequency"), ("POLARIZATION", "polarization")):
        counted = [
            np.stack([getattr(one, f"{name.lower()}_{count}") for count in COUNTS], axis=-1)
            for one in statistics.values()
        ]
        stores.save_array(
            stores.join_url(table.url, name),
            np.array(counted, np.int64),
            dims=("field_name", axis, "count"),
            attrs={"units": "1"},
            overwrite=True,
        )
    return table.url
