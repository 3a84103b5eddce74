"""Ranges of channels, as users write them.

``"4~6"`` are channels, both ends included, as in CASA; ``"1412.7 MHz ~ 1412.8 MHz"`` are frequencies in the frame of
the data, and mean the channels whose centres they hold. ``"1412.7 MHz ~ 1412.8 MHz LSRK"`` are frequencies in a frame
that may be another one than that of the data; they mean the channels that lie between them in every integration. A unit
may stand once, behind the second number, as in ``cont.dat`` of ALMA's pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, NamedTuple, TypeAlias

from pydantic import AfterValidator

from radps.context.records import FrequencyRange, LineSearch, SpectralWindow
from radps.errors import SelectionError
from radps.units import parse_quantity

FRAMES = ("LSRK", "BARY", "TOPO")
"""Frames that may be named in a range."""

ShiftOfFrame: TypeAlias = Callable[[str], tuple[float, float]]
"""From a frame to the smallest and the largest ratio that a frequency has in it to that in the frame of the data, over
all integrations."""

_FRAME = re.compile(rf"\s({'|'.join(FRAMES)})$", re.IGNORECASE)
_UNIT = re.compile(r"[\d.]\s*([A-Za-z]+)$")


class ParsedRange(NamedTuple):
    """What the text of a range says."""

    start: float
    """Channel, or frequency [Hz]; included, as the end is."""
    stop: float
    is_frequency: bool
    frame: str = ""
    """Of the frequencies; empty = that of the data."""


def parse_range(text: str) -> ParsedRange:
    """Split the text of a range.

    Parameters
    ----------
    text : str
        ``"4~6"``, ``"12"``, ``"1412.7 MHz ~ 1412.8 MHz"`` or ``"1412.7~1412.8 MHz LSRK"``.

    Returns
    -------
    ParsedRange
        In ascending order.

    Raises
    ------
    ValueError
        The text is none of them; the message shows the forms.
    """
    found = _FRAME.search(text.strip())
    frame = found[1].upper() if found else ""
    parts = [part.strip() for part in (text.strip()[: found.start()] if found else text).split("~")]
    if len(parts) == 1:
        parts = parts * 2
    if len(parts) != 2:
        raise ValueError(_how_to_write(text))
    if all(part.isdecimal() for part in parts):
        start, stop = int(parts[0]), int(parts[1])
        if frame:
            raise ValueError(f"{text!r} names channels and a frame; only frequencies have one")
        if start > stop:
            raise ValueError(f"the channel range {text!r} runs backwards; write {f'{stop}~{start}'!r}")
        return ParsedRange(start, stop, is_frequency=False)
    unit = _UNIT.search(parts[1])
    if unit and not _UNIT.search(parts[0]):
        parts[0] += f" {unit[1]}"
    try:
        start_hz, stop_hz = (parse_quantity(part, "Hz") for part in parts)
    except ValueError:
        raise ValueError(_how_to_write(text)) from None
    return ParsedRange(min(start_hz, stop_hz), max(start_hz, stop_hz), is_frequency=True, frame=frame)


def _how_to_write(text: str) -> str:
    return (
        f"{text!r} is not a range; write channels like '4~6' or frequencies like '1412.7 MHz ~ 1412.8 MHz', with or "
        f"without a frame ({', '.join(FRAMES)}) behind"
    )


def _check_range(text: str) -> str:
    parse_range(text)
    return text


ChannelRange = Annotated[str, AfterValidator(_check_range)]
"""A parameter that holds the text of a range; checked when the config is read."""


def channels_of(
    ranges: Iterable[str], window: SpectralWindow, shift: ShiftOfFrame | None = None
) -> tuple[tuple[int, int], ...]:
    """Return the channels of ranges in a spectral window.

    Parameters
    ----------
    ranges : iterable of str
        Texts of ranges.
    window : SpectralWindow
        Gives the number of channels and their frequencies.
    shift : callable, optional
        From a frame to the limits of the ratio of frequencies in it to those in the data; without it, ranges have to be
        in the frame of the data.

    Returns
    -------
    tuple of (start, stop)
        Half-open, sorted, disjoint.

    Raises
    ------
    SelectionError
        A range reaches beyond the window or falls between two channels, or is in a frame that cannot be taken here.
    """
    return _merge(_channels_of_range(text, window, shift) for text in ranges)


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


def _channels_of_range(text: str, window: SpectralWindow, shift: ShiftOfFrame | None) -> tuple[int, int]:
    """Return the half-open channels of one range."""
    start, stop, is_frequency, frame = parse_range(text)
    if not is_frequency:
        if stop >= window.n_channels:
            raise SelectionError(
                f"channels {text} are outside the spectral window {window.name}, which has channels "
                f"0~{window.n_channels - 1}"
            )
        return int(start), int(stop) + 1
    if frame not in ("", window.frame):
        return _channels_of_other_frame(text, window, shift)
    low_hz, high_hz = window.edges_hz
    if start < low_hz or stop > high_hz:
        raise SelectionError(
            f"frequencies {text} are outside the spectral window {window.name}, which reaches from "
            f"{low_hz / 1e6:.6f} MHz to {high_hz / 1e6:.6f} MHz ({window.frame})"
        )
    return _channels_between(start, stop, text, window)


def _channels_of_other_frame(text: str, window: SpectralWindow, shift: ShiftOfFrame | None) -> tuple[int, int]:
    """Return the half-open channels that are in a range of another frame in every integration; it may reach beyond."""
    start, stop, _, frame = parse_range(text)
    if shift is None:
        raise SelectionError(
            f"frequencies {text} are in another frame than the channels of {window.name} ({window.frame}): they are "
            "taken for channels without line alone; write channels here, or frequencies in the frame of the data"
        )
    least, most = shift(frame)
    low_hz, high_hz = window.edges_hz
    if stop < low_hz * least or start > high_hz * most:
        raise SelectionError(
            f"frequencies {text} are outside the spectral window {window.name}, which reaches from "
            f"{low_hz * least / 1e6:.6f} MHz to {high_hz * most / 1e6:.6f} MHz ({frame})"
        )
    return _channels_between(start / least, stop / most, text, window)


def _channels_between(start_hz: float, stop_hz: float, text: str, window: SpectralWindow) -> tuple[int, int]:
    """Return the half-open channels whose centres lie between two frequencies in the frame of the data."""
    one = FrequencyRange(start_hz=start_hz, stop_hz=stop_hz, frame=window.frame, origin="config")
    channels = channels_of_frequencies((one,), window) if start_hz <= stop_hz else ()
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
