"""Data that two data sets have in common: a data set and a copy, a split or an average of it would count twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from radps.data.measurement_set import MeasurementSetDescription
from radps.data.partitions import JoinedData, JoinedPartition

_SAME_TIME_S = 1e-3
"""Times closer than this are the same, where nobody says how long an integration is."""


def find_repeated(joined: JoinedData, names: Sequence[str]) -> tuple[str, ...]:
    """Return the pairs of data sets that hold the same observation.

    That is, integrations of the same field, virtual window, baseline and correlation at times that overlap.

    Parameters
    ----------
    joined : JoinedData
        Partitions of all data sets.
    names : sequence of str
        Of the data sets.

    Returns
    -------
    tuple of str
        The two data sets and the fields that both have, in words; empty = nothing is there twice.
    """
    alike: dict[tuple[str, int], list[JoinedPartition]] = {}
    for one in joined.partitions:
        alike.setdefault((one.description.field_name, joined.windows[one.window].virtual), []).append(one)
    fields: dict[tuple[int, int], dict[str, None]] = {}
    for (field, _), partitions in alike.items():
        for one, other in combinations(partitions, 2):
            if one.dataset != other.dataset and _overlap(one.description, other.description):
                fields.setdefault((one.dataset, other.dataset), {})[field] = None
    return tuple(
        f"{names[first]} and {names[second]} ({', '.join(common)})" for (first, second), common in fields.items()
    )


def _overlap(one: MeasurementSetDescription, other: MeasurementSetDescription) -> bool:
    """Return True if two partitions, which count antennas alike, have visibilities in common."""
    if not set(one.polarizations) & set(other.polarizations):
        return False
    pairs = [
        {(min(ends), max(ends)) for ends in zip(x.tolist(), y.tolist(), strict=True) if ends[0] != ends[1]}
        for x, y in ((one.antenna1, one.antenna2), (other.antenna1, other.antenna2))
    ]
    if not pairs[0] & pairs[1]:
        return False
    after = np.searchsorted(other.time_s, one.time_s)
    last = len(other.time_s) - 1
    neighbours = other.time_s[[np.maximum(after - 1, 0), np.minimum(after, last)]]
    distance = np.abs(neighbours - one.time_s).min(axis=0)
    lengths = [length for length in (one.integration_time_s, other.integration_time_s) if length > 0]
    # Integrations that touch are farther apart; those of an average are nearer.
    return bool(np.any(distance < (max(lengths) / 2 if lengths else _SAME_TIME_S)))
