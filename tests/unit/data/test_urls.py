from __future__ import annotations

import os

import pytest

from radps.data import urls


def test_local_urls_become_absolute_paths() -> None:
    assert urls.absolute_url("a/b") == os.path.join(os.getcwd(), "a/b")
    assert urls.absolute_url("file:///a/b") == "/a/b"
    assert urls.absolute_url("~/a") == os.path.expanduser("~/a")
    assert urls.absolute_url("s3://bucket/a/") == "s3://bucket/a"


@pytest.mark.parametrize("base", ["/data/run", "memory://run", "s3://bucket/run/"])
def test_join_and_split_are_inverse(base: str) -> None:
    url = urls.join_url(base, "x.zarr", "/VISIBILITY/")
    assert url == base.rstrip("/") + "/x.zarr/VISIBILITY"
    assert urls.split_url(url) == (base.rstrip("/") + "/x.zarr", "VISIBILITY")


def test_sizes_are_readable() -> None:
    assert urls.format_bytes(512) == "512 B"
    assert urls.format_bytes(1.5 * 2**30) == "1.5 GiB"
    assert urls.format_bytes(3 * 2**40) == "3 TiB"
