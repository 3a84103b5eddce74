"""Compare two runs: which steps were done otherwise, and which numbers came out otherwise.

Runs of the same steps on the same data give the same bits, so that numbers are the same only if they are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from radps.context.fingerprint import describe_code_change, describe_mapping_change
from radps.context.model import Context
from radps.context.records import StepRecord
from radps.run_folder.store import RunStore
from radps.workflows.status import Status, make_status


class StepDifference(NamedTuple):
    """What differs between two runs in how a step was done."""

    step: str
    differences: tuple[str, ...]
    """In words, those of the first run before those of the second."""


class NumberPair(NamedTuple):
    """A number that both runs could have found."""

    what: str
    """``flux density``, ``image`` or ``score``."""
    of: str
    """Name of the field, image, or of what a score applies to."""
    quantity: str
    unit: str
    first: float | None
    """None = the first run has no such number."""
    second: float | None

    @property
    def change_percent(self) -> float | None:
        """Change from the first to the second [%]; None where there is none to tell."""
        if self.first is None or self.second is None or not self.first:
            return None
        return 100 * (self.second - self.first) / abs(self.first)


class Comparison(NamedTuple):
    """Two runs, side by side."""

    steps: tuple[StepDifference, ...]
    """Steps that were done otherwise."""
    changed: tuple[NumberPair, ...]
    """Numbers that differ, or that one of the runs does not have."""
    n_same: int
    """How many numbers are equal."""


def compare_runs(first: str, second: str) -> Comparison:
    """Compare two runs.

    Parameters
    ----------
    first, second : str
        Run folders (paths or URLs).

    Returns
    -------
    Comparison

    Raises
    ------
    ContextError
        There is no run, or it is damaged.
    """
    contexts = [RunStore(url).load() for url in (first, second)]
    numbers = [dict(_numbers_of(make_status(context, ""))) for context in contexts]
    pairs = [NumberPair(*key, numbers[0].get(key), numbers[1].get(key)) for key in {**numbers[0], **numbers[1]}]
    changed = tuple(pair for pair in pairs if pair.first != pair.second)
    return Comparison(tuple(_compare_steps(*contexts)), changed, len(pairs) - len(changed))


def _compare_steps(first: Context, second: Context) -> Iterator[StepDifference]:
    """Yield the steps that were done otherwise, those of the second run alone at the end."""
    for name in {**first.steps, **second.steps}:
        one, other = first.steps.get(name), second.steps.get(name)
        if one is None or other is None:
            yield StepDifference(name, (f"in the {'second' if one is None else 'first'} run alone",))
        elif differences := tuple(_differences(one, other)):
            yield StepDifference(name, differences)


def _differences(one: StepRecord, other: StepRecord) -> Iterator[str]:
    """Yield in words how two records of a step differ."""
    if one.stage != other.stage:
        yield f"stage {one.stage} -> {other.stage}"
    if one.state != other.state:
        yield f"{one.state} -> {other.state}"
    if one.params != other.params:
        yield describe_mapping_change(one.params, other.params)
    # A step that was not reached has none yet.
    if one.versions and other.versions and one.versions != other.versions:
        yield f"versions: {describe_mapping_change(one.versions, other.versions)}"
    if one.provenance is None or other.provenance is None:
        return
    code = [{file.module: file.sha256 for file in found.code} for found in (one.provenance, other.provenance)]
    if code[0] != code[1]:
        yield describe_code_change(one.provenance.code, other.provenance.code)
    data = [{file.sha256: file.path for file in found.inputs} for found in (one.provenance, other.provenance)]
    if data[0].keys() != data[1].keys():
        yield f"data: {', '.join(data[0].values()) or 'none'} -> {', '.join(data[1].values()) or 'none'}"


def _numbers_of(status: Status) -> Iterator[tuple[tuple[str, str, str, str], float]]:
    """Yield the numbers of a run, each under what it is."""
    for field, windows in status.flux_densities.items():
        for window, flux in windows.items():
            yield ("flux density", field, window, "Jy"), flux.flux_jy
    for image in status.images:
        for quantity in ("max", "min", "rms"):
            yield ("image", image.name, quantity, image.unit), getattr(image, quantity)
        if image.beam is not None:
            yield ("image", image.name, "major axis of the beam", "arcsec"), image.beam.major_arcsec
            yield ("image", image.name, "minor axis of the beam", "arcsec"), image.beam.minor_arcsec
    for score in status.qa:
        yield ("score", f"{score.step}: {score.applies_to}", score.name, score.unit), score.value
