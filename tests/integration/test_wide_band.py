"""Continuum imaging of a wide band: Taylor terms, spectral index, several windows, on a sky that is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import radps
from radps.api import Run
from radps.context.model import Workspace
from radps.context.records import ImageRecord, Resources
from radps.data.images import load_planes
from radps.domain.primary_beam import find_pattern
from radps.errors import ResourceError
from radps.execution.engine import InProcess
from radps.stages import image_continuum
from radps.workflows.model import Step
from radps.workflows.step_work import StepWork

CELL = math.radians(8 / 3600)
SIZE = 108
REFERENCE_HZ = 1.5e9
STEEP = {"east": 12 * CELL, "north": -20 * CELL, "flux": 1.0, "spectral_index": -0.9}
FLAT = {"east": -25 * CELL, "north": 8 * CELL, "flux": 0.6, "spectral_index": 0.3}
BETWEEN = {"east": 6.3 * CELL, "north": 30.6 * CELL, "flux": 0.8, "spectral_index": -0.5}
"""Not on a pixel."""


def observation(name: str, start_hz: float, n_channels: int) -> dict[str, Any]:
    """Perfect receivers of 40 MHz channels, with a little noise."""
    sources = [{**source, "reference_frequency": REFERENCE_HZ} for source in (STEEP, FLAT, BETWEEN)]
    return {
        "name": name,
        "integration_time": "60 s",
        "layout": {"kind": "vla", "configuration": "D", "n_antennas": 20},
        "band": {"name": name, "start_frequency": start_hz, "channel_width": 4e7, "n_channels": n_channels},
        "fields": [{"name": "sky", "ra": "190 deg", "dec": "40 deg", "components": sources}],
        "scans": [{"field": "sky", "n_integrations": 60}],
        "gains": None,
        "bandpasses": None,
        "noise": {"sefd": 8000.0},
    }


IMAGE = {"image_size": SIZE, "cell_size": CELL, "robust": 0.0, "n_sigma": 4.0}
CORRECT = {"primary_beam_correction": True}
"""Of a sky that is not seen through a beam: what comes out is known all the same."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two windows of 240 MHz on either side of 1.5 GHz: 32 % of bandwidth."""
    config = {
        "run": str(tmp_path_factory.mktemp("wide") / "run"),
        "cluster": "none",
        "steps": [
            {"id": "low", "stage": "simulate", "params": {"observation": observation("low", 1.28e9, 6)}},
            {"id": "high", "stage": "simulate", "params": {"observation": observation("high", 1.52e9, 6)}},
            "import_data",
            {"id": "wide", "stage": "image_continuum", "params": {**IMAGE, "n_terms": 2, **CORRECT}},
            {"id": "each", "stage": "image_continuum", "params": {**IMAGE, "spectral_windows": "each"}},
        ],
    }
    return radps.run(config, progress=False)


def load(run: Run, image: ImageRecord, variable: str) -> np.ndarray:
    return load_planes(run.context.locate(image.path), variable)[0]


def pixel(component: dict[str, float]) -> tuple[int, int]:
    return SIZE // 2 - round(component["east"] / CELL), SIZE // 2 + round(component["north"] / CELL)


def find_centre(image: np.ndarray, near: tuple[int, int]) -> tuple[float, float]:
    """Return the place of the Gaussian through the 3 x 3 pixels around a pixel: a parabola in the logarithms."""
    i, j = near
    logarithm = np.log(image[i - 1 : i + 2, j - 1 : j + 2].astype(np.float64))
    di, dj = np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij")
    terms = np.stack([np.ones(9), di.ravel(), dj.ravel(), di.ravel() ** 2, (di * dj).ravel(), dj.ravel() ** 2], axis=1)
    _, ci, cj, cii, cij, cjj = np.linalg.lstsq(terms, logarithm.ravel(), rcond=None)[0]
    x, y = -np.linalg.solve([[2 * cii, cij], [cij, 2 * cjj]], [ci, cj])
    return i + x, j + y


def around(place: tuple[int, int]) -> tuple[slice, slice]:
    """Two beams on either side: the Gaussian is 1e-5 there."""
    return slice(place[0] - 8, place[0] + 9), slice(place[1] - 8, place[1] + 9)


def test_two_terms_have_fluxes_positions_and_spectral_indices(run: Run) -> None:
    (image,) = run.context.find_images(kind="continuum", step="wide")
    assert image.frequency_hz == (REFERENCE_HZ, REFERENCE_HZ)
    assert image.channels == {"n_sigma": 1}
    sky, slope = load(run, image, "SKY"), load(run, image, "SKY_TAYLOR_1")
    beam_pixels = image.beam.minor_rad / CELL
    beam_area = math.pi / (4 * math.log(2)) * image.beam.major_rad * image.beam.minor_rad / CELL**2
    for source in (STEEP, FLAT, BETWEEN):
        i, j = find_centre(sky, pixel(source))
        offset = np.hypot(i - SIZE // 2 + source["east"] / CELL, j - SIZE // 2 - source["north"] / CELL)
        assert offset < 0.02 * beam_pixels
        flux = float(sky[around(pixel(source))].sum(dtype=np.float64)) / beam_area
        # 0.35 % of it is what two terms cut off, alpha^2 / 2 <x^2>; the noise is 0.1 % and less.
        assert flux == pytest.approx(source["flux"], rel=5e-3)
        # A source between pixels is a pattern of several, a little different in each term: its integral counts.
        alpha = slope[around(pixel(source))].sum(dtype=np.float64) / sky[around(pixel(source))].sum(dtype=np.float64)
        assert alpha == pytest.approx(source["spectral_index"], abs=0.02)
    assert image.noise_jy < 1e-3


def test_the_map_of_the_spectral_index_is_right_where_it_is_given(run: Run) -> None:
    (image,) = run.context.find_images(kind="continuum", step="wide")
    alpha, error = load(run, image, "SKY_SPECTRAL_INDEX"), load(run, image, "SKY_SPECTRAL_INDEX_ERROR")
    for source in (STEEP, FLAT):
        assert alpha[pixel(source)] == pytest.approx(source["spectral_index"], abs=0.02)
        assert 0 < error[pixel(source)] < 0.02
    faint = load(run, image, "SKY") < 8 * image.noise_jy
    assert np.isnan(alpha[faint]).all()
    assert np.isnan(error[faint]).all()


def test_the_primary_beam_is_taken_out_of_the_spectral_index(run: Run) -> None:
    (image,) = run.context.find_images(kind="continuum", step="wide")
    apparent, corrected, pattern = (
        load(run, image, name)
        for name in ("SKY_SPECTRAL_INDEX", "SKY_SPECTRAL_INDEX_PRIMARY_BEAM_CORRECTED", "PRIMARY_BEAM")
    )
    for source in (STEEP, FLAT):
        radius = np.array([math.hypot(source["east"], source["north"])])
        low, high = (find_pattern("VLA", hz)(radius)[0] for hz in (1.44e9, 1.56e9))
        # d ln A / d ln f at the reference frequency; the sky that the beam would show is less steep by that much.
        steeper = math.log(high / low) / math.log(1.56 / 1.44)
        difference = corrected[pixel(source)] - apparent[pixel(source)]
        assert -steeper > 0.05
        assert difference == pytest.approx(-steeper, abs=0.02)
        assert pattern[pixel(source)] == pytest.approx(math.sqrt(low * high), abs=5e-3)


def test_residuals_of_the_second_term_are_noise(run: Run) -> None:
    (image,) = run.context.find_images(kind="continuum", step="wide")
    slope = load(run, image, "SKY_RESIDUAL_TAYLOR_1")
    # What two terms leave of the steepest source; the dirty image of the slope has 8e-3.
    assert np.abs(slope).max() < 5e-4
    model = load(run, image, "SKY_MODEL_TAYLOR_1")
    near = np.s_[pixel(STEEP)[0] - 2 : pixel(STEEP)[0] + 3, pixel(STEEP)[1] - 2 : pixel(STEEP)[1] + 3]
    assert model[near].sum() == pytest.approx(-0.9, abs=0.03)


def test_each_window_has_an_image_with_its_own_flux(run: Run) -> None:
    images = run.context.find_images(kind="continuum", step="each")
    assert [round(image.frequency_hz[0] / 1e6) for image in images] == [1380, 1620]
    for image in images:
        sky = load(run, image, "SKY")
        for source in (STEEP, FLAT):
            expected = source["flux"] * (image.frequency_hz[0] / REFERENCE_HZ) ** source["spectral_index"]
            # The mean of the spectrum over 17 % is 0.2 % above that at the centre of the window.
            assert sky[pixel(source)] == pytest.approx(expected, rel=5e-3)


def test_the_way_of_the_residuals_is_told(run: Run) -> None:
    assert run.context.steps["wide"].outcome.summary["residuals"] == {"sky": "by convolution, 4 terms in w"}


def image_again(run: Run, monkeypatch: pytest.MonkeyPatch, step: str, memory_bytes: int) -> tuple[str, np.ndarray]:
    """Image through the visibilities, with this much memory; return how, and the sky."""
    monkeypatch.setattr("radps.stages.image_continuum.plan_series", lambda *_, **__: 0)
    engine = InProcess(2**33)
    resources = Resources(slots=1, memory_bytes=memory_bytes)
    context = run.context.at(Workspace(url=run.url, step=step, attempt=1, resources=resources))
    params = image_continuum.Params(**{**IMAGE, "n_terms": 2})
    work = StepWork(Step(id=step, stage="image_continuum", after=(), params=params), engine, lambda _: None)
    ended = work.run(context)
    if ended.error is not None:
        raise ended.error
    (image,) = ended.outcome.images
    return ended.outcome.summary["residuals"]["sky"], load_planes(context.locate(image.path), "SKY")[0]


def test_an_image_whose_tasks_no_slot_can_hold_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ResourceError, match=r"stage small: a continuum image of 108 x 108 .* slot has 2 MiB; .*image_size"
    ):
        image_again(run, monkeypatch, "small", 2**21)


def test_kept_and_read_visibilities_give_the_same_bits(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    how, kept = image_again(run, monkeypatch, "kept", 2**33)
    assert how == "from visibilities kept on the workers"
    how, read = image_again(run, monkeypatch, "read", 7 * 2**20)
    assert how == "from visibilities read in each cycle"
    np.testing.assert_array_equal(kept, read)
    (image,) = run.context.find_images(kind="continuum", step="wide")
    # Both ways are exact to 1e-5 of the brightest source; components are chosen by rounding where two are alike.
    np.testing.assert_allclose(kept, load(run, image, "SKY"), atol=image.noise_jy)
