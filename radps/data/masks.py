"""Masks that users give: FITS images, or files of regions (CASA's CRTF, DS9), brought to the pixels of an image.

A mask is (channel, n_l, n_m), True = CLEAN components are allowed, with one channel where it holds for all.

1. A FITS image has to have the pixels of the image: number, size, directions (checked at the corners, in whatever
   celestial frame it is) and one plane or one for each channel. A pixel counts where it is above 0.
2. A region in any celestial frame is projected; a pixel counts where its centre is inside. Regions with a minus sign
   are taken away from those before them. A CRTF region with ``range`` holds for the channels inside it, in Hz or
   channels.
"""

from __future__ import annotations

import io
import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radps.data.files import read_file
from radps.data.images import ImageDescription
from radps.errors import DataError

FITS_ENDINGS = (".fits", ".fits.gz", ".fit")
REGION_FORMATS = {".crtf": "crtf", ".reg": "ds9", ".ds9": "ds9"}

MAX_SHIFT_PIXELS = 0.1
"""A mask whose pixels are farther off than this is another grid's."""


def load_mask(url: str, description: ImageDescription) -> NDArray[np.bool_]:
    """Read a mask for an image.

    Parameters
    ----------
    url : str
        A file ending in .fits, .fits.gz, .crtf or .reg: a path or any fsspec URL.
    description : ImageDescription
        The image.

    Returns
    -------
    ndarray of bool, (1 or channel, n_l, n_m)
        True = components are allowed.

    Raises
    ------
    DataError
        There is no such file, it is of no known kind, does not fit the image, or covers none of its pixels.
    """
    is_fits = url.lower().endswith(FITS_ENDINGS)
    form = next((name for ending, name in REGION_FORMATS.items() if url.lower().endswith(ending)), None)
    if not is_fits and form is None:
        raise DataError(
            f"mask {url}: its name has to end in {', '.join([*FITS_ENDINGS, *REGION_FORMATS])}: a FITS image, or "
            "regions of CASA (.crtf) or DS9 (.reg)"
        )
    content = read_file(url)
    if content is None:
        raise DataError(f"mask {url}: there is no such file")
    mask = _read_fits(url, content, description) if form is None else _read_regions(url, content, form, description)
    if not mask.any():
        raise DataError(f"mask {url}: it covers no pixel of the image around {_centre_text(description)}")
    return mask


def image_wcs(description: ImageDescription) -> Any:
    """Return the celestial WCS of an image; FITS pixels (x, y) are (l, m)."""
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    cell = math.degrees(description.cell_size_rad)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crpix = [description.n_l // 2 + 1, description.n_m // 2 + 1]
    wcs.wcs.crval = np.degrees(description.phase_center_rad).tolist()
    wcs.wcs.cdelt = [-cell, cell]
    wcs.wcs.radesys = description.phase_center_frame.upper()
    if description.phase_center_frame == "fk5":
        wcs.wcs.equinox = 2000.0
    wcs.wcs.set()
    return wcs


def _read_fits(url: str, content: bytes, description: ImageDescription) -> NDArray[np.bool_]:
    from astropy.io import fits
    from astropy.wcs import WCS, FITSFixedWarning

    try:
        with fits.open(io.BytesIO(content), memmap=False) as file:
            header, data = file[0].header, np.asarray(file[0].data)
    except (OSError, TypeError, ValueError) as error:
        raise DataError(f"mask {url}: not a FITS image: {error}") from error
    n_channels = len(description.frequency_hz)
    n_planes = data.size // math.prod(data.shape[-2:]) if data.ndim >= 2 else 0
    if data.ndim < 2 or data.shape[-2:] != (description.n_m, description.n_l) or n_planes not in (1, n_channels):
        raise DataError(
            f"mask {url}: its shape is {data.shape}; for this image it has to be ({description.n_m}, "
            f"{description.n_l}), or that for each of the {n_channels} channels: regrid it"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)  # of dates that astropy puts right
        wcs = WCS(header).celestial
    if wcs.naxis != 2:
        raise DataError(f"mask {url}: it has no two axes of the sky; a FITS image with RA and DEC is needed")
    _check_places(url, wcs, description)
    planes = np.nan_to_num(data.reshape(n_planes, *data.shape[-2:])) > 0
    return np.ascontiguousarray(planes.swapaxes(1, 2))


def _check_places(url: str, wcs: Any, description: ImageDescription) -> None:
    """Check that the pixels of a file are those of the image, at centre and corners."""
    last = description.n_l - 1, description.n_m - 1
    x = np.array([0, 0, last[0], last[0], description.n_l // 2], float)
    y = np.array([0, last[1], 0, last[1], description.n_m // 2], float)
    found = wcs.world_to_pixel(image_wcs(description).pixel_to_world(x, y))
    shift = np.hypot(found[0] - x, found[1] - y)
    if not shift.max() <= MAX_SHIFT_PIXELS:
        raise DataError(
            f"mask {url}: its pixels are up to {shift.max():.3g} pixels off those of the image around "
            f"{_centre_text(description)}, of {math.degrees(description.cell_size_rad) * 3600:.4g} arcsec; at most "
            f"{MAX_SHIFT_PIXELS} is allowed: regrid it, or give regions"
        )


def _read_regions(url: str, content: bytes, form: str, description: ImageDescription) -> NDArray[np.bool_]:
    from regions import PixelRegion, Regions

    try:
        regions = Regions.parse(content.decode("utf-8"), format=form)
    except Exception as error:  # the parsers raise many kinds, and their own
        raise DataError(f"mask {url}: no regions in the format {form}: {error}") from error
    wcs = image_wcs(description)
    mask = np.zeros((len(description.frequency_hz), description.n_l, description.n_m), np.bool_)
    is_ranged = False
    for region in regions:
        try:
            on_pixels = region if isinstance(region, PixelRegion) else region.to_pixel(wcs)
            drawn = on_pixels.to_mask(mode="center").to_image((description.n_m, description.n_l))
        except NotImplementedError as error:
            raise DataError(
                f"mask {url}: a {type(region).__name__} has no area; circles, ellipses, boxes, annuli and polygons do"
            ) from error
        except ValueError:  # it has no pixels: not on the half of the sky that the projection shows
            drawn = None
        if drawn is None:
            continue
        inside = np.asarray(drawn, np.bool_).T
        channels = _channels_of(url, region.meta.get("range"), description)
        is_ranged |= not channels.all()
        if region.meta.get("include", True):
            mask[channels] |= inside
        else:
            mask[channels] &= ~inside
    return mask if is_ranged else mask[:1]


def _channels_of(url: str, limits: Any, description: ImageDescription) -> NDArray[np.bool_]:
    """Return True for the channels that a region holds for."""
    frequency_hz = description.frequency_hz
    if limits is None:
        return np.ones(len(frequency_hz), np.bool_)
    unit = str(limits[0].unit)
    if unit == "chan":
        low, high = sorted(float(limit.value) for limit in limits)
        number = np.arange(len(frequency_hz))
        return np.asarray((number >= low) & (number <= high))
    if not limits[0].unit.is_equivalent("Hz"):
        raise DataError(f"mask {url}: a range in {unit}; only frequencies and channels ('chan') are supported")
    low, high = sorted(float(limit.to_value("Hz")) for limit in limits)
    return np.asarray((frequency_hz >= low) & (frequency_hz <= high))


def _centre_text(description: ImageDescription) -> str:
    ra, dec = np.degrees(description.phase_center_rad)
    return f"RA {ra:.6f}, Dec {dec:.6f} deg ({description.phase_center_frame})"
