"""Plots of flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from radps.plots.figures import new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_flag_fractions(names: Sequence[str], before: Sequence[float], after: Sequence[float], what: str) -> Figure:
    """Plot the flagged part of the data of each antenna, field, ..., before and after a step [0 to 1]."""
    figure = new_figure(max(5.0, 0.28 * len(names) + 1.5), 3.2)
    axes = figure.add_subplot()
    places = np.arange(len(names))
    axes.bar(places, 100 * np.asarray(after), color="C1", label="after")
    axes.bar(places, 100 * np.asarray(before), color="C0", width=0.5, label="before")
    axes.set(ylabel="Flagged [%]", ylim=(0, 100), xlim=(-0.7, len(names) - 0.3), title=f"Flags by {what}")
    axes.set_xticks(places, [plain(name) for name in names], rotation=90 if len(names) > 6 else 0, fontsize=7)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)
    return figure
