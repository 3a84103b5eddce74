"""Antennas are imported by their names: what is left of baselines, rows and the antenna table."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from radps.data.antenna_selection import is_chosen
from radps.data.measurement_set import MeasurementSetDescription, check_description
from radps.data.msv4 import Msv4Address
from radps.data.part_selection import DataSelection, select_parts
from radps.data.partitions import join_parts
from radps.data.sources import SourcePart
from radps.errors import SelectionError


def part(description: MeasurementSetDescription, **changes: Any) -> SourcePart:
    address = Msv4Address(url="memory://x", field_name="a", visibility="V", flag="", weight="", uvw="U")
    return SourcePart(description._replace(**changes), address, None, (5, 6, 6, 2))


def pairs(description: MeasurementSetDescription) -> list[tuple[str, str]]:
    names = description.antennas.names
    return [(names[one], names[two]) for one, two in zip(description.antenna1, description.antenna2, strict=True)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["CM01", "CM02", "DA41", "DV01"]),
        (("CM*",), ["CM01", "CM02"]),
        (("!CM*",), ["DA41", "DV01"]),
        (("D?*", "CM02"), ["CM02", "DA41", "DV01"]),
        (("*", "!DV01", "!CM01"), ["CM02", "DA41"]),
        (("cm*",), []),
    ],
)
def test_words_choose_or_leave_out(words: tuple[str, ...], expected: list[str]) -> None:
    assert [name for name in ("CM01", "CM02", "DA41", "DV01") if is_chosen(name, words)] == expected


@pytest.mark.parametrize("words", [("VA02", "VA05", "VA07"), ("!VA01",), ("VA0*", "!*1")])
def test_what_is_left_are_the_baselines_of_chosen_antennas(
    description: MeasurementSetDescription, words: tuple[str, ...]
) -> None:
    rows = np.arange(30).reshape(5, 6)
    angles = np.arange(8.0).reshape(4, 2)
    whole = part(description, antennas=description.antennas._replace(receptor_angles_rad=angles))._replace(rows=rows)
    ((_, (cut,)),) = select_parts([("x", [whole])], DataSelection(antennas=words)).datasets
    check_description(cut.description)
    left = ("VA02", "VA05", "VA07")
    assert cut.description.antennas.names == left
    assert cut.description.antennas.stations == ("VLA:W1", "VLA:W2", "VLA:E1")
    np.testing.assert_array_equal(cut.description.antennas.positions_m, description.antennas.positions_m[1:])
    np.testing.assert_array_equal(cut.description.antennas.receptor_angles_rad, angles[1:])
    assert pairs(cut.description) == list(itertools.combinations(left, 2))
    assert cut.rows is not None
    columns = [number for number, pair in enumerate(pairs(description)) if "VA01" not in pair]
    np.testing.assert_array_equal(cut.rows, rows[:, columns])
    # A group with more baselines cannot be used in place.
    assert cut.chunks is None
    assert join_parts([("x", [cut])], {}).antennas.names == left


def test_the_data_stay_as_they_are_where_all_are_chosen(description: MeasurementSetDescription) -> None:
    whole = part(description)
    ((_, (same,)),) = select_parts([("x", [whole])], DataSelection(antennas=("VA*",))).datasets
    assert same is whole


def test_parts_without_the_antennas_are_left_out(description: MeasurementSetDescription) -> None:
    """Of two subarrays one is chosen."""
    one = part(description, field_name="one", antenna1=np.array([0]), antenna2=np.array([1]))
    two = part(description, field_name="two", antenna1=np.array([2]), antenna2=np.array([3]))
    ((_, (left,)),) = select_parts([("x", [one, two])], DataSelection(antennas=("VA05", "VA07"))).datasets
    assert left.description.field_name == "two"
    with pytest.raises(SelectionError, match=r"nothing of the data set x is .* and antennas VA02 VA05 together; widen"):
        select_parts([("x", [one, two])], DataSelection(antennas=("VA02", "VA05")))


def test_autocorrelations_stay_with_their_antennas(description: MeasurementSetDescription) -> None:
    antenna1, antenna2 = np.triu_indices(4)
    whole = part(description, antenna1=antenna1, antenna2=antenna2)
    ((_, (cut,)),) = select_parts([("x", [whole])], DataSelection(antennas=("VA05", "VA07"))).datasets
    assert pairs(cut.description) == [("VA05", "VA05"), ("VA05", "VA07"), ("VA07", "VA07")]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ("VA1", "VA05"),
            r"antennas of import_data: 'VA1' fit to no antenna of the data; did you mean 'VA01'\? There are: VA",
        ),
        (("!CM*",), r"'!CM\*' fit to no antenna of the data\. There are: VA01, VA02, VA05, VA07"),
        (
            ("VA01",),
            r"antennas VA01 of import_data leave VA01 of the 4 antennas of the data set x, and a baseline needs two",
        ),
        (("VA*", "!VA*"), r"antennas VA\* !VA\* of import_data leave none of the 4 antennas .* There are: VA01, VA02"),
    ],
)
def test_what_makes_no_baseline_is_refused(
    description: MeasurementSetDescription, words: tuple[str, ...], text: str
) -> None:
    with pytest.raises(SelectionError, match=text):
        select_parts([("x", [part(description)])], DataSelection(antennas=words))


def test_words_that_other_data_sets_had_need_not_fit_again(description: MeasurementSetDescription) -> None:
    wanted = DataSelection(antennas=("!CM*",), fields=("field a", "disc"))
    with pytest.raises(SelectionError, match="disc"):
        select_parts([("x", [part(description)])], wanted)
    assert len(select_parts([("x", [part(description)])], wanted, is_first=False).datasets[0][1]) == 1
