"""The common beam against a search over all ellipses, and images brought to it against images made with it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radps.domain.beam import NO_BEAM, RestoringBeam, gaussian_image, restore_image
from radps.domain.common_beam import contains_beam, find_common_beam, smooth_to_beam
from radps.domain.geometry import ImageGrid

ARCSEC = math.radians(1 / 3600)
GRID = ImageGrid(96, 80, ARCSEC)


def beam(major: float, minor: float, degrees: float) -> RestoringBeam:
    return RestoringBeam(major * ARCSEC, minor * ARCSEC, math.radians(degrees))


def draw_beams(seed: int, number: int) -> list[RestoringBeam]:
    rng = np.random.default_rng(seed)
    minors = rng.uniform(4, 6, number)
    return [
        beam(minor * ratio, minor, angle)
        for minor, ratio, angle in zip(minors, rng.uniform(1, 2, number), rng.uniform(-90, 90, number), strict=True)
    ]


def brute_force_area(beams: list[RestoringBeam]) -> float:
    """Smallest area of a grid of ellipses, each grown until it contains the outlines of all beams."""
    angle = np.linspace(0, np.pi, 181)[:-1]
    outlines = []
    for one in beams:
        along = np.array([math.sin(one.position_angle_rad), math.cos(one.position_angle_rad)])
        across = np.array([along[1], -along[0]])
        outlines.append(
            one.major_rad * np.outer(np.cos(angle), along) + one.minor_rad * np.outer(np.sin(angle), across)
        )
    points = np.concatenate(outlines)
    best = math.inf
    for position in np.radians(np.arange(0, 180, 1.0)):
        along = points @ [math.sin(position), math.cos(position)]
        across = points @ [math.cos(position), -math.sin(position)]
        for ratio in np.linspace(1, 2.5, 151):
            best = min(best, float((along**2 / ratio + across**2 * ratio).max()))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_the_common_beam_is_the_smallest_that_contains_all(seed: int) -> None:
    beams = draw_beams(seed, 5)
    common = find_common_beam([*beams, NO_BEAM])
    assert all(contains_beam(common, one) for one in beams)
    smaller = RestoringBeam(0.999 * common.major_rad, 0.999 * common.minor_rad, common.position_angle_rad)
    assert not all(contains_beam(smaller, one) for one in beams)
    # the grid has steps of 1 degree and 1 % in the ratio, its outlines 1 degree
    assert common.major_rad * common.minor_rad == pytest.approx(brute_force_area(beams), rel=2e-3)


def test_one_beam_that_contains_the_others_is_the_common_one() -> None:
    large = beam(12, 9, 35)
    common = find_common_beam([beam(6, 5, -20), large, beam(8, 7, 35)])
    np.testing.assert_allclose(common, large, rtol=1e-5)
    np.testing.assert_allclose(find_common_beam([large]), large, rtol=1e-7)


def test_crossed_beams_have_a_round_common_beam() -> None:
    common = find_common_beam([beam(10, 4, 0), beam(10, 4, 90)])
    # the smallest ellipse about a cross of two equal ones is the circle about their tips
    assert common.major_rad / ARCSEC == pytest.approx(10, rel=1e-6)
    assert common.minor_rad / ARCSEC == pytest.approx(10, rel=1e-6)


def test_without_beams_there_is_no_common_one() -> None:
    assert not find_common_beam([NO_BEAM, NO_BEAM]).is_valid


def test_smoothing_makes_the_image_of_the_wanted_beam() -> None:
    own, wanted = beam(8, 6, 30), beam(14, 11, -50)
    smoothed = smooth_to_beam(gaussian_image(own, GRID).astype(np.float32), own, wanted, GRID)
    np.testing.assert_allclose(smoothed, gaussian_image(wanted, GRID), atol=2e-5)
    assert smooth_to_beam(smoothed, wanted, wanted, GRID) is smoothed
    assert smooth_to_beam(smoothed, wanted, own, GRID) is smoothed  # no way back


def test_a_beam_of_the_same_width_in_one_direction_smooths_the_other_alone() -> None:
    own, wanted = beam(8, 6, 90), beam(12, 8, 0)
    smoothed = smooth_to_beam(gaussian_image(own, GRID).astype(np.float32), own, wanted, GRID)
    np.testing.assert_allclose(smoothed, gaussian_image(wanted, GRID), atol=2e-5)


def test_what_is_in_the_model_or_left_in_the_residual_comes_out_alike() -> None:
    own, wanted = beam(8, 6, 30), beam(14, 11, -50)
    model = np.zeros(GRID.shape, np.float32)
    model[48, 40] = 2.0
    nothing = np.zeros(GRID.shape, np.float32)
    cleaned = restore_image(model, nothing, wanted, GRID)
    left = smooth_to_beam(restore_image(model, nothing, own, GRID), own, wanted, GRID)
    np.testing.assert_allclose(cleaned, left, atol=1e-4)
    assert cleaned[48, 40] == pytest.approx(2.0, rel=1e-4)
    assert smooth_to_beam(model, NO_BEAM, wanted, GRID) is model
