"""CLEAN of a plane, on simulated data of a known sky, against exact prediction and transformation back."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.array import baselines, uvw_from_positions, vla_array
from radps.domain.beam import RestoringBeam, gaussian_image, restore_image
from radps.domain.geometry import SPEED_OF_LIGHT_M_S, ImageGrid, w_phase_error
from radps.domain.gridding import dirty_image, point_spread_function, predict
from radps.domain.imaging import (
    CleanOptions,
    PlaneImages,
    PlaneProblem,
    ResidualMethod,
    find_psf_fraction,
    find_sidelobe_level,
    image_plane,
    plan_residual_update,
)
from radps.domain.masks import AutoMaskOptions
from radps.domain.model_update import Deconvolver, DeconvolverOptions
from radps.domain.multiscale import scale_kernel
from radps.domain.normal_operator import MAX_TERMS
from radps.domain.solver import IterationControl, StopReason, solve
from radps.domain.statistics import robust_rms
from radps.errors import DataError

GRID = ImageGrid(240, 216, math.radians(5 / 3600))
FREQUENCY_HZ = 1.42e9
SOURCES = {(120, 108): 1.0, (60, 150): 0.5, (225, 12): 0.3, (12, 200): -0.2}  # pixel: Jy
NOISE_JY = 0.2


class Samples(NamedTuple):
    """What :func:`image_plane` takes."""

    uvw_m: NDArray[np.float64]
    frequency_hz: float
    visibilities: NDArray[np.complex64]
    weights: NDArray[np.float32]
    grid: ImageGrid


def observe(*, n_antennas: int = 20, n_times: int = 10, noise_jy: float = NOISE_JY) -> Samples:
    time_s = 1.7e9 + np.linspace(0, 4 * 3600, n_times)
    array = vla_array("C", n_antennas)
    uvw_m = uvw_from_positions(array.positions_m, time_s, 1.0, 0.09, baselines(n_antennas)).reshape(-1, 3)
    rng = np.random.default_rng(1)
    visibilities = noise_jy * (rng.standard_normal(len(uvw_m)) + 1j * rng.standard_normal(len(uvw_m)))
    for (i, j), flux in SOURCES.items():
        l, m = GRID.l[i], GRID.m[j]
        turns = uvw_m @ [l, m, math.sqrt(1 - l * l - m * m) - 1] * FREQUENCY_HZ / SPEED_OF_LIGHT_M_S
        visibilities += flux * np.exp(2j * np.pi * turns)
    weights = np.full(len(uvw_m), 1 / noise_jy**2 if noise_jy > 0 else 1.0, np.float32)
    return Samples(uvw_m, FREQUENCY_HZ, visibilities.astype(np.complex64), weights, GRID)


@pytest.fixture(scope="module")
def samples() -> Samples:
    return observe()


@pytest.fixture(scope="module")
def noise_jy(samples: Samples) -> float:
    """Noise of the image: that of a real part over the root of the number of samples."""
    return NOISE_JY / math.sqrt(len(samples.uvw_m))


@pytest.fixture(scope="module", params=[ResidualMethod.CONVOLUTION, ResidualMethod.VISIBILITIES])
def cleaned(request: pytest.FixtureRequest, samples: Samples, noise_jy: float) -> PlaneImages:
    options = CleanOptions(method=request.param)
    return image_plane(*samples, IterationControl(threshold=5 * noise_jy), options)


def exact_residual(samples: Samples, model: NDArray[np.float32], *, w_term: bool = True) -> NDArray[np.float64]:
    frequency_hz = np.array([samples.frequency_hz])
    predicted = predict(model.astype(np.float64), samples.uvw_m, frequency_hz, GRID, epsilon=1e-10, w_term=w_term)
    left = samples.visibilities[:, np.newaxis] - predicted
    weights = samples.weights[:, np.newaxis].astype(np.float64)
    return np.asarray(dirty_image(samples.uvw_m, frequency_hz, left, weights, GRID, epsilon=1e-10, w_term=w_term))


def test_the_w_term_matters_for_these_data(samples: Samples) -> None:
    assert w_phase_error(samples.uvw_m, FREQUENCY_HZ, GRID) > 0.3


def test_clean_finds_the_sources(cleaned: PlaneImages, noise_jy: float) -> None:
    assert cleaned.solution.stop_reason is StopReason.THRESHOLD
    for (i, j), flux in SOURCES.items():
        around = np.s_[max(i - 3, 0) : i + 4, max(j - 3, 0) : j + 4]
        # 5 sigma are not cleaned; the residual at the place holds them
        assert cleaned.model[around].sum() + cleaned.residual[i, j] == pytest.approx(flux, abs=3 * noise_jy)
        assert cleaned.restored[i, j] == pytest.approx(flux, abs=4 * noise_jy)
    assert np.abs(cleaned.residual).max() <= 5 * noise_jy
    assert cleaned.residual.std() == pytest.approx(noise_jy, rel=0.1)


def test_the_residual_is_exact_for_the_model(cleaned: PlaneImages, samples: Samples) -> None:
    # epsilon = 1e-5 of a peak of 1 Jy, twice: prediction and transformation
    assert np.abs(cleaned.residual - exact_residual(samples, cleaned.model)).max() < 2e-5


def test_the_history_tells_the_course(cleaned: PlaneImages) -> None:
    history = cleaned.solution.history
    assert history[0].peak_residual == np.abs(cleaned.dirty).max()
    assert history[0].iterations == 0
    assert history[-1].peak_residual == np.abs(cleaned.residual).max()
    assert history[-1].model_flux == pytest.approx(cleaned.model.sum(dtype=np.float64), rel=1e-6)
    assert all(cycle.iterations > 0 for cycle in history[1:])


def test_both_methods_clean_alike(samples: Samples, noise_jy: float) -> None:
    control = IterationControl(threshold=5 * noise_jy)
    first, second = (image_plane(*samples, control, CleanOptions(method=method)) for method in ResidualMethod)
    # early cycles differ within their accuracy, and so do single components; what counts is the image
    assert np.abs(first.restored - second.restored).max() < 0.5 * noise_jy
    assert first.solution.n_cycles == second.solution.n_cycles


def test_the_restored_image_is_made_of_the_other_products(cleaned: PlaneImages, samples: Samples) -> None:
    np.testing.assert_array_equal(cleaned.restored, restore_image(cleaned.model, cleaned.residual, cleaned.beam, GRID))
    weights = samples.weights[:, np.newaxis]
    psf = point_spread_function(samples.uvw_m, np.array([FREQUENCY_HZ]), weights, GRID)
    np.testing.assert_allclose(cleaned.psf, psf, atol=1e-5)
    assert cleaned.psf.shape == GRID.shape
    assert cleaned.weight == pytest.approx(samples.weights.sum(dtype=np.float64))


@pytest.mark.parametrize("method", list(ResidualMethod))
def test_an_automatic_mask_holds_the_sources_and_nothing_else(
    samples: Samples, noise_jy: float, method: ResidualMethod
) -> None:
    options = CleanOptions(method=method, auto_mask=AutoMaskOptions(negative_threshold=7.0))
    plane = image_plane(*samples, IterationControl(threshold=2 * noise_jy), options)
    assert plane.mask is not None
    assert plane.solution.stop_reason is StopReason.THRESHOLD
    assert not plane.model[~plane.mask].any()
    reach = 1.5 * plane.beam.major_rad / GRID.cell_size_rad + 2
    i, j = np.nonzero(plane.mask)
    distances = np.min([np.hypot(i - place[0], j - place[1]) for place in SOURCES], axis=0)
    assert distances.max() < reach
    for place, flux in SOURCES.items():
        assert plane.mask[place]
        assert plane.restored[place] == pytest.approx(flux, abs=4 * noise_jy)
    # Noise peaks that a CLEAN of the whole image would take stay: the residual is noise to its edges.
    assert np.abs(plane.residual).max() > 3.5 * noise_jy
    assert plane.solution.history[-1].peak_residual == np.abs(plane.residual[plane.mask]).max() <= 2 * noise_jy


def test_noise_alone_gets_no_mask_and_needs_no_update(samples: Samples) -> None:
    rng = np.random.default_rng(8)
    noise = rng.standard_normal((len(samples.uvw_m), 2)) @ [1, 1j]
    plane = image_plane(
        *samples._replace(visibilities=noise.astype(np.complex64)),
        IterationControl(),
        CleanOptions(auto_mask=AutoMaskOptions()),
    )
    assert plane.mask is not None
    assert not plane.mask.any()
    assert not plane.model.any()
    assert plane.solution.n_cycles == 0


def test_an_automatic_mask_grows_from_the_one_that_is_given(samples: Samples, noise_jy: float) -> None:
    given = np.zeros(GRID.shape, np.bool_)
    given[100:110, 20:30] = True
    control = IterationControl(threshold=5 * noise_jy)
    plane = image_plane(*samples, control, CleanOptions(auto_mask=AutoMaskOptions()), mask=given)
    assert plane.mask is not None
    assert plane.mask[given].all()
    assert plane.mask[120, 108]


@pytest.mark.parametrize("method", list(ResidualMethod))
def test_multi_scale_clean_finds_extended_flux(method: ResidualMethod) -> None:
    """Blobs and points without noise: the flux of each within 0.5 %, the residual at its goal everywhere."""
    quiet = observe(noise_jy=0.0, n_times=20)
    blob = np.zeros(GRID.shape)
    kernel = scale_kernel(20.0)
    half = len(kernel) // 2
    blob[80 - half : 81 + half, 60 - half : 61 + half] = 4 * kernel
    blurred = predict(blob, quiet.uvw_m, np.array([FREQUENCY_HZ]), GRID, epsilon=1e-6)
    visibilities = (quiet.visibilities + blurred[:, 0]).astype(np.complex64)
    options = CleanOptions(method=method, deconvolver=DeconvolverOptions(Deconvolver.MULTISCALE, (0, 8, 16, 24)))
    control = IterationControl(threshold=2e-3, max_iterations=100_000)
    plane = image_plane(*quiet._replace(visibilities=visibilities), control, options)
    assert plane.solution.stop_reason is StopReason.THRESHOLD
    assert np.abs(plane.residual).max() <= 2e-3
    distance = np.hypot(*np.mgrid[-80 : GRID.n_l - 80, -60 : GRID.n_m - 60])
    assert plane.model[distance < 30].sum() == pytest.approx(4.0, rel=5e-3)
    for (i, j), flux in SOURCES.items():
        around = np.s_[max(i - 3, 0) : i + 4, max(j - 3, 0) : j + 4]
        assert plane.model[around].sum() == pytest.approx(flux, abs=5e-3)


def test_without_the_w_term_residual_plus_model_times_psf_is_the_dirty_image(samples: Samples) -> None:
    plane = image_plane(*samples, IterationControl(max_iterations=300), CleanOptions(w_term=False))
    assert plane.model.any()
    large = GRID.resized(2 * GRID.n_l, 2 * GRID.n_m)
    psf = point_spread_function(samples.uvw_m, np.array([FREQUENCY_HZ]), samples.weights[:, np.newaxis], large)
    total = plane.residual.astype(np.float64)
    for i, j in np.argwhere(plane.model):
        total += plane.model[i, j] * psf[GRID.n_l - i : 2 * GRID.n_l - i, GRID.n_m - j : 2 * GRID.n_m - j]
    np.testing.assert_allclose(total, plane.dirty, atol=2e-5)
    assert np.abs(plane.residual - exact_residual(samples, plane.model, w_term=False)).max() < 2e-5


@pytest.mark.parametrize(
    ("control", "reason"),
    [
        (IterationControl(max_cycles=1), StopReason.MAX_CYCLES),
        (IterationControl(max_iterations=40), StopReason.MAX_ITERATIONS),
        (IterationControl(n_sigma=8.0), StopReason.N_SIGMA),
    ],
)
@pytest.mark.parametrize("method", list(ResidualMethod))
def test_the_kept_residual_is_exact_however_the_loop_ended(
    samples: Samples, control: IterationControl, reason: StopReason, method: ResidualMethod
) -> None:
    plane = image_plane(*samples, control, CleanOptions(method=method))
    assert plane.solution.stop_reason is reason
    assert np.abs(plane.residual - exact_residual(samples, plane.model)).max() < 2e-5


def test_early_residuals_are_coarser_and_can_be_refined(samples: Samples) -> None:
    for method in ResidualMethod:
        problem = PlaneProblem(*samples, CleanOptions(method=method))
        problem.residual_update()
        problem.model_update(0.01, 10_000)
        problem.residual_update()
        exact = exact_residual(samples, problem.model)
        coarse = np.abs(problem.residual - exact).max()
        problem.refine_residual()
        fine = np.abs(problem.residual - exact).max()
        assert fine < 2e-5
        assert fine < coarse < 0.05 * np.abs(exact).max()


def test_components_stay_inside_the_mask(samples: Samples, noise_jy: float) -> None:
    mask = np.zeros(GRID.shape, np.bool_)
    mask[50:70, 140:160] = True
    plane = image_plane(*samples, IterationControl(threshold=5 * noise_jy), mask=mask)
    assert plane.solution.stop_reason is StopReason.THRESHOLD
    assert not plane.model[~mask].any()
    assert plane.model.sum() == pytest.approx(0.5, abs=0.1)
    assert plane.residual[120, 108] > 0.9


def test_n_sigma_counts_the_noise_of_the_whole_last_residual_and_the_peak_inside_the_mask(samples: Samples) -> None:
    mask = np.zeros(GRID.shape, np.bool_)
    mask[50:70, 140:160] = True
    plane = image_plane(*samples, IterationControl(n_sigma=4.0), mask=mask)
    assert plane.solution.stop_reason is StopReason.N_SIGMA
    peaks = [cycle.peak_residual for cycle in plane.solution.history]
    goal = 4.0 * 1.4826 * np.median(np.abs(plane.residual - np.median(plane.residual)))
    # the source outside of the mask is far above it, and the cycle before was
    assert peaks[-1] == np.abs(plane.residual[mask]).max() <= goal < min(peaks[-2], np.abs(plane.residual[~mask]).max())
    # the noise of the dirty image is that of sidelobes: its goal would have ended CLEAN earlier
    assert goal < 4.0 * 1.4826 * np.median(np.abs(plane.dirty - np.median(plane.dirty)))


def test_a_mask_without_pixels_leaves_the_dirty_image(samples: Samples) -> None:
    plane = image_plane(*samples, IterationControl(), mask=np.zeros(GRID.shape, np.bool_))
    assert plane.solution.stop_reason is StopReason.THRESHOLD
    np.testing.assert_array_equal(plane.residual, plane.dirty)


@pytest.mark.parametrize("control", [IterationControl(max_iterations=0), IterationControl(threshold=50.0)])
def test_a_dirty_image_has_psf_and_beam_too(samples: Samples, control: IterationControl) -> None:
    plane = image_plane(*samples, control)
    assert plane.solution.n_iterations == 0
    assert not plane.model.any()
    np.testing.assert_array_equal(plane.residual, plane.dirty)
    np.testing.assert_array_equal(plane.restored, plane.dirty)
    cleaned = image_plane(*samples, IterationControl(max_iterations=5))
    np.testing.assert_allclose(plane.psf, cleaned.psf, atol=1e-5)
    assert plane.beam.major_rad == pytest.approx(cleaned.beam.major_rad, rel=1e-4)


def test_unused_samples_have_no_influence(samples: Samples) -> None:
    weights, visibilities, uvw_m = samples.weights.copy(), samples.visibilities.copy(), samples.uvw_m.copy()
    used = np.arange(len(weights)) % 4 > 0
    weights[~used] = 0
    visibilities[~used] = np.nan
    uvw_m[~used] = np.nan
    control = IterationControl(max_iterations=100)
    with_them = image_plane(uvw_m, FREQUENCY_HZ, visibilities, weights, GRID, control)
    without = image_plane(uvw_m[used], FREQUENCY_HZ, visibilities[used], weights[used], GRID, control)
    np.testing.assert_array_equal(with_them.restored, without.restored)
    np.testing.assert_array_equal(with_them.model, without.model)


def test_the_same_plane_is_the_same_to_the_last_bit(samples: Samples) -> None:
    control = IterationControl(max_iterations=200)
    first, second = image_plane(*samples, control), image_plane(*samples, control)
    np.testing.assert_array_equal(first.restored, second.restored)
    assert first.solution == second.solution


def test_a_plane_without_data_is_an_outcome(samples: Samples) -> None:
    plane = image_plane(*samples._replace(weights=np.zeros_like(samples.weights)), IterationControl())
    assert plane.solution.stop_reason is StopReason.NO_DATA
    assert plane.solution.n_cycles == 0
    for image in (plane.dirty, plane.residual, plane.restored, plane.psf):
        assert image.shape == GRID.shape
        assert np.isnan(image).all()
    assert plane.model.shape == GRID.shape
    assert not plane.model.any()
    assert not plane.beam.is_valid
    assert plane.weight == 0


def test_one_baseline_is_imaged_though_it_has_no_beam() -> None:
    samples = observe()
    weights = np.zeros_like(samples.weights)
    weights[7] = 1
    plane = image_plane(*samples._replace(weights=weights), IterationControl(max_iterations=3))
    assert not plane.beam.is_valid
    assert np.isnan(plane.restored).all()
    assert np.isfinite(plane.residual).all()


def test_a_diverging_plane_is_stopped_and_keeps_its_best_model() -> None:
    # few samples and a wide field: the model update knows no w-term, and with a gain of 1 it fits what is not there
    samples = observe(n_antennas=9, n_times=2)
    grid = ImageGrid(128, 128, math.radians(25 / 3600))
    rng = np.random.default_rng(1)
    sky = np.zeros(grid.shape)
    sky[tuple(rng.integers(0, 128, (2, 20)))] = 1
    visibilities = predict(sky, samples.uvw_m, np.array([FREQUENCY_HZ]), grid)[:, 0].astype(np.complex64)
    samples = samples._replace(visibilities=visibilities, grid=grid)
    plane = image_plane(*samples, IterationControl(max_cycles=50), CleanOptions(gain=1.0))
    assert plane.solution.stop_reason is StopReason.DIVERGED
    peaks = [cycle.peak_residual for cycle in plane.solution.history]
    assert peaks[-1] > 3 * min(peaks)
    assert np.abs(plane.residual).max() == pytest.approx(min(peaks), rel=0.1)  # that one was of an early cycle


def test_the_noise_is_measured_only_where_it_is_needed(samples: Samples, noise_jy: float) -> None:
    assert PlaneProblem(*samples, with_noise=False).residual_update().noise == 0
    dark = observe(noise_jy=NOISE_JY)
    problem = PlaneProblem(*dark)
    solve(problem, IterationControl(threshold=5 * noise_jy))
    assert problem.residual_update().noise == pytest.approx(noise_jy, rel=0.1)


def test_the_depth_of_a_model_update_is_the_largest_sidelobe_within_its_limits() -> None:
    beam = RestoringBeam(4 * GRID.cell_size_rad, 4 * GRID.cell_size_rad, 0.0)
    psf = gaussian_image(beam, GRID).astype(np.float32)
    psf[20, 20] = 0.3
    psf[30, 30] = -0.1
    assert find_sidelobe_level(psf, beam, GRID) == pytest.approx(0.3)
    psf[30, 30] = -0.4
    assert find_sidelobe_level(psf, beam, GRID) == pytest.approx(0.4)

    def fraction(**options: float) -> float:
        return find_psf_fraction(psf, beam, GRID, CleanOptions(**options))

    assert fraction() == pytest.approx(0.4)
    assert fraction(cycle_factor=1.5) == pytest.approx(0.6)
    assert fraction(cycle_factor=3.0) == 0.8
    assert fraction(cycle_factor=0.1) == pytest.approx(0.05)
    assert fraction(min_psf_fraction=0.5) == 0.5
    invalid = RestoringBeam(math.nan, math.nan, math.nan)
    assert find_psf_fraction(psf, invalid, GRID, CleanOptions()) == 0.8


def test_the_cheaper_method_is_chosen_from_phase_error_and_size(samples: Samples) -> None:
    method, terms = plan_residual_update(samples.uvw_m, FREQUENCY_HZ, GRID, CleanOptions())
    assert method is ResidualMethod.CONVOLUTION
    assert 1 < terms <= MAX_TERMS
    wide = ImageGrid(512, 512, math.radians(15 / 3600))
    assert plan_residual_update(samples.uvw_m, FREQUENCY_HZ, wide, CleanOptions())[0] is ResidualMethod.VISIBILITIES
    large = ImageGrid(2100, 2100, math.radians(0.01 / 3600))
    assert plan_residual_update(samples.uvw_m, FREQUENCY_HZ, large, CleanOptions())[0] is ResidualMethod.VISIBILITIES
    no_w = plan_residual_update(samples.uvw_m, FREQUENCY_HZ, wide, CleanOptions(w_term=False))
    assert no_w == (ResidualMethod.CONVOLUTION, 1)
    with pytest.raises(DataError, match=r"by convolution would take \d+ terms .* at most 8"):
        plan_residual_update(samples.uvw_m, FREQUENCY_HZ, wide, CleanOptions(method=ResidualMethod.CONVOLUTION))


MEMORY_SCRIPT = """
import math, sys
import numpy as np
from radps.domain.geometry import ImageGrid
from radps.domain.imaging import CleanOptions, estimate_plane_memory, image_plane
from radps.domain.model_update import Deconvolver, DeconvolverOptions, count_scales
from radps.domain.normal_operator import MAX_TERMS, count_terms
from radps.domain.solver import IterationControl

def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024

def image(rows, size, cell, control, w_term, scales):
    rng = np.random.default_rng(1)
    uvw = rng.normal(scale=[800, 800, 300], size=(rows, 3))
    grid = ImageGrid(size, size, math.radians(cell / 3600))
    vis = (1 + rng.normal(scale=0.1, size=rows)).astype(np.complex64)
    weights = np.ones(rows, np.float32)
    terms = min(count_terms(uvw, 1.4e9, grid, w_term=w_term), MAX_TERMS)
    before = status("VmRSS")
    try:
        open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
    except OSError:
        pass
    kind = DeconvolverOptions(Deconvolver.MULTISCALE if scales else Deconvolver.HOGBOM)
    options = CleanOptions(w_term=w_term, deconvolver=kind)
    plane = image_plane(uvw, 1.4e9, vis, weights, grid, control, options)
    given = uvw.nbytes + vis.nbytes + weights.nbytes
    print(terms, status("VmHWM") - before + given,
          estimate_plane_memory(rows, grid, n_terms=terms, n_scales=count_scales(kind, grid)))

control = IterationControl(max_iterations=200)
scales = sys.argv[5] == "True"
image(1000, 64, 20, control, True, scales)  # loads and compiles what all calls share
image(*map(eval, sys.argv[1:4]), control, sys.argv[4] == "True", scales)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize(
    ("rows", "size", "cell", "w_term", "scales"),
    [
        (20_000, 1024, 1.0, True, False),
        (20_000, 1024, 1.0, False, False),
        (2_000_000, 256, 3.0, True, False),
        (20_000, 1024, 8.0, True, False),
        (20_000, 1024, 1.0, True, True),
    ],
)
def test_the_peak_memory_is_what_is_planned(rows: int, size: int, cell: float, w_term: bool, scales: bool) -> None:
    arguments = [str(rows), str(size), str(cell), str(w_term), str(scales)]
    result = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, *arguments], capture_output=True, text=True, check=True
    )
    _, peak, projected = (int(word) for word in result.stdout.split()[-3:])
    assert peak < 1.3 * projected
    assert peak > 0.4 * projected  # a projection that is far too high would waste the workers


def test_a_region_limits_components_and_the_noise_that_ends_clean(samples: Samples) -> None:
    region = np.zeros(GRID.shape, np.bool_)
    region[:, 60:] = True  # without the source at (225, 12)
    control = IterationControl(n_sigma=5.0)
    plane = image_plane(*samples, control, region=region)
    assert plane.solution.stop_reason is StopReason.N_SIGMA
    assert plane.model[region].any()
    assert not plane.model[~region].any()
    np.testing.assert_array_equal(plane.mask, region)
    goal = 5.0 * robust_rms(plane.residual[region])
    assert np.abs(plane.residual[region]).max() <= goal < np.abs(plane.residual).max()
    # a mask as well: both count
    mask = np.zeros(GRID.shape, np.bool_)
    mask[100:, :] = True
    both = image_plane(*samples, control, mask=mask, region=region)
    np.testing.assert_array_equal(both.mask, mask & region)
    assert not both.model[~(mask & region)].any()


def test_an_automatic_mask_begins_with_the_one_that_is_given(samples: Samples, noise_jy: float) -> None:
    start = np.zeros(GRID.shape, np.bool_)
    start[30:33, 40:43] = True  # nothing is there
    options = CleanOptions(auto_mask=AutoMaskOptions())
    plane = image_plane(*samples, IterationControl(threshold=5 * noise_jy), options, mask=start)
    assert plane.mask is not None
    assert plane.mask[start].all()
    assert all(plane.mask[pixel] for pixel, flux in SOURCES.items() if flux > 0)
    region = np.zeros(GRID.shape, np.bool_)
    region[:, 60:] = True
    limited = image_plane(*samples, IterationControl(threshold=5 * noise_jy), options, mask=start, region=region)
    assert limited.mask is not None
    assert not limited.mask[~region].any()
    assert limited.mask[120, 108]
