"""URLs of data as text: local paths, ``memory://``, ``s3://`` and the like.

This module imports nothing heavy: models and the command line need it.
"""

from __future__ import annotations

import os


def is_local(url: str) -> bool:
    """Return True for a plain path or a ``file://`` URL."""
    return "://" not in url or url.startswith("file://")


def is_absolute(url: str) -> bool:
    """Return True for a URL that means the same wherever it stands."""
    return "://" in url or url.startswith("/")


def local_path(url: str) -> str:
    """Return the absolute path of a local URL, ``~`` expanded."""
    return os.path.abspath(os.path.expanduser(url.removeprefix("file://")))


def absolute_url(url: str) -> str:
    """Return the URL that means the same in every process: local paths become absolute."""
    return local_path(url) if is_local(url) else url.rstrip("/")


def join_url(url: str, *parts: str) -> str:
    """Append path parts to a URL or a local path."""
    return "/".join([url.rstrip("/"), *(part.strip("/") for part in parts)])


def split_url(url: str) -> tuple[str, str]:
    """Return the URL of the folder, and the last part of the path."""
    folder, _, name = url.rstrip("/").rpartition("/")
    return folder, name


def format_bytes(size: float) -> str:
    """Return a size in binary units with three digits, e.g. ``1.46 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{int(size)} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
