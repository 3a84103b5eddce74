"""The angle of feeds: by which their mounts turn, and at which they stand in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from radps.data.stores import create_group, save_array
from radps.domain.array import horizontal_direction, vla_array
from radps.errors import DataError
from radps.node_tasks.feeds import FeedRule, find_feed_angle

RULE = FeedRule(3.0, 0.7)
TIME_S = 1.7e9 + 3600.0 * np.arange(3)
POSITIONS_M = vla_array("D", 3).positions_m


def write(folder: Path, mount: str, angles_deg: list[float] | None = None) -> str:
    """Write what the angle depends on, and return the place of the partition."""
    store = str(folder / "partition")
    antennas = f"{store}/antenna_xds"
    create_group(store, {})
    create_group(antennas, {})
    save_array(f"{antennas}/mount", [mount] * 3, dims=("antenna_name",))
    save_array(f"{antennas}/ANTENNA_POSITION", POSITIONS_M, dims=("antenna_name", "cartesian_pos_label"))
    if angles_deg is not None:
        both = np.radians([[one, one + 90.0] for one in angles_deg])
        save_array(f"{antennas}/ANTENNA_RECEPTOR_ANGLE", both, dims=("antenna_name", "receptor_label"))
    return store


@pytest.mark.parametrize("angles_deg", [None, [np.nan] * 3, [0.0] * 3])
def test_feeds_of_equatorial_mounts_do_not_turn(tmp_path: Path, angles_deg: list[float] | None) -> None:
    assert find_feed_angle(write(tmp_path, "EQUATORIAL", angles_deg), RULE, TIME_S) is None


def test_the_angle_of_the_first_receptor_adds_to_that_of_the_mount(tmp_path: Path) -> None:
    fixed = find_feed_angle(write(tmp_path / "fixed", "EQUATORIAL", [45.0, np.nan, 225.0]), RULE, TIME_S)
    np.testing.assert_allclose(fixed, np.radians(45.0))
    turning = find_feed_angle(write(tmp_path / "turning", "ALT-AZ", [45.0, 45.5, 44.5]), RULE, TIME_S)
    expected = horizontal_direction(POSITIONS_M, TIME_S, RULE.ra_rad, RULE.dec_rad).parallactic_angle_rad
    np.testing.assert_allclose(turning, expected + np.radians(45.0))


def test_feeds_at_different_angles_are_refused(tmp_path: Path) -> None:
    store = write(tmp_path, "ALT-AZ", [0.0, 45.0, 0.0])
    with pytest.raises(DataError, match=r"mounted at different angles, 0\.0 to 45\.0 degrees; one angle .*give parall"):
        find_feed_angle(store, RULE, TIME_S)


def test_unknown_mounts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mounts of the antennas of .* are X-Y; .* known for ALT-AZ and EQUATORIAL"):
        find_feed_angle(write(tmp_path, "x-y"), RULE, TIME_S)
