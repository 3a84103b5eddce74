"""What the steps write into the context's tree opens as one tree, lazily."""

from __future__ import annotations

import numpy as np

from radps.data.convergence import create_convergence
from radps.data.trees import open_tree
from radps.node_tasks.samples import save_density


def test_tables_of_different_steps_open_as_one_tree(folder: str) -> None:
    root = f"{folder}/context.zarr"
    create_convergence(f"{root}/cube-1/star/convergence", np.array([1.0e9, 1.1e9]), 3, {"step": "cube"})
    save_density(np.ones((4, 2)), f"{root}/cube-1/star/weight_density")
    create_convergence(f"{root}/continuum-2/star/convergence", np.array([1.0e9]), 3, {"step": "continuum"})
    tree = open_tree({"cube": f"{root}/cube-1", "continuum": f"{root}/continuum-2", "flag": f"{root}/flag-1"})
    assert sorted(tree.children) == ["continuum", "cube"]
    assert tree["cube/star/convergence"].attrs == {"step": "cube"}
    np.testing.assert_array_equal(tree["cube/star/convergence/frequency"], [1.0e9, 1.1e9])
    assert tree["cube/star/weight_density"].shape == (4, 2)
    assert tree["cube/star/convergence/HISTORY"].variable._in_memory is False
