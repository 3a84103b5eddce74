"""Fingerprints: is a step that was done still up to date, and if not, why.

The fingerprint of a step is a text of parts, each one the start of a SHA-256::

    stage=... params=... code=... versions=... data=... after.<step>=...

1. ``stage``: its name. ``params``: all parameters, defaults included. ``code``: the source file of the stage; of a
   user's stage also the user's own modules that it imports.
2. ``versions``: radps, Python, the distributions that the numbers depend on, and those that the config lists.
3. ``data``: the data sets of the config and the intents given there, for stages that read them. ``files``: the files
   that parameters name, such as masks.
4. ``after.<step>``: attempt and fingerprint of each step before it. As theirs hold those of the steps before them, a
   change anywhere reaches everything that depends on it, and nothing else.

A hash per part, instead of one for all, is what lets :func:`why_not_done` say what changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from radps.context.records import StepRecord, StepState
from radps.context.user_code import CodeFile
from radps.data.stamps import stamp_data, stamp_file


def digest_of(value: object) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the canonical JSON of a value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def own_parts(text: str) -> str:
    """Return the parts of a fingerprint that are the step's own: not the data, nor the steps before it."""
    return " ".join(part for part in text.split() if not part.startswith(("data=", "after.")))


def fingerprint(
    *,
    stage: str,
    params: Mapping[str, Any],
    code: str,
    versions: Mapping[str, str],
    data: str = "",
    files: str = "",
    ancestors: Iterable[StepRecord] = (),
) -> str:
    """Return the fingerprint of a step: parts ``name=hash``, separated by spaces.

    Parameters
    ----------
    stage : str
        Name of the stage.
    params : mapping
        All parameters, plain JSON.
    code : str
        Of :func:`code_stamp`.
    versions : mapping
        Of :func:`~radps.context.versions.current_versions`.
    data : str
        Of :func:`data_stamp`, empty for a stage that reads no data sets.
    files : str
        Of :func:`files_stamp`.
    ancestors : iterable of StepRecord
        The records of the steps directly before this one.
    """
    parts = {
        "stage": digest_of(stage),
        "params": digest_of(params),
        "code": code,
        "versions": digest_of(versions),
        **({"data": data} if data else {}),
        **({"files": files} if files else {}),
        **{f"after.{record.id}": digest_of([record.attempt, record.fingerprint]) for record in ancestors},
    }
    return " ".join(f"{name}={value}" for name, value in parts.items())


def why_not_done(
    record: StepRecord | None,
    new: str,
    *,
    stage: str,
    params: Mapping[str, Any],
    versions: Mapping[str, str],
    code: Iterable[CodeFile] = (),
) -> str:
    """Return in words why a step has to be done (again); an empty text if it is done and up to date.

    Parameters
    ----------
    record : StepRecord or None
        What is known of its last attempt.
    new : str
        Its fingerprint now.
    stage, params, versions, code
        As they are now, to name what changed.
    """
    if record is None or record.attempt == 0:
        return "never run"
    if record.state is StepState.FAILED:
        return f"failed: {_short(record.error)}"
    if record.state in (StepState.STOPPED, StepState.RUNNING):
        return "was interrupted"
    if record.state is not StepState.DONE:
        return record.error or "not done"
    if record.fingerprint == new:
        return ""
    before, now = _parts(record.fingerprint), _parts(new)
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if "code" in changed:
        code_change = describe_code_change(record.provenance.code if record.provenance else (), tuple(code))
    return "; ".join(
        code_change if name == "code" else _change(name, record, before, now, stage, params, versions)
        for name in changed
    )


def inputs_differ(old: str, new: str) -> bool:
    """Return True if two fingerprints of a step differ in the steps before it."""
    before, now = (
        {name: value for name, value in _parts(text).items() if name.startswith("after.")} for text in (old, new)
    )
    return before != now


def code_stamp(code: Iterable[CodeFile]) -> str:
    """Return a hash of the files that a stage's code stands in, wherever they lie.

    Parameters
    ----------
    code : iterable of CodeFile
        Of :func:`~radps.context.user_code.find_code`.
    """
    return digest_of([[file.module, file.sha256] for file in code])


def data_stamp(paths: Iterable[str], intents: Mapping[str, Iterable[str]]) -> str:
    """Return a hash that changes when one of the data sets, or the intents given for them, change.

    Parameters
    ----------
    paths : iterable of str
        Files or folders, local or any fsspec URL.
    intents : mapping
        Field -> intents.

    Raises
    ------
    DataError
        There is nothing at a path.
    """
    stamps = [stamp_data(path) for path in paths]
    return digest_of([stamps, {field: list(words) for field, words in sorted(intents.items())}])


def files_stamp(paths: Iterable[str]) -> str:
    """Return a hash that changes when a file that parameters name changes, comes or goes; empty for none."""
    stamps = [stamp_file(path) for path in paths]
    return digest_of(stamps) if stamps else ""


def _change(
    name: str,
    record: StepRecord,
    before: Mapping[str, str],
    now: Mapping[str, str],
    stage: str,
    params: Mapping[str, Any],
    versions: Mapping[str, str],
) -> str:
    """Return in words what one changed part means."""
    if name == "stage":
        return f"stage {record.stage} -> {stage}"
    if name == "params":
        return "parameters changed: " + describe_mapping_change(record.params, params)
    if name == "versions":
        return "versions changed: " + describe_mapping_change(record.versions, versions)
    if name == "data":
        return "the input data or their intents changed"
    if name == "files":
        return "a file that its parameters name changed"
    step = name.removeprefix("after.")
    if name not in before:
        return f"now comes after step {step}"
    return f"no longer comes after step {step}" if name not in now else f"step {step} was done again"


def describe_code_change(before: Sequence[CodeFile], now: Sequence[CodeFile]) -> str:
    """Return in words which files of a stage's code changed."""
    old, new = ({file.module: file for file in files} for files in (before, now))
    changes = [file.path for name, file in new.items() if name in old and old[name].sha256 != file.sha256]
    changes += [f"{file.path} is new" for name, file in new.items() if old and name not in old]
    changes += [f"{file.path} is not imported any more" for name, file in old.items() if new and name not in new]
    return "the code of the stage changed" + (f": {', '.join(changes)}" if changes else "")


def describe_mapping_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return ``name old -> new`` for what differs between two mappings."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {_value(before, name)} -> {_value(now, name)}" for name in names)


def _value(mapping: Mapping[str, Any], name: str) -> str:
    return _short(json.dumps(mapping[name], default=str)) if name in mapping else "(none)"


def _parts(text: str) -> dict[str, str]:
    """Return the parts of a fingerprint by name."""
    return {name: value for name, _, value in (part.partition("=") for part in text.split())}


def _short(text: str | None, length: int = 60) -> str:
    line = (text or "").partition("\n")[0]
    return line if len(line) <= length else line[: length - 3] + "..."
