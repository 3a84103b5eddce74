"""Isolated sources on and off axis: flux densities to 0.5 %, spectral indices to 0.02, positions to 0.02 of a beam.

The sky is seen through the primary beam of the VLA, channel by channel; one source is at the pointing centre, one near
the half-power point, one between, not on pixels. The images are corrected for the beam.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import radps
from radps.api import Run
from radps.context.records import ImageRecord
from radps.data.images import load_beams, load_planes

CELL = math.radians(9 / 3600)
SIZE = 240
REFERENCE_HZ = 1.5e9
SOURCES = (  # east, north [pixels], flux density [Jy], spectral index
    (0.0, 0.0, 0.5, -0.7),
    (96.0, -13.0, 1.0, -0.8),  # 14.5 arcmin: the beam is 0.52 at 1.5 GHz
    (-41.4, 47.7, 0.7, 0.3),
)
WINDOWS = ((1.28e9, 6), (1.52e9, 6))


def observation(name: str, start_hz: float, n_channels: int) -> dict[str, Any]:
    """Perfect receivers of 40 MHz channels, with a little noise."""
    components = [
        {
            "east": east * CELL,
            "north": north * CELL,
            "flux": flux,
            "spectral_index": index,
            "reference_frequency": REFERENCE_HZ,
        }
        for east, north, flux, index in SOURCES
    ]
    return {
        "name": name,
        "integration_time": "60 s",
        "layout": {"kind": "vla", "configuration": "D", "n_antennas": 20},
        "primary_beam": True,
        "band": {"name": name, "start_frequency": start_hz, "channel_width": 4e7, "n_channels": n_channels},
        "fields": [{"name": "sky", "ra": "190 deg", "dec": "40 deg", "components": components}],
        "scans": [{"field": "sky", "n_integrations": 40}],
        "gains": None,
        "bandpasses": None,
        "noise": {"sefd": 300.0},
    }


IMAGE = {"image_size": SIZE, "cell_size": CELL, "n_sigma": 4.0, "primary_beam_correction": True}
CONTINUUM: dict[str, dict[str, Any]] = {
    "natural": {"weighting": "natural", "w_term": True},
    "robust": {"robust": 0.0},
}
CUBES: dict[str, dict[str, Any]] = {
    "cube_natural": {"weighting": "natural", "windows": ["spw0"]},
    "cube_robust": {"robust": 0.0, "w_term": True, "windows": ["spw0"]},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two windows of 240 MHz on either side of 1.5 GHz: 32 % of bandwidth."""
    continuum = [
        {"id": name, "stage": "image_continuum", "params": {**IMAGE, "n_terms": 2, **more}}
        for name, more in CONTINUUM.items()
    ]
    cubes = [{"id": name, "stage": "image_cube", "params": {**IMAGE, **more}} for name, more in CUBES.items()]
    config = {
        "run": str(tmp_path_factory.mktemp("fluxes") / "run"),
        "cluster": "none",
        "steps": [
            {"id": "low", "stage": "simulate", "params": {"observation": observation("low", *WINDOWS[0])}},
            {"id": "high", "stage": "simulate", "params": {"observation": observation("high", *WINDOWS[1])}},
            "import_data",
            *continuum,
            *cubes,
        ],
    }
    return radps.run(config, progress=False)


def load(run: Run, image: ImageRecord, variable: str) -> np.ndarray:
    return load_planes(run.context.locate(image.path), variable)


def pixel(east: float, north: float) -> tuple[int, int]:
    return SIZE // 2 - round(east), SIZE // 2 + round(north)


def around(place: tuple[int, int], reach: int) -> tuple[slice, slice]:
    return slice(place[0] - reach, place[0] + reach + 1), slice(place[1] - reach, place[1] + reach + 1)


def find_centre(image: np.ndarray, near: tuple[int, int]) -> tuple[float, float]:
    """Return east and north [pixels] of the Gaussian through the 3 x 3 pixels: a parabola in the logarithms."""
    logarithm = np.log(image[around(near, 1)].astype(np.float64))
    di, dj = (axis.ravel() for axis in np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij"))
    terms = np.stack([np.ones(9), di, dj, di**2, di * dj, dj**2], axis=1)
    _, ci, cj, cii, cij, cjj = np.linalg.lstsq(terms, logarithm.ravel(), rcond=None)[0]
    x, y = -np.linalg.solve([[2 * cii, cij], [cij, 2 * cjj]], [ci, cj])
    return SIZE // 2 - near[0] - x, near[1] + y - SIZE // 2


def check_place(sky: np.ndarray, image: ImageRecord, east: float, north: float) -> None:
    found = find_centre(sky, pixel(east, north))
    assert image.beam is not None
    assert math.dist(found, (east, north)) < 0.02 * image.beam.minor_rad / CELL


def beam_area(image: ImageRecord) -> float:
    """Pixels of a beam."""
    assert image.beam is not None
    return math.pi / (4 * math.log(2)) * image.beam.major_rad * image.beam.minor_rad / CELL**2


@pytest.mark.parametrize("step", CONTINUUM)
def test_continuum_sources_have_their_flux_index_and_place(run: Run, step: str) -> None:
    (image,) = run.context.find_images(step=step)
    apparent = load(run, image, "SKY")[0]
    sky, slope = (
        load(run, image, name)[0] for name in ("SKY_PRIMARY_BEAM_CORRECTED", "SKY_TAYLOR_1_PRIMARY_BEAM_CORRECTED")
    )
    for east, north, flux, index in SOURCES:
        check_place(apparent, image, east, north)
        near = around(pixel(east, north), 9)
        total, rise = sky[near].sum(dtype=np.float64), slope[near].sum(dtype=np.float64)
        # 0.27 % of it is what two terms cut off, alpha^2 / 2 <x^2>; the noise is 0.1 % and less.
        assert total / beam_area(image) == pytest.approx(flux, rel=5e-3), (east, north)
        assert rise / total == pytest.approx(index, abs=0.02), (east, north)


def test_the_map_of_the_index_is_that_of_the_sky_only_where_corrected(run: Run) -> None:
    (image,) = run.context.find_images(step="robust")
    apparent, corrected = (
        load(run, image, name)[0] for name in ("SKY_SPECTRAL_INDEX", "SKY_SPECTRAL_INDEX_PRIMARY_BEAM_CORRECTED")
    )
    east, north, _, index = SOURCES[1]
    assert corrected[pixel(east, north)] == pytest.approx(index, abs=0.02)
    assert apparent[pixel(east, north)] < index - 1.2
    np.testing.assert_array_equal(np.isnan(corrected), np.isnan(apparent) | (load(run, image, "PRIMARY_BEAM")[0] == 0))
    assert corrected[pixel(0, 0)] == pytest.approx(apparent[pixel(0, 0)], abs=1e-5)


@pytest.mark.parametrize("step", CUBES)
def test_sources_of_a_cube_have_their_flux_and_place(run: Run, step: str) -> None:
    (image,) = run.context.find_images(step=step)
    sky, plain = load(run, image, "SKY_PRIMARY_BEAM_CORRECTED"), load(run, image, "SKY")
    frequency_hz = np.linspace(*image.frequency_hz, image.shape[0])
    major_rad, minor_rad, _ = load_beams(run.context.locate(image.path)).T
    areas = math.pi / (4 * math.log(2)) * major_rad * minor_rad / CELL**2
    for east, north, flux, index in SOURCES:
        expected = flux * (frequency_hz / REFERENCE_HZ) ** index
        check_place(plain[len(plain) // 2], image, east, north)
        near = around(pixel(east, north), 9)
        np.testing.assert_allclose(sky[:, *near].sum(axis=(1, 2), dtype=np.float64) / areas, expected, rtol=5e-3)
