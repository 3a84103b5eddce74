"""Figures as files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from radps.plots.figures import new_figure, render
from radps.plots.themes import THEMES, Theme, themed


def draw() -> Figure:
    """A figure whose places have to be found."""
    figure = new_figure(4.0, 3.0)
    axes = figure.add_subplot()
    image = axes.imshow(np.arange(12.0).reshape(3, 4))
    figure.colorbar(image, label="Flux density [Jy]")
    axes.set(xlabel="Right ascension", ylabel="Declination", title="N5921")
    return figure


@pytest.mark.parametrize("theme", THEMES)
def test_a_png_has_the_pixels_that_matplotlib_saves(theme: Theme) -> None:
    with themed(theme):
        saved = io.BytesIO()
        draw().savefig(saved, format="png", dpi=90)
        found, expected = (
            Image.open(file).convert("RGB") for file in (io.BytesIO(render(draw(), "png", dpi=90)), saved)
        )
    assert found.size == (360, 270)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
