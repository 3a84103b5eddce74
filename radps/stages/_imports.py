"""Import the module of a user's stage; what goes wrong is told by the user's own lines."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import NamedTuple

import radps
from radps.context.user_code import is_installed, remember_loaded
from radps.errors import RadpsError

_RADPS_FOLDER = Path(radps.__file__).parent
_INDENT = "\n       "
"""Puts a line below the text of a problem in the list that a ConfigError prints."""


class ImportFailure(RadpsError):
    """A module cannot be imported; the text has the lines of the user's own code that led to it."""


class _Line(NamedTuple):
    """A line of code that was being carried out."""

    module: str
    path: str
    number: int
    code: str


def import_module(name: str) -> ModuleType:
    """Return a module.

    Raises
    ------
    ImportFailure
        It is not found, or raises; whatever it raises.
    """
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ImportFailure(f"cannot import module {name!r}: {_explain(error, name)}") from error
    remember_loaded(name)
    return module


def _explain(error: Exception | SystemExit, module: str) -> str:
    """Return what went wrong, where, and what to do."""
    lines = _own_lines(error.__traceback__, module)
    text = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        text += _explain_missing(error.name, module, lines)
    text += "".join(f"{_INDENT}{line.path}:{line.number}: {line.code}" for line in lines)
    return text + (_explain_syntax(error) if isinstance(error, SyntaxError) else "")


def _own_lines(trace: TracebackType | None, module: str) -> list[_Line]:
    """Return the lines of the user's own modules, the outermost first; if there are none, the innermost of all."""
    lines = [line for line in _all_lines(trace) if line.module.partition(".")[0] not in ("importlib", "")]
    own = [line for line in lines if _is_own(line, module)]
    outside = [line for line in lines if not Path(line.path).is_relative_to(_RADPS_FOLDER)]
    return own or outside[-1:]


def _all_lines(trace: TracebackType | None) -> Iterator[_Line]:
    summaries = traceback.extract_tb(trace)
    for (frame, number), summary in zip(traceback.walk_tb(trace), summaries, strict=True):
        yield _Line(str(frame.f_globals.get("__name__", "")), summary.filename, number, summary.line or "")


def _is_own(line: _Line, module: str) -> bool:
    if line.module.partition(".")[0] == module.partition(".")[0]:
        return True
    path = Path(line.path)
    return path.is_file() and not is_installed(path) and not path.is_relative_to(_RADPS_FOLDER)


def _explain_missing(missing: str, module: str, lines: list[_Line]) -> str:
    """Return which module is not there, the one that the config names or one that it imports, and what to do."""
    package = missing.rpartition(".")[0]
    around = sys.modules.get(package)
    if package and around is not None:
        places = list(getattr(around, "__path__", ())) or [f"{package}, which is a file and no package"]
    else:
        places = [place or os.getcwd() for place in sys.path if _is_searched_for_own(place)]
    if f"{module}.".startswith(f"{missing}.") and not lines:
        return (
            f"; your module {missing!r} is not found: looked in {', '.join(places)}, and among the installed packages; "
            "it has to be importable from the folder of the config or from the Python path"
        )
    if package and around is not None:
        return f"; your module imports {missing!r}, which is not there: looked in {', '.join(places)}"
    folder = Path(lines[-1].path).parent if lines else "the config"
    return (
        f"; your module imports {missing!r}, which is not installed: pip install it, or, if it is a file of your own, "
        f"put it into {folder} or onto the Python path"
    )


def _is_searched_for_own(place: str) -> bool:
    return not place or (os.path.isdir(place) and not is_installed(Path(place)))


def _explain_syntax(error: SyntaxError) -> str:
    """Return the line with the mistake, and below it a mark where it is."""
    if not error.filename:
        return ""
    code = (error.text or "").rstrip()
    shown = code.lstrip()
    place = f"{error.filename}:{error.lineno}: "
    start = max((error.offset or 1) - 1 - (len(code) - len(shown)), 0)
    on_one_line = error.end_lineno == error.lineno
    width = max((error.end_offset or 0) - (error.offset or 0), 1) if on_one_line else 1
    return f"{_INDENT}{place}{shown}{_INDENT}{' ' * (len(place) + start)}{'^' * width}"
