"""What a run folder holds, damage included: which version was committed last, and what can be mended.

======================================  ============================================================================
found                                   what counts
======================================  ============================================================================
a newer history entry                   the entry: a crash came between the two writes of a commit; nothing is wrong
context.json damaged or missing         the newest history entry, which is what was committed; only progress is lost
newest history entry missing, damaged   context.json; the entry is written anew
both damaged                            nobody can know: an error that names the newest entry that is good
context.json good, but settled steps    an error: it was edited by hand, or is of another run; only steps that wait,
differ from its history entry           run or are skipped may differ, which is progress
======================================  ============================================================================

What is replaced is kept beside its place under a name that ends in ``.damaged``.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from pydantic import ValidationError

from radps.context.model import SCHEMA_VERSION, Context
from radps.context.records import StepState
from radps.data.files import is_rest
from radps.errors import ContextError
from radps.run_folder.run_files import RunFiles

CONTEXT = "context.json"
HISTORY = "history"
_SETTLED = (StepState.DONE, StepState.FAILED, StepState.BLOCKED, StepState.STOPPED)
"""A step in such a state was committed with it; one that is skipped may be so by the plan alone."""


class Findings(NamedTuple):
    """What a run folder holds."""

    context: Context
    """The version that counts."""
    damage: str = ""
    """What is damaged, and what is taken in its place."""
    damaged_file: str = ""
    """The file to write anew from the context."""


def list_history(files: RunFiles) -> tuple[str, ...]:
    """Return the names of the history entries, oldest first."""
    names = filter(_is_history_name, files.list_names(HISTORY))
    return tuple(sorted(names, key=lambda name: (sequence_of(name), name)))


def examine(files: RunFiles) -> Findings:
    """Find the version that counts.

    Parameters
    ----------
    files : RunFiles
        Of the run folder.

    Raises
    ------
    ContextError
        This is no run folder; or a commit would be lost; or the folder was edited by hand; or it is of another version.
    """
    # In this order: a driver that commits in between makes the history newer than the text, never older.
    text = files.read(CONTEXT)
    history = list_history(files)
    if text is None and not history:
        raise ContextError(
            f"{files.url} is not a run folder: it has no {CONTEXT}; give the folder that `radps-run CONFIG` made"
        )
    try:
        context = _parse(text, files.place(CONTEXT)) if text is not None else _missing()
    except ValueError as error:
        return _from_history(files, history, str(error))
    newest = sequence_of(history[-1]) if history else 0
    if newest < context.sequence:
        name = f"{HISTORY}/{context.sequence:04d}-recovered.json"
        damage = f"the history entry {context.sequence} is missing; {CONTEXT}, which is good, is taken"
        return Findings(context, damage, name)
    return _compare(files, history, context) if history else Findings(context)


def mend(files: RunFiles, found: Findings) -> str:
    """Write anew what is damaged, as the driver of the run.

    Returns
    -------
    str
        What was found and done; empty if nothing was.
    """
    if not found.damaged_file:
        return ""
    kept = ""
    damaged = files.read(found.damaged_file)
    if damaged is not None:
        kept = f"; what was there is kept as {_keep(files, found.damaged_file, damaged)}"
    files.replace(found.damaged_file, dump_context(found.context))
    return f"{found.damage}; {found.damaged_file} is written anew{kept}"


def remove_rests(files: RunFiles) -> None:
    """Remove the temporary files of drivers that were killed while they wrote; only a driver writes these files."""
    for folder in ("", f"{HISTORY}/"):
        for name in files.list_names(folder):
            if is_rest(name) and (folder or name.startswith(f"{CONTEXT}.")):
                files.delete(f"{folder}{name}")


def dump_context(context: Context) -> bytes:
    """Return a context as it is written."""
    return context.model_dump_json(indent=1).encode()


def sequence_of(name: str) -> int:
    """Return the sequence number of a history entry."""
    return int(name.partition("-")[0])


def sequence_of_text(text: bytes | None) -> int:
    """Return the sequence number of a context file, 0 if it is missing or damaged."""
    try:
        return int(json.loads(text or b"{}").get("sequence", 0))
    except (ValueError, TypeError, AttributeError):
        return 0


def _is_history_name(name: str) -> bool:
    """Return True for a name such as ``0004-calibrate.json``."""
    return name[:4].isdigit() and name.endswith(".json") and name.partition("-")[0].isdigit()


def _from_history(files: RunFiles, history: tuple[str, ...], reason: str) -> Findings:
    """Return the newest history entry, in place of a damaged context.json."""
    if not history:
        raise _lost_commit(files, history, reason)
    name = f"{HISTORY}/{history[-1]}"
    try:
        context = _parse(files.read(name) or b"", files.place(name))
    except ValueError as error:
        raise _lost_commit(files, history, f"{reason}, and {name}: {error}") from error
    return Findings(context, f"{CONTEXT} is damaged: {reason}; {name}, which is what was committed, is taken", CONTEXT)


def _compare(files: RunFiles, history: tuple[str, ...], context: Context) -> Findings:
    """Compare a good context.json with the newest history entry, which is as new or newer."""
    name = f"{HISTORY}/{history[-1]}"
    newest = sequence_of(history[-1])
    try:
        entry = _parse(files.read(name) or b"", files.place(name))
    except ValueError as error:
        if newest > context.sequence:
            raise _lost_commit(files, history, f"it is older than {name}, which is damaged: {error}") from error
        return Findings(context, f"{name} is damaged: {error}; {CONTEXT}, which is good, is taken", name)
    if newest > context.sequence:
        return Findings(entry)
    if edited := _edited_parts(context, entry):
        raise ContextError(
            f"{files.place(CONTEXT)} was edited by hand: {', '.join(edited)} differs from {name}, which is what was "
            f"committed. Remove {CONTEXT} to go back to that; to change what a run does, change its config"
        )
    return Findings(context)


def _edited_parts(context: Context, entry: Context) -> list[str]:
    """Return what of a context differs from what was committed, other than progress."""
    parts = [
        f"steps.{name}"
        for name, record in context.steps.items()
        if record.state in _SETTLED and record != entry.steps.get(name)
    ]
    if context.run_id != entry.run_id:
        parts.append("run_id")
    # Whatever waits, runs or is skipped, the rest is the fold over the outcomes of the steps.
    fold = context.with_records(context.steps.values())
    return parts + [name for name in type(context).model_fields if getattr(context, name) != getattr(fold, name)]


def _lost_commit(files: RunFiles, history: tuple[str, ...], reason: str) -> ContextError:
    """Return the error of a folder whose last commit cannot be read; names the last entry that can."""
    good = None
    for name in reversed(history):
        try:
            _parse(files.read(f"{HISTORY}/{name}") or b"", name)
        except (ValueError, ContextError):
            continue
        good = name
        break
    remedy = (
        f"the last good version is {HISTORY}/{good}: copy it over {CONTEXT}, remove the newer entries of {HISTORY}, "
        "and run again"
        if good
        else "no history entry is readable either: start a new run folder"
    )
    return ContextError(f"{files.place(CONTEXT)} is damaged: {reason}; {remedy}")


def _keep(files: RunFiles, name: str, text: bytes) -> str:
    """Keep a damaged file under a name of its own."""
    number = 1
    while True:
        kept = f"{name}.{number}.damaged"
        try:
            files.create(kept, text)
        except FileExistsError:
            number += 1
        else:
            return kept


def _missing() -> Context:
    raise ValueError("it is missing")


def _parse(text: bytes, place: str) -> Context:
    """Return the context of a JSON text.

    Raises ValueError (whose text is short) if it is damaged, ContextError if it is of another version.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ValueError(f"no valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    version = document.get("schema_version")
    if isinstance(version, int) and version != SCHEMA_VERSION:
        remedy = "update radps" if version > SCHEMA_VERSION else "use the radps that made it, or start a new run folder"
        raise ContextError(
            f"{place} has schema version {version}, and this radps reads version {SCHEMA_VERSION}; {remedy}"
        )
    try:
        return Context.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
