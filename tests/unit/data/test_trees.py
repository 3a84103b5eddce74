"""What the steps write into the context's tree opens as one tree, lazily."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from zarr.storage import FsspecStore, LocalStore

from radps.data.convergence import create_convergence
from radps.data.trees import open_tree
from radps.node_tasks.samples import save_density


def test_tables_of_different_steps_open_as_one_tree(folder: str) -> None:
    root = f"{folder}/context.zarr"
    create_convergence(f"{root}/cube-1/star/convergence", np.array([1.0e9, 1.1e9]), 3, {"step": "cube"})
    save_density(np.ones((4, 2)), f"{root}/cube-1/star/weight_density")
    create_convergence(f"{root}/continuum-2/star/convergence", np.array([1.0e9]), 3, {"step": "continuum"})
    tree = open_tree({"cube": [f"{root}/cube-1"], "continuum": [f"{root}/continuum-2"], "flag": [f"{root}/flag-1"]})
    assert sorted(tree.children) == ["continuum", "cube"]
    assert tree["cube/star/convergence"].attrs == {"step": "cube"}
    np.testing.assert_array_equal(tree["cube/star/convergence/frequency"], [1.0e9, 1.1e9])
    assert tree["cube/star/weight_density"].shape == (4, 2)
    assert tree["cube/star/convergence/HISTORY"].variable._in_memory is False


def test_no_chunk_is_read_before_its_values_are_asked_for(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"{folder}/context.zarr/cube-1"
    create_convergence(f"{root}/star/convergence", np.array([1.0e9, 1.1e9]), 3, {"step": "cube"})
    save_density(np.ones((4, 2)), f"{root}/star/weight_density")
    read: list[str] = []
    for store in (LocalStore, FsspecStore):

        async def get(self: Any, key: str, *args: Any, _get: Any = store.get, **options: Any) -> Any:
            read.append(key)
            return await _get(self, key, *args, **options)

        monkeypatch.setattr(store, "get", get)
    tree = open_tree({"cube": [root]})
    assert tree["cube/star/weight_density"].shape == (4, 2)
    assert "weight_density" in repr(tree)
    assert read, "the metadata are read through the store that is watched"
    # xarray reads the coordinates that it looks up by
    coordinates = set(tree["cube/star/convergence"].coords)
    assert {key.partition("/c/")[0].rpartition("/")[2] for key in read if "/c/" in key} <= coordinates
    assert "HISTORY" not in coordinates
    np.testing.assert_array_equal(tree["cube/star/weight_density"], np.ones((4, 2)))
    assert any("weight_density/c/" in key for key in read)
