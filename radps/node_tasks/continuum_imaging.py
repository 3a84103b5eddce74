"""What continuum imaging does on a worker: one block's part of a sum, one model update, the restored image.

The images between the cycles live in a scratch store. Every one is written once under a name of its own
(``residual-0003``, ``model-0003``), so that a task that runs twice never reads what it overwrites.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.stores import join_url, load_array, save_array
from radps.domain.beam import fit_restoring_beam, restore_image
from radps.domain.geometry import ImageGrid, find_good_size
from radps.domain.gridding import DirtySum, dirty_sum, predict, psf_sum
from radps.domain.imaging import PlaneImages, find_psf_fraction
from radps.domain.model_update import deconvolve, prepare_deconvolver
from radps.domain.solver import ModelUpdate, Residual, SolverResult
from radps.domain.statistics import robust_rms
from radps.node_tasks.cube_imaging import ImagingRules, write_plane
from radps.node_tasks.samples import Source, load_samples, weigh_samples


class CycleImages(NamedTuple):
    """Where the images of one cycle are."""

    scratch_url: str
    number: int

    def url(self, name: str) -> str:
        """Return the URL of an image of this cycle: ``model``, ``residual``."""
        return join_url(self.scratch_url, f"{name}-{self.number:04d}")

    @property
    def psf_url(self) -> str:
        """URL of the PSF, which all cycles share."""
        return join_url(self.scratch_url, "psf")


class ContinuumPlane(NamedTuple):
    """The image that :func:`finish_continuum` makes."""

    rules: ImagingRules
    image_url: str
    convergence_url: str
    cycle: CycleImages
    """The last one."""
    frequency_hz: float
    solution: SolverResult


def sum_residual(source: Source, rules: ImagingRules, cycle: CycleImages) -> DirtySum:
    """Return a block's part of the residual image of the model of a cycle; cycle 0 has no model."""
    samples = load_samples([source])
    visibilities = samples.visibilities
    if cycle.number > 0:
        model = load_array(cycle.url("model"))
        visibilities = visibilities - predict(
            model,
            samples.uvw_m,
            samples.frequency_hz,
            rules.grid,
            epsilon=rules.clean.epsilon,
            w_term=rules.clean.w_term,
        ).astype(np.complex64, copy=False)
    return dirty_sum(
        samples.uvw_m,
        samples.frequency_hz,
        visibilities,
        weigh_samples(samples, rules.weighting, rules.grid),
        rules.grid,
        epsilon=rules.clean.epsilon,
        w_term=rules.clean.w_term,
    )


def sum_psf(source: Source, rules: ImagingRules) -> DirtySum:
    """Return a block's part of the PSF, twice the size of the image, so that it covers every pair of pixels."""
    samples = load_samples([source])
    weights = weigh_samples(samples, rules.weighting, rules.grid)
    large = rules.grid.resized(find_good_size(2 * rules.grid.n_l), find_good_size(2 * rules.grid.n_m))
    return psf_sum(samples.uvw_m, samples.frequency_hz, weights, large, epsilon=rules.clean.epsilon)


def add_images(parts: Sequence[DirtySum]) -> DirtySum:
    """Add up parts in their order, in double precision."""
    total = np.zeros(parts[0].image.shape, np.float64)
    for part in parts:
        total += part.image
    return DirtySum(total, sum(part.weight for part in parts))


def save_psf(total: DirtySum, cycle: CycleImages) -> float:
    """Write the PSF; returns the sum of weights, 0 when there are no data."""
    _save_image(cycle.psf_url, total.normalised().astype(np.float32))
    return total.weight


def save_residual(total: DirtySum, cycle: CycleImages, with_noise: bool) -> Residual:
    """Write the residual image of a cycle; returns its peak, NaN when there are no data."""
    residual = total.normalised().astype(np.float32)
    _save_image(cycle.url("residual"), residual)
    noise = robust_rms(residual) if with_noise and total.weight > 0 else 0.0
    return Residual(float(np.abs(residual).max()), noise)


def update_model(rules: ImagingRules, cycle: CycleImages, goal: float, max_iterations: int) -> ModelUpdate:
    """CLEAN the residual of a cycle, and write the model of the next one."""
    residual, psf = load_array(cycle.url("residual")), load_array(cycle.psf_url)
    centre = central_part(psf, rules.grid)
    beam = fit_restoring_beam(centre, rules.grid)
    fraction = find_psf_fraction(centre, beam, rules.grid, rules.clean)
    found = deconvolve(
        residual,
        prepare_deconvolver(psf, beam, rules.grid, rules.clean.deconvolver),
        gain=rules.clean.gain,
        goal=max(goal, fraction * float(np.abs(residual).max())),
        max_iterations=max_iterations,
    )
    before = load_array(cycle.url("model")) if cycle.number > 0 else np.zeros(rules.grid.shape, np.float32)
    model = before + found.model
    _save_image(cycle._replace(number=cycle.number + 1).url("model"), model)
    return ModelUpdate(found.iterations, float(model.sum(dtype=np.float64)))


def finish_continuum(plane: ContinuumPlane, weight: float) -> None:
    """Restore the image and write it, with its beam, weight and convergence."""
    grid = plane.rules.grid
    residual = load_array(plane.cycle.url("residual"))
    psf = central_part(load_array(plane.cycle.psf_url), grid)
    model = load_array(plane.cycle.url("model")) if plane.cycle.number > 0 else np.zeros(grid.shape, np.float32)
    beam = fit_restoring_beam(psf, grid)
    dirty = load_array(plane.cycle._replace(number=0).url("residual"))
    images = PlaneImages(
        dirty=dirty,
        psf=psf,
        model=model,
        residual=residual,
        restored=restore_image(model, residual, beam, grid),
        beam=beam,
        solution=plane.solution,
        weight=weight,
    )
    write_plane(images, 0, plane.frequency_hz, plane.rules, plane.image_url, plane.convergence_url)


def central_part(psf: NDArray[np.float32], grid: ImageGrid) -> NDArray[np.float32]:
    """Return the part of a large PSF that an image of it would show."""
    first_l, first_m = ((large - size) // 2 for large, size in zip(psf.shape, grid.shape, strict=True))
    return psf[first_l : first_l + grid.n_l, first_m : first_m + grid.n_m]


def _save_image(url: str, image: NDArray[np.float32]) -> None:
    """Write an image of the scratch store."""
    save_array(url, image, dims=("l", "m"))
