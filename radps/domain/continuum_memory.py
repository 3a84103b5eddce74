"""How much memory the tasks of a continuum image take, in terms of its pixels and of the visibilities of a block.

The unit of images is a plane of the point spread function: float32, at least twice the image along both axes. With n
Taylor terms there are Q = 2 n - 1 of them; with a series of K terms in w (:mod:`radps.domain.wideband_operator`) the
sums of a block are S = Q (1 + K // 2) planes and n images. At its peak a task takes

1. sums of a block: its samples, the sums, 7 planes in the gridder, and one more set of sums that waits to be added;
2. adding: the sums of two parts and of both;
3. spectra: the sums, then for one term 1 + K // 2 images, K half planes, their transforms and compressed bytes;
4. a residual by convolution: Q K half planes, those of a term as read, n K complex half planes;
5. a model update: Hogbom 4; with scales 4 + 2.5 for each; with Taylor terms 6 Q + 1 for each scale;
6. restored images: 3 + 2 Q.

The numbers are those of tests/integration/test_memory.py, which fails where a task takes more, or much less.
"""

from __future__ import annotations

from radps.domain.geometry import ImageGrid
from radps.domain.normal_operator import large_grid

GRIDDER_PLANES = 7
"""Memory of the wgridder, in planes of what it makes: the oversampled grid, complex, and its transform."""


def estimate_continuum_memory(
    n_cells: int, n_polarizations: int, grid: ImageGrid, *, n_terms: int, series: int, n_scales: int
) -> int:
    """Return the memory [byte] that the largest task of a continuum image takes.

    Parameters
    ----------
    n_cells : int
        Rows times channels of the largest block of visibilities.
    n_polarizations : int
        Of the visibilities as stored.
    grid : ImageGrid
        The image.
    n_terms : int
        Taylor terms.
    series : int
        Terms of the series in w; 0 = residuals go through the visibilities.
    n_scales : int
        Scales of multi-scale CLEAN; 0 = Hogbom.
    """
    large = large_grid(grid)
    plane, image = 4 * large.n_l * large.n_m, 4 * grid.n_l * grid.n_m
    n_psfs = 2 * n_terms - 1
    n_rows_of_sums = 1 + series // 2
    sums = n_psfs * n_rows_of_sums * plane + n_terms * image
    # As read 13 a polarization, Stokes I and its cross-correlations 12 each; in the gridder 36, powers of w 28 more.
    samples = n_cells * max(13 * n_polarizations + 24, 36 + 28 * (series > 1))
    update = 4 + 2.5 * n_scales if n_terms == 1 else 6 * n_psfs + n_scales
    planes = max(
        n_rows_of_sums + 1.5 * series + 3 + sums / plane,
        0.5 * series * (n_psfs + 1 + 2 * n_terms) + 2,
        update,
        3 + 2 * n_psfs,
    )
    return int(max(samples + 2 * sums + GRIDDER_PLANES * plane, 3 * sums, planes * plane))
