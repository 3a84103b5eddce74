from __future__ import annotations

from pathlib import Path

import numpy as np

from radps.domain.geometry import ImageGrid
from radps.domain.weights import DensityCells, Weighting, density_grid, imaging_weights
from radps.node_tasks.samples import Samples, WeightingRule, save_density, weigh_samples

GRID = ImageGrid(32, 32, 1e-4)


def test_channels_have_a_density_of_their_own_in_the_cells_of_casa_or_a_common_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    uvw_m = rng.uniform(-600, 600, (300, 3))
    frequency_hz = np.array([1.4e9, 1.5e9])
    weights = rng.uniform(0.5, 2.0, (300, 2)).astype(np.float32)
    samples = Samples(uvw_m, frequency_hz, np.ones((300, 2), np.complex64), weights)
    own = weigh_samples(samples, WeightingRule(Weighting.BRIGGS, 0.0), GRID)
    for channel in range(2):
        one = frequency_hz[channel : channel + 1], weights[:, channel : channel + 1]
        between, around = (imaging_weights(uvw_m, *one, GRID, robust=0.0, cells=cells) for cells in DensityCells)
        np.testing.assert_array_equal(own[:, channel], around[:, 0])
        assert not np.allclose(around, between, rtol=0.1)
    density = density_grid(uvw_m, frequency_hz, weights, GRID)
    url = f"{tmp_path}/context.zarr/sky/weight_density"
    save_density(density, url)
    common = weigh_samples(samples, WeightingRule(Weighting.BRIGGS, 0.0, url), GRID)
    np.testing.assert_array_equal(common, imaging_weights(uvw_m, frequency_hz, weights, GRID, robust=0.0))
