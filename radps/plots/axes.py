"""What the axes of several plots have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DAY_S = 86_400.0


def show_times(axes: Axes) -> None:
    """Label an x axis of unix seconds by UTC: the time of the day, with the day where there are several."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    first, last = axes.get_xlim()
    several_days = last - first > _DAY_S
    layout = "%m-%d %H:%M" if several_days else "%H:%M" if last - first > 600 else "%H:%M:%S"

    def label(value: float, _: object) -> str:
        return datetime.fromtimestamp(value, UTC).strftime(layout)

    axes.xaxis.set_major_locator(MaxNLocator(6 if not several_days else 5))
    axes.xaxis.set_major_formatter(FuncFormatter(label))
    day = datetime.fromtimestamp(max(first, 0.0), UTC).strftime("%Y" if several_days else "%Y-%m-%d")
    axes.set_xlabel(f"UTC, {day}")
