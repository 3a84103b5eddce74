"""The shared parts of the context that an outcome fills."""

from __future__ import annotations

from radps.context.records import DataGroup, FrequencyRange, Outcome, PlannedImage
from radps.context.shared_fields import written_fields


def test_every_way_to_change_tables_is_the_same_part() -> None:
    assert written_fields(Outcome(applied=("a",))) == ("tables",)
    assert written_fields(Outcome(removed_tables=("a",))) == ("tables",)


def test_parts_are_named_only_where_an_outcome_fills_them() -> None:
    entry = PlannedImage(
        name="star_cube",
        mode="cube",
        field="star",
        virtual_windows=(0,),
        image_size=256,
        cell_size_rad=1e-5,
        beam_rad=4e-5,
        size_bytes=1,
    )
    group = DataGroup(visibility="V", flag="F", weight="W", uvw="U")
    line_free = FrequencyRange(start_hz=1.0, stop_hz=2.0, frame="LSRK", origin="config")
    outcome = Outcome(planned_images=(entry,), groups={"star": {"corrected": group}}, line_free=(line_free,))
    assert written_fields(outcome) == ("groups.corrected", "line_free", "planned_images")
    assert written_fields(Outcome(line_free=())) == ("line_free",)
    assert written_fields(Outcome()) == ()
