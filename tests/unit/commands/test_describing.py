"""`radps-run describe`: the tables of a data set."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType


def test_fields_windows_and_scans_are_shown_and_missing_intents_are_asked_for(
    call, tmp_path: Path, datasets: ModuleType
) -> None:
    datasets.write_uvfits(tmp_path / "a.fits", n_windows=2)
    result = call("describe", tmp_path / "a.fits")
    assert result.code == 0
    assert "a.fits: UVFITS of VLA" in result.output
    assert re.search(
        r"^window +name +channels +first \[GHz\] +last \[GHz\] +width \[kHz\]", result.output, re.MULTILINE
    )
    assert re.search(r"^1 +\S+ +1995-\d\d-\d\d \d\d:\d\d:\d\d +\d+ +0, 1", result.output, re.MULTILINE)
    assert "The data do not say what the fields are for." in result.output


def test_intents_that_the_data_have_are_shown(call, tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_msv2(tmp_path / "a.ms")
    result = call("describe", tmp_path / "a.ms")
    assert "CALIBRATE_FLUX" in result.output
    assert "do not say" not in result.output


def test_what_is_no_data_set_is_an_error_of_usage(call, tmp_path: Path) -> None:
    result = call("describe", tmp_path)
    assert result.code == 2
    assert "is a folder with nothing in it; radps reads UVFITS files" in result.errors
