"""Masks from files, against pixels whose directions are known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits

from radps.data.images import ImageDescription
from radps.data.masks import image_wcs, load_mask
from radps.domain.geometry import ImageGrid
from radps.errors import DataError

CELL_ARCSEC = 5.0
N_CHANNELS = 4
DESCRIPTION = ImageDescription(
    n_l=64,
    n_m=48,
    cell_size_rad=math.radians(CELL_ARCSEC / 3600),
    phase_center_rad=(math.radians(180.0), math.radians(30.0)),
    phase_center_frame="icrs",
    frequency_hz=1.4e9 + 1e6 * np.arange(N_CHANNELS),
    channel_width_hz=1e6,
    spectral_frame="LSRK",
    rest_frequency_hz=math.nan,
    time_s=0.0,
    telescope="VLA",
    object_name="sky",
)
GRID = ImageGrid(64, 48, DESCRIPTION.cell_size_rad)


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def write_fits(folder: Path, data: np.ndarray, description: ImageDescription = DESCRIPTION, **changes: Any) -> str:
    header = image_wcs(description).to_header()
    header.update(changes)
    path = folder / "mask.fits"
    fits.writeto(path, data.astype(np.float32), header, overwrite=True)
    return str(path)


def circle(i: int, j: int, radius_pixels: float) -> np.ndarray:
    x, y = np.mgrid[:64, :48]
    return np.asarray(np.hypot(x - i, y - j) <= radius_pixels)


def direction(i: int, j: int) -> SkyCoord:
    """Of a pixel, from its direction cosines: independent of any WCS."""
    l, m = GRID.l[i], GRID.m[j]
    n = math.sqrt(1 - l * l - m * m)
    ra0, dec0 = DESCRIPTION.phase_center_rad
    dec = math.asin(m * math.cos(dec0) + n * math.sin(dec0))
    ra = ra0 + math.atan2(l, n * math.cos(dec0) - m * math.sin(dec0))
    return SkyCoord(ra * units.rad, dec * units.rad, frame="icrs")


@pytest.mark.parametrize("frame", ["icrs", "fk5", "galactic"])
def test_a_ds9_circle_in_any_frame_is_where_it_is(tmp_path: Path, frame: str) -> None:
    place = direction(20, 31).transform_to(frame)
    lon, lat = place.spherical.lon.deg, place.spherical.lat.deg
    url = write(tmp_path, "mask.reg", f'# Region file format: DS9\n{frame}\ncircle({lon:.9f},{lat:.9f},32")\n')
    mask = load_mask(url, DESCRIPTION)
    assert mask.shape == (1, 64, 48)
    np.testing.assert_array_equal(mask[0], circle(20, 31, 32 / CELL_ARCSEC))


def test_regions_of_casa_are_for_their_channels_and_can_take_away(tmp_path: Path) -> None:
    place = direction(20, 31)
    centre = f"[{place.ra.deg:.9f}deg, {place.dec.deg:.9f}deg]"
    text = (
        "#CRTFv0\nglobal coord=ICRS\n"
        f"circle[{centre}, 32arcsec]\n"
        f"-circle[{centre}, 12arcsec], range=[1.4009GHz, 1.4021GHz]\n"
        f"circle[{centre}, 52arcsec], range=[3chan, 3chan]\n"
    )
    mask = load_mask(write(tmp_path, "mask.crtf", text), DESCRIPTION)
    wide, ring = circle(20, 31, 32 / 5), circle(20, 31, 32 / 5) & ~circle(20, 31, 12 / 5)
    for channel, expected in enumerate((wide, ring, ring, circle(20, 31, 52 / 5))):
        np.testing.assert_array_equal(mask[channel], expected)


def test_pixels_of_an_image_are_taken_as_they_are(tmp_path: Path) -> None:
    url = write(tmp_path, "mask.reg", "# Region file format: DS9\nimage\ncircle(21,32,6.4)\n")  # FITS counts from 1
    np.testing.assert_array_equal(load_mask(url, DESCRIPTION)[0], circle(20, 31, 6.4))


def test_fits_for_all_channels_or_for_each(tmp_path: Path) -> None:
    wanted = np.stack([circle(20, 31, 4 + channel) for channel in range(N_CHANNELS)])
    url = write_fits(tmp_path, wanted.swapaxes(1, 2)[:, np.newaxis])
    np.testing.assert_array_equal(load_mask(url, DESCRIPTION), wanted)
    blank = np.where(wanted[0], 1.0, np.nan).T
    np.testing.assert_array_equal(load_mask(write_fits(tmp_path, blank), DESCRIPTION), wanted[:1])


def test_fits_of_the_same_pixels_in_another_frame(tmp_path: Path) -> None:
    centre = SkyCoord(180 * units.deg, 30 * units.deg).transform_to("fk5")
    other = DESCRIPTION._replace(phase_center_rad=(centre.ra.rad, centre.dec.rad), phase_center_frame="fk5")
    url = write_fits(tmp_path, circle(20, 31, 5).T, other)
    np.testing.assert_array_equal(load_mask(url, DESCRIPTION)[0], circle(20, 31, 5))


@pytest.mark.parametrize(
    ("shape", "changes", "text"),
    [
        ((64, 48), {}, r"its shape is \(64, 48\); for this image it has to be \(48, 64\), or that for each of the 4"),
        ((3, 48, 64), {}, r"its shape is \(3, 48, 64\)"),
        ((64,), {}, r"its shape is \(64,\)"),
        ((48, 64), {"CRVAL1": 180.01}, r"up to .* pixels off those of the image around RA 180\.0"),
        ((48, 64), {"CDELT1": 5 / 3600}, r"pixels off those of the image"),
        ((48, 64), {"CTYPE1": "X", "CTYPE2": "Y"}, "no two axes of the sky"),
    ],
)
def test_fits_of_other_pixels_is_refused(
    tmp_path: Path, shape: tuple[int, ...], changes: dict[str, Any], text: str
) -> None:
    url = write_fits(tmp_path, np.ones(shape), **changes)
    with pytest.raises(DataError, match=text):
        load_mask(url, DESCRIPTION)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("mask.txt", "circle", r"has to end in \.fits"),
        ("mask.fits", "no FITS", "not a FITS image"),
        ("mask.crtf", "something[[1deg]]", "no regions in the format crtf"),
        ("mask.reg", "icrs\npoint(180,30)\n", "a PointSkyRegion has no area"),
        ("mask.reg", 'icrs\ncircle(10,-80,5")\n', "covers no pixel of the image"),
        (
            "mask.crtf",
            "#CRTFv0\ncircle[[180deg, 30deg], 9arcsec], coord=ICRS, range=[1km/s, 2km/s]\n",
            "a range in km / s",
        ),
    ],
)
def test_files_that_are_no_mask_are_named(tmp_path: Path, name: str, content: str, text: str) -> None:
    with pytest.raises(DataError, match=text):
        load_mask(write(tmp_path, name, content), DESCRIPTION)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        load_mask(str(tmp_path / "mask.fits"), DESCRIPTION)
