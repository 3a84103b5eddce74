"""What the export does on a worker: write a file, measure it, take its checksum."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from radps.data.files import replace_file
from radps.data.measuring import count_written
from radps.data.stores import file_system

_PIECE_BYTES = 2**24


class ProductFile(NamedTuple):
    """A file that was written."""

    size_bytes: int
    sha256: str


class ExportJob(NamedTuple):
    """One file to write."""

    image: str
    """Name of the image."""
    variable: str
    image_url: str
    path: str
    """Relative to the run folder."""
    url: str


def export_image(job: ExportJob) -> ProductFile:
    """Write one variable of an image as FITS."""
    from radps.data.fits import export_fits  # XRADIO takes seconds to import, and only this task needs it

    export_fits(job.image_url, job.url, job.variable, overwrite=True)
    written = measure_file(job.url)
    count_written(written.size_bytes)
    return written


def write_manifest(url: str, content: dict[str, Any]) -> ProductFile:
    """Write the list of products as JSON."""
    replace_file(url, json.dumps(content, indent=1).encode())
    return measure_file(url)


def measure_file(url: str) -> ProductFile:
    """Return size and checksum of a file."""
    system, path = file_system(url)
    digest = hashlib.sha256()
    size = 0
    with system.open(path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
    return ProductFile(size, digest.hexdigest())
