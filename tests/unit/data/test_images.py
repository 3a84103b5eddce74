from __future__ import annotations

import numpy as np
import pytest

from radps.data import images, stores
from radps.data.images import ImageDescription
from radps.errors import DataError

VARIABLES = ("SKY", "SKY_RESIDUAL", "SKY_MODEL", "POINT_SPREAD_FUNCTION", "PRIMARY_BEAM", "MASK", "FLAG_SKY")


@pytest.fixture
def image() -> ImageDescription:
    return ImageDescription(
        n_l=8,
        n_m=6,
        cell_size_rad=7e-5,
        phase_center_rad=(4.02, 0.0884),
        phase_center_frame="fk5",
        frequency_hz=1.41e9 + 24.4e3 * np.arange(4),
        channel_width_hz=24.4e3,
        spectral_frame="LSRK",
        rest_frequency_hz=1.420405752e9,
        time_s=7.9e8,
        telescope="VLA",
        object_name="N5921_2",
        telescope_position_m=(-1601185.0, -5041977.0, 3554875.0),
    )


def test_image_passes_the_schema_check_of_xradio(folder: str, image: ImageDescription) -> None:
    from xradio.image import check_image

    url = f"{folder}/cube.zarr"
    images.create_image(url, image, variables=VARIABLES, provenance={"stage": "image_cube"})
    dataset = images.open_image(url)
    issues = check_image(dataset)
    assert len(issues) == 0, str(issues)
    assert dataset.attrs["provenance"] == {"stage": "image_cube"}
    # The check must be able to fail.
    assert len(check_image(dataset.drop_vars("SKY"))) > 0


def test_planes_come_back_and_other_channels_stay_empty(folder: str, image: ImageDescription) -> None:
    url = f"{folder}/cube.zarr"
    images.create_image(url, image, variables=VARIABLES)
    planes = np.random.default_rng(3).normal(size=(2, 8, 6)).astype(np.float32)
    images.write_planes(url, "SKY", slice(1, 3), planes)
    images.write_planes(url, "MASK", slice(1, 3), planes > 0)
    np.testing.assert_array_equal(images.load_planes(url, "SKY", slice(1, 3)), planes)
    np.testing.assert_array_equal(images.load_planes(url, "MASK", slice(1, 3)), planes > 0)
    assert images.load_planes(url, "SKY", slice(1, 2), polarization=None).shape == (1, 1, 8, 6)
    assert np.isnan(images.load_planes(url, "SKY", slice(0, 1))).all()
    assert not images.load_planes(url, "MASK", slice(3, 4)).any()
    assert images.load_planes(url, "FLAG_SKY").all()


def test_beams_and_weights_come_back(folder: str, image: ImageDescription) -> None:
    url = f"{folder}/cube.zarr"
    images.create_image(url, image, variables=("SKY",))
    images.write_beams(url, slice(2, 4), np.array([3e-4, 4e-4]), np.array([2e-4, 2.5e-4]), np.array([0.3, -0.2]))
    images.write_weight_sums(url, slice(2, 4), np.array([10.0, 20.0]))
    beams = images.load_beams(url)
    np.testing.assert_array_equal(beams[2:], [[3e-4, 2e-4, 0.3], [4e-4, 2.5e-4, -0.2]])
    assert np.isnan(beams[:2]).all()
    np.testing.assert_array_equal(images.load_weight_sums(url), [np.nan, np.nan, 10.0, 20.0])


@pytest.mark.parametrize(
    ("majors", "expected"),
    [([1.0, 2.0, 3.0], 2.0), ([1.0, np.nan, np.nan, 4.0], 4.0), ([1.0, 2.0, np.nan, np.nan], 2.0)],
)
def test_the_middle_beam_is_the_nearest_that_there_is(majors: list[float], expected: float) -> None:
    beams = np.array([[major, major / 2, 0.3] for major in majors])
    assert images.choose_middle_beam(beams) == (expected, expected / 2, 0.3)


def test_without_any_beam_the_middle_one_is_not_a_number() -> None:
    assert np.isnan(images.choose_middle_beam(np.full((2, 3), np.nan))).all()


def test_coordinates_put_the_phase_centre_at_the_middle_pixel_with_east_first(
    folder: str, image: ImageDescription
) -> None:
    url = f"{folder}/cube.zarr"
    images.create_image(url, image, variables=("SKY",))
    dataset = images.open_image(url)
    assert dataset.l.values[4] == 0.0
    assert dataset.m.values[3] == 0.0
    assert dataset.l.values[0] == pytest.approx(4 * 7e-5)
    assert dataset.m.values[-1] == pytest.approx(2 * 7e-5)
    # 1995-01-13 12:26:40 UTC is 790000000 unix seconds; that day is MJD 49730
    assert dataset.time.values[0] == pytest.approx(49730.0 + (12 * 3600 + 26 * 60 + 40) / 86400, abs=1e-9)
    np.testing.assert_array_equal(images.load_frequencies(url), image.frequency_hz)


def test_without_a_rest_frequency_the_middle_channel_stands_in(folder: str, image: ImageDescription) -> None:
    url = f"{folder}/cube.zarr"
    images.create_image(url, image._replace(rest_frequency_hz=float("nan")), variables=("SKY",))
    dataset = images.open_image(url)
    assert dataset.frequency.attrs["rest_frequency"]["data"] == image.frequency_hz[2]
    assert dataset.velocity.values[2] == 0.0


def test_another_image_at_the_same_place_is_refused(folder: str, image: ImageDescription) -> None:
    images.create_image(f"{folder}/cube.zarr", image)
    with pytest.raises(DataError, match="already something at"):
        images.create_image(f"{folder}/cube.zarr", image._replace(cell_size_rad=2 * image.cell_size_rad, n_l=64))


def test_creating_the_same_image_again_keeps_its_planes(folder: str, image: ImageDescription) -> None:
    images.create_image(f"{folder}/cube.zarr", image)
    planes = np.ones((1, image.n_l, image.n_m), np.float32)
    images.write_planes(f"{folder}/cube.zarr", "SKY", slice(0, 1), planes)
    images.create_image(f"{folder}/cube.zarr", image)
    np.testing.assert_array_equal(images.load_planes(f"{folder}/cube.zarr", "SKY", slice(0, 1)), planes)


def test_unknown_variable_is_refused(folder: str, image: ImageDescription) -> None:
    with pytest.raises(DataError, match="'SKYLINE': the name must start with one of SKY"):
        images.create_image(f"{folder}/cube.zarr", image, variables=("SKYLINE",))


def test_uneven_channels_are_refused(folder: str, image: ImageDescription) -> None:
    frequency = image.frequency_hz.copy()
    frequency[2] += 5e3
    with pytest.raises(DataError, match="not evenly spaced"):
        images.create_image(f"{folder}/cube.zarr", image._replace(frequency_hz=frequency))


def test_planes_of_another_shape_are_refused(folder: str, image: ImageDescription) -> None:
    url = f"{folder}/cube.zarr"
    images.create_image(url, image, variables=("SKY",))
    with pytest.raises(DataError, match=r"data of shape \(1, 1, 1, 6, 8\) for a region of shape \(1, 1, 1, 8, 6\)"):
        images.write_planes(url, "SKY", slice(0, 1), np.zeros((1, 6, 8)))
    with pytest.raises(DataError, match="no zarr array at"):
        images.write_planes(url, "SKY_MODEL", slice(0, 1), np.zeros((1, 8, 6)))


def test_missing_image_is_refused(folder: str) -> None:
    with pytest.raises(DataError, match="no zarr group at"):
        images.open_image(f"{folder}/nothing.zarr")


def test_image_bytes_counts_every_variable(image: ImageDescription) -> None:
    assert images.image_bytes(image, ("SKY", "MASK")) == 4 * 48 * (4 + 1)


def test_planes_of_polarizations_are_written_one_at_a_time(folder: str, image: ImageDescription) -> None:
    url = f"{folder}/iqu"
    described = image._replace(polarizations=("I", "Q", "U"))
    images.create_image(url, described, variables=("SKY",))
    plane = np.random.default_rng(1).normal(size=(1, described.n_l, described.n_m)).astype(np.float32)
    images.write_planes(url, "SKY", slice(1, 2), plane, polarization=1)
    images.write_beams(url, slice(1, 2), np.array([3e-5]), np.array([2e-5]), np.array([0.1]), polarization=1)
    images.write_weight_sums(url, slice(1, 2), np.array([7.0]), polarization=1)
    every = images.load_planes(url, "SKY", polarization=None)
    np.testing.assert_array_equal(every[1, 1], plane[0])
    assert np.isnan(every[1, [0, 2]]).all()
    opened = images.open_image(url)
    np.testing.assert_array_equal(np.isfinite(opened[images.BEAM_VARIABLE].values[0, 1, :, 0]), [False, True, False])
    np.testing.assert_array_equal(np.isfinite(opened[images.WEIGHT_VARIABLE].values[0, 1]), [False, True, False])


def test_a_large_plane_is_stored_in_tiles(folder: str, image: ImageDescription) -> None:
    url = f"{folder}/large"
    described = image._replace(n_l=images.TILE_PIXELS + 52, n_m=40)
    images.create_image(url, described, variables=("SKY",))
    assert stores.open_array(f"{url}/SKY").chunks == (1, 1, 1, images.TILE_PIXELS, 40)
    plane = np.random.default_rng(1).normal(size=(1, described.n_l, described.n_m)).astype(np.float32)
    images.write_planes(url, "SKY", slice(0, 1), plane)
    np.testing.assert_array_equal(images.load_planes(url, "SKY", slice(0, 1)), plane)
