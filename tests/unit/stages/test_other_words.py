"""What is said to words for things that are not there, and to CASA's names."""

from __future__ import annotations

import re

import pytest

from radps.errors import ConfigError
from radps.stages._other_words import CASA_PARAMETERS, CASA_TASKS, explain_missing, say_own_word
from radps.stages.base import find_stage, stage_names
from radps.workflows.reading import load_workflow

PARAMETERS = {name for stage in stage_names() for name in find_stage(stage).params_model.model_fields}


def test_every_name_of_casa_leads_to_something_that_is_there() -> None:
    assert {name for names in CASA_TASKS.values() for name in names} <= set(stage_names())
    assert {name for names in CASA_PARAMETERS.values() for name in names} <= PARAMETERS


def test_nothing_that_is_there_is_said_to_be_missing() -> None:
    assert [name for name in (*PARAMETERS, *stage_names(), *CASA_TASKS) if explain_missing(name)] == []


@pytest.mark.parametrize(
    ("stage", "text"),
    [
        ("tclean", r"no stage 'tclean'; it is 'image_continuum' or 'image_cube' here"),
        ("solve_leakage", r"no stage 'solve_leakage': leakage .* are not solved yet: correct them before the import"),
        ("polcal", "leakage between the feeds"),
        ("gencal", "gain curves, opacities, system temperatures and antenna positions are not applied yet"),
        ("importasdm", "an ASDM is not read yet: make an MSv2 of it by CASA `importasdm`"),
        ("mosaic", "mosaics and moving sources are not imaged yet: choose one pointing"),
        ("statwt", "weights by the scatter of the data are not made"),
        ("listobs", "no stage 'listobs': it is a command: radps-run describe DATA"),
        ("split", "no stage 'split'; it is 'import_data' here"),
        ("image_cub", "no stage 'image_cub'; did you mean 'image_cube'"),
    ],
)
def test_a_stage_that_is_not_there_is_explained(stage: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        find_stage(stage)


@pytest.mark.parametrize(
    ("stage", "word", "text"),
    [
        ("calibrate", "leakage", "step 'calibrate' has no 'leakage': leakage between the feeds and cross-hand phases"),
        ("calibrate", "gain_curve", "gain curves are not applied yet: apply them before the import"),
        ("calibrate", "opacity", "opacities are not applied yet"),
        ("apply_calibration", "tsys", "system temperatures and water vapour are not applied yet"),
        ("image_cube", "mosaic", "mosaics and moving sources are not imaged yet"),
        ("image_cube", "imsize", "has no 'imsize'; it is 'image_size' here"),
        ("image_cube", "datacolumn", "has no 'datacolumn'; it is 'data_group' here"),
        ("image_continuum", "gridder", "has no 'gridder'; it is 'w_term' here"),
        ("image_continuum", "uvtaper", "has no 'uvtaper'; it is 'taper' here"),
        ("calibrate", "uvrange", "baselines are not chosen by their length yet"),
        # A name of CASA that means nothing in this stage.
        ("assess", "imsize", "has no 'imsize'; it has: low_score"),
    ],
)
def test_a_parameter_that_is_not_there_is_explained(stage: str, word: str, text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        load_workflow({"run": "memory://words", "steps": [{stage: {word: 1}}]})


def test_a_word_of_casa_is_answered_by_our_word_alone() -> None:
    steps = ["tclean", {"calibrate": {"solint": "inf"}}]
    with pytest.raises(ConfigError) as caught:
        load_workflow({"run": "memory://words", "steps": steps})
    stage, parameter = caught.value.problems
    assert stage.endswith("there is no stage 'tclean'; it is 'image_continuum' or 'image_cube' here")
    assert parameter.endswith("has no 'solint'; it is 'solution_interval' here")


def test_other_words_are_left_alone() -> None:
    assert explain_missing("threshold") == explain_missing("taurus") == ""
    assert say_own_word("threshold", ["threshold"]) == ""
