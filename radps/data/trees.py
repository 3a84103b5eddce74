"""The arrays of a run as one xarray tree, for users and notebooks; tasks use :mod:`radps.data.stores`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from radps.data import stores

if TYPE_CHECKING:
    import xarray


def open_tree(branches: Mapping[str, str]) -> xarray.DataTree:
    """Open zarr groups lazily, each with all groups below it, as branches of one tree.

    Parameters
    ----------
    branches : mapping of str to str
        Name of a branch -> URL of its group; a branch without a group is left out.
    """
    import xarray as xr  # 0.5 s; models and tasks do not need it

    children = {
        name: xr.open_datatree(
            stores.open_store(url, read_only=True),  # type: ignore[arg-type]  # zarr's stores are not in xarray's types
            engine="zarr",
            consolidated=False,
            chunks=None,
        )
        for name, url in branches.items()
        if stores.exists(url)
    }
    return xr.DataTree(children=children)
