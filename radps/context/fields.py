"""Selection of fields by words: names, or what they were observed for."""

from __future__ import annotations

from collections.abc import Iterable

from radps.context.observation import Observation
from radps.errors import SelectionError

INTENT_WORDS = {
    "flux": "CALIBRATE_FLUX",
    "bandpass": "CALIBRATE_BANDPASS",
    "phase": "CALIBRATE_PHASE",
    "target": "OBSERVE_TARGET",
}
"""Words by which a parameter selects fields by what they were observed for."""


def fields_of_word(observation: Observation, word: str) -> tuple[str, ...]:
    """Return the fields that one word of a selection names.

    Raises
    ------
    SelectionError
        It is no field, or an intent that no field has; lists what there is.
    """
    names = tuple(field.name for field in observation.fields)
    if word == "all":
        return names
    if word in names:
        return (word,)
    if word in INTENT_WORDS:
        prefix = INTENT_WORDS[word]
        found = tuple(f.name for f in observation.fields if any(i.startswith(prefix) for i in f.intents))
        if found:
            return found
        raise SelectionError(
            f"no field has the intent {prefix} (selected by {word!r}); fields and their intents: "
            + "; ".join(f"{f.name}: {_listing(f.intents)}" for f in observation.fields)
            + ". Name intents in the config under data.intents, or select a field by name"
        )
    raise SelectionError(
        f"there is no field {word!r}; fields: {_listing(names)}; words: {_listing((*INTENT_WORDS, 'all'))}"
    )


def _listing(names: Iterable[str]) -> str:
    """Join names for a message."""
    return ", ".join(names) or "none"
