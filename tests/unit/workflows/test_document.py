"""YAML with the line of each value."""

from __future__ import annotations

import pytest

from radps.workflows.document import parse_scalar, read_yaml

TEXT = """\
run: here
steps:
  - flag:
      edge: 2
      list: [1,
             x]
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("run",), 1),
        (("steps",), 3),
        (("steps", 0, "flag", "edge"), 4),
        (("steps", 0, "flag", "list", 1), 6),
        (("steps", 0, "flag", "missing"), 4),
        (("nothing",), 1),
    ],
)
def test_every_value_has_its_line_or_that_of_what_is_around_it(path: tuple[str | int, ...], line: int) -> None:
    assert read_yaml(TEXT, "a.yaml").place(path) == f"a.yaml:{line}"


def test_a_mistake_of_syntax_has_its_line() -> None:
    document = read_yaml("run: x\nsteps: [a, b\nmore: 1\n", "a.yaml")
    assert document.data is None
    assert document.problems[0].startswith("a.yaml:3: no valid YAML: ")


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("steps:\n  - import_data\n - flag\n", 3, "(in `- flag`); keys of a mapping, and the dashes of a list"),
        ("run: x\n\tsteps: [flag]\n", 2, "indent with spaces, no tabs"),
        ("run: x\ncell: 3 arcsec: big\n", 2, "(in `cell: 3 arcsec: big`); a colon inside of a value needs quotes"),
    ],
)
def test_a_mistake_of_syntax_shows_its_line_and_says_what_to_do(text: str, line: int, told: str) -> None:
    (problem,) = read_yaml(text, "a.yaml").problems
    assert problem.startswith(f"a.yaml:{line}: no valid YAML: ")
    assert told in problem


def test_a_key_that_stands_twice_is_a_problem() -> None:
    document = read_yaml("run: x\nsteps: [a]\nrun: y\n", "a.yaml")
    assert document.problems == ("a.yaml:3: 'run' stands here and in line 1; keep one",)


def test_an_empty_file_is_nothing() -> None:
    assert read_yaml("# nothing\n", "a.yaml").data is None


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("1.5", 1.5), ("true", True), ("[a, 2]", ["a", 2]), ("15 arcsec", "15 arcsec")]
)
def test_the_value_of_an_option_is_read_as_in_a_file(text: str, value: object) -> None:
    assert parse_scalar(text) == value


def test_an_option_that_is_no_value_is_refused() -> None:
    with pytest.raises(ValueError, match="'\\[1' is no valid YAML value"):
        parse_scalar("[1")
