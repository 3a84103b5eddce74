"""Windows of several data sets that are one: by their channels, or by the part of the band that they share."""

from __future__ import annotations

import numpy as np
import pytest

from radps.data.virtual_windows import Band, common_fraction, has_same_channels, match_virtual_windows

WIDTH = 1e4


def band(first: float, n_channels: int = 100, *, width: float = WIDTH, frame: str = "TOPO") -> Band:
    """A band that starts at a channel of 10 kHz above 1.4 GHz."""
    return Band(1.4e9 + first * WIDTH + np.arange(n_channels) * width, width, frame)


def test_exact_takes_channels_that_differ_by_less_than_a_hundredth() -> None:
    days = [[band(0)], [band(0.005)], [band(0.5)], [band(0, 99)], [band(0, frame="LSRK")]]
    assert match_virtual_windows(days, "exact") == [[0], [0], [1], [2], [3]]
    assert has_same_channels(band(0), band(0.005))


def test_overlap_takes_bands_that_share_more_than_the_given_part() -> None:
    days = [[band(0)], [band(30)], [band(60)]]
    # 70 of 130 channels, 40 of 160; the third shares 70 of 130 with the second, which is a member already
    assert match_virtual_windows(days, "overlap", 0.5) == [[0], [0], [0]]
    assert match_virtual_windows(days, "overlap", 0.6) == [[0], [1], [2]]
    assert common_fraction(band(0), band(60)) == pytest.approx(40 / 160)


def test_other_channels_of_the_same_band_overlap_and_are_not_exact() -> None:
    days = [[band(0, 100)], [band(-0.25, 200, width=WIDTH / 2)]]
    assert match_virtual_windows(days, "overlap") == [[0], [0]]
    assert match_virtual_windows(days, "exact") == [[0], [1]]


def test_the_best_match_counts_and_two_windows_of_a_data_set_never_share_one() -> None:
    days = [[band(0), band(20)], [band(18), band(3)], [band(0), band(0)]]
    assert match_virtual_windows(days, "overlap") == [[0, 1], [1, 0], [0, 1]]


def test_bands_apart_have_nothing_in_common() -> None:
    assert common_fraction(band(0), band(1000)) < 0
    assert common_fraction(band(0), band(0, frame="LSRK")) == 0.0
    assert match_virtual_windows([], "exact") == []
