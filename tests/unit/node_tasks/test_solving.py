"""The sums of scans that solutions share: which spectral windows may be combined."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from radps.domain.stefcal import GainOptions
from radps.errors import DataError
from radps.node_tasks.prediction import FieldModel
from radps.node_tasks.solving import ScanPart, sum_scan


def make_part(partition: str, antenna2: list[int]) -> ScanPart:
    """Return a scan that has antennas and nothing else."""
    data = SimpleNamespace(antenna1=np.zeros(len(antenna2), np.int64), antenna2=np.array(antenna2))
    piece: Any = SimpleNamespace(partition=partition, load=lambda variables: data)
    return ScanPart((piece,), (), FieldModel(()))


def test_windows_with_other_baselines_are_not_combined() -> None:
    text = (
        "low_0 and high_0 have different baselines, and cannot be combined to one solution: solve each spectral window"
    )
    with pytest.raises(DataError, match=text):
        sum_scan([make_part("low_0", [1, 2, 3]), make_part("high_0", [1, 2])], "scan", 3, GainOptions())
