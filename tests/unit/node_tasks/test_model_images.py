"""Model images in the store of a step."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from radps.data.images import ImageDescription, create_image, write_planes
from radps.data.stores import load_array
from radps.errors import DataError, ModelError
from radps.node_tasks.continuum_imaging import TAYLOR_VARIABLES
from radps.node_tasks.model_images import TAYLOR_MODEL, ImageSource, store_model_image

CELL = math.radians(5 / 3600)
CENTER = (1.0, 0.5)


def make_image(path: Path, n_channels: int = 1, *, taylor: bool = False) -> ImageSource:
    """An image of this run with a model of 2 Jy in one pixel, and a second Taylor term of -1 Jy."""
    description = ImageDescription(
        n_l=32, n_m=40, cell_size_rad=CELL, phase_center_rad=CENTER, phase_center_frame="icrs",
        frequency_hz=1.4e9 + 1e6 * np.arange(n_channels), channel_width_hz=1e6, spectral_frame="LSRK",
        rest_frequency_hz=math.nan, time_s=0.0, telescope="VLA", object_name="star",
    )  # fmt: skip
    variables = ("SKY", "SKY_MODEL", *([TAYLOR_MODEL] if taylor else []))
    create_image(str(path), description, variables=variables)
    plane = np.zeros((n_channels, 32, 40), np.float32)
    plane[:, 5, 7] = 2.0
    write_planes(str(path), "SKY_MODEL", slice(0, n_channels), plane)
    if taylor:
        write_planes(str(path), TAYLOR_MODEL, slice(0, 1), -0.5 * plane)
    return ImageSource(str(path), CELL, CENTER)


@pytest.mark.parametrize("taylor", [False, True])
def test_the_model_of_an_image_is_stored_with_its_terms(tmp_path: Path, taylor: bool) -> None:
    source = make_image(tmp_path / "image.zarr", taylor=taylor)
    stored = store_model_image(source, CENTER, "icrs", str(tmp_path / "model"), normalise=False)
    terms = load_array(str(tmp_path / "model"))
    assert terms.shape == (1 + taylor, 32, 40)
    assert terms[:, 5, 7].tolist() == [2.0, -1.0][: 1 + taylor]
    assert (stored.flux_jy, stored.frequency_hz) == (2.0, 1.4e9)
    assert stored.place.center == pytest.approx((0.0, 0.0), abs=1e-12)


def test_a_shape_has_the_sum_one(tmp_path: Path) -> None:
    source = make_image(tmp_path / "image.zarr", taylor=True)
    stored = store_model_image(source, (1.0, 0.5 + 3 * CELL), "icrs", str(tmp_path / "model"))
    shape = load_array(str(tmp_path / "model"))
    assert shape.shape == (1, 32, 40)
    assert shape.sum() == 1.0
    assert stored.place.center == pytest.approx((0.0, -3 * CELL), abs=1e-9)


def test_the_names_of_taylor_terms_are_those_of_the_imaging() -> None:
    assert TAYLOR_MODEL in TAYLOR_VARIABLES


def test_images_that_are_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 2 channels; a continuum image with one is needed"):
        store_model_image(make_image(tmp_path / "cube.zarr", 2), CENTER, "icrs", str(tmp_path / "model"))
    source = make_image(tmp_path / "image.zarr")
    write_planes(source.url, "SKY_MODEL", slice(0, 1), np.zeros((1, 32, 40), np.float32))
    with pytest.raises(ModelError, match="the sum of its pixels is 0 Jy; it has to be positive"):
        store_model_image(source, CENTER, "icrs", str(tmp_path / "model"))
    with pytest.raises(DataError, match=r"model image .*image\.zarr: a sky component lies .* degrees from the phase"):
        store_model_image(source, (4.0, -0.5), "icrs", str(tmp_path / "model"))
