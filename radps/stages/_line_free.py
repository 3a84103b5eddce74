"""Ranges of channels without line, as a user gives them, in the channels of a partition."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from radps.context.model import Context
from radps.context.records import Partition
from radps.context.selection import channels_of
from radps.stages._image_axes import shift_limits


def channels_without_line(context: Context, partition: Partition, ranges: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Return the half-open channels of ranges, which may be in another frame than the data.

    Of a range in another frame the channels count that lie in it in every scan of the partition; each data set has its
    own.

    Raises
    ------
    SelectionError
        A range reaches beyond the window or falls between two channels.
    """
    return channels_of(ranges, context.window(partition.window), partial(shift_limits, context, partition))
