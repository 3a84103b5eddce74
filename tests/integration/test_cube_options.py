"""Masks, scales and restoring beams of a cube, on a simulated sky that is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import radps
from radps.api import Run
from radps.context.records import ImageRecord
from radps.data.convergence import STATISTICS, load_convergence
from radps.data.images import load_beams, load_planes
from radps.domain.beam import RestoringBeam, convolve_with_beam
from radps.domain.common_beam import contains_beam, find_common_beam
from radps.domain.geometry import ImageGrid
from radps.domain.imaging import CleanOptions
from radps.domain.statistics import robust_rms
from radps.errors import RadpsError
from radps.node_tasks.cube_imaging import ImagingRules, PrimaryBeamRule
from radps.node_tasks.cube_restoring import choose_common_beam, fit_beams, restore_channels

CELL = math.radians(12 / 3600)
SIZE = 96
N_CHANNELS = 3
POINT = {"east": 20 * CELL, "north": -14 * CELL, "flux": 1.0}
BLOB = {"east": -16 * CELL, "north": 12 * CELL, "flux": 2.0, "major": 14 * CELL, "minor": 14 * CELL}


def observation() -> dict[str, Any]:
    """Perfect receivers; channels 3 % apart, so that their beams differ."""
    return {
        "integration_time": "60 s",
        "layout": {"kind": "vla", "configuration": "D", "n_antennas": 20},
        "band": {"start_frequency": 1.4e9, "channel_width": 4e7, "n_channels": N_CHANNELS},
        "fields": [{"name": "sky", "ra": "190 deg", "dec": "40 deg", "components": [POINT, BLOB]}],
        "scans": [{"field": "sky", "n_integrations": 60}],
        "gains": None,
        "bandpasses": None,
        "noise": {"sefd": 8000.0},
    }


LEVEL = 0.85
"""Of the primary beam: within 7 arcmin, where the sources are; the cube reaches 9.6 arcmin, and 13.6 in its corners."""
COMMON = {"image_size": SIZE, "cell_size": CELL, "n_sigma": 2.0, "w_term": False, "max_iterations": 50_000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cubes")


def config(folder: Path, *cubes: dict[str, Any]) -> dict[str, Any]:
    steps = [{"id": f"cube{number}", "stage": "image_cube", "params": cube} for number, cube in enumerate(cubes)]
    return {
        "run": str(folder / "run"),
        "cluster": "none",
        "steps": [{"simulate": {"observation": observation()}}, "import_data", *steps],
    }


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    regions = folder / "mask.crtf"
    regions.write_text("#CRTFv0\ncircle[[64pix, 60pix], 15.2pix]\ncircle[[28pix, 34pix], 5pix], range=[1chan, 2chan]\n")
    point = folder / "point.crtf"
    point.write_text("#CRTFv0\ncircle[[28pix, 34pix], 3.2pix]\n")
    cubes = (
        {**COMMON, "mask": "auto", "auto_mask": {"noise_threshold": 4.5}, "deconvolver": "multiscale"},
        {**COMMON, "mask": str(regions)},
        {**COMMON, "restoring_beam": "common", "primary_beam_correction": True, "mask_primary_beam": LEVEL},
        {**COMMON, "restoring_beam": {"major": "70 arcsec", "minor": "60 arcsec", "position_angle": "20 deg"}},
        {**COMMON, "mask": "auto", "auto_mask": {"start": str(point), "noise_threshold": 1e3}, "n_sigma": 5.0},
    )
    return radps.run(config(folder, *cubes), progress=False)


def image(run: Run, step: str) -> ImageRecord:
    return next(one for one in run.context.images if one.name.endswith(step))


def pixel(component: dict[str, float]) -> tuple[int, int]:
    return SIZE // 2 - round(component["east"] / CELL), SIZE // 2 + round(component["north"] / CELL)


def distance(component: dict[str, float]) -> np.ndarray:
    i, j = pixel(component)
    return np.hypot(*np.mgrid[-i : SIZE - i, -j : SIZE - j])


def test_automatic_masks_hold_the_sources_alone(run: Run) -> None:
    record = image(run, "cube0")
    assert "MASK" in record.companions
    url = run.context.locate(record.path)
    masks, models = load_planes(url, "MASK"), load_planes(url, "SKY_MODEL")
    assert masks.dtype == np.bool_
    for mask, model in zip(masks, models, strict=True):
        assert mask[pixel(POINT)]
        assert mask[distance(BLOB) < 10].all()
        # 14 pixels from the blob its brightness is 0.5 % of the peak; the margin is about 1.3 beams of 4 pixels
        assert not mask[(distance(BLOB) > 30) & (distance(POINT) > 14)].any()
        # a tenth of a component may lie outside of the mask
        assert np.abs(model[~mask]).sum() < 0.05 * np.abs(model).sum()


def test_multi_scale_clean_has_the_flux_of_the_blob(run: Run) -> None:
    url = run.context.locate(image(run, "cube0").path)
    for model in load_planes(url, "SKY_MODEL"):
        # 1 % of noise over its 20 beams; its wings below two sigma stay in the residual
        assert model[distance(BLOB) < 24].sum() == pytest.approx(2.0, rel=0.05)
        assert model[distance(POINT) < 5].sum() == pytest.approx(1.0, rel=0.03)
        assert model.min() > -0.01


def test_a_mask_of_regions_is_that_of_its_channels(run: Run) -> None:
    record = image(run, "cube1")
    url = run.context.locate(record.path)
    masks, models = load_planes(url, "MASK"), load_planes(url, "SKY_MODEL")
    circle = distance(BLOB) <= 15.2
    np.testing.assert_array_equal(masks[0], circle)
    for mask, model in zip(masks, models, strict=True):
        assert model[mask].any()
        assert not model[~mask].any()
    assert [bool(model[pixel(POINT)]) for model in models] == [False, True, True]


def test_the_primary_beam_of_each_channel_is_its_mask(run: Run) -> None:
    record = image(run, "cube2")
    url = run.context.locate(record.path)
    masks, models = load_planes(url, "MASK"), load_planes(url, "SKY_MODEL")
    np.testing.assert_array_equal(masks, load_planes(url, "PRIMARY_BEAM") >= LEVEL)
    # the beam narrows with frequency
    sizes = masks.sum(axis=(1, 2)).tolist()
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] < masks[0].size
    assert not models[~masks].any()
    found = load_convergence(run.context.locate(record.convergence or ""))
    # those of the second pass, which restores with the common beam
    assert found.statistics[:, STATISTICS.index("mask_pixels")].tolist() == sizes
    assert record.mask_share == pytest.approx(np.mean(sizes) / masks[0].size)


def test_an_automatic_mask_of_a_cube_begins_with_that_of_the_user(run: Run) -> None:
    record = image(run, "cube4")
    for mask in load_planes(run.context.locate(record.path), "MASK"):
        # nothing is a thousand times the noise: what is there was given, and grew to the edge of the point
        assert mask[distance(POINT) <= 3.2].all()
        assert not mask[distance(BLOB) < 5].any()


def test_all_channels_have_the_smallest_beam_that_contains_theirs(run: Run) -> None:
    own = [RestoringBeam(*beam) for beam in load_beams(run.context.locate(image(run, "cube1").path))]
    record = image(run, "cube2")
    beams = [RestoringBeam(*beam) for beam in load_beams(run.context.locate(record.path))]
    assert beams == [find_common_beam(own)] * N_CHANNELS
    assert all(contains_beam(beams[0], beam) for beam in own)
    assert record.beam is not None
    assert record.beam.major_rad == beams[0].major_rad


def test_images_of_a_common_beam_have_the_flux_of_the_sky(run: Run) -> None:
    record = image(run, "cube2")
    url = run.context.locate(record.path)
    sky = load_planes(url, "SKY")
    for plane, residual in zip(sky, load_planes(url, "SKY_RESIDUAL"), strict=True):
        assert plane[pixel(POINT)] == pytest.approx(1.0, abs=5 * float(residual.std()))
    assert record.statistics.max == pytest.approx(float(sky.max()), rel=1e-6)
    corrected, pattern = (load_planes(url, name) for name in ("SKY_PRIMARY_BEAM_CORRECTED", "PRIMARY_BEAM"))
    inside = pattern > 0.3
    np.testing.assert_allclose(corrected[inside], (sky / pattern)[inside], rtol=1e-5)


def test_restoring_again_changes_nothing(run: Run) -> None:
    record = image(run, "cube2")
    url, table = run.context.locate(record.path), run.context.locate(record.convergence or "")
    before = load_planes(url, "SKY"), load_convergence(table).statistics
    rules = ImagingRules(
        ImageGrid(SIZE, SIZE, CELL),
        None,  # type: ignore[arg-type]
        CleanOptions(),
        None,  # type: ignore[arg-type]
        None,
        mask_beam=PrimaryBeamRule("VLA", 25.0, LEVEL),
    )
    beams = fit_beams((0, N_CHANNELS), rules, url)
    restore_channels((0, N_CHANNELS), rules, url, table, choose_common_beam([beams[:1], beams[1:]]))
    np.testing.assert_array_equal(load_planes(url, "SKY"), before[0])
    np.testing.assert_array_equal(load_convergence(table).statistics, before[1])


def test_a_beam_that_is_given_is_that_of_all_channels(run: Run) -> None:
    url = run.context.locate(image(run, "cube3").path)
    wanted = math.radians(70 / 3600), math.radians(60 / 3600), math.radians(20)
    np.testing.assert_allclose(load_beams(url), [wanted] * N_CHANNELS)
    for plane, residual in zip(load_planes(url, "SKY"), load_planes(url, "SKY_RESIDUAL"), strict=True):
        assert plane[pixel(POINT)] == pytest.approx(1.0, abs=5 * float(residual.std()))


def test_the_noise_of_an_image_is_in_jy_per_beam_of_the_image(run: Run) -> None:
    record = image(run, "cube3")
    url = run.context.locate(record.path)
    beam, grid = RestoringBeam(*load_beams(url)[0]), ImageGrid(SIZE, SIZE, CELL)
    skies, models, residuals = (load_planes(url, name) for name in ("SKY", "SKY_MODEL", "SKY_RESIDUAL"))
    left = [sky - convolve_with_beam(model, beam, grid) for sky, model in zip(skies, models, strict=True)]
    # single precision of the sum of model and residual
    assert record.noise_jy == pytest.approx(np.median([robust_rms(plane) for plane in left]), rel=1e-3)
    assert record.noise_jy > 1.05 * np.median([robust_rms(plane) for plane in residuals])


def test_a_beam_with_its_axes_exchanged_is_refused(folder: Path) -> None:
    wrong = {**COMMON, "restoring_beam": {"major": "60 arcsec", "minor": "70 arcsec"}}
    with pytest.raises(RadpsError, match="the minor axis has to be above 0 and at most the major one"):
        radps.run(config(folder, wrong), progress=False)


def test_a_mask_that_is_not_there_fails_the_step(folder: Path) -> None:
    wrong = {**COMMON, "mask": str(folder / "other.fits")}
    with pytest.raises(RadpsError, match="there is no such file"):
        radps.run({**config(folder, wrong), "run": str(folder / "wrong")}, progress=False)


def test_thresholds_without_an_automatic_mask_are_refused(folder: Path) -> None:
    wrong = {**COMMON, "auto_mask": {"noise_threshold": 4.5}}
    with pytest.raises(RadpsError, match="auto_mask has thresholds of an automatic mask, but mask is 'none'"):
        radps.run(config(folder, wrong), progress=False)


def test_scales_that_do_not_fit_are_refused_before_any_task(folder: Path) -> None:
    wrong = {**COMMON, "deconvolver": "multiscale", "scales": [0, 60]}
    with pytest.raises(RadpsError, match="scales of 0, 60 pixels for an image of 96 x 96"):
        radps.run({**config(folder, wrong), "run": str(folder / "scales")}, progress=False)
