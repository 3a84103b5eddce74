"""The list of images to make: entries are refined by name, and marked as made by the images that come from them."""

from __future__ import annotations

from radps.context.imaging_state import ImageRecord, ImagingState, PlannedImage, StatisticsRecord


def entry(name: str = "galaxy_cube", **changes: object) -> PlannedImage:
    values: dict[str, object] = {
        "name": name,
        "mode": "cube",
        "field": "galaxy",
        "virtual_windows": (0,),
        "image_size": 256,
        "cell_size_rad": 1e-5,
        "beam_rad": 4e-5,
        "size_bytes": 2**20,
    }
    return PlannedImage.model_validate({**values, **changes})


def image(name: str, planned: str | None) -> ImageRecord:
    return ImageRecord(
        name=name,
        kind="cube",
        path=f"images/{name}.zarr",
        variable="SKY",
        planned=planned,
        field="galaxy",
        window="spw0",
        shape=(4, 32, 32),
        cell_size_rad=1e-5,
        frequency_hz=(1e9, 2e9),
        channel_width_hz=1e6,
        statistics=StatisticsRecord(max=1.0, min=0.0, rms=0.1),
        noise_jy=1e-3,
    )


def test_an_entry_is_refined_by_one_of_its_name() -> None:
    state = ImagingState().changed([entry(), entry("other", field="star")], [])
    refined = state.changed([entry(channels=("4~9",))], [])
    assert [(one.name, one.channels) for one in refined.planned] == [("galaxy_cube", ("4~9",)), ("other", None)]
    assert state.planned[0].channels is None  # the old state did not change


def test_an_image_marks_its_entry_as_made_and_a_refined_entry_is_wanted_again() -> None:
    state = ImagingState().changed([entry(), entry("other", field="star")], [])
    made = state.changed([], [image("galaxy_cube1", "galaxy_cube"), image("stray", None), image("old", "gone")])
    assert [(one.state, one.image) for one in made.planned] == [("made", "galaxy_cube1"), ("wanted", None)]
    assert made.changed([entry(image_size=128)], []).planned[0].state == "wanted"


def test_an_entry_is_found_by_mode_field_and_windows() -> None:
    both = entry("both", mode="continuum", virtual_windows=(0, 1))
    state = ImagingState().changed([entry(), both, entry("again")], [])
    assert state.find("continuum", "galaxy", [1, 0, 1]) == both
    assert state.find("cube", "galaxy", [0]) == entry("again")  # the last one
    assert state.find("cube", "galaxy", [1]) is None
    assert state.find("cube", "star", [0]) is None
