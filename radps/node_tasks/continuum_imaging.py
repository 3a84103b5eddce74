"""What continuum imaging does on a worker once the parts of its blocks are added up: model updates, restored images.

The images between the cycles live in a scratch store, with one plane for each Taylor term. Every one is written once
under a name of its own (``residual-0003``, ``model-0003``, ``mask-0003``), so that a task that runs twice never reads
what it overwrites.

What all cycles need of the PSF, its beam and its largest sidelobe, is found once, with the PSF.

An automatic mask is found when the residual of a cycle is made for the first time: from the residual of the first term,
and the mask of the cycle before. The peak that the loop is told is that inside the mask. Where the primary beam limits
the mask, it is the mean of the beams of all channels, with the weights that they have in the image.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.images import load_planes, write_planes
from radps.data.stores import create_array, join_url, load_array, save_array, write_region
from radps.domain.beam import RestoringBeam, fit_restoring_beam, restore_image
from radps.domain.geometry import ImageGrid
from radps.domain.gridding import DirtySum
from radps.domain.imaging import PlaneImages, find_sidelobe_level, limit_psf_fraction
from radps.domain.masks import cut_mask, update_auto_mask
from radps.domain.model_update import Deconvolver, DeconvolverOptions, deconvolve, prepare_deconvolver
from radps.domain.multiscale import choose_scales
from radps.domain.multiterm import find_hessian, find_spectral_index, invert_hessian, solve_principal
from radps.domain.multiterm_clean import clean_terms
from radps.domain.solver import ModelUpdate, Residual, SolverResult
from radps.domain.statistics import find_peak, robust_rms
from radps.domain.wideband_beam import BeamMoments, ChannelWeights, beam_moments, correct_terms, find_beam_region
from radps.domain.wideband_operator import apply_operators, make_spectrum
from radps.node_tasks.continuum_sums import ContinuumRules, FirstSums
from radps.node_tasks.cube_imaging import PrimaryBeamRule, write_plane
from radps.node_tasks.mask_files import load_channel_mask

TAYLOR_VARIABLES = ("SKY_TAYLOR_1", "SKY_MODEL_TAYLOR_1", "SKY_RESIDUAL_TAYLOR_1")
"""Images of the second Taylor term: restored, model, residual."""

INDEX_VARIABLES = ("SKY_SPECTRAL_INDEX", "SKY_SPECTRAL_INDEX_ERROR")

CORRECTED_VARIABLES = ("SKY_PRIMARY_BEAM_CORRECTED", "SKY_TAYLOR_1_PRIMARY_BEAM_CORRECTED")
"""The restored Taylor terms, corrected for the primary beam."""

CORRECTED_INDEX_VARIABLE = "SKY_SPECTRAL_INDEX_PRIMARY_BEAM_CORRECTED"


class CycleImages(NamedTuple):
    """Where the images of one cycle are, each of shape (term, l, m)."""

    scratch_url: str
    number: int
    coarse: bool = False
    """True: its residual was made to a lower accuracy, and may be made again."""

    @property
    def model_url(self) -> str:
        """URL of the model; cycle 0 has none."""
        return join_url(self.scratch_url, f"model-{self.number:04d}")

    @property
    def residual_url(self) -> str:
        """URL of the residual that the model leaves."""
        return join_url(self.scratch_url, f"residual-{self.number:04d}" + "-coarse" * self.coarse)

    @property
    def mask_url(self) -> str:
        """URL of its automatic mask, shape (l, m)."""
        return join_url(self.scratch_url, f"mask-{self.number:04d}")

    @property
    def dirty_url(self) -> str:
        """URL of the residual of cycle 0."""
        return self._replace(number=0, coarse=False).residual_url

    @property
    def psf_url(self) -> str:
        """URL of the PSFs, which all cycles share: (2 term - 1, p_l, p_m)."""
        return join_url(self.scratch_url, "psf")

    @property
    def fit_url(self) -> str:
        """URL of the :class:`PsfFit`, (4,)."""
        return join_url(self.scratch_url, "psf-fit")

    @property
    def region_url(self) -> str:
        """URL of where the primary beam allows components, shape (l, m); there is none where it does not matter."""
        return join_url(self.scratch_url, "region")

    @property
    def channels_url(self) -> str:
        """URL of the frequency and the weight of each channel: (2, channel)."""
        return join_url(self.scratch_url, "channels")

    @property
    def operator_url(self) -> str:
        """URL of the spectra of the normal operators: (2 term - 1, series, p_l, p_m // 2 + 1)."""
        return join_url(self.scratch_url, "operator")


class PsfFit(NamedTuple):
    """What model updates and masks need of the PSF of the first term."""

    beam: RestoringBeam
    sidelobe_level: float
    """Of :func:`radps.domain.imaging.find_sidelobe_level`; NaN without a beam."""


class ContinuumPlane(NamedTuple):
    """The image that :func:`finish_continuum` makes."""

    rules: ContinuumRules
    image_url: str
    convergence_url: str
    cycle: CycleImages
    """The one whose model is kept."""
    solution: SolverResult
    index_limit: float
    """The spectral index is given where I_0 is above this many times its noise."""


class FirstLook(NamedTuple):
    """What the sums over all data say."""

    weight: float
    """Sum of weights, 0 when there are no data."""
    residual: Residual
    """Of the dirty image."""
    peak: float
    """Largest absolute value of the dirty image, inside the mask or not [Jy/beam]."""


class TermsUpdate(NamedTuple):
    """What a model update did, and what the next residual is for."""

    update: ModelUpdate
    next_level: float
    """Where the next model update will stop at the earliest [Jy/beam]; 0: there will be none."""


def save_first(total: FirstSums, rules: ContinuumRules, cycle: CycleImages) -> FirstLook:
    """Write the PSFs, the spectra of the normal operators, and the dirty images of cycle 0."""
    # Term by term: all of them as sums, images and spectra would be three times the memory.
    n_psfs, _, n_l, n_m = total.psf.image.shape
    shape = (rules.series, n_l, n_m // 2 + 1)
    _create(cycle.psf_url, (n_psfs, n_l, n_m), ("term", "l", "m"))
    save_array(cycle.channels_url, np.stack(total.channels), dims=("quantity", "channel"))
    if rules.series:
        _create(cycle.operator_url, (n_psfs, *shape), ("term", "series", "u", "v"))
    for term, sums in enumerate(total.psf.image):
        images = DirtySum(sums, total.psf.weight).normalised().astype(np.float32, copy=False)
        _write_term(cycle.psf_url, term, images[0])
        if term == 0:
            _save_fit(images[0], rules.imaging.grid, cycle)
        if rules.series:
            _write_term(cycle.operator_url, term, make_spectrum(images, rules.series))
    if rules.imaging.mask_beam is not None:
        moments = _beam_moments(rules.imaging.mask_beam, rules, total.channels, n_terms=1)
        region = find_beam_region(rules.imaging.grid, moments, rules.imaging.mask_beam.cutoff)
        save_array(cycle.region_url, region, dims=("l", "m"))
    dirty = total.dirty.normalised().astype(np.float32, copy=False)
    return FirstLook(total.psf.weight, _save_residual(dirty, rules, cycle), find_peak(dirty[0]))


def save_residual(total: DirtySum, rules: ContinuumRules, cycle: CycleImages, *, is_refined: bool = False) -> Residual:
    """Write the residual images of a cycle; returns the peak of the first inside the mask, NaN when there are no data.

    ``is_refined`` means that the residual was made before, to a lower accuracy, and the mask of the cycle with it.
    """
    return _save_residual(total.normalised().astype(np.float32, copy=False), rules, cycle, is_refined=is_refined)


def convolve_residual(rules: ContinuumRules, cycle: CycleImages) -> Residual:
    """Make the residual images of a cycle from its model and the normal operator, without visibilities."""
    seen = apply_operators(load_array(cycle.operator_url), load_array(cycle.model_url), rules.imaging.grid)
    return _save_residual(load_array(cycle.dirty_url) - seen, rules, cycle)


def update_model(rules: ContinuumRules, cycle: CycleImages, goal: float, max_iterations: int) -> TermsUpdate:
    """CLEAN the residuals of a cycle, and write the model of the next one."""
    clean, grid = rules.imaging.clean, rules.imaging.grid
    residuals, psfs = load_array(cycle.residual_url), load_array(cycle.psf_url)
    mask = _load_mask(cycle, rules)
    beam, sidelobe_level = _load_fit(cycle)
    fraction = limit_psf_fraction(sidelobe_level, clean)
    level = max(goal, fraction * find_peak(residuals[0], mask))
    if rules.n_terms == 1:
        ready = prepare_deconvolver(psfs[0], beam, grid, clean.deconvolver)
        found = deconvolve(residuals[0], ready, mask, gain=clean.gain, goal=level, max_iterations=max_iterations)
        added, iterations, left = found.model[np.newaxis], found.iterations, found.peak
    else:
        added, iterations, left = clean_terms(
            residuals,
            psfs,
            scales_pixels=_choose_scales(clean.deconvolver, beam, grid),
            small_scale_bias=clean.deconvolver.small_scale_bias,
            mask=mask,
            gain=clean.gain,
            goal=level,
            max_iterations=max_iterations,
        )
    model = _load_model(cycle, rules) + added
    _save_images(cycle._replace(number=cycle.number + 1).model_url, model)
    next_level = max(goal, fraction * left) if left > goal else 0.0
    return TermsUpdate(ModelUpdate(iterations, float(model[0].sum(dtype=np.float64))), next_level)


def finish_continuum(plane: ContinuumPlane, weight: float) -> None:
    """Restore the images and write them, with their beam, weight and convergence."""
    rules, grid = plane.rules, plane.rules.imaging.grid
    residuals, psfs = load_array(plane.cycle.residual_url), load_array(plane.cycle.psf_url)
    model = _load_model(plane.cycle, rules)
    beam = _load_fit(plane.cycle).beam
    dirty = load_array(plane.cycle.dirty_url)
    restored = [residuals[0]] * rules.n_terms
    if weight > 0:
        inverse = invert_hessian(find_hessian(psfs))
        left = solve_principal(residuals, inverse)
        restored = [restore_image(model[term], left[term], beam, grid) for term in range(rules.n_terms)]
        if rules.n_terms > 1:
            _write_index(plane, np.stack(restored), left, inverse)
    if rules.imaging.primary_beam is not None:
        _write_corrected(plane, rules.imaging.primary_beam, np.stack(restored))
    if rules.n_terms > 1:
        for variable, image in zip(TAYLOR_VARIABLES, (restored[1], model[1], residuals[1]), strict=True):
            write_planes(plane.image_url, variable, slice(0, 1), image[np.newaxis])
    images = PlaneImages(
        dirty=dirty[0],
        psf=central_part(psfs[0], grid),
        model=model[0],
        residual=residuals[0],
        restored=restored[0],
        beam=beam,
        solution=plane.solution,
        weight=weight,
        mask=_load_mask(plane.cycle, rules),
    )
    imaging = rules.imaging._replace(primary_beam=None)  # that of one frequency; it is corrected for that of all
    write_plane(images, 0, rules.reference_hz, imaging, plane.image_url, plane.convergence_url)


def central_part(psf: NDArray[np.float32], grid: ImageGrid) -> NDArray[np.float32]:
    """Return the part of a large PSF that an image of it would show."""
    first_l, first_m = ((large - size) // 2 for large, size in zip(psf.shape, grid.shape, strict=True))
    return psf[first_l : first_l + grid.n_l, first_m : first_m + grid.n_m]


def _choose_scales(options: DeconvolverOptions, beam: RestoringBeam, grid: ImageGrid) -> tuple[float, ...]:
    """Return the scales that Taylor terms are CLEANed at."""
    if options.deconvolver is Deconvolver.HOGBOM:
        return (0.0,)
    return options.scales_pixels or choose_scales(beam.major_rad / grid.cell_size_rad, grid.shape)


def _write_index(
    plane: ContinuumPlane, terms: NDArray[np.float32], left: NDArray[np.float32], inverse: NDArray[np.float64]
) -> None:
    """Write the spectral index and its error."""
    noise = robust_rms(left[0]), robust_rms(left[1])
    found = find_spectral_index(terms, noise, inverse, limit=plane.index_limit * noise[0])
    for variable, image in zip(INDEX_VARIABLES, found, strict=True):
        write_planes(plane.image_url, variable, slice(0, 1), image[np.newaxis])


def _write_corrected(plane: ContinuumPlane, beam: PrimaryBeamRule, terms: NDArray[np.float32]) -> None:
    """Write the primary beam, and the terms and the spectral index that are corrected for it."""
    rules = plane.rules
    moments = _beam_moments(beam, rules, ChannelWeights(*load_array(plane.cycle.channels_url)), rules.n_terms)
    found = correct_terms(terms, rules.imaging.grid, moments, cutoff=beam.cutoff)
    planes = {"PRIMARY_BEAM": found.pattern, **dict(zip(CORRECTED_VARIABLES, found.terms, strict=False))}
    if rules.n_terms > 1:
        apparent = load_planes(plane.image_url, INDEX_VARIABLES[0])[0]
        planes[CORRECTED_INDEX_VARIABLE] = np.where(np.isnan(apparent), np.nan, found.terms[1] / found.terms[0])
    for variable, image in planes.items():
        write_planes(plane.image_url, variable, slice(0, 1), image[np.newaxis])


def _beam_moments(beam: PrimaryBeamRule, rules: ContinuumRules, channels: ChannelWeights, n_terms: int) -> BeamMoments:
    return beam_moments(
        rules.imaging.grid,
        channels,
        rules.reference_hz,
        n_terms,
        beam.telescope,
        dish_diameter_m=beam.dish_diameter_m,
    )


def _save_fit(psf: NDArray[np.float32], grid: ImageGrid, cycle: CycleImages) -> None:
    """Fit the beam to the PSF, and keep it with the largest sidelobe."""
    centre = central_part(psf, grid)
    beam = fit_restoring_beam(centre, grid)
    save_array(cycle.fit_url, np.array([*beam, find_sidelobe_level(centre, beam, grid)]), dims=("quantity",))


def _load_fit(cycle: CycleImages) -> PsfFit:
    """Read what is known of the PSF."""
    *beam, sidelobe_level = load_array(cycle.fit_url).tolist()
    return PsfFit(RestoringBeam(*beam), sidelobe_level)


def _load_model(cycle: CycleImages, rules: ContinuumRules) -> NDArray[np.float32]:
    """Read the model of a cycle; cycle 0 has none."""
    if cycle.number == 0:
        return np.zeros((rules.n_terms, *rules.imaging.grid.shape), np.float32)
    return np.asarray(load_array(cycle.model_url), np.float32)


def _save_residual(
    residuals: NDArray[np.float32], rules: ContinuumRules, cycle: CycleImages, *, is_refined: bool = False
) -> Residual:
    _save_images(cycle.residual_url, residuals)
    mask = _load_mask(cycle, rules) if is_refined else _update_mask(residuals[0], rules, cycle)
    if not np.isfinite(residuals[0, 0, 0]):
        return Residual(math.nan)
    # From the whole region, whatever the mask, as CASA's `nsigma` with the default `fastnoise`.
    noise = robust_rms(residuals[0], _load_region(cycle, rules)) if rules.imaging.control.n_sigma > 0 else 0.0
    return Residual(find_peak(residuals[0], mask), noise)


def _load_mask(cycle: CycleImages, rules: ContinuumRules) -> NDArray[np.bool_] | None:
    """Read where components are allowed after a residual update; None: everywhere."""
    if rules.imaging.clean.auto_mask is not None:
        return np.asarray(load_array(cycle.mask_url), np.bool_)
    return _load_given_mask(cycle, rules)


def _load_given_mask(cycle: CycleImages, rules: ContinuumRules) -> NDArray[np.bool_] | None:
    """Read the mask that is given, where the primary beam allows it; None: everywhere."""
    url = rules.imaging.mask_url
    return cut_mask(None if url is None else load_channel_mask(url, 0), _load_region(cycle, rules))


def _load_region(cycle: CycleImages, rules: ContinuumRules) -> NDArray[np.bool_] | None:
    """Read where the primary beam allows components; None: everywhere."""
    return None if rules.imaging.mask_beam is None else np.asarray(load_array(cycle.region_url), np.bool_)


def _update_mask(residual: NDArray[np.float32], rules: ContinuumRules, cycle: CycleImages) -> NDArray[np.bool_] | None:
    """Return the mask of a cycle; an automatic one is found from the residual and the cycle before, and kept."""
    grid, options = rules.imaging.grid, rules.imaging.clean.auto_mask
    if options is None:
        return _load_mask(cycle, rules)
    region = _load_region(cycle, rules)
    if cycle.number > 0:
        before = _load_mask(cycle._replace(number=cycle.number - 1), rules)
    else:
        before = None if rules.imaging.mask_url is None else _load_given_mask(cycle, rules)
    if before is None:
        before = np.zeros(grid.shape, np.bool_)
    beam, sidelobe_level = _load_fit(cycle)
    mask = update_auto_mask(residual, before, beam, grid, sidelobe_level, options, region)
    save_array(cycle.mask_url, mask, dims=("l", "m"))
    return mask


def _create(url: str, shape: tuple[int, ...], dims: tuple[str, ...]) -> None:
    """Create an array of the scratch store with a chunk for each term."""
    create_array(url, shape, chunks=(1, *shape[1:]), dtype=np.float32, dims=dims)


def _write_term(url: str, term: int, image: NDArray[np.float32]) -> None:
    region = (slice(term, term + 1), *(slice(0, size) for size in image.shape))
    write_region(url, region, image[np.newaxis])


def _save_images(url: str, images: NDArray[np.float32]) -> None:
    """Write images of the scratch store."""
    save_array(url, images, dims=("term", "l", "m"))
