"""The versions that a step is done with."""

from __future__ import annotations

import importlib.metadata
import platform

import radps
from radps.context.versions import current_versions, find_distribution_version


def test_the_versions_of_what_makes_the_numbers_are_known() -> None:
    versions = current_versions()
    assert {"numpy", "ducc0", "dask", "zarr"} <= set(versions)
    assert (versions["radps"], versions["python"]) == (radps.__version__, platform.python_version())


def test_listed_packages_are_added() -> None:
    assert "pluggy" not in current_versions()
    assert current_versions(["pluggy"]) == {**current_versions(), "pluggy": importlib.metadata.version("pluggy")}


def test_what_is_not_installed_has_no_version() -> None:
    assert find_distribution_version("no-such-package-anywhere") is None
    assert "no-such-package-anywhere" not in current_versions(["no-such-package-anywhere"])
