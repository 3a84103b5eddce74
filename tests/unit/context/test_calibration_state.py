"""Tables apply by selection, and change all at once or not at all."""

from __future__ import annotations

import pytest

from radps.context.calibration_state import Applicability, CalibrationState, CalibrationTable
from radps.context.observation import DataGroup, Partition
from radps.errors import ContextError

TARGET_INTENT, PHASE_INTENT = "OBSERVE_TARGET#ON_SOURCE", "CALIBRATE_PHASE#ON_SOURCE"


def partition(field: str, window: str = "spw0", *intents: str) -> Partition:
    group = DataGroup(visibility="V", flag="F", weight="W", uvw="UVW")
    return Partition(
        name=f"{field}_{window}",
        dataset="data",
        path=field,
        field=field,
        window=window,
        intents=intents,
        shape=(4, 3, 11, 2),
        chunks=(4, 11),
        polarizations=("RR", "LL"),
        integration_time_s=10.0,
        scans={"1": (0, 4)},
        groups={"base": group},
    )


DATA = tuple(
    partition(field, window, intent)
    for window in ("spw0", "spw1")
    for field, intent in (("cal", PHASE_INTENT), ("star", TARGET_INTENT), ("galaxy", TARGET_INTENT))
)


def table(name: str, *uses: Applicability, kind: str = "gain") -> CalibrationTable:
    return CalibrationTable(
        name=name,
        kind=kind,
        path=f"context.zarr/calibrate-1/{name}",
        window="spw0",
        solved_on=("cal",),
        applies_to=uses,
        reference_antenna="A",
    )


def use(*fields: str, windows: tuple[str, ...] = ("spw0",), intents: tuple[str, ...] = ()) -> Applicability:
    return Applicability(fields=fields, windows=windows, intents=intents, from_fields=("cal",))


def registered(*tables: CalibrationTable) -> CalibrationState:
    return CalibrationState().changed(register=tables, partitions=DATA)


def names(state: CalibrationState, field: str, window: str = "spw0") -> list[str]:
    (one,) = (one for one in DATA if (one.field, one.window) == (field, window))
    return [correction.table.name for correction in state.corrections(one)]


def test_tables_apply_by_field_and_window_in_the_order_of_the_solver() -> None:
    state = registered(table("g", use("cal", "star")), table("b", use("cal"), kind="bandpass"))
    assert names(state, "cal") == ["b", "g"]
    assert names(state, "star") == ["g"]
    assert names(state, "galaxy") == []
    assert names(state, "cal", "spw1") == []


def test_a_selection_that_names_nothing_selects_everything() -> None:
    state = registered(table("g", use(windows=())))
    assert {(one.field, one.window) for one in DATA if state.corrections(one)} == {
        (one.field, one.window) for one in DATA
    }


def test_intents_select_and_each_use_has_its_own_sources() -> None:
    own = Applicability(fields=("cal",), from_fields=("cal",))
    targets = Applicability(intents=("OBSERVE_TARGET",), from_fields=("cal", "other"))
    state = registered(table("g", own, targets))
    assert {one.field: state.corrections(one)[0].from_fields for one in DATA} == {
        "cal": ("cal",),
        "star": ("cal", "other"),
        "galaxy": ("cal", "other"),
    }


def test_tables_are_pending_until_they_are_applied() -> None:
    state = registered(table("a", use("cal")), table("b", use("star")))
    after = state.changed(apply=["a"])
    assert [one.name for one in after.applied] == ["a"]
    assert [one.name for one in after.pending] == ["b"]
    assert state.applied == ()  # the old state did not change


def test_a_new_table_takes_the_place_of_the_one_with_its_name_and_is_pending_again() -> None:
    state = registered(table("a", use("cal"))).changed(apply=["a"])
    after = state.changed(register=[table("a", use("cal", "star"))], partitions=DATA)
    assert names(after, "star") == ["a"]
    assert after.pending == after.tables


def test_removing_makes_room_in_the_same_step() -> None:
    state = registered(table("a", use("cal")))
    after = state.changed(remove=["a"], register=[table("b", use("cal"))], partitions=DATA)
    assert names(after, "cal") == ["b"]


def test_two_tables_of_a_kind_for_the_same_data_are_refused_and_none_is_registered() -> None:
    state = registered(table("a", use("cal", "star")))
    good = table("good", use("galaxy"))
    bad = table("b", use("star", windows=()))
    with pytest.raises(
        ContextError,
        match=r"two corrections of kind gain for field 'star' in spectral window 'spw0': table a \(field cal star, "
        r"window spw0\) and table b \(field star\); narrow their selections, .*, or remove the old one",
    ):
        state.changed(register=[good, bad], partitions=DATA)
    assert [one.name for one in state.tables] == ["a"]
    state.changed(register=[good, table("b", use("star"), kind="bandpass")], partitions=DATA)


def test_a_table_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ContextError, match=r"for field 'star' .*: table a \(field star\) and table a \(intent OBSERVE"):
        registered(table("a", use("star", windows=()), use(windows=(), intents=("OBSERVE_TARGET",))))


def test_a_table_for_data_that_there_are_not_is_refused_and_lists_them() -> None:
    with pytest.raises(
        ContextError,
        match=r"calibration table a applies to no data \(field moon, window spw0\); fields: cal, star, galaxy; "
        "spectral windows: spw0, spw1",
    ):
        registered(table("a", use("moon")))
    with pytest.raises(ContextError, match=r"applies to no data \(all data\); fields: none; spectral windows: none"):
        CalibrationState().changed(register=[table("a", use(windows=()))])
    with pytest.raises(ContextError, match=r"applies to no data \(nothing\)"):
        registered(table("a"))


def test_one_name_twice_in_a_step_is_refused() -> None:
    with pytest.raises(ContextError, match="calibration tables a are registered twice in one step; name them apart"):
        registered(table("a", use("cal")), table("a", use("star")))


def test_unknown_names_are_refused_with_those_there_are() -> None:
    state = registered(table("a", use("cal")), table("b", use("star")))
    with pytest.raises(ContextError, match="no calibration table 'c', 'd' to remove; there are: a, b"):
        state.changed(remove=["c", "d"])
    with pytest.raises(ContextError, match="no calibration table 'c' to mark as applied; there are: a, b"):
        state.changed(apply=["a", "c"])
    with pytest.raises(ContextError, match="no calibration table 'a' to mark as applied; there are: b"):
        state.changed(remove=["a"], apply=["a"])
    with pytest.raises(ContextError, match="no calibration table 'c'; there are: a, b"):
        state.table("c")
    assert state.table("a").name == "a"
