"""Parameters of masks: which files and variables they name, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from radps.errors import DataError, SelectionError
from radps.stages._masks import MaskParams, apply_mask

DESCRIPTION: Any = SimpleNamespace(frequency_hz=np.array([1.4e9]))


def make_context(telescope: str, *diameters_m: float) -> Any:
    antennas = [SimpleNamespace(name=f"A{one:g}", diameter_m=one) for one in diameters_m]
    return SimpleNamespace(require_observation=lambda: SimpleNamespace(telescope=telescope, antennas=antennas))


@pytest.mark.parametrize(
    ("parameters", "given"),
    [
        ({}, None),
        ({"mask": "auto"}, None),
        ({"mask": "sky.fits"}, "sky.fits"),
        ({"mask": "auto", "auto_mask": {"start": "sky.reg"}}, "sky.reg"),
    ],
)
def test_the_files_of_masks_are_read_whatever_they_are_for(parameters: dict[str, Any], given: str | None) -> None:
    params = MaskParams.model_validate(parameters)
    assert params.files_read() == (() if given is None else (given,))
    assert bool(params.mask_variables) == (parameters != {})


def test_a_level_of_the_primary_beam_is_a_mask() -> None:
    assert MaskParams(mask_primary_beam=0.2).mask_variables == {"MASK": ""}


def test_levels_below_the_known_primary_beams_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"primary beams are known down to 0\.03; give 0 for none"):
        MaskParams(mask_primary_beam=0.01)


def test_the_start_of_a_mask_that_is_not_automatic_is_refused() -> None:
    with pytest.raises(ValidationError, match="mask is 'none': use mask: auto"):
        MaskParams.model_validate({"auto_mask": {"start": "sky.reg"}})


@pytest.mark.parametrize(
    ("context", "error", "text"),
    [
        (make_context("GMRT", 0.0), DataError, "no primary beam for telescope 'GMRT'.*leave out .*`mask_primary_beam`"),
        (make_context("ALMA", 12.0, 7.0), SelectionError, "^mask_primary_beam: the array has dishes of 2 diameters"),
    ],
)
def test_a_primary_beam_that_is_not_known_is_refused(context: Any, error: type[Exception], text: str) -> None:
    rules: Any = SimpleNamespace()
    with pytest.raises(error, match=text):
        apply_mask(context, MaskParams(mask_primary_beam=0.2), rules, DESCRIPTION, "sky")
