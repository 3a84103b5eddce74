"""CLEAN imaging of one plane: a problem for the common solver, and the whole way from visibilities to a restored image.

The plane is one channel of a cube, or several channels of a continuum image whose pieces the caller sums.

1. Samples of weight 0 are dropped; the dirty image is made once, at full accuracy. What a model update needs besides
   (PSF, beam, normal operator) is made before the first one: a plane that starts below its goal costs two transforms.
2. **Residual update**: residual = dirty - N model, N = the normal operator: predict from the model, weight, transform
   back. Two ways of the same accuracy, chosen from the samples and the grid alone (:func:`plan_residual_update`):

   - by convolutions (:mod:`radps.domain.normal_operator`), where the phase of the w-term stays small: the visibilities
     are not needed again;
   - through the visibilities: predict and transform back.

   Early cycles need an accuracy of 5 % of the level at which the next model update will stop; full accuracy is for a
   residual that may end the loop, and for the one that is kept.
3. **Model update**: Hogbom or multi-scale CLEAN (:mod:`radps.domain.model_update`) down to the cycle goal
   max(goal, f * peak), f = clip(cycle_factor * largest sidelobe, min_psf_fraction, max_psf_fraction)
   (CASA: cyclethreshold).
   A mask is given, or grows with the cycles (:mod:`radps.domain.masks`), or begins with a given one and grows; peaks
   count inside it. A region, where the primary beam is above a level, cuts it, and the noise is that of the region
   (CASA: pbmask).
4. **Restore**: model convolved with the restoring beam, plus residual.

A plane depends on its own samples only, never on the planes that share a task, and is bit-reproducible.

References
----------
Schwab 1984, AJ 89, 1076. Rau, Bhatnagar, Voronkov & Cornwell 2009, Proc. IEEE 97, 1472.
"""

from __future__ import annotations

import enum
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.beam import NO_BEAM, RestoringBeam, fit_restoring_beam, gaussian_image, restore_image
from radps.domain.common_beam import smooth_to_beam
from radps.domain.geometry import ImageGrid
from radps.domain.gridding import DEFAULT_EPSILON, dirty_sum, point_spread_function, predict
from radps.domain.masks import AutoMaskOptions, cut_mask, mask_noise, update_auto_mask
from radps.domain.model_update import DeconvolverOptions, ReadyPsf, deconvolve, prepare_deconvolver
from radps.domain.normal_operator import (
    MAX_TERMS,
    NormalOperator,
    apply_normal_operator,
    choose_terms,
    count_terms,
    estimate_errors,
    make_large_psf,
    make_normal_operator,
)
from radps.domain.solver import IterationControl, ModelUpdate, Residual, SolverResult, StopReason, solve
from radps.domain.statistics import find_peak, robust_rms
from radps.errors import DataError

MAX_CONVOLUTION_PIXELS = 2048 * 2048
"""Largest image whose residuals are updated by convolution; larger ones would need GBs for the spectra."""

EARLY_ACCURACY = 0.05
"""Error of an early residual update relative to the level at which the next model update will stop."""

MAX_EPSILON = 1e-2
"""Coarsest accuracy of an early residual update."""


class ResidualMethod(enum.Enum):
    """How a residual update is done; both are exact to epsilon."""

    CONVOLUTION = "convolution"
    """Convolutions of the model image."""
    VISIBILITIES = "visibilities"
    """Prediction of the visibilities and transformation back."""


class CleanOptions(NamedTuple):
    """How a plane is CLEANed; the limits of the loop are in :class:`radps.domain.solver.IterationControl`."""

    gain: float = 0.1
    """Part of a peak that a component takes."""
    cycle_factor: float = 1.0
    """Depth of a model update in units of the largest PSF sidelobe."""
    min_psf_fraction: float = 0.05
    """A model update goes no deeper than this part of the peak."""
    max_psf_fraction: float = 0.8
    """A model update goes at least as deep as this part of the peak."""
    w_term: bool = True
    """True = with the w-term."""
    epsilon: float = DEFAULT_EPSILON
    """Accuracy of the transforms, relative to the peak."""
    deconvolver: DeconvolverOptions = DeconvolverOptions()
    """What components are made of."""
    auto_mask: AutoMaskOptions | None = None
    """How a mask is found from the residual; None = none but the one that is given."""
    method: ResidualMethod | None = None
    """How residuals are updated; None = the cheaper one."""


class PlaneImages(NamedTuple):
    """The images of one plane, float32, shape (n_l, n_m); NaN everywhere (model: 0) where there are no data."""

    dirty: NDArray[np.float32]
    """Dirty image [Jy/beam]."""
    psf: NDArray[np.float32]
    """PSF without the w-term, 1 at the centre."""
    model: NDArray[np.float32]
    """CLEAN components [Jy/pixel]."""
    residual: NDArray[np.float32]
    """Residual [Jy/beam], exact for the model."""
    restored: NDArray[np.float32]
    """Model convolved with the beam, plus residual [Jy/beam]."""
    beam: RestoringBeam
    """The restoring beam; NaN if there is none."""
    solution: SolverResult
    """Why CLEAN stopped, and its history."""
    weight: float
    """Sum of imaging weights."""
    mask: NDArray[np.bool_] | None = None
    """Where components were allowed at the end, shape (n_l, n_m); None = everywhere."""
    smoothed: NDArray[np.float32] | None = None
    """The residual as it is in the restored image, smoothed to its beam [Jy/beam]; None = as it is."""


def plan_residual_update(
    uvw_m: NDArray[np.float64], frequency_hz: float, grid: ImageGrid, options: CleanOptions
) -> tuple[ResidualMethod, int]:
    """Return the method and, for convolutions, the largest number of terms.

    A plane whose PSF has such sidelobes that more terms would be needed goes through the visibilities after all.

    Raises
    ------
    DataError
        If convolutions are asked for but would need more than ``MAX_TERMS`` terms.
    """
    terms = count_terms(uvw_m, frequency_hz, grid, epsilon=options.epsilon, w_term=options.w_term)
    if options.method is ResidualMethod.CONVOLUTION and terms > MAX_TERMS:
        raise DataError(
            f"residual updates by convolution would take {terms} terms for the w-term, at most {MAX_TERMS} are "
            "supported; leave the method open, or make the image smaller"
        )
    fits = terms <= MAX_TERMS and not is_large(grid)
    return options.method or (ResidualMethod.CONVOLUTION if fits else ResidualMethod.VISIBILITIES), terms


def is_large(grid: ImageGrid) -> bool:
    """Return True if an image is too large for convolutions, and for a PSF of twice its size."""
    return grid.n_l * grid.n_m > MAX_CONVOLUTION_PIXELS


def estimate_plane_memory(n_rows: int, grid: ImageGrid, *, n_terms: int = MAX_TERMS, n_scales: int = 0) -> int:
    """Return the memory [byte] that imaging of one plane takes at its peak, its visibilities included.

    Parameters
    ----------
    n_rows : int
        Visibilities of the plane.
    grid : ImageGrid
        The image.
    n_terms : int
        Terms of the normal operator (1 = no w-term).
    n_scales : int
        Scales of multi-scale CLEAN, of :func:`radps.domain.model_update.count_scales`; 0 = Hogbom.
    """
    # uvw, visibilities and weights, given and as copies of what is used: 72; the gridder 41; powers of w 16
    samples = n_rows * (72 + 41 + 16)
    if is_large(grid):
        planes = 20  # gridder 4.5, PSF of twice the size 4, images and their copies 9
    elif n_terms == 1:
        planes = 36  # gridder, with a grid of 1.5 times the PSF 18, PSF and its sum 8, images 10
    else:
        # spectra 2 a term, and while they are made the gridder; when they are applied transforms, 4 a term
        planes = max(2 * n_terms + 48, 6 * n_terms + 18)
    if n_scales > 0:
        # the PSF of each scale 4 and the transform of its shape 1; transforms of a residual, of the PSF's size
        planes = max(planes, 2 * n_terms + 20) + 5 * n_scales
    return samples + 4 * grid.n_l * grid.n_m * planes


class _State(NamedTuple):
    """A model, and the residual that it leaves."""

    peak: float
    model: NDArray[np.float32]
    residual: NDArray[np.float32]
    accuracy: float


class _UpdateTools(NamedTuple):
    """What a plane needs from its first model update on."""

    psf: ReadyPsf
    """PSF of at least twice the image size, made ready for model updates."""
    psf_fraction: float
    """Depth of a model update relative to its peak."""
    operator: NormalOperator | None
    """None: residuals go through the visibilities."""


class PlaneProblem:
    """One image plane as a problem for :func:`radps.domain.solver.solve`.

    Parameters
    ----------
    uvw_m : ndarray of float64, shape (row, 3)
        Baseline coordinates as stored in MSv4 [m].
    frequency_hz : float
        Frequency [Hz].
    visibilities : ndarray of complex64, shape (row,)
        Stokes I [Jy].
    weights : ndarray of float32, shape (row,)
        Imaging weights; 0 = not used.
    grid : ImageGrid
        The image.
    options : CleanOptions
        How to CLEAN.
    mask : ndarray of bool, shape (n_l, n_m), optional
        True = components are allowed; default: everywhere. With ``options.auto_mask`` the mask grows from this one, or
        from nothing.
    region : ndarray of bool, shape (n_l, n_m), optional
        True = the mask may be here, and the pixel counts for the noise; default: everywhere.
    with_noise : bool
        True = the robust noise of the residual is found in each cycle (needed for ``n_sigma``).

    Attributes
    ----------
    dirty, residual, model : ndarray of float32, shape (n_l, n_m)
        The images as they stand. Before the first residual update the residual is the dirty image.
    weight : float
        Sum of weights; 0 = no data, then images are NaN and the model is 0.
    """

    def __init__(
        self,
        uvw_m: NDArray[np.float64],
        frequency_hz: float,
        visibilities: NDArray[np.complex64],
        weights: NDArray[np.float32],
        grid: ImageGrid,
        options: CleanOptions | None = None,
        *,
        mask: NDArray[np.bool_] | None = None,
        region: NDArray[np.bool_] | None = None,
        with_noise: bool = True,
    ) -> None:
        self.grid = grid
        self.options = options or CleanOptions()
        mask = np.zeros(grid.shape, np.bool_) if mask is None and self.options.auto_mask else mask
        self.mask = cut_mask(mask, region)
        self._region = region
        self._with_noise = with_noise
        used = weights > 0
        if not used.all():
            uvw_m, visibilities, weights = uvw_m[used], visibilities[used], weights[used]
        self._uvw_m = uvw_m
        self._frequency_hz = np.array([float(frequency_hz)])
        self._visibilities = np.ascontiguousarray(visibilities)[:, np.newaxis]
        self._weights = np.ascontiguousarray(weights)[:, np.newaxis]
        self.weight = float(self._weights.sum(dtype=np.float64))
        self.model = np.zeros(grid.shape, np.float32)
        if self.weight > 0:
            plan_residual_update(self._uvw_m, float(frequency_hz), grid, self.options)
            self.dirty = self._transform_back(self._visibilities, self.options.epsilon)
        else:
            self.dirty = np.full(grid.shape, np.nan, np.float32)
        self.residual = self.dirty
        self._accuracy = self.options.epsilon
        self._psf: NDArray[np.float32] | None = None
        self._beam = NO_BEAM
        self._update: _UpdateTools | None = None
        self._sidelobe_level: float | None = None
        self._goal = self._expected_peak = 0.0
        self._best = _State(math.inf, self.model, self.residual, self._accuracy)

    @property
    def psf(self) -> NDArray[np.float32]:
        """The PSF without the w-term, shape (n_l, n_m); NaN without data."""
        if self._psf is None:
            epsilon = self.options.epsilon
            psf = point_spread_function(self._uvw_m, self._frequency_hz, self._weights, self.grid, epsilon=epsilon)
            self._set_psf(psf.astype(np.float32, copy=False))
        return self._psf  # type: ignore[return-value]

    @property
    def beam(self) -> RestoringBeam:
        """Fit to the PSF."""
        if self._psf is None and self.weight > 0:
            self._set_psf(self.psf)
        return self._beam

    def residual_update(self) -> Residual:
        """Bring the residual up to date with the model."""
        if self.weight <= 0:
            return Residual(math.nan)
        if self._update is not None:
            self._accuracy = self._wanted_accuracy()
            self.residual = self._subtract_model(self._accuracy)
            self._grow_mask()
            if find_peak(self.residual, self.mask) <= self._goal:
                self.refine_residual()
        else:
            self._grow_mask()
        peak = find_peak(self.residual, self.mask)
        if peak < self._best.peak:
            self._best = _State(peak, self.model, self.residual, self._accuracy)
        # From the whole region, whatever the mask, as CASA's `nsigma` with the default `fastnoise`.
        return Residual(peak, robust_rms(self.residual, self._region) if self._with_noise else 0.0)

    def model_update(self, goal: float, max_iterations: int) -> ModelUpdate:
        """CLEAN the residual down to ``goal``, or to the cycle goal where that is higher."""
        if self._update is None:
            self._update = self._prepare_update()
        result = deconvolve(
            self.residual,
            self._update.psf,
            self.mask,
            gain=self.options.gain,
            goal=max(goal, self._update.psf_fraction * find_peak(self.residual, self.mask)),
            max_iterations=max_iterations,
        )
        self.model = self.model + result.model
        self._goal, self._expected_peak = goal, result.peak
        return ModelUpdate(result.iterations, float(self.model.sum(dtype=np.float64)))

    def _grow_mask(self) -> None:
        """Add to an automatic mask what the residual shows."""
        options, mask = self.options.auto_mask, self.mask
        if options is None or mask is None:
            return
        if self._update is None:
            # A plane of noise alone gets no mask, and needs no PSF to know it.
            lowest = min(options.noise_threshold, options.negative_threshold or options.noise_threshold)
            noise = mask_noise(self.residual, mask, self._region)
            if not mask.any() and find_peak(self.residual, self._region) <= lowest * noise:
                return
            self._update = self._prepare_update()
        if self._sidelobe_level is None:
            self._sidelobe_level = find_sidelobe_level(self.psf, self.beam, self.grid)
        level, region = self._sidelobe_level, self._region
        self.mask = update_auto_mask(self.residual, mask, self.beam, self.grid, level, options, region)

    def refine_residual(self) -> None:
        """Bring the residual to full accuracy, if an early cycle left it coarser."""
        if self._accuracy > self.options.epsilon:
            self._accuracy = self.options.epsilon
            self.residual = self._subtract_model(self._accuracy)

    def return_to_best(self) -> None:
        """Go back to the model with the smallest peak residual so far: what a diverging loop added is of no use."""
        _, self.model, self.residual, self._accuracy = self._best

    def _set_psf(self, psf: NDArray[np.float32]) -> None:
        self._psf = psf
        self._beam = fit_restoring_beam(psf, self.grid)

    def _prepare_update(self) -> _UpdateTools:
        """Make what model and residual updates need; the visibilities are dropped where they are not needed again."""
        grid, options, frequency_hz = self.grid, self.options, float(self._frequency_hz[0])
        samples = self._uvw_m, frequency_hz, self._weights[:, 0], grid
        method, most_terms = plan_residual_update(self._uvw_m, frequency_hz, grid, options)
        if method is ResidualMethod.VISIBILITIES and is_large(grid):
            # A PSF of twice the size would take twice the memory of all else; the next residual update sees the rest.
            fraction = find_psf_fraction(self.psf, self.beam, grid, options)
            return _UpdateTools(prepare_deconvolver(self.psf, self.beam, grid, options.deconvolver), fraction, None)
        psf = make_large_psf(*samples, epsilon=options.epsilon)
        first_l, first_m = (psf.shape[0] - grid.n_l) // 2, (psf.shape[1] - grid.n_m) // 2
        self._set_psf(np.ascontiguousarray(psf[first_l : first_l + grid.n_l, first_m : first_m + grid.n_m]))
        fraction = find_psf_fraction(self.psf, self.beam, grid, options)
        ready = prepare_deconvolver(psf, self.beam, grid, options.deconvolver)
        if method is ResidualMethod.VISIBILITIES:
            return _UpdateTools(ready, fraction, None)
        errors = estimate_errors(psf, *samples, max_terms=most_terms) if options.w_term else (0.0,)
        n_terms = choose_terms(errors, options.epsilon)
        if n_terms is None and options.method is None:
            return _UpdateTools(ready, fraction, None)
        operator = make_normal_operator(psf, *samples, errors[:n_terms], epsilon=options.epsilon)
        self._visibilities = self._visibilities[:0].copy()
        return _UpdateTools(ready, fraction, operator)

    def _wanted_accuracy(self) -> float:
        """Return the accuracy that the next residual needs, relative to the peak of the dirty image."""
        if self._update is None or self._expected_peak <= self._goal:
            return self.options.epsilon
        next_level = max(self._goal, self._update.psf_fraction * self._expected_peak)
        return choose_accuracy(self.options.epsilon, next_level, float(np.abs(self.dirty).max()))

    def _subtract_model(self, accuracy: float) -> NDArray[np.float32]:
        operator = None if self._update is None else self._update.operator
        if operator is not None:
            terms = choose_terms(operator.errors, accuracy)
            return self.dirty - apply_normal_operator(operator, self.model, n_terms=terms)
        w_term = self.options.w_term
        model = predict(self.model, self._uvw_m, self._frequency_hz, self.grid, epsilon=accuracy, w_term=w_term)
        return self._transform_back(self._visibilities - model.astype(np.complex64, copy=False), accuracy)

    def _transform_back(self, visibilities: NDArray[np.complex64], epsilon: float) -> NDArray[np.float32]:
        total = dirty_sum(
            self._uvw_m,
            self._frequency_hz,
            visibilities,
            self._weights,
            self.grid,
            epsilon=epsilon,
            w_term=self.options.w_term,
        )
        return total.normalised().astype(np.float32, copy=False)


def choose_accuracy(epsilon: float, next_level: float, dirty_peak: float) -> float:
    """Return the accuracy of an early residual update, relative to the peak of the dirty image.

    Parameters
    ----------
    epsilon : float
        Full accuracy, which is never exceeded.
    next_level : float
        Where the next model update will stop [Jy/beam].
    dirty_peak : float
        Peak of the dirty image [Jy/beam].
    """
    return max(epsilon, min(EARLY_ACCURACY * next_level / dirty_peak, MAX_EPSILON))


def find_sidelobe_level(psf: NDArray[np.float32], beam: RestoringBeam, grid: ImageGrid) -> float:
    """Return the largest sidelobe: of -PSF and of PSF minus the fitted beam, as CASA; NaN without a beam."""
    if not beam.is_valid:
        return math.nan
    return max(-float(psf.min()), float((psf - gaussian_image(beam, grid)).max()))


def find_psf_fraction(psf: NDArray[np.float32], beam: RestoringBeam, grid: ImageGrid, options: CleanOptions) -> float:
    """Return the depth of a model update relative to its peak (CASA: psffraction): sidelobe level within its limits."""
    return limit_psf_fraction(find_sidelobe_level(psf, beam, grid), options)


def limit_psf_fraction(sidelobe_level: float, options: CleanOptions) -> float:
    """Return the same for a largest sidelobe that is known; NaN = there is no beam."""
    wanted = options.cycle_factor * sidelobe_level
    if math.isnan(wanted):
        return options.max_psf_fraction
    return min(max(wanted, options.min_psf_fraction), options.max_psf_fraction)


def image_plane(
    uvw_m: NDArray[np.float64],
    frequency_hz: float,
    visibilities: NDArray[np.complex64],
    weights: NDArray[np.float32],
    grid: ImageGrid,
    control: IterationControl,
    options: CleanOptions | None = None,
    *,
    mask: NDArray[np.bool_] | None = None,
    region: NDArray[np.bool_] | None = None,
    restoring_beam: RestoringBeam | None = None,
) -> PlaneImages:
    """Image one plane, from visibilities to the restored image. The arguments are those of :class:`PlaneProblem`.

    With ``restoring_beam`` it is restored to that beam, and not to the one that is fitted to its PSF.

    Returns
    -------
    PlaneImages
        The images and how CLEAN ended. ``control.max_iterations = 0`` makes the dirty image only. Where CLEAN diverged
        they are those of the cycle with the smallest peak residual; the history goes on to the last.
    """
    with_noise = control.n_sigma > 0
    problem = PlaneProblem(
        uvw_m, frequency_hz, visibilities, weights, grid, options, mask=mask, region=region, with_noise=with_noise
    )
    solution = solve(problem, control)
    if solution.stop_reason is StopReason.DIVERGED:
        problem.return_to_best()
    problem.refine_residual()
    beam = problem.beam if restoring_beam is None or not problem.beam.is_valid else restoring_beam
    smoothed = smooth_to_beam(problem.residual, problem.beam, beam, grid)
    return PlaneImages(
        dirty=problem.dirty,
        psf=problem.psf,
        model=problem.model,
        residual=problem.residual,
        restored=restore_image(problem.model, smoothed, beam, grid),
        beam=beam,
        solution=solution,
        weight=problem.weight,
        mask=problem.mask,
        smoothed=smoothed,
    )
