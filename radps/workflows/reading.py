"""Read a config, and check it as a whole.

All problems of a config are found at once, each with its line, what was found, and what is allowed. Nothing is written
and no data are read here.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from radps.context.versions import find_distribution_version
from radps.data.urls import absolute_url
from radps.errors import ConfigError
from radps.execution.clusters import CLUSTER_KINDS, Cluster, InProcessCluster, parse_cluster
from radps.node_tasks.faults import Faults
from radps.stages.base import Stage, StageParams, close_match, find_stage, forget_edited_stages
from radps.workflows.conflicts import find_conflicts
from radps.workflows.data_paths import find_data, find_files, replace_texts
from radps.workflows.document import Document, describe, parse_scalar, read_yaml, unknown_keys
from radps.workflows.model import DataConfig, Step, Workflow, describe_missing_step
from radps.workflows.policy import POLICY_KEYS, StepPolicy, When

M = TypeVar("M", bound=BaseModel)

_TOP = ("data", "run", "project", "cluster", "dependencies", "defaults", "faults", "steps")
_STEP = ("id", "stage", "after", "when", "params", *POLICY_KEYS)
_DATA = ("path", "intents")
_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_NO_FILE = "<dict>"
"""Source of a config that was given in Python."""


def load_workflow(
    config: str | os.PathLike[str] | Mapping[str, Any], overrides: Mapping[str, Any] | None = None
) -> Workflow:
    """Read a config and check it as a whole.

    Parameters
    ----------
    config : path or mapping
        A YAML file, or the same in Python.
    overrides : mapping, optional
        Path -> value: ``run``, ``project``, ``cluster``, ``data.path``, ``STEP.parameter``.

    Raises
    ------
    ConfigError
        With every problem.
    """
    if isinstance(config, Mapping):
        # A workflow that was kept says which file it came from: stages beside it are found from elsewhere, too.
        source = config.get("source")
        plain = {key: value for key, value in config.items() if key != "source"}
        is_kept = isinstance(source, str) and source != _NO_FILE
        document = Document(str(source) if is_kept else _NO_FILE, plain, {})
        folder = Path(str(source)).parent if is_kept else Path.cwd()
    else:
        document, folder = _read_file(os.fspath(config)), Path(config).parent
    return _Reader(document, folder).read(overrides or {})


def parse_overrides(texts: list[str]) -> dict[str, Any]:
    """Return the overrides of ``--set a.b=value`` options.

    Raises
    ------
    ConfigError
        With every text that is none.
    """
    overrides, problems = {}, []
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            if not equals or not name.strip():
                raise ValueError("write --set STEP.parameter=value, or --set data.path=value")
            overrides[name.strip()] = parse_scalar(value)
        except ValueError as error:
            problems.append(f"--set {text}: {error}")
    if problems:
        raise ConfigError("command line", problems)
    return overrides


def _read_file(path: str) -> Document:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(path, ["there is no such file; give the path of a workflow file (YAML)"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, [f"cannot be read as text: {error}"]) from error
    return read_yaml(text, path)


class _Reader:
    """Reads one document and collects its problems."""

    def __init__(self, document: Document, folder: Path) -> None:
        self._document = document
        self._folder = folder
        self._problems = list(document.problems)
        self._overridden: set[tuple[str | int, ...]] = set()

    def read(self, overrides: Mapping[str, Any]) -> Workflow:
        """Return the workflow, or raise all problems at once."""
        self._stop_if(self._document.data is None and bool(self._problems))
        data = self._document.data
        if not isinstance(data, Mapping):
            self._say((), f"a workflow is a mapping with the keys {', '.join(_TOP)}; found {_kind(data)}")
            self._stop_if(True)
        top = {str(key): value for key, value in data.items()}
        for key, message in unknown_keys(top, _TOP, "a workflow"):
            self._say((key,), message)
        steps = self._normal_steps(top.get("steps"))
        self._override(top, steps, overrides)
        run = self._run(top)
        project = self._text(top, "project")
        data_config = self._data(top.get("data"))
        cluster = self._cluster(top.get("cluster", "local"))
        dependencies = self._dependencies(top.get("dependencies"))
        defaults = self._model(StepPolicy, top.get("defaults"), ("defaults",), "the workflow's defaults")
        faults = self._model(Faults, top.get("faults"), ("faults",), "the simulated faults")
        _let_import_from(self._folder, steps)
        checked = self._steps(steps, defaults or StepPolicy())
        numbers = {step["id"]: step["number"] for step in steps}
        # Without the steps that have a mistake, those around them would seem to have no order.
        for name, problem in find_conflicts(checked) if len(checked) == len(steps) else ():
            self._say(("steps", numbers[name]), problem)
        self._stop_if(bool(self._problems))
        return Workflow(
            source=self._document.source,
            run=run,
            project=project,
            data=data_config,
            cluster=cluster,
            dependencies=dependencies,
            faults=faults,
            steps=checked,
        )

    # --- problems ---

    def _say(self, path: tuple[str | int, ...], message: str) -> None:
        self._problems.append(f"{self._document.place(path)}: {message}")

    def _stop_if(self, wrong: bool) -> None:
        if wrong:
            raise ConfigError(self._document.source, sorted(self._problems, key=self._line))

    def _line(self, problem: str) -> float:
        """Return the line of a problem; those of options come last."""
        found = re.match(rf"{re.escape(self._document.source)}:(\d+):", problem)
        return float(found[1]) if found else math.inf

    # --- steps ---

    def _normal_steps(self, raw: Any) -> list[dict[str, Any]]:
        """Return the steps in their long form, with ``number``; those that are none are noted and left out."""
        if not isinstance(raw, list) or not raw:
            self._say(("steps",), f"steps has to be a list with one step at least; found {_kind(raw)}")
            return []
        steps = []
        for number, entry in enumerate(raw):
            step = self._normal_step(number, entry)
            if step is not None:
                steps.append(step)
        for before, step in pairwise([None, *steps]):
            if step is not None:
                step.setdefault("after", [before["id"]] if before else [])
        return steps

    def _normal_step(self, number: int, entry: Any) -> dict[str, Any] | None:
        """Return one step in its long form."""
        path = ("steps", number)
        if isinstance(entry, str):
            return {"number": number, "id": entry.rpartition(":")[2], "stage": entry, "params": {}, "at": path}
        if not isinstance(entry, Mapping) or not entry:
            self._say(
                path, f"a step is a name, `name: {{parameters}}`, or {{{', '.join(_STEP)}}}; found {_kind(entry)}"
            )
            return None
        if "stage" not in entry and "id" not in entry:
            if len(entry) > 1:
                self._say(
                    path,
                    f"a step with the keys {', '.join(map(str, entry))} has no `stage`; name it, or indent the "
                    "parameters below the name of the stage",
                )
                return None
            (stage, params), at = next(iter(entry.items())), (*path, str(next(iter(entry))))
            step = {"id": str(stage).rpartition(":")[2], "stage": str(stage), "params": params, "at": at}
        else:
            for key, message in unknown_keys(entry, _STEP, "a step"):
                self._say((*path, key), message)
            stage = entry.get("stage", entry.get("id"))
            step = {"id": entry.get("id", str(stage).rpartition(":")[2]), "stage": stage, "params": entry.get("params")}
            step["at"] = (*path, "params")
            step.update({str(key): entry[key] for key in ("after", "when", *POLICY_KEYS) if key in entry})
        if not isinstance(step["id"], str) or not isinstance(step["stage"], str):
            self._say(path, f"id and stage of a step are names; found id {step['id']!r}, stage {step['stage']!r}")
            return None
        if step["params"] is not None and not isinstance(step["params"], Mapping):
            self._say(
                step["at"], f"the parameters of step {step['id']!r} have to be a mapping; found {_kind(step['params'])}"
            )
            step["params"] = {}
        step["params"] = dict(step["params"] or {})
        return {"number": number, **step}

    def _steps(self, raw: list[dict[str, Any]], defaults: StepPolicy) -> tuple[Step, ...]:
        """Return the steps, checked and sorted so that each one stands after those that it needs."""
        ids = tuple(dict.fromkeys(step["id"] for step in raw))
        self._check_ids(raw)
        for step in raw:
            step["after"] = self._after(step, ids)
        checked: dict[str, Step] = {}
        for step in raw:
            params, when, policy = self._params(step), self._when(step), self._policy(step, defaults)
            if params is not None:
                checked[step["id"]] = Step(
                    id=step["id"], stage=step["stage"], after=step["after"], when=when, policy=policy, params=params
                )
        if len(ids) < len(raw):
            return ()  # which step an `after` means is not known
        order = self._sorted({step["id"]: step["after"] for step in raw}, {step["id"]: step["number"] for step in raw})
        return tuple(checked[name] for name in order if name in checked)

    def _check_ids(self, raw: list[dict[str, Any]]) -> None:
        first: dict[str, int] = {}
        for step in raw:
            name, number = step["id"], step["number"]
            if name in first:
                self._say(
                    ("steps", number),
                    f"two steps have the id {name!r} (the other one: {self._document.place(('steps', first[name]))}); "
                    "give one of them another `id`",
                )
            elif name in _TOP:
                self._say(("steps", number), f"a step cannot have the id {name!r}, which is a key of the workflow")
            elif not _ID.fullmatch(name):
                self._say(
                    ("steps", number), f"the id {name!r} is not allowed; use letters, digits, - and _, a letter first"
                )
            first.setdefault(name, number)

    def _after(self, step: dict[str, Any], ids: tuple[str, ...]) -> tuple[str, ...]:
        """Return the ids of the steps that one comes after."""
        after, path = step["after"], ("steps", step["number"], "after")
        after = [after] if isinstance(after, str) else after
        if not isinstance(after, list) or not all(isinstance(name, str) for name in after):
            self._say(path, f"`after` of step {step['id']!r} has to be a list of step ids; found {after!r}")
            return ()
        for name in after:
            if name not in ids:
                self._say(path, f"step {step['id']!r} comes after {name!r}: {describe_missing_step(name, ids)}")
        return tuple(dict.fromkeys(name for name in after if name in ids))

    def _when(self, step: dict[str, Any]) -> When:
        """Return in which case a step runs."""
        found = step.get("when", When.SUCCESS)
        if found in tuple(When):
            return When(found)
        self._say(
            ("steps", step["number"], "when"),
            f"`when` of step {step['id']!r} should be {' or '.join(map(repr, map(str, When)))} (found {found!r})"
            f"{close_match(str(found), tuple(When))}",
        )
        return When.SUCCESS

    def _policy(self, step: dict[str, Any], defaults: StepPolicy) -> StepPolicy:
        """Return how a step is run."""
        own = {key: step[key] for key in POLICY_KEYS if key in step}
        found = self._model(StepPolicy, own, ("steps", step["number"]), f"step {step['id']!r}")
        if found is None:
            return defaults
        return defaults.model_copy(update={key: getattr(found, key) for key in own})

    def _model(self, model: type[M], raw: Any, path: tuple[str | int, ...], what: str) -> M | None:
        """Return a part of the document as its model, None if it is missing or wrong."""
        if raw is None:
            return None
        if not isinstance(raw, Mapping):
            self._say(path, f"{what} have to be a mapping; found {_kind(raw)}")
            return None
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            for place, message in describe(error, tuple(model.model_fields), what):
                self._say((*path, *place), message)
            return None

    def _params(self, step: dict[str, Any]) -> StageParams | None:
        """Return the parameters of a step, None if stage or parameters are wrong."""
        try:
            stage: Stage = find_stage(step["stage"])
        except ConfigError as error:
            for problem in error.problems:
                self._say(("steps", step["number"], "stage"), problem)
            return None
        try:
            params = stage.params_model.model_validate(step["params"])
            found = find_files(params.files_read(), self._folders(("set", step["id"])))
            return stage.params_model.model_validate(replace_texts(step["params"], found)) if found else params
        except ValidationError as error:
            known = tuple(stage.params_model.model_fields)
            what = f"step {step['id']!r}" + ("" if step["id"] == stage.name else f" (stage {stage.name})")
            for path, message in describe(error, known, what):
                self._say(self._place_of_param(step, path), message)
            return None

    def _place_of_param(self, step: dict[str, Any], path: tuple[str | int, ...]) -> tuple[str | int, ...]:
        """Return the path by which the place of a parameter is known."""
        for length in range(len(path), 0, -1):
            option = ("set", step["id"], *path[:length])
            if option in self._overridden:
                return option
        return (*step["at"], *path)

    def _sorted(self, after: dict[str, tuple[str, ...]], number: dict[str, int]) -> list[str]:
        """Return the ids in an order that respects ``after``, else that of the file; a cycle is noted."""
        order: list[str] = []
        waiting = dict(after)
        while waiting:
            ready = [name for name, needs in waiting.items() if not set(needs) & set(waiting)]
            if not ready:
                cycle = _find_cycle(waiting)
                self._say(
                    ("steps", number[cycle[0]]),
                    f"steps wait for each other: {' after '.join([*cycle, cycle[0]])}; remove one `after`",
                )
                return []
            name = min(ready, key=number.__getitem__)
            order.append(name)
            del waiting[name]
        return order

    # --- overrides ---

    def _override(self, top: dict[str, Any], steps: list[dict[str, Any]], overrides: Mapping[str, Any]) -> None:
        """Put the values of ``--set`` in their places, and note where each came from."""
        by_id = {step["id"]: step for step in steps}
        for name, value in overrides.items():
            first, *rest = name.split(".")
            option = f"--set {name}={value}"
            path: tuple[str, ...]
            if first in ("run", "project", "cluster", "faults", "defaults") and not rest:
                top[first], path = value, (first,)
            elif first in ("faults", "defaults") and rest:
                top[first] = dict(top[first]) if isinstance(top.get(first), Mapping) else {}
                _put(top[first], rest, value)
                path = (first, *rest)
            elif first == "data" and len(rest) == 1 and rest[0] in _DATA:
                top["data"] = {**(top["data"] if isinstance(top.get("data"), Mapping) else {}), rest[0]: value}
                path = ("data", rest[0])
            elif first in by_id and rest:
                _put(by_id[first]["params"], rest, value)
                path = ("set", first, *rest)
            else:
                self._problems.append(f"{option}: {_unknown_override(first, tuple(by_id))}")
                continue
            self._overridden.add(path)
            self._document.move(path, option)

    # --- the rest ---

    def _run(self, top: dict[str, Any]) -> str:
        run = top.get("run")
        if not isinstance(run, str) or not run.strip():
            self._say(("run",), "the workflow needs `run`: the folder (or URL) to write to; found " + _kind(run))
            return ""
        return absolute_url(run)

    def _text(self, top: dict[str, Any], key: str) -> str:
        value = top.get(key, "")
        if not isinstance(value, str):
            self._say((key,), f"{key} has to be a text; found {value!r}")
            return ""
        return value

    def _cluster(self, raw: Any) -> Cluster:
        try:
            return parse_cluster("none" if raw is None else raw)
        except ValidationError as error:
            kind = raw["kind"] if isinstance(raw, Mapping) else "address"
            known = tuple(CLUSTER_KINDS[kind].model_fields)
            for path, message in describe(error, known, "the cluster", skip=1):
                self._say(("cluster", *path), message)
        except ValueError as error:
            self._say(("cluster",), str(error))
        return InProcessCluster()

    def _dependencies(self, raw: Any) -> tuple[str, ...]:
        """Return the distributions whose versions count; those that are not installed are noted."""
        names = [raw] if isinstance(raw, str) else raw or []
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and name for name in names):
            self._say(("dependencies",), f"dependencies is a list of names of installed packages; found {raw!r}")
            return ()
        for name in names:
            if find_distribution_version(name) is None:
                self._say(
                    ("dependencies",),
                    f"the package {name!r} is not installed here; pip install {name}, or correct the name",
                )
        return tuple(dict.fromkeys(names))

    def _data(self, raw: Any) -> DataConfig:
        """Return the data sets, with absolute paths."""
        if raw is None:
            return DataConfig()
        if not isinstance(raw, Mapping):
            self._say(("data",), f"data has to be a mapping with the keys {', '.join(_DATA)}; found {_kind(raw)}")
            return DataConfig()
        for key, message in unknown_keys(raw, _DATA, "data"):
            self._say(("data", key), message)
        paths = raw.get("path", [])
        if paths is None or paths == "":
            self._say(("data", "path"), "data.path is empty; give a file, a folder or a URL, or leave the key out")
            paths = []
        paths = [paths] if isinstance(paths, str) else paths
        if not isinstance(paths, (list, tuple)) or not all(isinstance(path, str) for path in paths):
            self._say(("data", "path"), f"data.path is a path or a list of paths; found {paths!r}")
            paths = []
        found = tuple(place for path in paths if (place := self._find_data(path)))
        return DataConfig(path=found, intents=self._intents(raw.get("intents") or {}))

    def _find_data(self, path: str) -> str:
        """Return the absolute path or the URL of a data set, empty if there is none."""
        try:
            return find_data(path, self._folders(("data", "path")))
        except ValueError as error:
            self._say(("data", "path"), str(error))
            return ""

    def _folders(self, path: tuple[str, ...]) -> list[str]:
        """Return where a relative path begins: at the config, then where the user is; the other way round if typed."""
        folders = [str(self._folder), os.getcwd()]
        is_typed = any(option[: len(path)] == path for option in self._overridden)
        return folders[::-1] if is_typed else folders

    def _intents(self, raw: Any) -> dict[str, tuple[str, ...]]:
        if not isinstance(raw, Mapping):
            self._say(("data", "intents"), f"data.intents is a mapping field: [intent, ...]; found {_kind(raw)}")
            return {}
        intents = {}
        for field, words in raw.items():
            words = [words] if isinstance(words, str) else words
            if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
                self._say(
                    ("data", "intents", str(field)),
                    f"the intents of field {field!r} are a list of words; found {words!r}",
                )
                continue
            intents[str(field)] = tuple(words)
        return intents


def _let_import_from(folder: Path, steps: list[dict[str, Any]]) -> None:
    """Let a user's stages be imported from the folder of the config, after all that is installed.

    The worker processes of this machine take over the path.
    """
    place = str(folder.resolve())
    if any(":" in step["stage"] for step in steps) and place not in sys.path:
        sys.path.append(place)
    forget_edited_stages(step["stage"] for step in steps)


def _put(target: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a value in a nested mapping, copying on the way: the config given by the caller stays as it is."""
    for part in path[:-1]:
        inner = target.get(part)
        target[part] = dict(inner) if isinstance(inner, Mapping) else {}
        target = target[part]
    target[path[-1]] = value


def _unknown_override(first: str, ids: tuple[str, ...]) -> str:
    """Return what is wrong with the name of an override."""
    if first == "data":
        return f"data has the keys {', '.join(_DATA)}"
    if first in ("run", "project", "cluster"):
        return f"{first!r} has no parts; write --set {first}=value"
    if first in ids:
        return f"{first!r} is a step; write --set {first}.PARAMETER=value"
    names = ("run", "project", "cluster", "data", "faults", "defaults", *ids)
    return (
        f"there is no step {first!r}{close_match(first, names)}; steps: {', '.join(ids)}; also: run, project, cluster, "
        "data.path, faults, defaults"
    )


def _find_cycle(after: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the steps of one cycle, each one after the next."""
    seen: list[str] = []
    name = next(iter(after))
    while name not in seen:
        seen.append(name)
        name = next(need for need in after[name] if need in after)
    return seen[seen.index(name) :]


def _kind(value: Any) -> str:
    """Return what a value is, for a message."""
    if value is None:
        return "nothing"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
