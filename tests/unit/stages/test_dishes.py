"""Arrays of two kinds of dishes: which patterns tell them apart, and what an image with a primary beam says."""

from __future__ import annotations

import pytest

from radps.context.observation import Antenna, Observation
from radps.errors import SelectionError
from radps.stages._dishes import find_dish_diameter, find_patterns


def observation(**diameters_m: float) -> Observation:
    antennas = tuple(
        Antenna(name=name, station="", position_m=(0.0, 0.0, 0.0), diameter_m=size)
        for name, size in diameters_m.items()
    )
    return Observation.model_construct(antennas=antennas)


def test_dishes_of_one_kind_have_a_diameter() -> None:
    assert find_dish_diameter(observation(ea01=25.0, ea02=25.0, ea03=0.0), "primary_beam_correction") == 25.0
    assert find_dish_diameter(observation(ea01=0.0), "primary_beam_correction") is None


def test_dishes_of_two_kinds_are_refused_with_what_to_import() -> None:
    text = (
        r"2 of 7 m \(CM01, CM02\) and 5 of 12 m \(DA41, DA42, DV01, PM01 and 1 more\), whose baselines .* Take "
        r'one kind, by `import_data: \{antennas: \["CM\*"\]\}` or '
        r'`import_data: \{antennas: \["DA\*", "DV\*", "PM\*"\]\}`'
    )
    with pytest.raises(SelectionError, match=text):
        find_dish_diameter(
            observation(CM01=7.0, DA41=12.0, DA42=12.0, DV01=12.0, CM02=7.0, PM01=12.0, PM02=12.0),
            "primary_beam_correction",
        )


@pytest.mark.parametrize(
    ("names", "others", "expected"),
    [
        (["m000", "m063"], ["s0001"], ("m*",)),
        (["m000", "m063"], ["meerkat"], ("m000", "m063")),
        (["1", "2"], ["ea01"], ("1", "2")),
    ],
)
def test_patterns_fit_to_no_other_antenna(names: list[str], others: list[str], expected: tuple[str, ...]) -> None:
    assert find_patterns(names, [*names, *others]) == expected
