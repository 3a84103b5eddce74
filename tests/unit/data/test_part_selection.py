"""What of data sets is imported: selections, what is left out by itself, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from radps.data.measurement_set import MeasurementSetDescription
from radps.data.msv4 import Msv4Address
from radps.data.part_selection import DataSelection, select_parts
from radps.data.sources import SourcePart
from radps.errors import DataError, SelectionError


def part(description: MeasurementSetDescription, **changes: Any) -> SourcePart:
    address = Msv4Address(url="memory://x", field_name="a", visibility="V", flag="", weight="", uvw="U")
    return SourcePart(description._replace(**changes), address, None, (5, 6, 6, 2))


@pytest.fixture
def alma(description: MeasurementSetDescription) -> list[SourcePart]:
    """A data set like ALMA's: a radiometer, a window and its average, and a scan of the atmosphere."""
    own = np.arange(4)
    bandpass = {"field_name": "J1", "source_name": "J1", "intents": ("CALIBRATE_BANDPASS#ON_SOURCE",)}
    target = {"field_name": "disc", "source_name": "disc", "intents": ("OBSERVE_TARGET#ON_SOURCE",)}
    atmosphere = {**target, "intents": ("CALIBRATE_ATMOSPHERE#OFF_SOURCE", "CALIBRATE_WVR#OFF_SOURCE")}
    full = {"spectral_window_name": "BB_1#FULL_RES_17"}
    mean = float(description.frequency_hz.mean())
    average = {
        "spectral_window_name": "BB_1#CH_AVG_18",
        "frequency_hz": np.array([mean]),
        "channel_width_hz": 6 * description.channel_width_hz,
    }
    radiometer = {
        "spectral_window_name": "WVR#NOMINAL_0",
        "frequency_hz": 184e9 + np.arange(4.0),
        "polarizations": ("I",),
        "antenna1": own,
        "antenna2": own,
    }
    return [
        part(description, **{**field, **window})
        for window in (radiometer, full, average)
        for field in (bandpass, target, {**atmosphere, "scan_names": ("7",) * 5})
    ]


def names(parts: list[SourcePart]) -> list[tuple[str, str]]:
    return [(one.description.field_name, one.description.spectral_window_name) for one in parts]


def test_what_no_stage_can_use_is_left_out_and_named(alma: list[SourcePart]) -> None:
    selected = select_parts([("uid", alma)], DataSelection())
    assert names(selected.datasets[0][1]) == [("J1", "BB_1#FULL_RES_17"), ("disc", "BB_1#FULL_RES_17")]
    assert selected.left_out == (
        "window 0 of uid (WVR#NOMINAL_0: 4 channels of I, no cross-correlations)",
        "window 18 of uid (BB_1#CH_AVG_18: the average of another window in one channel)",
        "scans 7 of uid (disc: CALIBRATE_ATMOSPHERE#OFF_SOURCE, CALIBRATE_WVR#OFF_SOURCE)",
    )


def test_a_data_set_of_nothing_else_stays(alma: list[SourcePart], description: MeasurementSetDescription) -> None:
    only = [one for one in alma if one.description.spectral_window_name == "WVR#NOMINAL_0"][:2]
    assert len(select_parts([("uid", only)], DataSelection()).datasets[0][1]) == 2
    narrow = part(description, frequency_hz=description.frequency_hz[2:3], spectral_window_name="line")
    # one channel of a line setup beside a wide window is no average
    assert len(select_parts([("x", [part(description), narrow])], DataSelection()).datasets[0][1]) == 2


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"windows": ("18",)}, {("J1", "BB_1#CH_AVG_18"), ("disc", "BB_1#CH_AVG_18")}),
        ({"windows": ("*FULL_RES*",)}, {("J1", "BB_1#FULL_RES_17"), ("disc", "BB_1#FULL_RES_17")}),
        ({"fields": ("J*",)}, {("J1", "BB_1#FULL_RES_17")}),
        ({"intents": ("CALIBRATE_BANDPASS",)}, {("J1", "BB_1#FULL_RES_17")}),
        ({"intents": ("CALIBRATE_ATMOSPHERE",), "windows": ("17",)}, {("disc", "BB_1#FULL_RES_17")}),
    ],
)
def test_what_is_asked_for_is_taken(alma: list[SourcePart], wanted: Any, expected: Any) -> None:
    assert set(names(select_parts([("uid", alma)], DataSelection(**wanted)).datasets[0][1])) == expected


def test_windows_without_numbers_count_in_their_order(description: MeasurementSetDescription) -> None:
    parts = [
        part(description, spectral_window_name=name, frequency_hz=n + description.frequency_hz)
        for n, name in enumerate("ab")
    ]
    found = select_parts([("x", parts)], DataSelection(windows=("1",))).datasets[0][1]
    assert names(found) == [("field a", "b")]


def test_scans_cut_the_times_of_a_part(description: MeasurementSetDescription) -> None:
    rows = np.arange(30).reshape(5, 6)
    whole = part(description)._replace(rows=rows)
    ((_, (cut,)),) = select_parts([("x", [whole])], DataSelection(scans=("2~4",))).datasets
    assert cut.description.scan_names == ("2", "2")
    np.testing.assert_array_equal(cut.description.time_s, description.time_s[3:])
    assert cut.rows is not None
    np.testing.assert_array_equal(cut.rows, rows[3:])
    assert cut.chunks is None
    ((_, (same,)),) = select_parts([("x", [whole])], DataSelection(scans=("1~2",))).datasets
    assert same is whole


def test_intents_of_the_config_count(description: MeasurementSetDescription) -> None:
    parts = [part(description, field_name=name, intents=("UNKNOWN",)) for name in ("a", "b")]
    chosen = select_parts(
        [("x", parts)], DataSelection(intents=("OBSERVE_TARGET",)), {"b": ("OBSERVE_TARGET#ON_SOURCE",)}
    )
    assert [one.description.field_name for one in chosen.datasets[0][1]] == ["b"]


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"fields": ("J1", "M31")}, "fields of import_data: 'M31' fit to nothing in the data; there are: J1, disc"),
        (
            {"windows": ("5",)},
            "windows of import_data: '5' fit to nothing in the data; there are: 0, WVR#NOMINAL_0, 17,",
        ),
        ({"scans": ("3", "8~9")}, "scans of import_data: '3', '8~9' fit to nothing in the data; there are: 1, 2, 7"),
        (
            {"intents": ("OBSERVE_SKY",)},
            "intents of import_data: 'OBSERVE_SKY' fit to nothing in the data; there are: CAL",
        ),
        (
            {"fields": ("J1",), "intents": ("OBSERVE_TARGET",)},
            r"nothing of the data set uid is selected by fields J1, windows \(all\), scans \(all\), intents OBS",
        ),
    ],
)
def test_what_is_not_there_is_refused(alma: list[SourcePart], wanted: Any, text: str) -> None:
    with pytest.raises(SelectionError, match=text):
        select_parts([("uid", alma)], DataSelection(**wanted))


def test_several_pointings_at_a_target_are_refused(description: MeasurementSetDescription) -> None:
    ra, dec = description.phase_center_rad
    pointings = [
        part(description, field_name=f"disc_{n}", source_name="disc", phase_center_rad=(ra, dec + n * 1e-4))
        for n in range(3)
    ]
    text = r"the source disc was observed at 3 pointings \(disc_0, disc_1, disc_2\), up to 0\.69 arcmin apart: mosaics"
    with pytest.raises(DataError, match=text):
        select_parts([("uid", pointings)], DataSelection())
    assert len(select_parts([("uid", pointings)], DataSelection(fields=("disc_1",))).datasets[0][1]) == 1
    # Pointings of a calibrator, as of a holography, are not imaged.
    calibrator = [
        one._replace(description=one.description._replace(intents=("CALIBRATE_PHASE#ON_SOURCE",))) for one in pointings
    ]
    assert len(select_parts([("uid", calibrator)], DataSelection()).datasets[0][1]) == 3


def test_moving_sources_are_refused_unless_they_are_left_out(description: MeasurementSetDescription) -> None:
    parts = [part(description, field_name="Titan", is_moving=True), part(description)]
    with pytest.raises(
        DataError, match=r"x: Titan follow an ephemeris: moving sources are not .* Other fields: field a"
    ):
        select_parts([("x", parts)], DataSelection())
    assert len(select_parts([("x", parts)], DataSelection(fields=("field*",))).datasets[0][1]) == 1
