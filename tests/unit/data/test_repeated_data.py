"""Data sets that hold the same observation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from radps.data.measurement_set import MeasurementSetDescription
from radps.data.msv4 import Msv4Address
from radps.data.partitions import join_parts
from radps.data.repeated_data import find_repeated
from radps.data.sources import SourcePart


def found(one: MeasurementSetDescription, *others: MeasurementSetDescription) -> tuple[str, ...]:
    """Return what is repeated in data sets of one part each."""
    address = Msv4Address(url="a", field_name="f", visibility="V", flag="", weight="", uvw="U")
    names = "abc"[: 1 + len(others)]
    parts = [(name, [SourcePart(each, address, None, None)]) for name, each in zip(names, (one, *others), strict=True)]
    return find_repeated(join_parts(parts, {}), names)


def test_a_copy_is_named_with_its_fields(description: MeasurementSetDescription) -> None:
    assert found(description, description) == ("a and b (field a)",)
    assert found(description, description, description) == (
        "a and b (field a)",
        "a and c (field a)",
        "b and c (field a)",
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"time_s": 8.0e8 + 30.0 * np.array([11.0, 12.0]), "scan_names": ("1", "1")},
        {"time_s": 8.0e8 + 30.0 * np.array([0.5]), "scan_names": ("1",), "integration_time_s": 60.0},
        {"frequency_hz": 1.41e9 + 48.8e3 * np.arange(3), "channel_width_hz": 48.8e3},
    ],
)
def test_a_part_and_an_average_are_found(description: MeasurementSetDescription, changes: dict[str, Any]) -> None:
    assert found(description, description._replace(**changes)) == ("a and b (field a)",)
    assert found(description._replace(**changes), description) == ("a and b (field a)",)


@pytest.mark.parametrize(
    "changes",
    [
        {"time_s": 8.0e8 + 30.0 * np.array([3.0, 12.0]), "scan_names": ("1", "1")},
        {"frequency_hz": 1.5e9 + 24.4e3 * np.arange(6)},
        {"field_name": "field b", "phase_center_rad": (1.0, 0.1)},
        {"polarizations": ("RL", "LR")},
    ],
)
def test_what_only_touches_is_not_repeated(description: MeasurementSetDescription, changes: dict[str, Any]) -> None:
    assert found(description, description._replace(**changes)) == ()


def test_other_baselines_at_the_same_time_are_not_repeated(description: MeasurementSetDescription) -> None:
    """Two subarrays, with the autocorrelation of an antenna in both."""
    first, second = np.array([0, 0]), np.array([0, 1])
    one = description._replace(antenna1=first, antenna2=second)
    assert found(one, one._replace(antenna1=np.array([0, 2]), antenna2=np.array([0, 3]))) == ()
    assert found(one, one._replace(antenna1=second, antenna2=first)) == ("a and b (field a)",), "of the other order"
