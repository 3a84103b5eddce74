"""Tables of sky components."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.table import QTable

from radps.data.component_tables import load_component_table
from radps.errors import DataError


@pytest.mark.parametrize("ending", ["ecsv", "fits", "vot"])
def test_columns_come_in_si_units(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"model.{ending}"
    QTable(
        {
            "flux": [2.5, 0.5] * units.Jy,
            "reference_frequency": [1.4, 1.5] * units.GHz,
            "east": [10.0, -20.0] * units.arcsec,
            "curvature": np.array([[0.1, 0.2], [0.0, 0.0]]),
        }
    ).write(path, format={"ecsv": "ascii.ecsv", "vot": "votable"}.get(ending))
    first, second = load_component_table(str(path))
    assert first["flux"] == 2.5
    assert first["reference_frequency"] == pytest.approx(1.4e9)
    assert second["east"] == pytest.approx(np.deg2rad(-20 / 3600))
    assert first["curvature"] == [0.1, 0.2]


def test_texts_of_csv_keep_their_units(tmp_path: Path) -> None:
    path = tmp_path / "model.csv"
    path.write_text("flux,reference_frequency,major\n2.5,1.4 GHz,15 arcsec\n")
    (row,) = load_component_table(str(path))
    assert row == {"flux": 2.5, "reference_frequency": "1.4 GHz", "major": "15 arcsec"}


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("model.txt", "flux\n1\n", "its name has to end in one of .ecsv, .csv"),
        ("missing.csv", None, "there is no such file"),
        ("model.ecsv", "nothing", "astropy cannot read it as ascii.ecsv"),
        ("model.csv", "flux,colour\n1,2\n", "unknown columns colour; .* columns are flux, reference_frequency"),
        ("model.csv", "flux\n", "0 rows"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: str | None, text: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=text):
        load_component_table(str(tmp_path / name))


def test_a_unit_of_another_kind_is_refused(tmp_path: Path) -> None:
    QTable({"flux": [1.0] * units.m}).write(tmp_path / "model.ecsv")
    with pytest.raises(DataError, match=r"column flux: .* it is needed in Jy"):
        load_component_table(str(tmp_path / "model.ecsv"))
