"""Virtual spectral windows: which windows of different data sets are the same one.

Two ways to match, both only between windows of one frame and of different data sets:

``exact``    the same channels, within a hundredth of a channel: data sets whose channels may share a cube.
``overlap``  the bands share more than a given part of their joint extent. The Doppler shift moves a narrow band of one
             setup by a good part of its width in half a year.

Windows are numbered in the order of the data. A window joins the virtual window that it matches best, unless another
window of its own data set is in it already; otherwise it begins a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

VirtualMatching = Literal["exact", "overlap"]

SAME_CHANNEL = 0.01
"""Channels whose centres differ by less than this part of their width are the same."""

SAME_BAND = 0.5
"""Bands that share more than this part of their joint extent are the same, by default."""


class Band(NamedTuple):
    """What windows are matched by."""

    frequency_hz: npt.NDArray[np.float64]
    """(channel,) centres, ascending [Hz]."""
    channel_width_hz: float
    frame: str


def match_virtual_windows(
    datasets: Sequence[Sequence[Band]], matching: VirtualMatching = "overlap", min_overlap: float = SAME_BAND
) -> list[list[int]]:
    """Return the number of the virtual window of each window.

    Parameters
    ----------
    datasets : sequence of sequence of Band
        The windows of each data set.
    matching : {"exact", "overlap"}
        How windows are compared.
    min_overlap : float
        With "overlap": the part of their joint extent that two bands have to share more than.
    """
    members: list[list[Band]] = []
    numbers = []
    for windows in datasets:
        taken: list[int] = []
        known = len(members)
        for window in windows:
            scores = {
                number: max(_likeness(window, other, matching) for other in members[number])
                for number in range(known)
                if number not in taken
            }
            best = max(scores, key=scores.__getitem__, default=-1)
            if best < 0 or not scores[best] > (min_overlap if matching == "overlap" else 0.0):
                best = len(members)
                members.append([])
            members[best].append(window)
            taken.append(best)
        numbers.append(taken)
    return numbers


def has_same_channels(one: Band, other: Band) -> bool:
    """Return True if two bands have the same channels, within a hundredth of a channel."""
    if one.frame != other.frame or len(one.frequency_hz) != len(other.frequency_hz):
        return False
    shift = np.abs(one.frequency_hz - other.frequency_hz).max()
    return bool(shift < SAME_CHANNEL * abs(one.channel_width_hz))


def common_fraction(one: Band, other: Band) -> float:
    """Return the common part of two bands over their joint extent; 0 or less if they have nothing in common."""
    if one.frame != other.frame:
        return 0.0
    edges = [
        (band.frequency_hz[0] - band.channel_width_hz / 2, band.frequency_hz[-1] + band.channel_width_hz / 2)
        for band in (one, other)
    ]
    common = min(high for _, high in edges) - max(low for low, _ in edges)
    return float(common / (max(high for _, high in edges) - min(low for low, _ in edges)))


def _likeness(one: Band, other: Band, matching: VirtualMatching) -> float:
    """Return how like two windows are; 0 = not at all."""
    return common_fraction(one, other) if matching == "overlap" else float(has_same_channels(one, other))
