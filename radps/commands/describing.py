"""The command `describe`: what is in a data set, before a config is written for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from radps.commands.common import errors

if TYPE_CHECKING:
    from rich.console import Console

    from radps.data.listing import DataSetListing, ListedField


def describe_command(
    data: Annotated[str, typer.Argument(metavar="DATA", help="UVFITS file, MSv2 folder, or MSv4 (zarr; also a URL).")],
) -> None:
    """Show fields, windows and scans of a data set.

    With the names and numbers that a config takes (CASA `listobs`). Nothing is converted or written.
    """
    from radps.data.listing import list_dataset
    from radps.data.urls import absolute_url
    from radps.terminal import make_console

    with errors():
        _show(make_console(), list_dataset(absolute_url(data)))


def _show(console: Console, found: DataSetListing) -> None:
    """Print a data set as tables."""
    from rich.text import Text

    from radps.terminal import make_table

    start, stop = min(scan.start_s for scan in found.scans), max(scan.stop_s for scan in found.scans)
    for line in (
        f"{found.path}: {found.kind.upper()} of {found.telescope or 'an unknown telescope'}"
        + (f", observer {found.observer}" if found.observer else ""),
        f"{_time(start)} to {_time(stop)} UTC",
        f"{len(found.antennas)} antennas: {', '.join(found.antennas)}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    fields = make_table("field", "right ascension", "declination", "seconds", "intents", right=("seconds",))
    for field in found.fields:
        seconds = sum(scan.stop_s - scan.start_s for scan in found.scans if scan.field == field.name)
        fields.add_row(Text(field.name), *_direction(field), f"{seconds:.0f}", Text(", ".join(field.intents)))
    numbers = ("channels", "first [GHz]", "last [GHz]", "width [kHz]")
    windows = make_table("window", "name", *numbers, "polarizations", right=numbers)
    for window in found.windows:
        ends = (f"{frequency / 1e9:.6f}" for frequency in window.frequency_hz)
        counts = (str(window.n_channels), *ends, f"{window.channel_width_hz / 1e3:.3f}")
        windows.add_row(window.number, Text(window.name), *counts, " ".join(window.polarizations))
    scans = make_table("scan", "field", "start", "seconds", "windows", right=("seconds",))
    for scan in found.scans:
        seconds = scan.stop_s - scan.start_s
        scans.add_row(scan.name, Text(scan.field), _time(scan.start_s), f"{seconds:.0f}", ", ".join(scan.windows))
    for table in (fields, windows, scans):
        console.print()
        console.print(table)
    if not any(field.intents for field in found.fields):
        example = f"data: {{intents: {{{found.fields[0].name}: [target]}}}}"
        console.print(
            f"\nThe data do not say what the fields are for. Name it in the config, with the words flux, bandpass, "
            f"phase and target: {example}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _time(time_s: float) -> str:
    """Return a time to the second."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _direction(field: ListedField) -> tuple[str, str]:
    """Return right ascension and declination in words."""
    from astropy.coordinates import Angle

    ra, dec = (Angle(angle, "rad") for angle in field.direction_rad)
    return ra.to_string("hourangle", precision=2, pad=True), dec.to_string(
        "deg", precision=1, pad=True, alwayssign=True
    )
