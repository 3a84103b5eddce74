"""The arrays of a run as one xarray tree, for users and notebooks; tasks use :mod:`radps.data.stores`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from radps.data import stores

if TYPE_CHECKING:
    import xarray


def open_tree(branches: Mapping[str, Sequence[str]]) -> xarray.DataTree:
    """Open zarr groups lazily, each with all groups below it, as branches of one tree.

    Parameters
    ----------
    branches : mapping of str to sequence of str
        Name of a branch -> URLs of its groups, which share out what is below it: of two that hold the same name the
        later one counts. A branch without a group is left out.
    """
    import xarray as xr  # 0.5 s; models and tasks do not need it

    children = {}
    for name, urls in branches.items():
        trees = [
            xr.open_datatree(
                stores.open_store(url, read_only=True),  # type: ignore[arg-type]  # zarr's stores are not in its types
                engine="zarr",
                consolidated=False,
                chunks=None,
            )
            for url in urls
            if stores.exists(url)
        ]
        if trees:
            below = {key: child for tree in trees for key, child in tree.children.items()}
            children[name] = xr.DataTree(trees[-1].to_dataset(), children=below)
    return xr.DataTree(children=children)
