"""Parts of data sets, joined to partitions of one field, spectral window and data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from radps.data.measurement_set import MeasurementSetDescription, check_description
from radps.data.msv4 import Msv4Address
from radps.data.partitions import join_parts
from radps.data.sources import SourcePart
from radps.errors import DataError, SelectionError


def part(description: MeasurementSetDescription, **changes: Any) -> SourcePart:
    """Return a part of an MSv4 group that could be used as it is."""
    one = description._replace(**changes)
    address = Msv4Address(
        url="a.ps.zarr/one", field_name=one.field_name, visibility="VISIBILITY", flag="FLAG", weight="WEIGHT", uvw="UVW"
    )
    return SourcePart(one, address, None, (5, len(one.antenna1), 2, len(one.polarizations)))


def moved(description: MeasurementSetDescription, index: int, shift_m: float, **changes: Any) -> Any:
    """Return the antennas with one of them moved."""
    positions = description.antennas.positions_m.copy()
    positions[index, 0] += shift_m
    return description.antennas._replace(positions_m=positions, **changes)


def test_one_part_becomes_one_partition(description: MeasurementSetDescription) -> None:
    joined = join_parts([("night 1", [part(description)])], {})
    (one,) = joined.partitions
    assert joined.antennas.names == description.antennas.names
    assert one.description.name == "night_1_field_a_spw0"
    assert one.is_kept
    (window,) = joined.windows
    assert (window.name, window.virtual, window.frame) == ("spw0", 0, "LSRK")
    assert window.rest_frequency_hz == description.rest_frequency_hz
    np.testing.assert_array_equal(window.frequency_hz, description.frequency_hz)


def test_parts_of_different_intents_are_one_partition(description: MeasurementSetDescription) -> None:
    early = part(description, time_s=description.time_s[[0, 3]], scan_names=("1", "2"), intents=("CALIBRATE_FLUX#X",))
    late = part(
        description,
        time_s=description.time_s[[1, 2, 4]],
        scan_names=("1", "1", "2"),
        intents=("CALIBRATE_PHASE#X", "CALIBRATE_FLUX#X"),
        antenna1=description.antenna1[3:],
        antenna2=description.antenna2[3:],
    )
    (one,) = join_parts([("a", [late, early])], {}).partitions
    check_description(one.description)
    np.testing.assert_array_equal(one.description.time_s, description.time_s)
    assert one.description.scan_names == description.scan_names
    assert one.description.intents == ("CALIBRATE_PHASE#X", "CALIBRATE_FLUX#X")
    assert len(one.description.antenna1) == len(description.antenna1)
    assert len(one.parts) == 2
    assert not one.is_kept


def test_intents_of_the_config_win_and_unknown_fields_are_named(description: MeasurementSetDescription) -> None:
    (one,) = join_parts([("a", [part(description)])], {"field a": ("CALIBRATE_FLUX#ON_SOURCE",)}).partitions
    assert one.description.intents == ("CALIBRATE_FLUX#ON_SOURCE",)
    with pytest.raises(
        SelectionError, match=r"data.intents names 'field b', which the data do not have; fields: field a"
    ):
        join_parts([("a", [part(description)])], {"field b": ("CALIBRATE_FLUX#ON_SOURCE",)})


def test_an_index_means_the_same_antenna_in_all_data_sets(description: MeasurementSetDescription) -> None:
    order = [2, 0, 3]
    names = tuple(description.antennas.names[index] for index in order)
    fewer = description.antennas._replace(
        names=(*names, "VA99"),
        stations=(*(description.antennas.stations[index] for index in order), "VLA:E9"),
        positions_m=np.vstack([description.antennas.positions_m[order], [[-1.6e6, -5.0e6, 3.5e6]]]),
        diameters_m=np.full(4, 25.0),
    )
    second = part(description, antennas=fewer, antenna1=np.array([0, 1]), antenna2=np.array([1, 3]))
    joined = join_parts([("a", [part(description)]), ("b", [second])], {})
    assert joined.antennas.names == (*description.antennas.names, "VA99")
    for partition in joined.partitions:
        assert partition.description.antennas.names == joined.antennas.names
    pairs = {
        (joined.antennas.names[i], joined.antennas.names[j])
        for i, j in zip(
            joined.partitions[1].description.antenna1, joined.partitions[1].description.antenna2, strict=True
        )
    }
    assert pairs == {("VA05", "VA01"), ("VA01", "VA99")}
    # the first data set does not know VA99, so its antennas have to be written anew
    assert [partition.is_kept for partition in joined.partitions] == [False, False]


def test_each_band_keeps_the_angles_of_its_own_feeds(description: MeasurementSetDescription) -> None:
    own = description.antennas
    mounted = [own._replace(receptor_angles_rad=np.full((4, 2), angle)) for angle in (0.0, 0.8)]
    fewer = mounted[1]._replace(
        **{name: getattr(own, name)[1:] for name in ("names", "stations", "positions_m", "diameters_m", "mounts")},
        receptor_angles_rad=np.full((3, 2), 0.8),
    )
    high = {"antennas": fewer, "frequency_hz": 10 * description.frequency_hz}
    high |= {"antenna1": np.array([0, 1]), "antenna2": np.array([1, 2])}
    joined = join_parts([("a", [part(description, antennas=mounted[0]), part(description, **high)])], {})
    found = [one.description.antennas.receptor_angles_rad for one in joined.partitions]
    np.testing.assert_array_equal(found[0], np.zeros((4, 2)))
    np.testing.assert_array_equal(found[1], [[np.nan] * 2, [0.8] * 2, [0.8] * 2, [0.8] * 2])


def test_each_band_keeps_its_own_kind_of_feeds(description: MeasurementSetDescription) -> None:
    """A linear band after a circular one was written with antennas of R and L."""
    linear = part(
        description,
        frequency_hz=description.frequency_hz / 4,
        polarizations=("XX", "YY"),
        antennas=description.antennas._replace(receptors=("X", "Y")),
    )
    joined = join_parts([("a", [part(description), linear])], {})
    assert [one.description.antennas.receptors for one in joined.partitions] == [("R", "L"), ("X", "Y")]


def test_an_antenna_on_another_pad_is_another_antenna(description: MeasurementSetDescription) -> None:
    stations = ("VLA:N9", *description.antennas.stations[1:])
    second = part(description, antennas=moved(description, 0, 500.0, stations=stations))
    joined = join_parts([("a", [part(description)]), ("b", [second])], {})
    assert joined.antennas.names == (*description.antennas.names, "VA01_VLA:N9")
    address = joined.partitions[1].parts[0].address
    assert isinstance(address, Msv4Address)
    assert address.antenna_names == {"VA01": "VA01_VLA:N9"}
    nudged = part(description, antennas=moved(description, 0, 0.01))
    assert join_parts([("a", [part(description)]), ("b", [nudged])], {}).antennas.names == description.antennas.names


def test_an_antenna_that_is_in_two_places_at_once_is_refused(description: MeasurementSetDescription) -> None:
    far = part(description, antennas=moved(description, 0, 500.0))
    far_too = part(description, antennas=moved(description, 0, 900.0))
    with pytest.raises(
        DataError, match=r"antenna VA01 on pad 'VLA:N7' of c is 900.0 m from where the data before have it"
    ):
        join_parts([("a", [part(description)]), ("b", [far]), ("c", [far_too])], {})


def test_fields_of_one_name_in_two_directions_get_two_names(description: MeasurementSetDescription) -> None:
    ra, dec = description.phase_center_rad
    near = part(description, phase_center_rad=(ra, dec + 1e-7))
    far = part(description, phase_center_rad=(ra, dec + 1e-3))
    other = part(description, phase_center_rad=(ra, dec + 2e-3))
    joined = join_parts([("a", [part(description)]), ("b", [near]), ("c", [far]), ("c", [other])], {})
    names = [one.description.field_name for one in joined.partitions]
    assert names == ["field a", "field a", "field a_c", "field a_c_2"]
    assert len({one.description.name for one in joined.partitions}) == 4


def test_windows_belong_to_a_data_set_and_share_a_virtual_window(description: MeasurementSetDescription) -> None:
    width = description.channel_width_hz
    shifted = description.frequency_hz + 1.4 * width  # of 6 channels
    elsewhere = description.frequency_hz + 1e8
    parts = [part(description), part(description, frequency_hz=elsewhere, field_name="b")]
    later = [part(description, frequency_hz=elsewhere + width), part(description, frequency_hz=shifted)]
    other_frame = [part(description, spectral_frame="TOPO")]
    joined = join_parts([("a", parts), ("b", later), ("c", other_frame)], {})
    assert [window.name for window in joined.windows] == ["spw0", "spw1", "spw2", "spw3", "spw4"]
    assert [window.virtual for window in joined.windows] == [0, 1, 1, 0, 2]
    assert [one.window for one in joined.partitions] == [0, 1, 2, 3, 4]


def test_polarizations_make_windows_too(description: MeasurementSetDescription) -> None:
    joined = join_parts([("a", [part(description), part(description, polarizations=("RR",))])], {})
    assert len(joined.windows) == 2


def test_two_windows_of_the_same_channels_at_the_same_time_stay_two(description: MeasurementSetDescription) -> None:
    """One would hide the other: they were one partition, with the data of the first alone."""
    twins = [
        part(description, spectral_window_name=name, field_name=field) for field in ("a", "b") for name in ("A0", "B0")
    ]
    # A field that only one of them observed belongs to that one.
    twins.append(part(description, spectral_window_name="B0", field_name="c"))
    joined = join_parts([("a", twins)], {})
    assert [(window.label, window.virtual) for window in joined.windows] == [("A0", 0), ("B0", 1)]
    assert [one.window for one in joined.partitions] == [0, 1, 0, 1, 1]
    assert all(len(one.parts) == 1 for one in joined.partitions)


def test_windows_of_the_same_channels_at_other_times_or_of_other_antennas_are_one(
    description: MeasurementSetDescription,
) -> None:
    later = part(description, spectral_window_name="again", time_s=description.time_s + 3600.0)
    halves = [
        part(
            description,
            spectral_window_name=name,
            antenna1=description.antenna1[own],
            antenna2=description.antenna2[own],
        )
        for name, own in (("one subarray", [0]), ("another", [5]))
    ]
    for parts in ([part(description), later], halves):
        joined = join_parts([("a", parts)], {})
        assert len(joined.windows) == len(joined.partitions) == 1


def test_rest_frequency_is_the_first_that_a_field_gives(description: MeasurementSetDescription) -> None:
    parts = [
        part(description, rest_frequency_hz=float("nan")),
        part(description, field_name="b", rest_frequency_hz=1.4e9),
    ]
    assert join_parts([("a", parts)], {}).windows[0].rest_frequency_hz == 1.4e9
    assert np.isnan(join_parts([("a", parts[:1])], {}).windows[0].rest_frequency_hz)


def test_a_scan_that_comes_back_gets_a_name_of_its_own(description: MeasurementSetDescription) -> None:
    (one,) = join_parts([("a", [part(description, scan_names=("1", "2", "2", "1", "1"))])], {}).partitions
    assert one.description.scan_names == ("1", "2", "2", "1.2", "1.2")
    assert not one.is_kept, "the group has other names"


def test_unknown_integration_time_and_source(description: MeasurementSetDescription) -> None:
    unknown = part(description, integration_time_s=float("nan"), source_name="Unknown")
    (one,) = join_parts([("a", [unknown])], {}).partitions
    assert one.description.integration_time_s == 0.0
    assert one.description.source_name == "field a"


def test_names_of_groups_are_plain_and_unique(description: MeasurementSetDescription) -> None:
    parts = [part(description, field_name=name) for name in ("1331+305", "1331 305", "1331/305")]
    names = [one.description.name for one in join_parts([("x", parts)], {}).partitions]
    assert names == ["x_1331_305_spw0", "x_1331_305_spw0_2", "x_1331_305_spw0_3"]


def test_data_of_awkward_chunks_are_copied(description: MeasurementSetDescription) -> None:
    awkward = part(description)._replace(chunks=(5, 1, 6, 2))
    (one,) = join_parts([("a", [awkward])], {}).partitions
    assert not one.is_kept
