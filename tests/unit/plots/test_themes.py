"""Text is read and points are seen in both themes of the report; elsewhere plots have the colours of their user."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps, rc_context, rcParams
from matplotlib.colors import to_rgb, to_rgba_array
from matplotlib.image import imread
from matplotlib.text import Text

from radps.plots.arrays import Track, plot_antennas, plot_elevations, plot_uv_coverage
from radps.plots.convergence import ChannelTable, plot_channels, plot_convergence
from radps.plots.figures import copy_layout, render
from radps.plots.flags import plot_flag_fractions, plot_flag_map
from radps.plots.images import ImagePlane, plot_channel_maps, plot_image
from radps.plots.solutions import SolutionPanels, plot_amplitudes
from radps.plots.spectra import SearchedSpectra, plot_line_search, plot_spectrum
from radps.plots.themes import THEMES, Theme, counting_colours, luminance, themed
from radps.plots.visibilities import DensityPanel, ModelPanel, plot_baselines, plot_densities, plot_model_comparison
from radps.report.gantt import StepTasks, draw_gantt

THREE = np.arange(3.0)
PLANE = ImagePlane(np.eye(8), 1e-5, (4.0, -0.5), "Jy/beam", (3e-5, 2e-5, 0.4), "field")
GAINS = np.ones((3, 2, 2), np.complex128)
PANELS = SolutionPanels(THREE, GAINS, np.zeros(GAINS.shape, np.bool_), ("ea01", "ea02"), ("R", "L"), "Time [min]")
DENSITY = DensityPanel(np.eye(3, dtype=np.int64), np.arange(4.0), np.arange(4.0), "x", "y")
CHANNELS = ChannelTable(THREE * 1e6, *np.ones((4, 3)), ["n sigma", "no data", "n sigma"])
STEPS = [StepTasks(name, 0.0, 1.0, state, (), "") for name, state in (("flag", "done"), ("calibrate", "failed"))]

PLOTS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "antennas": (plot_antennas, (["a", "b"], THREE[:2], THREE[:2])),
    "elevations": (plot_elevations, ([Track("3C286", 1.7e9 + 60 * THREE, THREE / 2)],)),
    "uv coverage": (plot_uv_coverage, (THREE, THREE, "field")),
    "channels": (plot_channels, (CHANNELS,)),
    "convergence": (plot_convergence, (np.ones((2, 3)),)),
    "flags": (plot_flag_fractions, (["a", "b"], [0.1, 0.2], [0.3, 1.0], "antenna")),
    "flag map": (plot_flag_map, (np.eye(2), 1.7e9 + 60 * THREE, 1e9 + THREE, "field")),
    "image": (plot_image, (PLANE,)),
    "channel maps": (plot_channel_maps, ([PLANE, PLANE],)),
    "solutions": (plot_amplitudes, (PANELS,)),
    "line search": (plot_line_search, (SearchedSpectra(1e9 + THREE, *np.ones((3, 3)), THREE > 0), "field")),
    "spectrum": (plot_spectrum, (THREE, THREE, THREE, "cube")),
    "densities": (plot_densities, ([DENSITY, DENSITY._replace(counts=0 * DENSITY.counts)], 2, "field")),
    "baselines": (plot_baselines, (*np.ones((4, 9)), "field")),
    "model": (plot_model_comparison, ([ModelPanel(THREE, "x", THREE + 1j, THREE)], "field")),
    "gantt": (draw_gantt, ("Run", STEPS)),
}


def contrast(one: Any, other: Any) -> float:
    """Return the contrast of two colours, as WCAG defines it."""
    high, low = sorted((luminance(to_rgb(one)), luminance(to_rgb(other))), reverse=True)
    return (high + 0.05) / (low + 0.05)


def find_text_colours(figure: Any) -> list[Any]:
    """Return the colours of all texts but those along the axes of the sky, which astropy draws."""
    figure.draw_without_rendering()
    return [text.get_color() for text in figure.findobj(Text) if text.get_text()]


def test_luminance_is_that_of_the_standard() -> None:
    assert luminance((1.0, 1.0, 1.0)) == pytest.approx(1.0)
    assert contrast("black", "white") == pytest.approx(21.0)
    assert contrast("#767676", "white") == pytest.approx(4.54, abs=0.01)  # the lightest grey of level AA


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", PLOTS)
def test_every_text_is_read_on_its_background(name: str, theme: Theme) -> None:
    plot, arguments = PLOTS[name]
    with themed(theme):
        figure = plot(*arguments)
        colours = find_text_colours(figure)
        backgrounds = [figure.get_facecolor(), rcParams["axes.facecolor"]]
        assert len(colours) > 1
        for colour in colours:
            assert min(contrast(colour, background) for background in backgrounds) > 4.5, colour


@pytest.mark.parametrize("theme", THEMES)
def test_labels_along_the_axes_of_the_sky_are_read(theme: Theme) -> None:
    with themed(theme):
        pixels = imread(BytesIO(render(plot_image(PLANE), "png", dpi=60)))[..., :3]
    margin = pixels[:, : pixels.shape[1] // 12].reshape(-1, 3)  # labels and nothing else
    background = pixels[0, 0]
    assert max(contrast(colour, background) for colour in np.unique(margin, axis=0)) > 4.5


def test_lines_and_single_points_are_seen_on_the_dark_background() -> None:
    with themed("dark"):
        background = rcParams["axes.facecolor"]
        lines = rcParams["axes.prop_cycle"].by_key()["color"]
        (mesh,) = plot_densities([DENSITY], 1, "field").axes[0].collections
        counts = mesh.cmap(np.linspace(0, 1, 64))
    for colour in (*lines, *counts):
        assert contrast(colour, background) > 3  # of graphical objects, WCAG 2.2, 1.4.11
    darkest = colormaps["viridis"](0)
    assert contrast(darkest, background) < 1.5  # it would not be seen
    with themed("light"):
        np.testing.assert_array_equal(counting_colours()(THREE / 3), colormaps["viridis"](THREE / 3))


def test_images_keep_their_colours_in_both_themes() -> None:
    shown = []
    for theme in THEMES:
        with themed(theme):
            (image,) = plot_image(PLANE).axes[0].images
            shown.append(image.to_rgba(PLANE.image))
    np.testing.assert_array_equal(*shown)


@pytest.mark.parametrize("name", ["image", "channel maps", "solutions", "line search", "flag map", "gantt"])
def test_a_copied_layout_is_that_which_would_be_found(name: str) -> None:
    plot, arguments = PLOTS[name]
    source = plot(*arguments)
    expected = render(source, "png", dpi=50)
    copied = plot(*arguments)
    copy_layout(source, copied)
    assert render(copied, "png", dpi=50) == expected
    without = plot(*arguments)
    without.set_layout_engine("none")
    assert render(without, "png", dpi=50) != expected


def test_outside_of_a_theme_the_settings_are_those_of_the_user() -> None:
    before = dict(rcParams)
    with pytest.raises(RuntimeError, match="a plot failed"), themed("dark"):
        raise RuntimeError("a plot failed")
    assert dict(rcParams) == before
    with rc_context({"text.color": "green", "axes.facecolor": "navy"}):
        axes = plot_convergence(np.ones((2, 3))).axes[0]
        assert axes.title.get_color() == "green"
        np.testing.assert_array_equal(to_rgba_array(axes.get_facecolor()), to_rgba_array("navy"))


def test_threads_do_not_mix_their_themes() -> None:
    def draw(theme: Theme) -> bytes:
        with themed(theme):
            return render(plot_antennas(["a"], THREE[:1], THREE[:1]), "png", dpi=40)

    alone = {theme: draw(theme) for theme in THEMES}
    assert alone["light"] != alone["dark"]
    with ThreadPoolExecutor(2) as pool:
        for theme, drawn in zip(THEMES * 4, pool.map(draw, THEMES * 4), strict=True):
            assert drawn == alone[theme]
