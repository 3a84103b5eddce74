"""The light and the dark look of pictures in pages, and colours that are seen on both.

The plots of this package take their colours from the settings of matplotlib, so that those of a notebook look as its
user wants them. A theme is a set of such settings.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

Theme = Literal["light", "dark"]

THEMES: tuple[Theme, ...] = ("light", "dark")

NO_DATA_COLOUR = (0.5, 0.5, 0.5, 0.3)
"""Where a map has no values: a grey that is neither end of a colour map, on any background."""

_LIGHT_LINES = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")
_DARK_LINES = ("#6cb2eb", "#ffa552", "#6bcb77", "#ff8a80", "#b79cf0", "#cfa18f", "#f2a0d8", "#b5b5b5")
"""The same hues in the same order, lighter."""
_BRIGHTEST_DARK = 0.3
"""Luminance of a background below which it is a dark one."""
_SEEN_ON_DARK = 0.35
"""Part of viridis that is too dark for a dark background: the contrast is 3 there."""

_SETTING_COLOURS = threading.Lock()
"""The settings of matplotlib are those of all threads."""


@contextmanager
def themed(theme: Theme) -> Iterator[None]:
    """Make plots in the colours of a theme, and render them, as long as this lasts; one thread at a time."""
    from matplotlib import rc_context

    with _SETTING_COLOURS, rc_context(_settings(theme)):
        yield


def counting_colours() -> Colormap:
    """Return the colour map of counts: viridis, on a dark background without its dark end, where single points are."""
    from matplotlib import colormaps, rcParams
    from matplotlib.colors import ListedColormap, to_rgb

    viridis = colormaps["viridis"]
    if luminance(to_rgb(rcParams["axes.facecolor"])) > _BRIGHTEST_DARK:
        return viridis
    first = round(_SEEN_ON_DARK * viridis.N)
    return ListedColormap([viridis(number) for number in range(first, viridis.N)], name="viridis_on_dark")


def luminance(colour: tuple[float, float, float]) -> float:
    """Return the relative luminance of a colour of sRGB, 0 to 1 each, as WCAG 2.2 defines it."""
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _settings(theme: Theme) -> dict[Any, Any]:
    """Return the settings of a theme; those of the dark one are the colours of the pages of the report."""
    from cycler import cycler

    is_light = theme == "light"
    page, axes = ("#ffffff", "#ffffff") if is_light else ("#202327", "#16181b")
    ink, line = ("#000000", "#b0b0b0") if is_light else ("#e6e8eb", "#6b727b")
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {
        "figure.facecolor": page,
        "axes.facecolor": axes,
        "savefig.facecolor": "auto",
        "grid.color": line,
        "legend.edgecolor": line,
        "axes.prop_cycle": cycler(color=_LIGHT_LINES if is_light else _DARK_LINES),
        **dict.fromkeys(inked, ink),
    }
