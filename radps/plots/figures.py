"""Figures of matplotlib: new ones, and as files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from radps.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "png", "pdf")

STATE_COLOURS = {
    "done": "#d5efd5",
    "running": "#d0e7f7",
    "failed": "#f6caca",
    "blocked": "#f6caca",
    "stopped": "#fbeac0",
    "paused": "#fbeac0",
}
PLAIN_COLOUR = "#f2f2f2"


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure that belongs to nobody: it needs no display and no pyplot."""
    from matplotlib.figure import Figure  # a quarter of a second

    return Figure(figsize=(width_in, height_in), layout="constrained")


def copy_layout(source: Figure, target: Figure) -> None:
    """Put all of a figure where another one, which was drawn, has it: finding the places takes longer than drawing.

    Both show the same, in other colours.
    """
    # Not "none": that leaves a placeholder, for whose sake a figure is drawn once more before it is saved.
    target.set_layout_engine(None)
    for axes, placed in zip(target.axes, source.axes, strict=True):
        axes.set_position(placed.get_position(original=True))
    for text, placed_text in zip(target.texts, source.texts, strict=True):
        text.set_position(placed_text.get_position())


def plain(text: str) -> str:
    """Return a name as it is shown: matplotlib would take what stands between two dollars for a formula."""
    return text.replace("$", r"\$")


def picture_format(file: str) -> str:
    """Return the format of a picture by the name of its file.

    Raises
    ------
    ConfigError
        The name has no ending that is known.
    """
    suffix = file.rpartition(".")[2].lower()
    if "." not in file or suffix not in FORMATS:
        raise ConfigError("command line", [f"a picture is a .{', a .'.join(FORMATS)} file; found {file!r}"])
    return suffix


def render(figure: Figure, format_: str, *, dpi: int = 150) -> bytes:
    """Return a figure as a file; the same figure gives the same bytes."""
    from matplotlib import rc_context

    stream = io.BytesIO()
    if format_ == "png":
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        # `savefig` goes through all of it once more before, for the same pixels: up to a quarter of the time.
        figure.set_dpi(dpi)
        FigureCanvasAgg(figure).print_png(stream)  # type: ignore[no-untyped-call]
        return stream.getvalue()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(format_)
    with rc_context({"svg.hashsalt": "radps"}):
        figure.savefig(stream, format=format_, metadata=metadata, dpi=dpi)
    return stream.getvalue()
