"""Ranges of channels, as users write them.

``"4~6"`` are channels, both ends included, as in CASA; ``"1412.7 MHz ~ 1412.8 MHz"`` are frequencies in the frame of
the data, and mean the channels whose centres they hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import AfterValidator

from radps.context.records import FrequencyRange, LineSearch, SpectralWindow
from radps.errors import SelectionError
from radps.units import parse_quantity


def parse_range(text: str) -> tuple[float, float, bool]:
    """Split the text of a range.

    Parameters
    ----------
    text : str
        ``"4~6"``, ``"12"`` or ``"1412.7 MHz ~ 1412.8 MHz"``.

    Returns
    -------
    start, stop : float
        Channels or Hz, both included, in ascending order.
    is_frequency : bool
        True when the text named frequencies.

    Raises
    ------
    ValueError
        The text is neither; the message shows both forms.
    """
    parts = [part.strip() for part in text.split("~")]
    if len(parts) == 1:
        parts = parts * 2
    if len(parts) != 2:
        raise ValueError(_how_to_write(text))
    if all(part.isdecimal() for part in parts):
        start, stop = int(parts[0]), int(parts[1])
        if start > stop:
            raise ValueError(f"the channel range {text!r} runs backwards; write {f'{stop}~{start}'!r}")
        return start, stop, False
    try:
        start_hz, stop_hz = (parse_quantity(part, "Hz") for part in parts)
    except ValueError:
        raise ValueError(_how_to_write(text)) from None
    return min(start_hz, stop_hz), max(start_hz, stop_hz), True


def _how_to_write(text: str) -> str:
    return f"{text!r} is not a range; write channels like '4~6' or frequencies like '1412.7 MHz ~ 1412.8 MHz'"


def _check_range(text: str) -> str:
    parse_range(text)
    return text


ChannelRange = Annotated[str, AfterValidator(_check_range)]
"""A parameter that holds the text of a range; checked when the config is read."""


def channels_of(ranges: Iterable[str], window: SpectralWindow) -> tuple[tuple[int, int], ...]:
    """Return the channels of ranges in a spectral window.

    Parameters
    ----------
    ranges : iterable of str
        Texts of ranges.
    window : SpectralWindow
        Gives the number of channels and their frequencies.

    Returns
    -------
    tuple of (start, stop)
        Half-open, sorted, disjoint.

    Raises
    ------
    SelectionError
        A range reaches beyond the window or falls between two channels.
    """
    return _merge(_channels_of_range(text, window) for text in ranges)


def frequency_ranges(
    channels: Sequence[tuple[int, int]], window: SpectralWindow, origin: str, field: str = ""
) -> tuple[FrequencyRange, ...]:
    """Return half-open ranges of channels as frequencies, from edge to edge; with a field they hold for it alone."""
    step = _step_hz(window)
    ranges = []
    for start, stop in channels:
        edges = (window.frequency_hz[0] + (start - 0.5) * step, window.frequency_hz[0] + (stop - 0.5) * step)
        ranges.append(
            FrequencyRange(
                start_hz=min(edges),
                stop_hz=max(edges),
                frame=window.frame,
                origin=origin,
                field=field,
                window=window.name if field else "",
            )
        )
    return tuple(ranges)


def channels_of_frequencies(ranges: Iterable[FrequencyRange], window: SpectralWindow) -> tuple[tuple[int, int], ...]:
    """Return the channels of a window whose centres lie in one of the ranges; half-open, sorted, disjoint, maybe none.

    Windows of several data sets have ranges of their own: those of the same band say the same twice.
    """
    step = _step_hz(window)
    found = []
    for one in ranges:
        positions = sorted((edge - window.frequency_hz[0]) / step for edge in (one.start_hz, one.stop_hz))
        start = max(0, _ceil(positions[0]))
        stop = min(window.n_channels, int((positions[1] + 1e-6) // 1) + 1)
        if start < stop:
            found.append((start, stop))
    return _merge(found)


def find_line_free(
    line_free: Sequence[FrequencyRange] | None, searches: Iterable[LineSearch], field: str, window: SpectralWindow
) -> tuple[tuple[int, int], ...] | None:
    """Return the half-open ranges of line-free channels of a field in a window; None if nothing is known of them."""
    if line_free is None:
        return None
    ranges = [one for one in line_free if one.field in ("", field) and one.window in ("", window.name)]
    searched = any((one.field, one.window) == (field, window.name) for one in searches)
    only_others = bool(line_free) and all(one.field or one.window for one in line_free)
    if not ranges and not searched and only_others:
        return None
    return channels_of_frequencies(ranges, window)


def _merge(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return half-open ranges sorted, those that touch or overlap joined."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return tuple(merged)


def _channels_of_range(text: str, window: SpectralWindow) -> tuple[int, int]:
    """Return the half-open channels of one range."""
    start, stop, is_frequency = parse_range(text)
    if not is_frequency:
        if stop >= window.n_channels:
            raise SelectionError(
                f"channels {text} are outside the spectral window {window.name}, which has channels "
                f"0~{window.n_channels - 1}"
            )
        return int(start), int(stop) + 1
    low, high = sorted(window.frequency_hz)
    half = abs(window.channel_width_hz) / 2
    if start < low - half or stop > high + half:
        raise SelectionError(
            f"frequencies {text} are outside the spectral window {window.name}, which reaches from "
            f"{(low - half) / 1e6:.6f} MHz to {(high + half) / 1e6:.6f} MHz ({window.frame})"
        )
    one = FrequencyRange(start_hz=start, stop_hz=stop, frame=window.frame, origin="config")
    channels = channels_of_frequencies((one,), window)
    if not channels:
        raise SelectionError(
            f"frequencies {text} hold the centre of no channel of the spectral window {window.name}; "
            f"its channels are {abs(window.channel_width_hz) / 1e3:.3f} kHz wide"
        )
    return channels[0]


def _step_hz(window: SpectralWindow) -> float:
    """Return the signed distance of two channels."""
    if window.n_channels == 1:
        return window.channel_width_hz
    return (window.frequency_hz[1] - window.frequency_hz[0]) / (window.n_channels - 1)


def _ceil(position: float) -> int:
    """Return the next channel at or after a position, within a millionth of a channel."""
    return -int(-(position - 1e-6) // 1)
