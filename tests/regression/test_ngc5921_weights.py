"""Imaging weights and beams of NGC 5921 against those of CASA 6.7.0, from coordinates and weights of the file alone."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.beam import fit_restoring_beam
from radps.domain.geometry import ImageGrid
from radps.domain.gridding import point_spread_function
from radps.domain.weights import Weighting, density_grid, imaging_weights

ARCSEC = math.radians(1 / 3600)
CONTINUUM = [4, 5, 6, *range(50, 60)]
CUBE = list(range(5, 51))


class Coordinates(NamedTuple):
    """Where the target was sampled, and with what weight."""

    uvw_m: NDArray[np.float64]
    frequency_hz: NDArray[np.float64]
    weights: NDArray[np.float32]


@pytest.fixture(scope="module")
def target(ngc5921_fits: Path) -> Coordinates:
    from pyuvdata import UVData  # takes seconds to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a telescope without known layout, as in the test of the kernels
        data = UVData.from_file(str(ngc5921_fits), file_type="uvfits", run_check=False)
    field = next(n for n, entry in data.phase_center_catalog.items() if entry["cat_name"] == "N5921_2")
    rows = (data.phase_center_id_array == field) & (data.ant_1_array != data.ant_2_array)
    both_hands = np.where(data.flag_array[rows], 0, data.nsample_array[rows]).sum(axis=-1)
    return Coordinates(data.uvw_array[rows], np.asarray(data.freq_array).ravel(), both_hands.astype(np.float32))


@pytest.fixture(scope="module")
def images(shared_data: Path) -> dict[str, Any]:
    text = (shared_data / "ngc5921" / "reference" / "pb17_nocalwt_results.json").read_text()
    return dict(json.loads(text)["images"])


@pytest.mark.parametrize(
    ("weighting", "image", "hands"),
    [
        (Weighting.NATURAL, "ngc5921_cont_dirty_nat", 1),
        # CASA divides by the density of the mean of two hands, and counts both: twice the sum
        (Weighting.UNIFORM, "ngc5921_cont_clean_unif", 2),
    ],
)
def test_weights_and_beam_of_the_continuum(
    target: Coordinates, images: dict[str, Any], weighting: Weighting, image: str, hands: int
) -> None:
    grid = ImageGrid(512, 512, 15 * ARCSEC)
    frequency_hz = target.frequency_hz[CONTINUUM]
    weights = imaging_weights(target.uvw_m, frequency_hz, target.weights[:, CONTINUUM], grid, weighting=weighting)
    assert hands * weights.sum(dtype=np.float64) == pytest.approx(images[image]["sumwt"][0], rel=1e-5)
    beam = fit_restoring_beam(point_spread_function(target.uvw_m, frequency_hz, weights, grid), grid)
    expected = images[image]["beam"]
    assert beam.major_rad / ARCSEC == pytest.approx(expected["major"], rel=1e-4)
    assert beam.minor_rad / ARCSEC == pytest.approx(expected["minor"], rel=1e-4)
    # the beam of uniform weights is nearly round: 0.01 degrees are 3e-5 of its axes
    assert math.degrees(beam.position_angle_rad) == pytest.approx(expected["positionangle"], abs=0.02)


@pytest.mark.parametrize("channel", [0, 20, 45])
def test_briggs_weights_with_a_common_density(target: Coordinates, images: dict[str, Any], channel: int) -> None:
    grid = ImageGrid(256, 256, 15 * ARCSEC)
    expected = images["ngc5921_cube_clean_briggs"]
    density = density_grid(target.uvw_m, target.frequency_hz[CUBE], target.weights[:, CUBE], grid)
    one = slice(CUBE[channel], CUBE[channel] + 1)
    frequency_hz = target.frequency_hz[one]
    weights = imaging_weights(target.uvw_m, frequency_hz, target.weights[:, one], grid, robust=0.5, density=density)
    # CASA grids at the frequencies of the LSRK, 1e-5 from those of the file: samples cross borders of cells
    assert weights.sum(dtype=np.float64) == pytest.approx(expected["sumwt"][channel], rel=1e-3)
    beam = fit_restoring_beam(point_spread_function(target.uvw_m, frequency_hz, weights, grid), grid)
    major, minor, angle = expected["beam"][channel]
    assert beam.major_rad / ARCSEC == pytest.approx(major, rel=1e-3)
    assert beam.minor_rad / ARCSEC == pytest.approx(minor, rel=1e-3)
    assert math.degrees(beam.position_angle_rad) == pytest.approx(angle, abs=0.2)
