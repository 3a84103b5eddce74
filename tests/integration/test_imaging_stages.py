"""Imaging stages on a simulated sky that is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import radps
from radps.api import Run
from radps.context.model import Workspace
from radps.context.records import ImageRecord, Resources
from radps.data.convergence import load_convergence
from radps.data.images import load_beams, load_planes
from radps.data.stores import load_array, open_group
from radps.domain.solver import StopReason
from radps.execution.engine import InProcess
from radps.node_tasks.cube_imaging import clean_channels
from radps.stages import _imaging, image_cube

CELL = math.radians(25 / 3600)
SIZE = 96
STRONG = {"east": 12 * CELL, "north": -20 * CELL, "flux": 1.0}
WEAK = {"east": -25 * CELL, "north": 5 * CELL, "flux": 0.3}
LINE = {"east": 3 * CELL, "north": 15 * CELL, "line_peak": 0.8, "line_center": 1.4e9 + 3e5, "line_width": 1e5}
DEAD_CHANNEL = 6
N_CHANNELS = 8


def observation() -> dict[str, Any]:
    """Perfect receivers, 0.3 Jy of noise in a visibility: 3 mJy in a channel, 1 mJy in the continuum."""
    return {
        "integration_time": "60 s",
        "layout": {"kind": "vla", "configuration": "D", "n_antennas": 16},
        "band": {"start_frequency": 1.4e9, "channel_width": 1e5, "n_channels": N_CHANNELS},
        "fields": [{"name": "sky", "ra": "190 deg", "dec": "40 deg", "components": [STRONG, WEAK, LINE]}],
        "scans": [{"field": "sky", "n_integrations": 45}],
        "gains": None,
        "bandpasses": None,
        "noise": {"sefd": 800.0},
        "autocorrelations": True,
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    image = {"image_size": SIZE, "cell_size": CELL, "n_sigma": 4.0}
    config = {
        "run": str(tmp_path_factory.mktemp("imaging") / "run"),
        "cluster": "none",
        "steps": [
            {"simulate": {"observation": observation()}},
            "import_data",
            {"flag": {"manual": [{"channels": [str(DEAD_CHANNEL)]}]}},
            {"image_continuum": {**image, "channels": ["0~1", "5~7"]}},
            {"image_cube": {**image, "primary_beam_correction": True}},
        ],
    }
    return radps.run(config, progress=False)


def record(run: Run, kind: str) -> ImageRecord:
    return next(image for image in run.context.images if image.kind == kind)


def pixel(component: dict[str, float]) -> tuple[int, int]:
    return SIZE // 2 - round(component["east"] / CELL), SIZE // 2 + round(component["north"] / CELL)


def test_continuum_has_the_sources_with_their_flux_where_they_are(run: Run) -> None:
    image = record(run, "continuum")
    sky = load_planes(run.context.locate(image.path), "SKY")[0]
    for component in (STRONG, WEAK):
        # Five times the noise: the sources are points on a pixel, so nothing else is lost.
        assert sky[pixel(component)] == pytest.approx(component["flux"], abs=5 * image.noise_jy)
    assert np.unravel_index(sky.argmax(), sky.shape) == pixel(STRONG)
    assert image.noise_jy < 0.003
    assert abs(sky[pixel(LINE)]) < 5 * image.noise_jy
    assert image.channels == {"n_sigma": 1}


def test_continuum_residual_is_exact_for_its_model(run: Run) -> None:
    # The sum of all visibilities minus the model, by the direct Fourier sum, at some pixels.
    image = record(run, "continuum")
    url = run.context.locate(image.path)
    residual, model = (load_planes(url, name)[0].astype(np.float64) for name in ("SKY_RESIDUAL", "SKY_MODEL"))
    context = run.context.at(Workspace(url=run.url, step="check"))
    params = _imaging.ImagingParams(image_size=SIZE, cell_size=CELL)
    target = _imaging.ImageTarget("sky", "sky", context.visibilities("sky"), (((0, 2), (5, 8)),))
    grid = _imaging.choose_grid(context, params, context.require_observation().windows[0])
    density = context.locate("context.zarr/image_continuum-1/sky/weight_density")
    weighting = _imaging.choose_weighting(params)._replace(density_url=density)
    rules = _imaging.make_rules(context, params, grid, 1.4e9, weighting)
    from radps.node_tasks.samples import load_samples, weigh_samples

    spots = [pixel(STRONG), pixel(WEAK), (10, 80), (48, 48)]
    total, weight_sum = np.zeros(len(spots)), 0.0
    components = np.argwhere(model != 0)
    for source in _imaging.cut_for_sum(context, target, [None]):
        samples = load_samples([source])
        weights = weigh_samples(samples, rules.weighting, grid).astype(np.float64)
        waves = samples.uvw_m[:, np.newaxis, :] * samples.frequency_hz[np.newaxis, :, np.newaxis] / 299792458.0
        left = samples.visibilities.astype(np.complex128)

        def phase(i: int, j: int, waves: np.ndarray = waves) -> np.ndarray:
            l, m = grid.l[i], grid.m[j]
            n_minus_1 = math.sqrt(1 - l**2 - m**2) - 1 if rules.clean.w_term else 0.0
            return np.exp(2j * np.pi * (waves[..., 0] * l + waves[..., 1] * m + waves[..., 2] * n_minus_1))

        for i, j in components:
            left -= model[i, j] * phase(i, j)
        for number, (i, j) in enumerate(spots):
            total[number] += (weights * left * phase(i, j).conj()).real.sum()
        weight_sum += weights.sum()
    # The gridder's accuracy, 1e-5 of the peak, times a few transforms.
    np.testing.assert_allclose([residual[spot] for spot in spots], total / weight_sum, atol=1e-4)


def test_cube_has_continuum_in_every_channel_and_the_line_in_its_own(run: Run) -> None:
    image = record(run, "cube")
    sky = load_planes(run.context.locate(image.path), "SKY")
    good = [channel for channel in range(N_CHANNELS) if channel != DEAD_CHANNEL]
    noise = 5 * image.noise_jy
    assert noise < 0.05
    for channel in good:
        assert sky[channel][pixel(STRONG)] == pytest.approx(1.0, abs=noise)
        offset = (1.4e9 + channel * 1e5 - LINE["line_center"]) / LINE["line_width"]
        expected = LINE["line_peak"] * math.exp(-4 * math.log(2) * offset**2)
        assert sky[channel][pixel(LINE)] == pytest.approx(expected, abs=noise)


def test_a_taper_convolves_the_beam_with_a_gaussian(run: Run) -> None:
    psfs = []
    for taper in (0.0, 4 * CELL):
        with run.try_step("image_cube", weighting="natural", taper=taper, max_iterations=0) as trial:
            psf = trial.image("sky_image_cube").POINT_SPREAD_FUNCTION
            psfs.append(psf.isel(frequency=0).squeeze().values.astype(float))
    smooth = gaussian_filter(psfs[0], 4 / math.sqrt(8 * math.log(2)), truncate=8)
    middle = slice(SIZE // 4, -SIZE // 4)  # farther out the filter misses sidelobes beyond the image
    np.testing.assert_allclose(psfs[1][middle, middle], (smooth / smooth.max())[middle, middle], atol=2e-3)


def test_a_channel_without_data_is_blank_listed_and_does_not_touch_the_others(run: Run) -> None:
    image = record(run, "cube")
    url = run.context.locate(image.path)
    assert image.channels["no_data"] == 1
    assert image.listed == (f"channel {DEAD_CHANNEL}: no data",)
    sky = load_planes(url, "SKY")
    assert np.isnan(sky[DEAD_CHANNEL]).all()
    assert np.isfinite(np.delete(sky, DEAD_CHANNEL, axis=0)).all()
    assert not load_planes(url, "SKY_MODEL")[DEAD_CHANNEL].any()
    beams = load_beams(url)
    assert np.isnan(beams[DEAD_CHANNEL]).all()
    assert np.isfinite(np.delete(beams, DEAD_CHANNEL, axis=0)).all()
    assert run.context.steps["image_cube"].outcome.status == "caveats"
    rms = math.sqrt(float(np.nanmean(np.square(sky.astype(np.float64)))))
    assert image.statistics.rms == pytest.approx(rms, rel=1e-6)
    assert image.statistics.max == pytest.approx(float(np.nanmax(sky)))


def test_primary_beam_raises_sources_away_from_the_centre(run: Run) -> None:
    url = run.context.locate(record(run, "cube").path)
    pattern = load_planes(url, "PRIMARY_BEAM")[0]
    corrected = load_planes(url, "SKY_PRIMARY_BEAM_CORRECTED")[0]
    sky = load_planes(url, "SKY")[0]
    assert pattern[SIZE // 2, SIZE // 2] == 1.0
    assert 0.5 < pattern[pixel(STRONG)] < 0.95
    inside = pattern > 0
    np.testing.assert_allclose(corrected[inside], sky[inside] / pattern[inside], rtol=1e-6)
    assert np.isnan(corrected[~inside]).all()


def test_images_carry_what_was_chosen_for_them(run: Run) -> None:
    for kind in ("cube", "continuum"):
        attributes = open_group(run.context.locate(record(run, kind).path)).attrs
        parameters = attributes["provenance"]["parameters"]
        assert (parameters["weighting"], parameters["robust"], parameters["w_term"]) == ("briggs", 0.5, True)
        assert (parameters["image_size"], parameters["cell_size"]) == (SIZE, CELL)


def test_history_of_every_channel_tells_why_it_stopped(run: Run) -> None:
    image = record(run, "cube")
    table = load_convergence(run.context.locate(image.convergence))
    for channel, reason in enumerate(table.stop_reasons):
        peaks = table.peak_residual[channel]
        n_entries = int(np.isfinite(peaks).sum())
        if channel == DEAD_CHANNEL:
            assert reason == StopReason.NO_DATA
            continue
        assert reason == StopReason.N_SIGMA
        assert n_entries >= 2
        assert peaks[n_entries - 1] < peaks[0] / 10
        assert table.iterations[channel, :n_entries].sum() > 10


def test_channels_that_are_done_are_not_done_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(url=run.url, step="again", attempt=1, resources=Resources(slots=1, memory_bytes=2**31))
    context = run.context.at(workspace)
    params = image_cube.Params(image_size=64, cell_size=CELL, channels="0~3", max_iterations=0)
    (first,) = InProcess(2**31).compute(image_cube.image_cube(context, params)).images
    url, table = context.locate(first.path), context.locate(first.convergence)
    before = load_planes(url, "SKY")
    (target,) = image_cube.find_targets(context, params)
    grid = _imaging.choose_grid(context, params, context.require_observation().windows[0])
    rules = _imaging.make_rules(context, params, grid, 1.4e9, _imaging.choose_weighting(params))
    for part in image_cube.plan_parts(context, params, target, grid, 1):
        assert clean_channels(part, rules, url, table) == 0
    # A worker that was lost after it wrote two channels of a part: the row of the third is not there.
    from radps.data.stores import open_array

    open_array(f"{table}/STOP_REASON", mode="r+")[2] = 0
    open_array(f"{url}/SKY", mode="r+")[0, 2] = np.nan
    whole = image_cube.CubePart((0, 4), ((0, 4),), image_cube.plan_parts(context, params, target, grid, 1)[0].sources)
    whole = whole._replace(sources=tuple(source._replace(channels=(0, 4)) for source in whole.sources))
    assert clean_channels(whole, rules, url, table) == 1
    np.testing.assert_array_equal(load_planes(url, "SKY"), before)


def test_scratch_images_of_the_cycles_are_in_the_folder_of_the_attempt(run: Run) -> None:
    cycles = Path(run.url) / "images/image_continuum-1/sky-cycles"
    residual = load_array(str(cycles / "residual-0000"))
    assert residual.shape == (1, SIZE, SIZE)
    assert (cycles / "model-0001").is_dir()
