"""The versions of the software that a step is done with."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import sys
from collections.abc import Iterable, Mapping

import radps

DEPENDENCIES = (
    "astropy",
    "dask",
    "distributed",
    "ducc0",
    "numba",
    "numpy",
    "pydantic",
    "pyuvdata",
    "scipy",
    "xarray",
    "xradio",
    "zarr",
)
"""Distributions whose version is a part of the fingerprint."""


def current_versions(more: Iterable[str] = ()) -> dict[str, str]:
    """Return name -> version of radps, Python, and the main dependencies.

    Parameters
    ----------
    more : iterable of str
        Distributions that the config lists.
    """
    found = {
        name: version for name in (*DEPENDENCIES, *more) if (version := find_distribution_version(name)) is not None
    }
    return {"radps": radps.__version__, "python": platform.python_version(), **found}


@functools.cache
def find_distribution_version(distribution: str) -> str | None:
    """Return the version of a distribution, None if it is not installed; it does not change while the process lives."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def imported_versions() -> dict[str, str]:
    """Return name -> version of every distribution that this process has imported a module of."""
    packages = {name.partition(".")[0] for name in tuple(sys.modules)}
    homes = _distributions_of_packages()
    names = sorted({name for package in packages for name in homes.get(package, ())})
    return {name: version for name in names if (version := find_distribution_version(name)) is not None}


@functools.cache
def _distributions_of_packages() -> Mapping[str, list[str]]:
    """Return top-level package -> its distributions; to find out takes a third of a second."""
    return importlib.metadata.packages_distributions()
