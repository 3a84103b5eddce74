"""Model images from FITS files: one plane in Jy/pixel, turned to the axes (l, m), with the directions of its pixels."""

from __future__ import annotations

import io
import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.files import read_file
from radps.domain.geometry import MIN_IMAGE_SIZE, ImageGrid
from radps.errors import DataError


class SkyPlane(NamedTuple):
    """A plane of brightness, and where it is on the sky."""

    image: NDArray[np.float64]
    """(n_l, n_m) [Jy/pixel]; l decreases and m grows with the index; even, at least 32 pixels; 0 where it was blank."""
    grid: ImageGrid
    ra_rad: NDArray[np.float64]
    """Right ascension of the pixels with the indices 0, ``n // 2``, ``n - 1`` along each axis, (3, 3) [rad]."""
    dec_rad: NDArray[np.float64]
    """Their declination."""
    frequency_hz: float | None
    """None where the file does not say."""


def load_model_fits(url: str, frame: str) -> SkyPlane:
    """Read a model image.

    Parameters
    ----------
    url : str
        A FITS file: a path or any fsspec URL.
    frame : {"icrs", "fk5"}
        Frame of the directions that are returned.

    Returns
    -------
    SkyPlane

    Raises
    ------
    DataError
        There is no such file, it is no FITS image of a single plane, its unit is not Jy/pixel, or its pixels are not
        square.
    """
    from astropy.io import fits

    content = read_file(url)
    if content is None:
        raise DataError(f"model image {url}: there is no such file, and no image of this run has that name")
    try:
        with fits.open(io.BytesIO(content), memmap=False) as file:
            header, data = file[0].header, np.asarray(file[0].data, np.float64)
    except (OSError, TypeError, ValueError) as error:
        raise DataError(f"model image {url}: not a FITS image: {error}") from error
    unit = str(header.get("BUNIT", "")).strip()
    if unit.lower() != "jy/pixel":
        raise DataError(
            f"model image {url}: its unit is {unit or 'not given'!r}; a model is in Jy/pixel, such as SKY_MODEL of an "
            "image of radps, or the model image of CASA and WSClean"
        )
    if data.ndim < 2 or data.size != data.shape[-1] * data.shape[-2]:
        raise DataError(f"model image {url}: its shape is {data.shape}; one plane is needed: cut one out")
    return _to_sky_plane(url, header, np.nan_to_num(data.reshape(data.shape[-2:])), frame)


def _to_sky_plane(url: str, header: Any, plane: NDArray[np.float64], frame: str) -> SkyPlane:
    """Turn a plane of (declination, right ascension) to (l, m), and find its directions."""
    from astropy.wcs import WCS, FITSFixedWarning
    from astropy.wcs.utils import proj_plane_pixel_scales

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)  # of dates that astropy puts right
        wcs = WCS(header)
    if wcs.celestial.naxis != 2:
        raise DataError(f"model image {url}: it has no two axes of the sky; a FITS image with RA and DEC is needed")
    scales = np.deg2rad(proj_plane_pixel_scales(wcs.celestial))
    if not math.isclose(*scales, rel_tol=1e-3):
        raise DataError(
            f"model image {url}: its pixels are {scales.tolist()} rad; they have to be square pixels of the sky"
        )
    image, x = _extend(plane.T, decreasing=wcs.celestial.pixel_scale_matrix[0, 0] > 0)
    image_m, y = _extend(image.T, decreasing=wcs.celestial.pixel_scale_matrix[1, 1] < 0)
    image = image_m.T
    places = (positions[[0, len(positions) // 2, -1]] for positions in (x, y))
    sky = wcs.celestial.pixel_to_world(*np.meshgrid(*places, indexing="ij")).transform_to(frame)
    return SkyPlane(
        image=np.ascontiguousarray(image),
        grid=ImageGrid(image.shape[0], image.shape[1], float(scales[0])),
        ra_rad=sky.ra.rad,
        dec_rad=sky.dec.rad,
        frequency_hz=_frequency(wcs),
    )


def _extend(image: NDArray[np.float64], *, decreasing: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Turn the first axis if asked to, and put blank pixels at its end until the gridder takes its size.

    Returns the image, and the pixel of the file that each of its rows is, beyond the edge too.
    """
    size = max(len(image) + len(image) % 2, MIN_IMAGE_SIZE)
    positions = np.arange(size)
    if decreasing:
        image, positions = image[::-1], len(image) - 1 - positions
    return np.pad(image, ((0, size - len(image)), (0, 0))), positions


def _frequency(wcs: Any) -> float | None:
    """Return the frequency of the plane [Hz], if there is a spectral axis."""
    if not wcs.has_spectral:
        return None
    value = float(wcs.spectral.pixel_to_world(0).to_value("Hz"))
    return value if value > 0 else None
