"""Bring a model image to the phase centre of a field, and store it for the tasks that predict from it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.images import load_frequencies, load_planes
from radps.data.model_images import SkyPlane, load_model_fits
from radps.data.stores import exists, require_parents, save_array
from radps.data.urls import join_url
from radps.domain.geometry import ImageGrid
from radps.domain.model_image import ImagePlace, place_image
from radps.domain.sky import direction_cosines, sky_position
from radps.errors import DataError, ModelError

TAYLOR_MODEL = "SKY_MODEL_TAYLOR_1"
"""Variable of the second Taylor term of the model of a continuum image, if it has one."""


class ImageSource(NamedTuple):
    """Where a model image comes from."""

    url: str
    """A FITS file, or the store of an image of this run."""
    cell_size_rad: float | None = None
    """Of an image of this run; None = a FITS file."""
    direction_rad: tuple[float, float] = (0.0, 0.0)
    """Phase centre of an image of this run, right ascension and declination."""


class StoredImage(NamedTuple):
    """A model image in the store of a step."""

    place: ImagePlace
    flux_jy: float
    """Sum over its pixels."""
    frequency_hz: float | None
    """Of the image; None where a file does not say."""


def store_model_image(
    source: ImageSource, direction_rad: tuple[float, float], frame: str, url: str, *, normalise: bool = True
) -> StoredImage:
    """Write a model image as it is seen from a phase centre.

    Parameters
    ----------
    source : ImageSource
    direction_rad : tuple of float
        Phase centre of the field: right ascension and declination [rad].
    frame : {"icrs", "fk5"}
        Frame of the field.
    url : str
        The array to write, (term, n_l, n_m); an image of this run may have Taylor terms.
    normalise : bool
        Write one term, divided by the sum of its pixels, so that a spectrum can take its place.

    Raises
    ------
    DataError
        The image cannot be read, or lies on other pixels than a grid about the phase centre.
    ModelError
        It has no brightness.
    """
    plane = load_model_fits(source.url, frame) if source.cell_size_rad is None else _load_own(source)
    try:
        l, m = direction_cosines(plane.ra_rad, plane.dec_rad, *direction_rad)
        place = place_image(plane.grid, l, m)
    except (DataError, ModelError) as error:
        raise DataError(f"model image {source.url}: {error}") from error
    flux = float(plane.image.sum())
    if normalise and not flux > 0:
        raise ModelError(f"model image {source.url}: the sum of its pixels is {flux:.4g} Jy; it has to be positive")
    terms = [plane.image / flux] if normalise else [plane.image, *_load_taylor_terms(source)]
    require_parents(url)
    save_array(url, np.stack(terms).astype(np.float64 if normalise else np.float32), dims=("term", "l", "m"))
    return StoredImage(place, flux, plane.frequency_hz)


def _load_taylor_terms(source: ImageSource) -> list[NDArray[np.float64]]:
    """Read the second Taylor term of the model of an image of this run, if it has one."""
    if source.cell_size_rad is None or not exists(join_url(source.url, TAYLOR_MODEL)):
        return []
    return [np.nan_to_num(load_planes(source.url, TAYLOR_MODEL)[0].astype(np.float64))]


def _load_own(source: ImageSource) -> SkyPlane:
    """Read the model of an image of this run."""
    planes = np.nan_to_num(load_planes(source.url, "SKY_MODEL").astype(np.float64))
    if len(planes) != 1:
        raise DataError(f"image {source.url} has {len(planes)} channels; a continuum image with one is needed")
    grid = ImageGrid(planes.shape[1], planes.shape[2], source.cell_size_rad or 0.0)
    l, m = (positions[[0, len(positions) // 2, -1]] for positions in (grid.l, grid.m))
    ra, dec = sky_position(l[:, np.newaxis], m[np.newaxis, :], *source.direction_rad)
    return SkyPlane(planes[0], grid, ra, dec, float(load_frequencies(source.url)[0]))
