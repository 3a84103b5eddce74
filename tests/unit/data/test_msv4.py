"""MSv4 groups of any origin: what they hold, and their data in the order that is wanted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zarr

from radps.data import stores
from radps.data.measurement_set import (
    MeasurementSetDescription,
    create_measurement_set,
    create_processing_set,
    write_uvw,
    write_visibilities,
)
from radps.data.msv4 import Cells, Msv4Part, describe_processing_set, load_cells
from radps.errors import DataError


@pytest.fixture
def url(folder: str) -> str:
    """An empty processing set."""
    place = stores.join_url(folder, "a.ps.zarr")
    create_processing_set(place)
    return place


def fill(url: str, description: MeasurementSetDescription, seed: int = 4) -> Cells:
    """Create a group with random data and return them."""
    target = create_measurement_set(url, description, chunks=(2, 4))
    rng = np.random.default_rng(seed)
    shape = description.shape
    cells = Cells(
        visibilities=(rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64),
        flags=rng.random(shape) < 0.2,
        weights=rng.random(shape).astype(np.float32),
        uvw_m=rng.normal(size=(*shape[:2], 3)),
    )
    whole = slice(0, shape[0])
    write_visibilities(
        target,
        times=whole,
        channels=slice(0, shape[2]),
        visibilities=cells.visibilities,
        flags=cells.flags,
        weights=cells.weights,
    )
    write_uvw(target, times=whole, uvw_m=cells.uvw_m)
    return cells


def baselines_of(description: MeasurementSetDescription) -> list[tuple[str, str]]:
    names = description.antennas.names
    return [(names[i], names[j]) for i, j in zip(description.antenna1, description.antenna2, strict=True)]


def load_all(part: Msv4Part, **changes: Any) -> Cells:
    one = part.description
    wanted = {"time_s": one.time_s, "baselines": baselines_of(one), "channels": slice(None), **changes}
    return load_cells(part.address, **wanted)


def assert_same(found: Cells, expected: Cells) -> None:
    for name, one, other in zip(Cells._fields, found, expected, strict=True):
        assert one.dtype == other.dtype, name
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_data_come_back_as_they_were_written(url: str, description: MeasurementSetDescription) -> None:
    cells = fill(url, description)
    (part,) = describe_processing_set(url)
    assert part.description.field_name == "field a"
    assert part.is_whole
    assert part.chunks == (2, 6, 4, 2)
    assert_same(load_all(part), cells)
    (alone,) = describe_processing_set(part.address.url)
    assert alone.address == part.address


def test_times_baselines_and_channels_come_in_the_order_that_is_wanted(
    url: str, description: MeasurementSetDescription
) -> None:
    cells = fill(url, description)
    (part,) = describe_processing_set(url)
    times = np.array([description.time_s[0], description.time_s[0] + 1.0, description.time_s[3]])
    pairs = baselines_of(description)
    wanted = [pairs[4], ("VA01", "nobody"), pairs[0], pairs[5]]
    found = load_all(part, time_s=times, baselines=wanted, channels=slice(2, 5))
    rows, columns = np.ix_([0, 2], [0, 2, 3])
    own = np.ix_([0, 3], [4, 0, 5])
    np.testing.assert_array_equal(found.visibilities[rows, columns], cells.visibilities[own][:, :, 2:5])
    np.testing.assert_array_equal(found.flags[rows, columns], cells.flags[own][:, :, 2:5])
    np.testing.assert_array_equal(found.uvw_m[rows, columns], cells.uvw_m[own])
    for empty in (found.visibilities[1], found.visibilities[:, 1], found.uvw_m[1], found.uvw_m[:, 1], found.weights[1]):
        assert np.isnan(empty).all()
    assert found.flags[1].all()
    assert found.flags[:, 1].all()
    nothing = load_all(part, time_s=times[1:2])
    assert np.isnan(nothing.visibilities).all()


def test_fields_of_one_group_come_apart(url: str, description: MeasurementSetDescription) -> None:
    cells = fill(url, description)
    group = stores.join_url(url, description.name)
    names = ["x", "field a", "x", "field a", "x"]
    stores.save_array(stores.join_url(group, "field_name"), names, dims=("time",), overwrite=True)
    fields = stores.join_url(group, "field_and_source_base_xds")
    center = [list(description.phase_center_rad), [1.0, 0.5]]
    for name, data, dims, attrs in (
        ("field_name", ["field a", "x"], ("field_name",), {}),
        ("source_name", ["field a", "x"], ("field_name",), {}),
        ("FIELD_PHASE_CENTER_DIRECTION", center, ("field_name", "sky_dir_label"), {"frame": "fk5", "units": "rad"}),
        ("LINE_REST_FREQUENCY", [[1.42e9], [np.nan]], ("field_name", "line_label"), {}),
    ):
        stores.save_array(stores.join_url(fields, name), data, dims=dims, attrs=attrs, overwrite=True)
    first, second = describe_processing_set(url)
    assert (first.description.field_name, second.description.field_name) == ("x", "field a")
    assert first.description.phase_center_rad == (1.0, 0.5)
    assert np.isnan(first.description.rest_frequency_hz)
    assert not first.is_whole
    np.testing.assert_array_equal(load_all(first).visibilities, cells.visibilities[[0, 2, 4]])
    np.testing.assert_array_equal(load_all(second).visibilities, cells.visibilities[[1, 3]])


def test_channels_that_are_stored_downwards_come_upwards(url: str, description: MeasurementSetDescription) -> None:
    cells = fill(url, description._replace(frequency_hz=description.frequency_hz[::-1].copy()))
    (part,) = describe_processing_set(url)
    np.testing.assert_array_equal(part.description.frequency_hz, description.frequency_hz)
    assert not part.is_whole
    found = load_all(part, channels=slice(1, 3))
    np.testing.assert_array_equal(found.visibilities, cells.visibilities[:, :, ::-1][:, :, 1:3])
    np.testing.assert_array_equal(found.flags, cells.flags[:, :, ::-1][:, :, 1:3])


def test_what_is_not_finite_comes_flagged(url: str, description: MeasurementSetDescription) -> None:
    cells = fill(url, description)
    array = stores.open_array(stores.join_url(url, description.name, "VISIBILITY"), mode="r+")
    array[1, 2, 3, 0] = np.nan
    (part,) = describe_processing_set(url)
    found = load_all(part)
    cells.flags[1, 2, 3, 0] = True
    np.testing.assert_array_equal(found.flags, cells.flags)


def test_b1950_fields_are_turned(url: str, description: MeasurementSetDescription) -> None:
    cells = fill(url, description)
    fields = stores.join_url(url, description.name, "field_and_source_base_xds")
    stores.save_array(
        stores.join_url(fields, "FIELD_PHASE_CENTER_DIRECTION"),
        [list(description.phase_center_rad)],
        dims=("field_name", "sky_dir_label"),
        attrs={"frame": "fk4", "units": "rad"},
        overwrite=True,
    )
    (part,) = describe_processing_set(url)
    assert part.description.phase_center_frame == "fk5"
    assert part.description.phase_center_rad[0] > description.phase_center_rad[0]
    assert not part.is_whole
    found = load_all(part)
    np.testing.assert_allclose(np.linalg.norm(found.uvw_m, axis=-1), np.linalg.norm(cells.uvw_m, axis=-1), rtol=1e-12)
    assert not np.allclose(found.uvw_m[..., 0], cells.uvw_m[..., 0], rtol=1e-6)


def test_missing_flags_and_weights_mean_none_and_one(url: str, description: MeasurementSetDescription) -> None:
    cells = fill(url, description)
    for name in ("FLAG", "WEIGHT"):
        stores.delete(stores.join_url(url, description.name, name))
    (part,) = describe_processing_set(url)
    assert not part.is_whole
    found = load_all(part)
    assert not found.flags.any()
    np.testing.assert_array_equal(found.weights, np.ones_like(cells.weights))


def test_versions_of_the_data_are_chosen_by_their_group(url: str, description: MeasurementSetDescription) -> None:
    fill(url, description)
    place = stores.join_url(url, description.name)
    zarr.open_group(store=stores.open_store(place), mode="r+").attrs["data_groups"] = {
        "base": {"correlated_data": "VISIBILITY", "flag": "FLAG", "weight": "WEIGHT", "uvw": "UVW"},
        "corrected": {"correlated_data": "VISIBILITY_CORRECTED", "flag": "FLAG", "weight": "WEIGHT", "uvw": "UVW"},
    }
    with pytest.raises(DataError, match="has no visibility array in its data group 'corrected'"):
        describe_processing_set(url, data_group="corrected")
    with pytest.raises(DataError, match="has no data group 'best'; it has: base, corrected"):
        describe_processing_set(url, data_group="best")


def test_sets_without_visibilities_say_what_they_hold(url: str) -> None:
    with pytest.raises(DataError, match="holds no visibilities; its groups: none"):
        describe_processing_set(url)
    stores.create_group(stores.join_url(url, "dish"), {"type": "spectrum"})
    with pytest.raises(DataError, match=r"its groups: dish \(spectrum\)"):
        describe_processing_set(url)


def test_axes_without_names_are_refused(url: str, description: MeasurementSetDescription) -> None:
    fill(url, description)
    place = stores.join_url(url, description.name)
    group = zarr.open_group(store=stores.open_store(place), mode="r+")
    group.create_array("WEIGHT", shape=(1,), dtype="f4", overwrite=True)
    (part,) = describe_processing_set(url)
    with pytest.raises(DataError, match="has no names of its 1 axes"):
        load_all(part)
