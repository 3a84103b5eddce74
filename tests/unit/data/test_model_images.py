"""Model images from FITS files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from radps.data.model_images import load_model_fits
from radps.domain.sky import direction_cosines
from radps.errors import DataError

CENTER = (np.deg2rad(202.78), np.deg2rad(30.5))
CELL = np.deg2rad(2.0 / 3600)


def write(path: Path, data: np.ndarray, **header: Any) -> str:
    hdu = fits.PrimaryHDU(data.astype(np.float32))
    hdu.header.update(
        {
            "CTYPE1": "RA---SIN", "CRVAL1": 202.78, "CDELT1": -2.0 / 3600, "CRPIX1": 21.0, "CUNIT1": "deg",
            "CTYPE2": "DEC--SIN", "CRVAL2": 30.5, "CDELT2": 2.0 / 3600, "CRPIX2": 19.0, "CUNIT2": "deg",
            "RADESYS": "ICRS", "BUNIT": "Jy/pixel", **header,
        }
    )  # fmt: skip
    if data.ndim > 2:
        hdu.header.update({"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CDELT3": 1e6, "CRPIX3": 1.0, "CUNIT3": "Hz"})
    hdu.writeto(path)
    return str(path)


def position_of_peak(url: str) -> tuple[float, float]:
    """Return (l, m) of the brightest pixel, interpolated between the directions that come with the image."""
    plane = load_model_fits(url, "icrs")
    l, m = direction_cosines(plane.ra_rad, plane.dec_rad, *CENTER)
    i, j = np.unravel_index(plane.image.argmax(), plane.image.shape)
    n_l, n_m = plane.grid.shape
    along_l = np.interp(i, [0, n_l // 2, n_l - 1], l[:, 1])
    return float(along_l), float(np.interp(j, [0, n_m // 2, n_m - 1], m[1]))


@pytest.mark.parametrize("shape", [(40, 40), (37, 41), (20, 50)])
@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_a_pixel_is_where_the_file_has_it(tmp_path: Path, shape: tuple[int, int], flip: float) -> None:
    data = np.zeros(shape)
    data[15, 30] = 1.0
    url = write(tmp_path / "model.fits", data, CDELT1=-flip * 2.0 / 3600, CDELT2=flip * 2.0 / 3600)
    l, m = position_of_peak(url)
    assert l == pytest.approx(-flip * (30 - 20) * CELL, rel=1e-5)
    assert m == pytest.approx(flip * (15 - 18) * CELL, rel=1e-4)


def test_the_frequency_and_the_blank_pixels(tmp_path: Path) -> None:
    data = np.ones((1, 32, 32))
    data[0, 3, 4] = np.nan
    plane = load_model_fits(write(tmp_path / "model.fits", data), "fk5")
    assert plane.frequency_hz == pytest.approx(1.4e9)
    assert plane.image.sum() == 32 * 32 - 1
    assert load_model_fits(write(tmp_path / "flat.fits", np.ones((32, 32))), "icrs").frequency_hz is None


@pytest.mark.parametrize(
    ("data", "header", "text"),
    [
        (np.ones((32, 32)), {"BUNIT": "Jy/beam"}, "its unit is 'Jy/beam'; a model is in Jy/pixel"),
        (np.ones((2, 32, 32)), {}, r"its shape is \(2, 32, 32\); one plane is needed"),
        (np.ones((32, 32)), {"CDELT2": 3.0 / 3600}, "they have to be square pixels of the sky"),
        (np.ones((32, 32)), {"CTYPE1": "X", "CTYPE2": "Y"}, "it has no two axes of the sky"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, data: np.ndarray, header: dict[str, Any], text: str) -> None:
    url = write(tmp_path / "model.fits", data, **header)
    with pytest.raises(DataError, match=text):
        load_model_fits(url, "icrs")


def test_a_file_that_is_not_there_or_no_fits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file, and no image of this run has that name"):
        load_model_fits(str(tmp_path / "no.fits"), "icrs")
    (tmp_path / "text.fits").write_text("no")
    with pytest.raises(DataError, match="not a FITS image"):
        load_model_fits(str(tmp_path / "text.fits"), "icrs")
