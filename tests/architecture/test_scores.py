"""Every stage scores what it did, or stands here with the reason why not; the report explains every score."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import radps.stages
from radps.context.scores import score_between
from radps.report.measures import explain_scores
from radps.stages.base import stage_names

WITHOUT_SCORES = {
    "export": "writes what others made; its manifest has a checksum of each file",
    "image_continuum": "`assess` scores its images, with all others of the run",
    "image_cube": "`assess` scores its images, with all others of the run",
    "report": "shows what others made",
    "simulate": "makes the data; `import_data` scores them",
}
"""Stages without scores of their own, and the reason."""

FOLDER = Path(radps.stages.__file__).parent


def parse(name: str) -> ast.Module:
    """Return the code of a module of the stages."""
    return ast.parse((FOLDER / f"{name}.py").read_text())


def with_helpers(name: str) -> list[str]:
    """Return a module of the stages, and the private ones that it imports, directly or not."""
    found = [name]
    for one in found:
        for node in ast.walk(parse(one)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("radps.stages._"):
                helper = (node.module or "").rpartition(".")[2]
                found += [helper] if helper not in found else []
    return found


def gives_scores(name: str) -> bool:
    """Return True if a stage makes an Outcome with scores, itself or by a helper."""
    calls = (node for one in with_helpers(name) for node in ast.walk(parse(one)) if isinstance(node, ast.Call))
    return any(
        isinstance(call.func, ast.Name) and call.func.id == "Outcome" and "qa" in [word.arg for word in call.keywords]
        for call in calls
    )


def score_names() -> Iterator[str]:
    """Yield the names of scores, up to what depends on data; those that stand in a variable cannot be seen."""
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "score_between":
                name = node.args[0]
                if isinstance(name, ast.JoinedStr):
                    name = name.values[0]
                if isinstance(name, ast.Constant):
                    yield str(name.value)


@pytest.mark.parametrize("stage", stage_names())
def test_a_stage_has_scores_or_a_reason(stage: str) -> None:
    assert importlib.import_module(f"radps.stages.{stage}")
    assert gives_scores(stage) != (stage in WITHOUT_SCORES)


def test_the_reasons_are_those_of_stages() -> None:
    assert set(WITHOUT_SCORES) < set(stage_names())
    assert all(WITHOUT_SCORES.values())


@pytest.mark.parametrize("name", sorted(set(score_names())))
def test_the_report_says_what_a_score_means(name: str) -> None:
    score = score_between(name, 1.0, unit="", good=1.0, bad=0.0, applies_to="all")
    assert explain_scores([score]), f"radps.report.measures has no meaning of {name!r}"


def test_a_stage_without_scores_is_noticed() -> None:
    assert not gives_scores("simulate")
    assert gives_scores("set_model")
    assert gives_scores("flag_rfi")  # by a helper
