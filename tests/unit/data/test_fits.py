from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from radps.data import images, stores
from radps.data.fits import export_fits
from radps.data.images import ImageDescription
from radps.errors import DataError

ARCSEC = np.pi / 180 / 3600
CENTER = SkyCoord(230.5, 5.1, unit="deg", frame="fk5")


@pytest.fixture
def image() -> ImageDescription:
    return ImageDescription(
        n_l=64,
        n_m=48,
        cell_size_rad=15 * ARCSEC,
        phase_center_rad=(CENTER.ra.rad, CENTER.dec.rad),
        phase_center_frame="fk5",
        frequency_hz=1.41e9 + 24.4e3 * np.arange(3),
        channel_width_hz=24.4e3,
        spectral_frame="LSRK",
        rest_frequency_hz=1.420405752e9,
        time_s=797764739.0,
        telescope="VLA",
        object_name="N5921_2",
        observer="TEST",
    )


@pytest.fixture
def cube(folder: str, image: ImageDescription) -> str:
    """A cube of three channels with one source 20 pixels east and 7 pixels north of the phase centre."""
    url = f"{folder}/cube.zarr"
    images.create_image(url, image, variables=("SKY", "SKY_MODEL", "MASK"), provenance={"stage": "image_cube"})
    planes = np.zeros((3, 64, 48), dtype=np.float32)
    planes[1, 32 - 20, 24 + 7] = 2.5
    images.write_planes(url, "SKY", slice(0, 3), planes)
    images.write_planes(url, "SKY_MODEL", slice(0, 3), planes)
    images.write_planes(url, "MASK", slice(0, 3), planes > 0)
    return url


def write_beams(url: str, major_arcsec: list[float]) -> None:
    major = np.array(major_arcsec) * ARCSEC
    images.write_beams(url, slice(0, 3), major, major * 0.8, np.where(np.isnan(major), np.nan, np.radians(17.0)))


def source_position() -> SkyCoord:
    """Where the source is by the definition of direction cosines, without any WCS library."""
    l, m = 20 * 15 * ARCSEC, 7 * 15 * ARCSEC
    n = np.sqrt(1 - l * l - m * m)
    ra0, dec0 = CENTER.ra.rad, CENTER.dec.rad
    dec = np.arcsin(m * np.cos(dec0) + n * np.sin(dec0))
    ra = ra0 + np.arctan2(l, n * np.cos(dec0) - m * np.sin(dec0))
    return SkyCoord(ra, dec, unit="rad", frame="fk5")


def test_source_is_found_where_it_was_put(cube: str, tmp_path: Path) -> None:
    write_beams(cube, [60, 60, 60])
    path = tmp_path / "cube.fits"
    export_fits(cube, str(path))
    with fits.open(path) as hdus:
        header, data = hdus[0].header, hdus[0].data
        channel, stokes, y, x = (int(index) for index in np.unravel_index(np.nanargmax(data), data.shape))
        assert data.max() == 2.5
        sky = WCS(header).celestial.pixel_to_world(x, y)
        # A pixel is 15 arcsec; header numbers carry some 1e-10 degrees.
        assert sky.separation(source_position()).arcsec < 1e-4
        assert sky.ra.deg > CENTER.ra.deg  # east
        assert (channel, stokes) == (1, 0)
        assert header["CDELT1"] < 0
        assert header["CTYPE1"] == "RA---SIN"
        assert header["CTYPE3"] == "STOKES"
        assert header["CRVAL3"] == 1.0
        assert header["RESTFRQ"] == 1.420405752e9
        assert header["SPECSYS"] == "LSRK"
        assert header["BUNIT"] == "Jy/beam"
        assert header["TELESCOP"] == "VLA"
        assert header["OBJECT"] == "N5921_2"
        assert header["OBSERVER"] == "TEST"
        assert header["DATE-OBS"].startswith("1995-04-13T09:18:59")
        assert header["OBSRA"] == pytest.approx(230.5)
        assert header["OBSDEC"] == pytest.approx(5.1)
        assert header["RADESYS"] == "FK5"
        assert header["EQUINOX"] == 2000.0
        assert "radps stage: image_cube" in str(header["HISTORY"])
        frequency = header["CRVAL4"] + (channel + 1 - header["CRPIX4"]) * header["CDELT4"]
        assert frequency == pytest.approx(1.41e9 + 24.4e3, abs=1e-3)


def test_one_beam_is_written_as_cards(cube: str, tmp_path: Path) -> None:
    write_beams(cube, [60, 60, 60])
    export_fits(cube, str(tmp_path / "cube.fits"))
    header = fits.getheader(tmp_path / "cube.fits")
    assert header["BMAJ"] * 3600 == pytest.approx(60.0)
    assert header["BMIN"] * 3600 == pytest.approx(48.0)
    assert header["BPA"] == pytest.approx(17.0)


def test_a_beam_for_each_channel_is_written_as_a_table_and_blank_channels_have_the_largest(
    cube: str, tmp_path: Path
) -> None:
    write_beams(cube, [60, np.nan, 62])
    export_fits(cube, str(tmp_path / "cube.fits"))
    with fits.open(tmp_path / "cube.fits") as hdus:
        assert hdus[0].header["CASAMBM"]
        beams = hdus["BEAMS"].data
        # CASA's importfits fails with beams of zero.
        np.testing.assert_allclose(beams["BMAJ"], [60, 62, 62], rtol=1e-6)
        np.testing.assert_allclose(beams["BPA"], [17, 17, 17], rtol=1e-6)
        np.testing.assert_array_equal(beams["CHAN"], [0, 1, 2])


def test_a_common_beam_is_in_the_header_though_a_channel_is_blank(cube: str, tmp_path: Path) -> None:
    write_beams(cube, [60, np.nan, 60])
    export_fits(cube, str(tmp_path / "cube.fits"))
    with fits.open(tmp_path / "cube.fits") as hdus:
        assert len(hdus) == 1
        assert hdus[0].header["BMAJ"] * 3600 == pytest.approx(60.0)
        assert hdus[0].header["BPA"] == pytest.approx(17.0)


@pytest.mark.parametrize(
    ("variable", "kind"),
    [
        ("SKY_MOMENT_0", "Intensity"),
        ("SKY_MOMENT_1", "Velocity"),
        ("SKY_MOMENT_2", "Velocity Dispersion"),
        ("SKY_SPECTRAL_INDEX_ERROR", "Spectral Index"),
    ],
)
def test_the_file_says_what_is_in_it(
    folder: str, image: ImageDescription, tmp_path: Path, variable: str, kind: str
) -> None:
    images.create_image(f"{folder}/image.zarr", image, variables=(variable,))
    export_fits(f"{folder}/image.zarr", str(tmp_path / "image.fits"), variable)
    assert fits.getheader(tmp_path / "image.fits")["BTYPE"] == kind


def test_model_has_its_own_unit_and_no_beam(cube: str, tmp_path: Path) -> None:
    write_beams(cube, [60, 60, 60])
    export_fits(cube, str(tmp_path / "model.fits"), "SKY_MODEL")
    header = fits.getheader(tmp_path / "model.fits")
    assert header["BUNIT"] == "Jy/pixel"
    assert "BMAJ" not in header


def test_image_without_any_beam_and_a_mask_are_written(cube: str, tmp_path: Path) -> None:
    export_fits(cube, str(tmp_path / "cube.fits"))
    assert "BMAJ" not in fits.getheader(tmp_path / "cube.fits")
    export_fits(cube, str(tmp_path / "mask.fits"), "MASK")
    assert fits.getdata(tmp_path / "mask.fits").sum() == 1.0


def test_export_goes_to_any_file_system(cube: str, folder: str) -> None:
    export_fits(cube, f"{folder}/products/cube.fits")
    system, path = stores.file_system(f"{folder}/products/cube.fits")
    with system.open(path, "rb") as file, fits.open(file) as hdus:
        assert hdus[0].data.max() == 2.5


def test_a_file_that_exists_is_kept(cube: str, tmp_path: Path) -> None:
    path = tmp_path / "cube.fits"
    path.write_text("mine")
    with pytest.raises(DataError, match="already a file"):
        export_fits(cube, str(path))
    assert path.read_text() == "mine"
    export_fits(cube, str(path), overwrite=True)
    assert fits.getheader(path)["NAXIS"] == 4


def test_unknown_variable_is_refused(cube: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no variable 'SKY_DIRTY'; it has .*SKY_MODEL"):
        export_fits(cube, str(tmp_path / "cube.fits"), "SKY_DIRTY")


def test_what_fits_cannot_hold_is_refused(cube: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'BEAM_FIT_PARAMS_SKY' of .* cannot be written to FITS"):
        export_fits(cube, str(tmp_path / "cube.fits"), "BEAM_FIT_PARAMS_SKY")
