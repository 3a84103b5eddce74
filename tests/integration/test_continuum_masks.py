"""Masks of continuum images, on a known sky: given ones, automatic ones, the primary beam, and self-calibration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import radps
from radps.api import Run
from radps.context.model import Workspace
from radps.context.records import ImageRecord, Resources
from radps.data.convergence import STATISTICS, load_convergence
from radps.data.images import load_planes
from radps.data.stores import load_array
from radps.domain.statistics import robust_rms
from radps.execution.engine import InProcess
from radps.node_tasks.plotting import DrawnImage
from radps.report.pictures import plan_pictures
from radps.stages import image_continuum
from radps.workflows.model import Step
from radps.workflows.step_work import StepWork

CELL = math.radians(10 / 3600)
SIZE = 80
REFERENCE_HZ = 1.5e9
POINT = {"east": 22 * CELL, "north": -18 * CELL, "flux": 1.0, "spectral_index": -0.8}
BLOB = {
    "east": -18 * CELL,
    "north": 14 * CELL,
    "flux": 1.5,
    "spectral_index": -0.6,
    "major": 14 * CELL,
    "minor": 14 * CELL,
}
OUTSIDE = {"east": -26 * CELL, "north": -24 * CELL, "flux": 0.3, "spectral_index": 0.0}
"""A point that masks of users leave out."""


def observation(name: str, start_hz: float) -> dict[str, Any]:
    """Perfect receivers of 60 MHz channels."""
    sources = [{**source, "reference_frequency": REFERENCE_HZ} for source in (POINT, BLOB, OUTSIDE)]
    return {
        "name": name,
        "integration_time": "60 s",
        "layout": {"kind": "vla", "configuration": "D", "n_antennas": 18},
        "band": {"name": name, "start_frequency": start_hz, "channel_width": 6e7, "n_channels": 4},
        "fields": [{"name": "sky", "ra": "190 deg", "dec": "40 deg", "components": sources}],
        "scans": [{"field": "sky", "n_integrations": 30}],
        "gains": None,
        "bandpasses": None,
        "noise": {"sefd": 8000.0},
    }


IMAGE = {"image_size": SIZE, "cell_size": CELL, "robust": 0.0, "n_sigma": 5.0}
LEVEL = 0.905
"""Of the primary beam: within 5.4 arcmin, where the point is, and most of the blob."""
SCALES = {"deconvolver": "multiscale", "scales": [0, 5, 10], "max_iterations": 50_000}


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Circles around two of the three sources, in FITS pixels less one (l, m)."""
    path = tmp_path_factory.mktemp("masks") / "mask.crtf"
    path.write_text("#CRTFv0\ncircle[[58pix, 54pix], 16.2pix]\ncircle[[18pix, 22pix], 5.2pix]\n")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, regions: Path) -> Run:
    """Two windows of 240 MHz on either side of 1.5 GHz."""
    images: dict[str, dict[str, Any]] = {
        "given": {"mask": str(regions)},
        "given_scales": {"mask": str(regions), "n_terms": 2, **SCALES},
        "auto": {"mask": "auto", "n_terms": 2, "n_sigma": 3.0, **SCALES},
        "beam": {"mask_primary_beam": LEVEL, "primary_beam_correction": True},
        "started": {
            "mask": "auto",
            "auto_mask": {"start": str(regions)},
            "mask_primary_beam": LEVEL,
            "n_terms": 2,
            **SCALES,
        },
        "auto_each": {"mask": "auto", "spectral_windows": "each", **SCALES},
    }
    config = {
        "run": str(tmp_path_factory.mktemp("masked") / "run"),
        "cluster": "none",
        "steps": [
            {"id": "low", "stage": "simulate", "params": {"observation": observation("low", 1.29e9)}},
            {"id": "high", "stage": "simulate", "params": {"observation": observation("high", 1.53e9)}},
            "import_data",
            *({"id": name, "stage": "image_continuum", "params": {**IMAGE, **one}} for name, one in images.items()),
            "assess",
            {"self_calibrate": {**images["auto"], **IMAGE, "phase_intervals": ["scan"], "amplitude_intervals": []}},
        ],
    }
    return radps.run(config, progress=False)


def load(run: Run, image: ImageRecord, variable: str) -> NDArray[Any]:
    return load_planes(run.context.locate(image.path), variable)[0]


def images_of(run: Run, step: str) -> list[ImageRecord]:
    found = run.context.find_images(kind="continuum", step=step)
    assert all("MASK" in image.companions for image in found)
    return found


def pixel(component: dict[str, float]) -> tuple[int, int]:
    return SIZE // 2 - round(component["east"] / CELL), SIZE // 2 + round(component["north"] / CELL)


def distance(component: dict[str, float]) -> NDArray[np.float64]:
    i, j = pixel(component)
    return np.hypot(*np.mgrid[-i : SIZE - i, -j : SIZE - j])


GIVEN = (distance(BLOB) <= 16.2) | (distance(POINT) <= 5.2)


@pytest.mark.parametrize("step", ["given", "given_scales"])
def test_components_are_inside_a_mask_that_is_given(run: Run, step: str) -> None:
    (image,) = images_of(run, step)
    mask, model = load(run, image, "MASK"), load(run, image, "SKY_MODEL")
    np.testing.assert_array_equal(mask, GIVEN)
    if step == "given":
        assert not model[~mask].any()
    # a tenth of a blob may lie outside
    assert np.abs(model[~mask]).sum() < 0.02 * np.abs(model).sum()
    # CLEAN stops at five times the noise, which has the sidelobes of the point that is left
    assert load(run, image, "SKY")[pixel(POINT)] == pytest.approx(POINT["flux"], rel=0.01)


@pytest.mark.parametrize("step", ["given", "given_scales"])
def test_a_source_outside_of_the_mask_stays_in_the_residual(run: Run, step: str) -> None:
    (image,) = images_of(run, step)
    residual = load(run, image, "SKY_RESIDUAL")
    place = pixel(OUTSIDE)
    assert np.unravel_index(np.abs(residual).argmax(), residual.shape) == place
    # sidelobes of what is left inside the mask are on top of it
    assert residual[place] == pytest.approx(OUTSIDE["flux"], rel=0.05)
    # the goal is that inside the mask, where it is reached
    assert image.channels == {"n_sigma": 1}
    assert np.abs(residual[GIVEN]).max() <= IMAGE["n_sigma"] * image.noise_jy < residual[place]


def test_the_assessment_sees_what_a_mask_leaves_out(run: Run) -> None:
    scores = {one.applies_to: one for one in run.context.qa["assess"] if one.name == "largest residual over noise"}
    (left_out,), (found,) = images_of(run, "given"), images_of(run, "auto")
    assert scores[left_out.name].value == pytest.approx(
        np.abs(load(run, left_out, "SKY_RESIDUAL")).max() / left_out.noise_jy
    )
    assert scores[left_out.name].score < 0.1
    assert scores[found.name].score > 0.9


def test_the_report_draws_the_outline_of_the_mask(run: Run) -> None:
    (image,) = images_of(run, "auto")
    drawn = [one for one in plan_pictures(run.context, "products/report") if image.name in one.picture.title]
    (residual,) = [one for one in drawn if one.picture.title.startswith("Residual of")]
    share = f"{100 * image.mask_share:.3g} % of the pixels"
    assert f"Lines surround the mask of CLEAN, {share}" in residual.picture.caption
    assert 0 < image.mask_share < 0.5
    assert isinstance(residual.arguments[0], DrawnImage)
    assert residual.arguments[0].with_mask
    picture = residual.draw(residual.picture, *residual.arguments)
    assert not picture.problem
    assert picture.width_px > 0


def is_far() -> NDArray[np.bool_]:
    """Pixels that no source reaches: the blob has 1 % of its peak at 18 pixels, a margin is about 1.3 beams of 4."""
    return (distance(BLOB) > 25) & (distance(POINT) > 10) & (distance(OUTSIDE) > 10)


def test_an_automatic_mask_has_the_sources_and_not_their_sidelobes(run: Run) -> None:
    (image,) = images_of(run, "auto")
    mask, model = load(run, image, "MASK"), load(run, image, "SKY_MODEL")
    assert mask[pixel(POINT)]
    assert mask[pixel(OUTSIDE)]
    assert mask[distance(BLOB) < 9].all()
    (dirty,) = Path(run.url).glob("images/auto-1/*-cycles/residual-0000")
    sidelobes = load_array(str(dirty))[0]
    # sidelobes of far more than the threshold of five times the noise, where nothing is masked
    assert sidelobes[is_far()].max() > 20 * image.noise_jy
    assert not mask[is_far()].any()
    assert np.abs(model[~mask]).sum() < 0.02 * np.abs(model).sum()


def test_fluxes_and_spectral_indices_inside_an_automatic_mask_are_those_of_the_sky(run: Run) -> None:
    (image,) = images_of(run, "auto")
    model, slope = load(run, image, "SKY_MODEL"), load(run, image, "SKY_MODEL_TAYLOR_1")
    # what is below three sigma of noise stays in the residual: of the blob its wings, of a point its last components
    for source, radius, part in ((POINT, 6, 0.01), (OUTSIDE, 6, 0.02), (BLOB, 20, 0.05)):
        flux = model[distance(source) < radius].sum(dtype=np.float64)
        assert flux == pytest.approx(source["flux"], rel=part)
        if source is not BLOB:
            index = slope[distance(source) < radius].sum(dtype=np.float64) / flux
            assert index == pytest.approx(source["spectral_index"], abs=0.02)


def test_each_window_has_a_mask_of_its_own(run: Run) -> None:
    low, high = images_of(run, "auto_each")
    masks = [load(run, image, "MASK") for image in (low, high)]
    assert not np.array_equal(*masks)
    for image, mask in zip((low, high), masks, strict=True):
        assert image.channels == {"n_sigma": 1}
        assert mask[pixel(POINT)]
        assert mask[pixel(OUTSIDE)]
        assert mask[distance(BLOB) < 7].all()
        assert not mask[is_far()].any()
        assert np.abs(load(run, image, "SKY_MODEL")[~mask]).sum() < 0.05


def test_self_calibration_images_inside_of_the_mask(run: Run) -> None:
    stores = sorted(Path(run.url).glob("images/self_calibrate-1/sky-cycle?.zarr"))
    assert len(stores) == 2
    for store in stores:
        mask, model = (load_planes(str(store), name)[0] for name in ("MASK", "SKY_MODEL"))
        assert mask[pixel(POINT)]
        assert not mask[is_far()].any()
        assert np.abs(model[~mask]).sum() < 0.05 * np.abs(model).sum()


def test_the_primary_beam_limits_components_and_the_noise_that_ends_clean(run: Run) -> None:
    (image,) = images_of(run, "beam")
    mask, model, residual = (load(run, image, name) for name in ("MASK", "SKY_MODEL", "SKY_RESIDUAL"))
    # the mean of the beams of all channels: that by which the image is corrected
    np.testing.assert_array_equal(mask, load(run, image, "PRIMARY_BEAM") >= LEVEL)
    assert mask[pixel(POINT)]
    assert not mask[pixel(OUTSIDE)]
    assert model[pixel(POINT)]
    assert not model[~mask].any()
    # with the sidelobes of the part of the blob that is left, too
    assert residual[pixel(OUTSIDE)] == pytest.approx(OUTSIDE["flux"], rel=0.15)
    assert image.channels == {"n_sigma": 1}
    assert np.abs(residual[mask]).max() <= IMAGE["n_sigma"] * robust_rms(residual[mask])
    assert image.mask_share == pytest.approx(mask.mean())
    table = load_convergence(run.context.locate(image.convergence or ""))
    assert table.statistics[0, STATISTICS.index("mask_pixels")] == mask.sum()


def test_an_automatic_mask_begins_with_that_of_the_user_inside_of_the_primary_beam(run: Run) -> None:
    (image,), (limited,) = images_of(run, "started"), images_of(run, "beam")
    mask, region = load(run, image, "MASK"), load(run, limited, "MASK")
    assert mask[GIVEN & region].all()
    assert not mask[~region].any()
    (first,) = Path(run.url).glob("images/started-1/*-cycles/mask-0000")
    assert (load_array(str(first)) & ~mask).sum() == 0  # it only grows
    assert (mask & ~GIVEN).any()
    assert np.abs(load(run, image, "SKY_MODEL")[~mask]).sum() < 0.05 * np.abs(load(run, image, "SKY_MODEL")).sum()


def image_again(run: Run, step: str, memory_bytes: int, **parameters: Any) -> tuple[str, str]:
    """Image by the visibilities, with this much memory; return how, and where."""
    resources = Resources(slots=1, memory_bytes=memory_bytes)
    context = run.context.at(Workspace(url=run.url, step=step, attempt=1, resources=resources))
    params = image_continuum.Params(**IMAGE, **SCALES, mask="auto", **parameters)
    work = StepWork(Step(id=step, stage="image_continuum", after=(), params=params), InProcess(2**33), lambda _: None)
    ended = work.run(context)
    assert ended.error is None
    (image,) = ended.outcome.images
    return ended.outcome.summary["residuals"]["sky"], context.locate(image.path)


def test_masks_are_the_same_bits_from_kept_and_from_read_visibilities(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radps.stages.image_continuum.plan_series", lambda *_, **__: 0)
    (how_kept, kept), (how_read, read) = (image_again(run, "kept", 2**33), image_again(run, "read", 2**21))
    assert how_kept.endswith("kept on the workers")
    assert how_read.endswith("read in each cycle")
    for variable in ("MASK", "SKY_MODEL", "SKY_RESIDUAL"):
        np.testing.assert_array_equal(load_planes(kept, variable), load_planes(read, variable))


def test_a_residual_that_is_made_again_keeps_the_mask_of_its_cycle(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radps.stages.image_continuum.plan_series", lambda *_, **__: 0)
    _, url = image_again(run, "refined", 2**33, max_cycles=1)
    (cycles,) = Path(run.url).glob("images/refined-1/*-cycles")
    names = sorted(path.name for path in cycles.glob("*-000*"))
    assert names == ["mask-0000", "mask-0001", "model-0001", "residual-0000", "residual-0001", "residual-0001-coarse"]
    np.testing.assert_array_equal(load_planes(url, "MASK")[0], load_array(str(cycles / "mask-0001")))


def test_an_edited_mask_makes_the_image_anew(run: Run, tmp_path: Path) -> None:
    mask = tmp_path / "mask.crtf"
    config = {
        "run": str(tmp_path / "run"),
        "data": {"path": f"{run.url}/visibilities/low-1.ps.zarr"},
        "cluster": "none",
        "steps": ["import_data", {"image_continuum": {**IMAGE, "mask": str(mask), "max_cycles": 1}}],
    }
    for attempt, radius in enumerate((5, 8), 1):
        mask.write_text(f"#CRTFv0\ncircle[[18pix, 22pix], {radius}.2pix]\n")
        again = radps.run(config, progress=False)
        assert again.context.steps["image_continuum"].attempt == attempt
        (image,) = again.context.find_images(kind="continuum")
        np.testing.assert_array_equal(load(again, image, "MASK"), distance(POINT) <= radius + 0.2)
