"""A config as plain data that remembers where each value stands, so that every problem can name its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from radps.stages._other_words import explain_missing, say_own_word
from radps.stages.base import close_match

Path = tuple[str | int, ...]

_PLAIN = ("bool", "int", "float", "str", "constrained-int", "constrained-float", "constrained-str")
"""Names that pydantic gives to the branches of a union of plain types."""

_ADVICE = {
    "cannot start any token": "indent with spaces, no tabs; a value that begins with a special sign needs quotes",
    "could not find expected ':'": "write `key: value`, with a space behind the colon",
    "mapping values are not allowed here": "a colon inside of a value needs quotes; or correct the indentation",
    "expected <block end>": "keys of a mapping, and the dashes of a list, have to stand below each other",
}
"""Parts of the parser's messages -> what to do."""


class Document(NamedTuple):
    """Plain data, and the places of its values."""

    source: str
    """Name of the file, ``<dict>`` for a config given in Python."""
    data: Any
    places: dict[Path, str]
    """Path of a value -> ``file:line``, or the option that set it."""
    problems: tuple[str, ...] = ()
    """What is wrong with the text as such."""

    def place(self, path: Path) -> str:
        """Return where a value, or the nearest thing around it, stands."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, self.source)

    def move(self, path: Path, place: str) -> None:
        """Note where a value now comes from, with all that it holds."""
        for inside in [known for known in self.places if known[: len(path)] == path]:
            del self.places[inside]
        self.places[path] = place


def read_yaml(text: str, source: str) -> Document:
    """Parse YAML; a mistake of syntax, or a key that stands twice, is noted as a problem."""
    try:
        # pyyaml's tree of nodes is what knows the lines.
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            data = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{source}:{mark.line + 1}" if mark else source
        what = getattr(error, "problem", None) or str(error).partition("\n")[0]
        advice = "".join(f"; {hint}" for words, hint in _ADVICE.items() if words in what)
        return Document(source, None, {}, (f"{place}: no valid YAML: {what}{_show_line(text, mark)}{advice}",))
    places: dict[Path, str] = {}
    problems: list[str] = []
    for path, line in _walk(node, (), problems, source):
        places[path] = f"{source}:{line}"
    return Document(source, data, places, tuple(problems))


def _show_line(text: str, mark: yaml.Mark | None) -> str:
    """Return the line of a mistake, as a part of a sentence."""
    line = text.splitlines()[mark.line].strip() if mark and mark.line < len(text.splitlines()) else ""
    return f" (in `{line[:60]}`)" if line else ""


def _walk(node: yaml.Node | None, path: Path, problems: list[str], source: str) -> Iterator[tuple[Path, int]]:
    """Yield path and line of every value of a tree of nodes; note keys that stand twice."""
    if node is None:
        return
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for number, child in enumerate(node.value):
            yield from _walk(child, (*path, number), problems, source)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, child in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                problems.append(f"{source}:{line}: {name!r} stands here and in line {seen[name]}; keep one")
            seen[name] = line
            yield from ((place, max(line, found)) for place, found in _walk(child, (*path, name), problems, source))


def parse_scalar(text: str) -> Any:
    """Return the value of an option's text: a number, true, a list ``[a, b]``, a text.

    Raises
    ------
    ValueError
        It is no valid YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r} is no valid YAML value: {getattr(error, 'problem', error)}") from error


def unknown_keys(found: Mapping[Any, Any], known: tuple[str, ...], what: str) -> Iterator[tuple[str, str]]:
    """Yield key and message for every key of a mapping that is not known."""
    for key in found:
        if str(key) not in known:
            yield str(key), f"{what} has no key {str(key)!r}{close_match(str(key), known)}; keys: {', '.join(known)}"


def describe(error: ValidationError, known: tuple[str, ...], what: str, skip: int = 0) -> Iterator[tuple[Path, str]]:
    """Yield path and message for every mistake that pydantic found.

    Parameters
    ----------
    error : ValidationError
        Of a model.
    known : tuple of str
        Names of the model's fields, for unknown ones.
    what : str
        What the model describes, e.g. ``stage image_cube``.
    skip : int
        Parts of a path that pydantic puts before it: the name of the branch of a union.
    """
    details: dict[Path, list[Any]] = {}
    for detail in error.errors(include_url=False):
        details.setdefault(_without_branches(detail["loc"][skip:]), []).append(detail)
    for path, branches in details.items():
        name = ".".join(str(part) for part in path)
        first = branches[0]
        if first["type"] == "extra_forbidden":
            reason = explain_missing(str(path[-1]))
            own = say_own_word(name, known)
            others = f"{close_match(name, known)}; it has: {', '.join(known) or 'none'}"
            yield path, f"{what} has no {name!r}" + (f": {reason}" if reason else own or others)
        elif first["type"] == "missing":
            yield path, f"{what} needs {name!r}"
        elif not path:
            yield path, f"{what}: {_text(first['msg'])}"
        else:
            texts = "; or it ".join(_text(branch["msg"]) for branch in branches)
            yield path, f"{name} of {what}: {texts}{_found(first)}"


def _without_branches(path: Path) -> Path:
    """Return a path without the branches of unions, such as ``literal['auto']``: they are no keys of the file."""
    first, rest = path[:1], path[1:]
    return (*first, *(part for part in rest if not (isinstance(part, str) and (part in _PLAIN or "[" in part))))


def _found(detail: Any) -> str:
    """Return the value that was found, unless the message says it already."""
    value = repr(detail.get("input"))
    value = value if len(value) <= 80 else value[:77] + "..."
    return "" if value in detail["msg"] else f" (found {value})"


def _text(message: str) -> str:
    """Return pydantic's message without its own prefixes."""
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if message.startswith("Input should be"):
        return "should be" + message.removeprefix("Input should be")
    return message
