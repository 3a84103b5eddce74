"""What a stage is, and how it is found.

A stage is a function ``stage(context, params)`` and a model of its parameters. It either returns a graph that computes
to an :class:`~radps.context.records.Outcome` (or an Outcome, if there is nothing to compute), or is a generator: it
yields graphs, gets the result of each one back, and returns an Outcome, or a graph that computes to one.

1. A stage of radps is the function ``<name>`` of the file ``radps/stages/<name>.py``, and its parameters are ``Params``
   of that file. There is no list to keep: the file is the registration.
2. A stage of a user is named ``package.module:function``. The annotation of its second argument says what its
   parameters are.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, ClassVar, NamedTuple, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_jsonable_python

from radps.context.user_code import find_code, forget_edited
from radps.errors import ConfigError
from radps.report.parameters import ParameterMeaning
from radps.stages._imports import ImportFailure, import_module
from radps.stages._other_words import explain_missing, say_own_word

_FOLDER = Path(__file__).parent
_PACKAGE = "radps.stages"
_NOT_STAGES = ("__init__", "base")


class StageParams(BaseModel):
    """Base of the parameters of all stages: immutable, strict about names; a field has a default, a unit, a meaning."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    reads_data: ClassVar[bool] = False
    """True for a stage that reads the data sets named in the config: it is done again when these change."""

    writes: ClassVar[tuple[str, ...]] = ()
    """Shared parts of the context that the stage fills: fields of Outcome such as ``tables``, and versions of the data
    such as ``groups.corrected``. Two steps that fill the same one have to come one after the other. Images, products
    and scores are each step's own and are not named here."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Modules that the stage imports and that radps does not bring: `radps-run check` warns where one is missing."""

    def files_read(self) -> tuple[str, ...]:
        """Return the files that the parameters name, as they are given: the step is done again when one changes."""
        return ()


class Stage(NamedTuple):
    """A stage that was found."""

    name: str
    """As it stands in the workflow file."""
    function: Callable[[Any, Any], Any]
    params_model: type[StageParams]
    doc: str
    """First line of the function's docstring."""

    @property
    def module(self) -> str:
        """Name of the module that the workflow file means."""
        return self.name.partition(":")[0] if ":" in self.name else f"{_PACKAGE}.{self.name}"


def stage_names() -> tuple[str, ...]:
    """Return the names of the stages of radps, sorted."""
    return tuple(
        sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem not in _NOT_STAGES and path.stem[0] != "_")
    )


def stage_summaries() -> dict[str, str]:
    """Return name -> first line of the docstring of all stages, without importing them."""
    summaries = {}
    for name in stage_names():
        tree = ast.parse((_FOLDER / f"{name}.py").read_text(encoding="utf-8"))
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
        summaries[name] = _first_line(ast.get_docstring(functions[0]) if functions else None)
    return summaries


def find_stage(name: str) -> Stage:
    """Return the stage of that name.

    Parameters
    ----------
    name : str
        One of :func:`stage_names`, or ``package.module:function``.

    Raises
    ------
    ConfigError
        There is no such stage (lists those there are), its module cannot be imported (with the place of the error), or
        it is not built like a stage.
    """
    if ":" in name:
        return _find_user_stage(name)
    if name not in stage_names():
        if reason := explain_missing(name):
            raise _problem(name, f"there is no stage {name!r}: {reason}")
        own = say_own_word(name, stage_names())
        others = (
            f"{close_match(name, stage_names())}; stages: {', '.join(stage_names())}; a stage of your own is named "
            "'package.module:function'"
        )
        raise _problem(name, f"there is no stage {name!r}{own or others}")
    module = _import(f"{_PACKAGE}.{name}", name)
    function, params_model = getattr(module, name, None), getattr(module, "Params", None)
    if not inspect.isfunction(function) or not _is_params(params_model):
        raise _problem(name, f"{module.__file__} needs a function `{name}` and a class `Params(StageParams)`")
    return Stage(name, function, params_model, _first_line(function.__doc__))


def forget_edited_stages(stages: Iterable[str]) -> None:
    """Let the stages of the user whose files were edited since they were imported be imported anew."""
    for module in dict.fromkeys(name.partition(":")[0] for name in stages if ":" in name):
        forget_edited(module)


def user_modules(stages: Iterable[str]) -> tuple[str, ...]:
    """Return the user's own modules that the stages of a workflow consist of; none for stages of radps.

    Parameters
    ----------
    stages : iterable of str
        Names of stages, as in the workflow file.
    """
    modules = dict.fromkeys(name.partition(":")[0] for name in stages if ":" in name)
    return tuple(dict.fromkeys(file.module for module in modules for file in find_code(module)))


def parameter_meanings(stage: Stage) -> tuple[ParameterMeaning, ...]:
    """Return what a user has to know of the parameters of a stage.

    Parts of a parameter follow it, by the names that ``--set`` takes: ``bandpass.average``; those of each entry of a
    list as ``manual[].antennas``, of a mapping as ``model_images.NAME.flux``.
    """
    return tuple(_meanings(stage.params_model))


def _meanings(model: type[BaseModel], place: str = "") -> Iterator[ParameterMeaning]:
    """Yield the fields of a model and of the models in them; not of one that does not say what its fields mean."""
    if place and not any(field.description for field in model.model_fields.values()):
        return
    properties = model.model_json_schema().get("properties", {})
    for name, field in model.model_fields.items():
        default = to_jsonable_python(None if field.is_required() else field.get_default(call_default_factory=True))
        text = "required" if field.is_required() else json.dumps(default)
        yield ParameterMeaning(f"{place}{name}", text, _find_unit(properties[name]), field.description or "")
        for part, mark in _parts(field.annotation):
            yield from _meanings(part, f"{place}{name}{mark}.")


def _parts(annotation: Any, mark: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """Yield the models that a parameter, or each entry of it, may be, with the mark of a list or a mapping."""
    origin, branches = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, mark
    elif origin in (Annotated, Union, UnionType):
        for branch in branches:
            yield from _parts(branch, mark)
    elif origin is tuple:
        yield from _parts(branches[0], f"{mark}[]")
    elif origin is dict:
        yield from _parts(branches[1], f"{mark}.NAME")


def _find_unit(schema: Any) -> str:
    """Return the unit that a schema, or a branch of it, names."""
    if not isinstance(schema, dict):
        return ""
    branches = (branch for word in ("anyOf", "oneOf") for branch in schema.get(word, ()))
    return str(schema["unit"]) if "unit" in schema else next(filter(None, map(_find_unit, branches)), "")


def close_match(word: str, known: tuple[str, ...]) -> str:
    """Return ``"; did you mean 'x'?"`` for a misspelt word, or an empty text."""
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _find_user_stage(name: str) -> Stage:
    """Return the stage ``package.module:function``."""
    module_name, _, function_name = name.partition(":")
    module = _import(module_name, name)
    function = getattr(module, function_name, None)
    if not inspect.isfunction(function):
        functions = tuple(
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module_name and not key.startswith("_")
        )
        raise _problem(
            name,
            f"module {module_name!r} has no function {function_name!r}{close_match(function_name, functions)}; "
            f"functions: {', '.join(functions) or 'none'}",
        )
    return Stage(name, function, _params_of(function, module, name), _first_line(function.__doc__))


def _params_of(function: Callable[..., Any], module: ModuleType, name: str) -> type[StageParams]:
    """Return the annotation of the second argument of a stage."""
    arguments = list(inspect.signature(function).parameters.values())
    if len(arguments) != 2:
        raise _problem(name, f"a stage takes two arguments, (context, params: Params); this one takes {len(arguments)}")
    annotation = arguments[1].annotation
    if isinstance(annotation, str):
        annotation = getattr(module, annotation, annotation)
    if not _is_params(annotation):
        found = "no annotation" if annotation is inspect.Parameter.empty else repr(annotation)
        raise _problem(
            name,
            f"the second argument of the stage needs an annotation that is a subclass of radps.StageParams, "
            f"known in the module; found {found}",
        )
    return annotation


def _is_params(value: object) -> TypeGuard[type[StageParams]]:
    return isinstance(value, type) and issubclass(value, StageParams)


def _import(module_name: str, stage: str) -> ModuleType:
    """Import the module of a stage."""
    try:
        return import_module(module_name)
    except ImportFailure as error:
        raise _problem(stage, str(error)) from error.__cause__


def _problem(name: str, text: str) -> ConfigError:
    return ConfigError(f"stage {name}", [text])


def _first_line(doc: str | None) -> str:
    """Return the first line of a docstring."""
    return (doc or "").strip().partition("\n")[0].strip()
