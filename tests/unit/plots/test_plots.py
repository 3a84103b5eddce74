"""Every plot draws what it is given, and the odd cases: nothing at all, one value, names with dollars."""

from __future__ import annotations

import numpy as np
import pytest

from radps.plots.arrays import Track, plot_antennas, plot_elevations, plot_uv_coverage
from radps.plots.convergence import ChannelTable, plot_channels, plot_convergence
from radps.plots.figures import render
from radps.plots.flags import plot_flag_fractions, plot_flag_map
from radps.plots.images import ImagePlane, make_wcs, plot_channel_maps, plot_image, thin_plane
from radps.plots.solutions import SolutionPanels, plot_amplitudes, plot_delays, plot_phases
from radps.plots.spectra import SearchedSpectra, plot_line_search, plot_spectrum
from radps.plots.visibilities import DensityPanel, ModelPanel, plot_baselines, plot_densities, plot_model_comparison

RNG = np.random.default_rng(1)
PLANE = ImagePlane(RNG.normal(size=(32, 24)), 1e-5, (4.0, -0.5), "Jy/beam", (5e-5, 3e-5, 0.4), "a $field$")


def test_an_image_has_its_coordinates_and_its_beam() -> None:
    figure = plot_image(PLANE)
    axes = figure.axes[0]
    assert axes.get_title() == r"a \$field\$"
    (ellipse,) = axes.patches
    assert (ellipse.height, ellipse.width) == pytest.approx((5.0, 3.0))
    sky = make_wcs(PLANE).pixel_to_world(16, 12)
    assert (sky.ra.rad, sky.dec.rad) == pytest.approx((4.0, -0.5))
    # the next pixel along l is farther west, the next along m farther north
    assert make_wcs(PLANE).pixel_to_world(17, 12).ra.rad < 4.0
    assert make_wcs(PLANE).pixel_to_world(16, 13).dec.rad > -0.5
    assert axes.images[0].get_array().shape == (24, 32)
    assert render(figure, "png") == render(plot_image(PLANE), "png")


def test_the_outline_of_a_mask_is_around_its_pixels() -> None:
    mask = np.zeros(PLANE.image.shape, np.bool_)
    assert not plot_image(PLANE._replace(mask=mask)).axes[0].collections
    mask[20:25, 3:7] = True
    (contour,) = plot_image(PLANE._replace(mask=mask)).axes[0].collections
    corners = contour.get_paths()[0].vertices
    np.testing.assert_allclose([corners.min(axis=0), corners.max(axis=0)], [[19.5, 2.5], [24.5, 6.5]])
    figure = plot_channel_maps([PLANE._replace(mask=mask)])
    (contour,) = figure.axes[0].collections
    corners = contour.get_paths()[0].vertices
    cell = np.degrees(1e-5) * 60
    # offsets count from the middle of pixel (16, 12): the outline is between pixels 19 and 20 along l, 2 and 3 along m
    assert corners[:, 0].max() == pytest.approx((16 - 19.5) * cell, rel=1e-6)
    assert corners[:, 1].min() == pytest.approx((2.5 - 12) * cell, rel=1e-6)


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_blank_image_is_drawn(value: float) -> None:
    blank = PLANE._replace(image=np.full((8, 8), value), beam_rad=None)
    assert render(plot_image(blank), "png")
    assert render(plot_channel_maps([blank] * 5), "png")


def test_faint_sources_of_a_bright_image_are_seen() -> None:
    image = np.random.default_rng(1).normal(size=(64, 64))
    image[32, 32] = 1000.0
    plane = ImagePlane(image, 1e-5, (1.0, 0.5), "Jy/beam", None, "bright")
    norm = plot_image(plane).axes[0].images[0].norm
    assert float(norm(10.0)) - float(norm(0.0)) > 0.1  # linear: a hundredth
    dim = plot_image(plane._replace(image=np.minimum(image, 20.0))).axes[0].images[0].norm
    assert float(dim(10.0)) - float(dim(0.0)) == pytest.approx(10 / (20 + 3), rel=0.05)  # the noise is known to 2 %


def test_channels_share_one_scale() -> None:
    figure = plot_channel_maps([PLANE._replace(image=PLANE.image * scale) for scale in (1, 5, 2)])
    limits = {image.get_clim() for axes in figure.axes for image in axes.images}
    assert len(limits) == 1
    assert limits.pop()[1] == pytest.approx(5 * PLANE.image.max())


def make_panels(n_antennas: int) -> SolutionPanels:
    gains = RNG.normal(size=(7, n_antennas, 2)) + 1j * RNG.normal(size=(7, n_antennas, 2))
    names = [f"ea{number:02d}" for number in range(n_antennas)]
    return SolutionPanels(np.arange(7.0), gains, np.zeros(gains.shape, np.bool_), names, ("R", "L"), "Time [min]")


def test_solutions_have_a_panel_an_antenna_and_flagged_ones_are_not_shown() -> None:
    panels = make_panels(6)
    panels.flags[:, 2] = True
    figure = plot_amplitudes(panels)
    titles = [axes.get_title() for axes in figure.axes if axes.axison]
    assert titles == ["ea00", "ea01", "ea02: no solution", "ea03", "ea04", "ea05"]
    drawn = figure.axes[0].lines[1].get_ydata()
    np.testing.assert_allclose(drawn, np.abs(panels.gains[:, 0, 1]))
    assert np.isnan(figure.axes[2].lines[0].get_ydata()).all()
    assert plot_phases(panels).axes[0].get_ylim() == (-180, 180)


def test_delays_are_in_nanoseconds() -> None:
    panels = make_panels(2)
    panels = panels._replace(gains=panels.gains.real * 1e-9 + 0j)
    lines = plot_delays(panels).axes[0].lines
    np.testing.assert_allclose(lines[0].get_ydata(), 1e9 * panels.gains[:, 0, 0].real)


def test_a_table_in_which_all_is_flagged_is_drawn() -> None:
    panels = make_panels(1)
    panels.flags[...] = True
    assert render(plot_amplitudes(panels), "png")
    assert render(plot_delays(panels), "png")


def test_densities_are_cut_to_the_data() -> None:
    counts = np.zeros((10, 20), np.int64)
    counts[3:5, 7:9] = 4
    panel = DensityPanel(counts, np.arange(11.0), np.arange(21.0), "x", "y")
    empty = panel._replace(counts=np.zeros_like(counts))
    figure = plot_densities([panel, empty], 2, "field")
    assert figure.axes[0].get_xlim() == (3, 5)
    assert figure.axes[0].get_ylim() == (7, 9)
    assert figure.axes[1].texts[0].get_text() == "no unflagged data"


def test_line_free_channels_are_shaded() -> None:
    free = np.array([True, True, False, False, True])
    found = SearchedSpectra(1e9 + 1e6 * np.arange(5), *np.ones((3, 5)), free)
    for axes in plot_line_search(found, "t").axes:
        assert len(axes.patches) == 3
    flux = np.array([0.0, 1.0, np.nan])
    axes = plot_spectrum(np.arange(3.0), flux, None, "t").axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), flux)
    assert len(plot_spectrum(np.arange(3.0), flux, np.ones(3), "t").axes[0].collections) == 1


def test_the_other_plots_draw_what_they_are_given() -> None:
    time_s = 1.7e9 + np.arange(5) * 60.0
    figure = plot_elevations([Track("3C286", time_s, np.full(5, 0.5))])
    assert figure.axes[0].get_xlabel().startswith("UTC, 2023-11-14")
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), np.degrees(0.5))
    antennas = plot_antennas(["a", "b$"], np.array([0.0, 1e3]), np.array([0.0, -1e3]))
    assert [text.get_text() for text in antennas.axes[0].texts] == ["a", r"b\$"]
    assert len(plot_uv_coverage(np.ones(3), np.ones(3), "t").axes[0].lines) == 2
    bars = plot_flag_fractions(["a", "b"], [0.1, 0.2], [0.3, 1.0], "antenna").axes[0].patches
    assert [bar.get_height() for bar in bars] == pytest.approx([30, 100, 10, 20])
    lines = [axes.lines[0].get_ydata() for axes in plot_baselines(*np.ones((4, 9)), "t").axes]
    assert [line[0] for line in lines] == pytest.approx([57.29578, 57.29578, 100])
    peaks = np.array([[1.0, 0.5, np.nan], [2.0, 0.1, 0.05]])
    assert len(plot_convergence(peaks).axes[0].lines) == 2
    table = ChannelTable(np.arange(3.0) * 1e6, *np.ones((4, 3)), ["n sigma", "no data", "n sigma"])
    ticks = [label.get_text() for label in plot_channels(table).axes[3].get_yticklabels()]
    assert ticks == ["n sigma", "no data"]


def test_flags_over_time_and_frequency_end_with_the_data() -> None:
    fraction = np.full((6, 3), np.nan)
    fraction[1:4] = [0.0, 0.5, 1.0]
    figure = plot_flag_map(fraction, 1.7e9 + 60.0 * np.arange(7), 1e9 + 1e6 * np.arange(4), "field")
    axes = figure.axes[0]
    assert axes.get_xlim() == (1.7e9 + 60, 1.7e9 + 240)
    np.testing.assert_allclose(axes.collections[0].get_array()[:, 0], [0, 50, 100])
    assert axes.get_xlabel() == "UTC, 2023-11-14"
    plot_flag_map(np.full((6, 3), np.nan), 1.7e9 + 60.0 * np.arange(7), 1e9 + 1e6 * np.arange(4), "nothing")


def test_data_are_shown_with_their_model_and_the_phase_between() -> None:
    x = np.arange(3.0)
    panel = ModelPanel(x, "uv distance", np.array([2.0, 2.0j, np.nan]), np.array([2.0, 2.0, np.nan]))
    upper, lower = plot_model_comparison([panel], "field").axes
    np.testing.assert_allclose(upper.lines[1].get_ydata(), [2, 2, np.nan])
    np.testing.assert_allclose(lower.lines[0].get_ydata(), [0, 90, np.nan])
    assert lower.get_xlabel() == "uv distance"


@pytest.mark.parametrize("shape", [(100, 81), (64, 64), (57, 120)])
def test_a_large_plane_is_thinned_about_its_centre_and_keeps_its_points(shape: tuple[int, int]) -> None:
    plane = PLANE._replace(image=np.zeros(shape, np.float32), beam_rad=None, mask=np.zeros(shape, bool))
    far = (shape[0] // 2 + shape[0] // 3, shape[1] // 2 - shape[1] // 3)
    plane.image[shape[0] // 2, shape[1] // 2], plane.image[far], plane.image[0, 0] = 2.0, -3.0, np.nan
    assert plane.mask is not None
    plane.mask[far] = True
    thin = thin_plane(plane, 30)
    assert max(thin.image.shape) <= 30
    step = round(thin.cell_size_rad / plane.cell_size_rad)
    assert thin.image[thin.image.shape[0] // 2, thin.image.shape[1] // 2] == 2.0
    (found,) = np.argwhere(thin.image == -3.0)
    np.testing.assert_array_equal(np.argwhere(thin.mask), [found])
    world = [make_wcs(one).pixel_to_world(*place) for one, place in ((thin, found), (plane, far))]
    # Within half of a new pixel along both axes.
    assert world[0].separation(world[1]).rad < 0.71 * step * plane.cell_size_rad


def test_a_small_plane_is_not_thinned() -> None:
    assert thin_plane(PLANE, 32) is PLANE
