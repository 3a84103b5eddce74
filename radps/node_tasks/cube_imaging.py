"""What imaging of a cube does on a worker: the whole CLEAN loop of every channel of a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.convergence import PlaneStatistics, convergence_urls, load_stop_reasons, write_convergence
from radps.data.images import write_beams, write_planes, write_weight_sums
from radps.data.stores import keep_open
from radps.domain.beam import RestoringBeam
from radps.domain.geometry import ImageGrid
from radps.domain.imaging import CleanOptions, PlaneImages, image_plane
from radps.domain.primary_beam import correct_primary_beam, primary_beam
from radps.domain.solver import IterationControl, SolverResult
from radps.domain.statistics import find_peak, robust_rms
from radps.node_tasks.cube_samples import load_piece
from radps.node_tasks.mask_files import load_channel_mask
from radps.node_tasks.samples import Source, WeightingRule, weigh_samples


class PrimaryBeamRule(NamedTuple):
    """Which primary beam an image is divided by, or its mask is cut by."""

    telescope: str
    dish_diameter_m: float | None
    cutoff: float
    """Level below which the image is blanked, or not CLEANed."""

    def pattern(self, grid: ImageGrid, frequency_hz: float) -> NDArray[np.float32]:
        """Return the primary beam at a frequency, shape (n_l, n_m); 0 beyond the cutoff."""
        return primary_beam(
            grid, frequency_hz, self.telescope, dish_diameter_m=self.dish_diameter_m, cutoff=self.cutoff
        )


class ImagingRules(NamedTuple):
    """How the planes of an image are made."""

    grid: ImageGrid
    weighting: WeightingRule
    clean: CleanOptions
    control: IterationControl
    primary_beam: PrimaryBeamRule | None
    """None: the image is not corrected."""
    stokes: tuple[str, ...] = ("I",)
    """Stokes parameters of the planes; each is imaged by itself."""
    mask_url: str | None = None
    """A mask that is given, of :func:`radps.node_tasks.mask_files.prepare_mask`; None: there is none."""
    mask_beam: PrimaryBeamRule | None = None
    """The primary beam that says where components are allowed; None: it does not count."""
    restoring_beam: RestoringBeam | None = None
    """The beam of all planes; None: each has its own."""

    @property
    def has_mask(self) -> bool:
        """True where components are not allowed everywhere."""
        return not (self.mask_url is None and self.mask_beam is None and self.clean.auto_mask is None)


class CubePart(NamedTuple):
    """The channels of a cube that one task makes."""

    channels: tuple[int, int]
    """First channel of the cube, and one after the last."""
    pieces: tuple[tuple[int, int], ...]
    """The same, cut into what is read at once."""
    sources: tuple[Source, ...]
    """Partitions, with the channels that the part covers."""


@keep_open()
def clean_channels(part: CubePart, rules: ImagingRules, image_url: str, convergence_url: str) -> int:
    """Image the channels of a part that are not done yet, and write their planes; returns how many it imaged."""
    first, last = part.channels
    tables = convergence_urls(convergence_url, rules.stokes)
    done = np.array([load_stop_reasons(table, slice(first, last)) > 0 for table in tables])
    imaged = 0
    for start, stop in part.pieces:
        todo = [channel for channel in range(start, stop) if not done[:, channel - first].all()]
        if not todo:
            continue
        data = load_piece(part.sources, first, start, stop, rules.stokes)
        for channel in todo:
            for stokes, table in enumerate(tables):
                if done[stokes, channel - first]:
                    continue
                piece = data.samples(channel, stokes)
                frequency_hz = float(piece.frequency_hz[0])
                plane = image_plane(
                    piece.uvw_m,
                    frequency_hz,
                    piece.visibilities[:, 0],
                    weigh_samples(piece, rules.weighting, rules.grid)[:, 0],
                    rules.grid,
                    rules.control,
                    rules.clean,
                    mask=None if rules.mask_url is None else load_channel_mask(rules.mask_url, channel),
                    region=find_mask_region(rules, frequency_hz),
                    restoring_beam=rules.restoring_beam,
                )
                write_plane(plane, channel, frequency_hz, rules, image_url, table, polarization=stokes)
            imaged += 1
    return imaged


def find_mask_region(rules: ImagingRules, frequency_hz: float) -> NDArray[np.bool_] | None:
    """Return where the primary beam allows components, shape (n_l, n_m); None: everywhere."""
    return None if rules.mask_beam is None else rules.mask_beam.pattern(rules.grid, frequency_hz) > 0


def write_plane(
    plane: PlaneImages,
    channel: int,
    frequency_hz: float,
    rules: ImagingRules,
    image_url: str,
    convergence_url: str,
    *,
    polarization: int = 0,
) -> None:
    """Write everything of one plane; its row of the convergence table last, because that says that it is done."""
    where = slice(channel, channel + 1)
    planes: dict[str, NDArray[Any]] = {
        "SKY": plane.restored,
        "SKY_RESIDUAL": plane.residual,
        "SKY_MODEL": plane.model,
        "POINT_SPREAD_FUNCTION": plane.psf,
    }
    if plane.mask is not None:
        planes["MASK"] = plane.mask
    if rules.primary_beam is not None:
        pattern = rules.primary_beam.pattern(rules.grid, frequency_hz)
        planes["PRIMARY_BEAM"] = pattern
        planes["SKY_PRIMARY_BEAM_CORRECTED"] = correct_primary_beam(plane.restored, pattern)
    for variable, image in planes.items():
        write_planes(image_url, variable, where, image[np.newaxis], polarization=polarization)
    write_beams(image_url, where, *(np.array([value]) for value in plane.beam), polarization=polarization)
    write_weight_sums(image_url, where, np.array([plane.weight]), polarization=polarization)
    write_convergence(
        convergence_url,
        channel,
        int(plane.solution.stop_reason),
        history_table(plane.solution),
        measure_plane(plane.restored, plane.residual if plane.smoothed is None else plane.smoothed, plane.mask),
        rules.control.max_cycles,
    )


def history_table(solution: SolverResult) -> NDArray[np.float64]:
    """Return the history as (cycle, 3): peak residual, model flux, iterations."""
    return np.array([(cycle.peak_residual, cycle.model_flux, cycle.iterations) for cycle in solution.history])


def measure_plane(
    restored: NDArray[np.float32], residual: NDArray[np.float32], mask: NDArray[np.bool_] | None = None
) -> PlaneStatistics:
    """Return the statistics of a plane and of its residual, smoothed to its beam.

    A plane without a beam is not restored, and has the noise of its residual alone. ``mask`` is where components were
    allowed; None is everywhere.
    """
    with_data = not np.isnan(residual).any()
    noise = robust_rms(residual) if with_data else 0.0
    scatter = float(residual.std(dtype=np.float64)) if with_data else 0.0
    peak = find_peak(residual) if with_data else 0.0
    n_allowed = residual.size if mask is None else int(np.count_nonzero(mask))
    if np.isnan(restored).any():  # all of it, or nothing
        return PlaneStatistics(0.0, 0.0, 0.0, 0.0, 0.0, noise, scatter, peak, n_allowed)
    values = restored.astype(np.float64)
    return PlaneStatistics(
        max=float(restored.max()),
        min=float(restored.min()),
        sum=float(values.sum()),
        sum_squares=float(np.square(values).sum()),
        n_pixels=restored.size,
        noise=noise,
        residual_rms=scatter,
        residual_peak=peak,
        mask_pixels=n_allowed,
    )


def sum_parts(parts: Sequence[int]) -> int:
    """Add up the numbers of channels."""
    return sum(parts)
