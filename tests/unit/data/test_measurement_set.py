from __future__ import annotations

import numpy as np
import pytest

from radps.data import measurement_set as ms
from radps.data import stores
from radps.data.measurement_set import MeasurementSetDescription
from radps.data.measurement_set_metadata import read_description, read_field_description
from radps.errors import DataError


def create(folder: str, description: MeasurementSetDescription) -> str:
    url = f"{folder}/data.ps.zarr"
    ms.create_processing_set(url)
    return ms.create_measurement_set(url, description, chunks=(2, 3))


def assert_same(found: MeasurementSetDescription, expected: MeasurementSetDescription) -> None:
    for name, value in expected._asdict().items():
        if name == "antennas":
            for part, other in zip(found.antennas, expected.antennas, strict=True):
                np.testing.assert_array_equal(part, other)
        else:
            np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)


def test_description_comes_back(folder: str, description: MeasurementSetDescription) -> None:
    assert_same(read_description(create(folder, description)), description)


def test_unknowns_come_back(folder: str, description: MeasurementSetDescription) -> None:
    unknown = description._replace(rest_frequency_hz=float("nan"), intents=(), observer="", spectral_frame="TOPO")
    assert_same(read_description(create(folder, unknown)), unknown)


@pytest.mark.parametrize("frame", ["TOPO", "LSRK", "BARY", "GEO"])
def test_set_passes_the_schema_check_of_xradio(folder: str, description: MeasurementSetDescription, frame: str) -> None:
    import xarray as xr
    import xradio.measurement_set  # noqa: F401  registers the schema
    from xradio.schema.check import check_datatree

    url = f"{folder}/data.ps.zarr"
    ms.create_processing_set(url)
    for name in ("a", "b"):
        ms.create_measurement_set(url, description._replace(name=name, spectral_frame=frame), chunks=(2, 3))
    ms.consolidate_processing_set(url)
    tree = xr.open_datatree(stores.open_store(url, read_only=True), engine="zarr")
    issues = check_datatree(tree)
    assert len(issues) == 0, str(issues)
    summary = tree.xr_ps.summary()
    assert summary.name.tolist() == ["a", "b"]
    assert summary.field_name.tolist() == [["field a"], ["field a"]]
    # The check must be able to fail.
    broken = tree["a"].to_dataset().drop_vars("field_name")
    assert len(check_datatree(xr.DataTree.from_dict({"/a": broken}))) > 0


def test_xradio_opens_the_processing_set(tmp_path: object, description: MeasurementSetDescription) -> None:
    from xradio.measurement_set import open_processing_set

    target = create(str(tmp_path), description)
    ms.consolidate_processing_set(f"{tmp_path}/data.ps.zarr")
    shape = description.shape
    values = np.ones((2, *shape[1:2], 3, 2), dtype=np.complex64)
    ms.write_visibilities(
        target,
        times=slice(0, 2),
        channels=slice(3, 6),
        visibilities=values,
        flags=np.zeros(values.shape, dtype=bool),
        weights=np.ones(values.shape),
    )
    node = open_processing_set(f"{tmp_path}/data.ps.zarr", array_backend="xarray")["field_a_0"]
    assert node.VISIBILITY.shape == shape
    assert (node.VISIBILITY.values[0:2, :, 3:6] == 1).all()
    assert node.FLAG.values.mean() == 1 - values.size / np.prod(shape)
    assert node.xr_ms.get_partition_info()["scan_name"] == ["1", "2"]


def test_nothing_is_written_at_first(folder: str, description: MeasurementSetDescription) -> None:
    url = create(folder, description)
    assert np.isnan(stores.load_array(f"{url}/VISIBILITY")).all()
    assert stores.load_array(f"{url}/FLAG").all()
    assert np.isnan(stores.load_array(f"{url}/UVW")).all()


def test_uvw_bring_the_nominal_times(folder: str, description: MeasurementSetDescription) -> None:
    url = create(folder, description)
    uvw = np.random.default_rng(2).normal(size=(2, 6, 3))
    ms.write_uvw(url, times=slice(2, 4), uvw_m=uvw)
    np.testing.assert_array_equal(stores.load_array(f"{url}/UVW")[2:4], uvw)
    np.testing.assert_array_equal(stores.load_array(f"{url}/TIME_CENTROID")[2:4, 3], description.time_s[2:4])
    assert (stores.load_array(f"{url}/EFFECTIVE_INTEGRATION_TIME")[2:4] == 30.0).all()


def test_misaligned_writes_are_refused(folder: str, description: MeasurementSetDescription) -> None:
    url = create(folder, description)
    values = np.zeros((2, 6, 2, 2), dtype=np.complex64)
    with pytest.raises(DataError, match=r"region 0:2 of axis 2 of .*VISIBILITY cuts a chunk of 3"):
        ms.write_visibilities(
            url,
            times=slice(0, 2),
            channels=slice(0, 2),
            visibilities=values,
            flags=values.real > 0,
            weights=values.real,
        )
    with pytest.raises(DataError, match=r"region 1:3 of axis 0 of .*UVW cuts a chunk of 2"):
        ms.write_uvw(url, times=slice(1, 3), uvw_m=np.zeros((2, 6, 3)))


def test_same_name_for_other_data_is_refused(folder: str, description: MeasurementSetDescription) -> None:
    create(folder, description)
    with pytest.raises(DataError, match=r"already something at .*field_a_0"):
        ms.create_measurement_set(
            f"{folder}/data.ps.zarr", description._replace(frequency_hz=description.frequency_hz[:4]), chunks=(2, 3)
        )


def test_every_contradiction_of_a_description_is_reported(description: MeasurementSetDescription) -> None:
    antennas = description.antennas._replace(names=("A", "A", "B"))
    wrong = description._replace(
        antennas=antennas,
        scan_names=("1",),
        time_s=description.time_s[::-1],
        phase_center_frame="fk4",
        antenna2=description.antenna2[:-1],
    )
    with pytest.raises(DataError, match="measurement set 'field_a_0'") as caught:
        ms.check_description(wrong)
    for part in (
        "1 scan names for 5 times",
        "6 first and 5 second",
        "antenna indices 0..3 of baselines, there are 3",
        "names are not unique",
        r"positions of shape (4, 3), not (3, 3)",
        "times do not ascend",
        "frame 'fk4', allowed",
    ):
        assert part in str(caught.value)
    with pytest.raises(DataError, match="nothing may be empty"):
        ms.check_description(description._replace(polarizations=()))


def test_partition_with_several_fields_is_refused_and_one_field_of_it_can_be_read(
    folder: str, description: MeasurementSetDescription
) -> None:
    url = create(folder, description)
    stores.save_array(f"{url}/field_name", ["x", "field a", "x", "x", "x"], dims=("time",), overwrite=True)
    with pytest.raises(DataError, match=r"holds 2 fields \(field a, x\)"):
        read_description(url)
    one = read_field_description(url, field_name="field a")
    np.testing.assert_array_equal(one.time_s, description.time_s[1:2])
    with pytest.raises(DataError, match="has no field 'y'"):
        read_field_description(url, field_name="y")


def test_group_of_another_type_is_refused(folder: str, description: MeasurementSetDescription) -> None:
    url = f"{folder}/spectrum"
    stores.create_group(url, {"type": "spectrum"})
    stores.save_array(f"{url}/field_name", ["a"], dims=("time",))
    with pytest.raises(DataError, match="is of type 'spectrum', not an MSv4 group of visibilities"):
        read_description(url)


def test_moving_source_and_strange_frame_are_refused(folder: str, description: MeasurementSetDescription) -> None:
    url = create(folder, description)
    group = f"{url}/field_and_source_base_xds"
    direction = [list(description.phase_center_rad)]
    stores.save_array(
        f"{group}/FIELD_PHASE_CENTER_DIRECTION",
        direction,
        dims=("field_name", "sky_dir_label"),
        attrs={"frame": "altaz"},
        overwrite=True,
    )
    with pytest.raises(DataError, match=r"phase centre of field 'field a' of .* is in frame 'altaz'"):
        read_description(url)
    stores.create_group(group, {"type": "field_and_source_ephemeris"}, overwrite=True)
    with pytest.raises(DataError, match="moving sources"):
        read_description(url)
