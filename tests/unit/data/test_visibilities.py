from __future__ import annotations

import numpy as np
import pytest

from radps.data import measurement_set as ms
from radps.data import stores
from radps.data.addresses import VisibilityAddress
from radps.data.measurement_set import MeasurementSetDescription
from radps.data.visibilities import (
    create_like,
    load_visibilities,
    open_visibilities,
    write_chunk,
)
from radps.errors import DataError

SHAPE = (5, 6, 6, 2)


class Filled:
    """A partition full of random numbers, and those numbers."""

    def __init__(self, folder: str, description: MeasurementSetDescription) -> None:
        rng = np.random.default_rng(4)
        self.folder = folder
        self.visibilities = (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE)).astype(np.complex64)
        self.weights = rng.uniform(1, 2, size=SHAPE).astype(np.float32)
        self.flags = rng.random(SHAPE) < 0.1
        self.uvw = rng.normal(size=(5, 6, 3))
        ms.create_processing_set(f"{folder}/data.ps.zarr")
        self.url = ms.create_measurement_set(f"{folder}/data.ps.zarr", description, chunks=(2, 3))
        self.address = VisibilityAddress.of_measurement_set(self.url)

    def write(self) -> None:
        ms.write_visibilities(
            self.url,
            times=slice(None),
            channels=slice(None),
            visibilities=self.visibilities,
            flags=self.flags,
            weights=self.weights,
        )
        ms.write_uvw(self.url, times=slice(None), uvw_m=self.uvw)


@pytest.fixture
def filled(folder: str, description: MeasurementSetDescription) -> Filled:
    return Filled(folder, description)


def test_block_comes_back(filled: Filled, description: MeasurementSetDescription) -> None:
    filled.write()
    times, channels = slice(1, 4), slice(2, 5)
    chunk = load_visibilities(filled.address, times=times, channels=channels)
    np.testing.assert_array_equal(chunk.visibilities, filled.visibilities[times, :, channels])
    np.testing.assert_array_equal(chunk.flags, filled.flags[times, :, channels])
    np.testing.assert_array_equal(chunk.weights, filled.weights[times, :, channels])
    np.testing.assert_array_equal(chunk.uvw_m, filled.uvw[times])
    np.testing.assert_array_equal(chunk.time_s, description.time_s[times])
    np.testing.assert_array_equal(chunk.frequency_hz, description.frequency_hz[channels])
    np.testing.assert_array_equal(chunk.antenna1, description.antenna1)
    np.testing.assert_array_equal(chunk.antenna2, description.antenna2)
    assert chunk.polarizations == ("RR", "LL")
    assert chunk.scan_names == ("1", "1", "2")
    assert chunk.visibilities.dtype == np.complex64
    assert chunk.weights.dtype == np.float32


def test_bad_numbers_become_flags(filled: Filled) -> None:
    filled.flags[:] = False
    filled.visibilities[0, 1, 2, 0] = np.nan
    filled.visibilities[1, 1, 2, 0] = complex(0, np.inf)
    filled.weights[2, 3, 4, 1] = np.nan
    filled.weights[3, 3, 4, 1] = 0
    filled.weights[3, 4, 4, 1] = -1
    filled.uvw[4, 5, 1] = np.nan
    filled.write()
    expected = np.zeros(SHAPE, dtype=bool)
    for cell in [(0, 1, 2, 0), (1, 1, 2, 0), (2, 3, 4, 1), (3, 3, 4, 1), (3, 4, 4, 1)]:
        expected[cell] = True
    expected[4, 5] = True
    chunk = load_visibilities(filled.address)
    np.testing.assert_array_equal(chunk.flags, expected)
    assert np.isfinite(chunk.visibilities).all()
    assert np.isfinite(chunk.weights).all()
    assert np.isfinite(chunk.uvw_m).all()
    assert (chunk.weights >= 0).all()


def test_what_nobody_wrote_is_flagged(filled: Filled) -> None:
    chunk = load_visibilities(filled.address)
    assert chunk.flags.all()
    assert (chunk.visibilities == 0).all()


def test_only_what_is_asked_for_is_read(filled: Filled) -> None:
    filled.write()
    stores.delete(filled.address.visibility)
    chunk = load_visibilities(filled.address, variables=("flag", "uvw"))
    assert chunk.visibilities.size == 0
    assert chunk.weights.size == 0
    np.testing.assert_array_equal(chunk.flags, filled.flags)
    with pytest.raises(DataError, match=r"no zarr array at .*VISIBILITY"):
        load_visibilities(filled.address)
    with pytest.raises(DataError, match=r"no variables \['model'\] of visibilities"):
        load_visibilities(filled.address, variables=("model",))


def test_new_version_of_a_variable_lies_beside_the_old_one(filled: Filled) -> None:
    filled.write()
    overlay = f"{filled.folder}/apply-1.zarr/field_a_0"
    corrected = create_like(filled.address, overlay, "VISIBILITY_CORRECTED")
    flags = create_like(filled.address, overlay, "FLAG_APPLIED")
    assert load_visibilities(filled.address.model_copy(update={"flag": flags})).flags.all()
    for times in (slice(0, 2), slice(2, 4), slice(4, 5)):
        write_chunk(corrected, 2 * filled.visibilities[times], times=times)
        write_chunk(flags, ~filled.flags[times][:, :, 3:], times=times, channels=slice(3, 6))
    newer = filled.address.model_copy(update={"visibility": corrected, "flag": flags})
    chunk = load_visibilities(newer)
    np.testing.assert_array_equal(chunk.visibilities, 2 * filled.visibilities)
    np.testing.assert_array_equal(chunk.flags[:, :, 3:], ~filled.flags[:, :, 3:])
    np.testing.assert_array_equal(load_visibilities(filled.address).visibilities, filled.visibilities)
    dataset = open_visibilities(newer)
    np.testing.assert_array_equal(dataset.VISIBILITY.values, 2 * filled.visibilities)
    np.testing.assert_array_equal(dataset.WEIGHT.values, filled.weights)
    assert dataset.scan_name.values.tolist() == ["1", "1", "1", "2", "2"]


def test_new_version_may_be_made_twice_and_is_of_a_known_kind(filled: Filled) -> None:
    first = create_like(filled.address, f"{filled.folder}/x.zarr/p", "WEIGHT")
    assert create_like(filled.address, f"{filled.folder}/x.zarr/p", "WEIGHT") == first
    with pytest.raises(DataError, match="'UVW': the name must start with one of VISIBILITY, FLAG, WEIGHT"):
        create_like(filled.address, f"{filled.folder}/x.zarr/p", "UVW")


def test_dataset_is_lazy_and_a_missing_one_is_named(filled: Filled) -> None:
    filled.write()
    dataset = open_visibilities(filled.address)
    assert not dataset.VISIBILITY.variable._in_memory
    assert dataset.sizes["baseline_id"] == 6
    with pytest.raises(DataError, match="no zarr group at"):
        open_visibilities(VisibilityAddress.of_measurement_set(f"{filled.folder}/nothing"))
