"""Rows of an MSv2 that are flagged as a whole, or that come twice."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.data import casacore_tables, msv2, msv2_rows, msv4
from radps.data.sources import SourceKind, describe_source


def open_main(path: Path) -> Any:
    from arcae.lib.arrow_tables import Table

    return Table.from_filename(str(path), readonly=False)


def set_flag_row(path: Path, rows: NDArray[np.bool_]) -> None:
    """Flag rows as a whole, without a word of it in FLAG."""
    main = open_main(path)
    main.putcol("FLAG_ROW", rows)
    main.close()


def repeat_rows(path: Path, count: int) -> None:
    """Write the first rows once more at the end."""
    main = open_main(path)
    names = ["TIME", "ANTENNA1", "ANTENNA2", "FIELD_ID", "DATA_DESC_ID", "STATE_ID", "SCAN_NUMBER", "UVW", "DATA"]
    columns = {name: main.getcol(name) for name in [*names, "FLAG", "WEIGHT", "SIGMA", "TIME_CENTROID", "INTERVAL"]}
    n_rows = len(columns["TIME"])
    main.addrows(count)
    for name, values in columns.items():
        main.putcol(name, values[:count], index=(slice(n_rows, n_rows + count),))
    main.close()


@pytest.fixture(autouse=True)
def few_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found must not depend on how many rows are read together."""
    monkeypatch.setattr(casacore_tables, "ROWS_AT_ONCE", 11)


def test_rows_flagged_as_a_whole_are_flagged(tmp_path: Path, datasets: ModuleType) -> None:
    """XRADIO reads FLAG alone: such rows went into solutions and images."""
    path, url = tmp_path / "a.ms", str(tmp_path / "out.ps.zarr")
    truth = datasets.write_msv2(path)
    chosen = np.random.default_rng(4).random(len(truth.data)) < 0.3
    set_flag_row(path, chosen)
    msv2.convert_msv2(str(path), url)
    for _ in range(2):  # a task may run twice
        assert msv2_rows.flag_whole_rows(str(path), url) == np.count_nonzero(chosen)
    seen = 0
    for part in describe_source(url, SourceKind.MSV2, names=msv2.read_names(str(path))):
        one, address = part.description, part.address
        assert isinstance(address, msv4.Msv4Address)
        names = one.antennas.names
        pairs = [(names[i], names[j]) for i, j in zip(one.antenna1, one.antenna2, strict=True)]
        cells = msv4.load_cells(address, time_s=one.time_s, baselines=pairs, channels=slice(None))
        for row in np.flatnonzero(np.isin(truth.unix_s, one.time_s)):
            pair = (names[truth.antenna1[row]], names[truth.antenna2[row]])
            place = (np.searchsorted(one.time_s, truth.unix_s[row]), pairs.index(pair))
            np.testing.assert_array_equal(cells.flags[place], truth.flag[row] | chosen[row])
            seen += 1
    assert seen == len(truth.data)


def test_nothing_is_done_where_no_row_is_flagged(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_msv2(tmp_path / "a.ms")
    assert msv2_rows.flag_whole_rows(str(tmp_path / "a.ms"), str(tmp_path / "not made")) == 0


def test_rows_that_come_twice_are_counted(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_msv2(tmp_path / "a.ms")
    assert msv2_rows.count_repeated_rows(str(tmp_path / "a.ms")) == 0
    repeat_rows(tmp_path / "a.ms", 7)
    assert msv2_rows.count_repeated_rows(str(tmp_path / "a.ms")) == 7
