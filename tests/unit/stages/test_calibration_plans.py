"""Which scans a task of a gain solution takes, and how they are cut: from metadata alone."""

from __future__ import annotations

import pytest

from radps.context.model import Context, Workspace
from radps.context.records import DataGroup, Partition, Resources
from radps.stages import _calibration
from radps.stages._calibration import COPIES, cut_scan, group_scans, share_out


def make_partition(scans: dict[str, tuple[int, int]], chunks: tuple[int, int] = (40, 8)) -> Partition:
    group = DataGroup(visibility="p/V", flag="p/F", weight="p/W", uvw="p/UVW")
    return Partition(
        name="day_0",
        dataset="day",
        path="p",
        field="calibrator",
        window="spw0",
        intents=("CALIBRATE_PHASE#ON_SOURCE",),
        shape=(max(stop for _, stop in scans.values()), 10, 64, 2),
        chunks=chunks,
        polarizations=("RR", "LL"),
        integration_time_s=10.0,
        scans=scans,
        groups={"base": group},
    )


def make_context(slots: int) -> Context:
    workspace = Workspace(url="memory://run", step="calibrate", attempt=1, resources=Resources(slots=slots))
    return Context(run_id="r").at(workspace)


PARTITION = make_partition({"1": (0, 15), "2": (15, 30), "3": (30, 45), "4": (45, 60), "5": (60, 130)})
SAMPLE = 10 * 2 * 13
"""Bytes of a time and channel."""


def test_scans_that_begin_in_the_same_zarr_chunk_are_read_together() -> None:
    assert group_scans(PARTITION, together=True) == {
        **dict.fromkeys("123", ("1", "2", "3")),
        **dict.fromkeys("45", ("4", "5")),
    }
    assert group_scans(PARTITION, together=False) == {scan: (scan,) for scan in "12345"}


def test_scans_that_do_not_fit_together_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # 45 times as read and three copies of 15: 90; of the other chunk it would be 85 and three copies of 70.
    monkeypatch.setattr(_calibration, "SUM_BLOCK_BYTES", 90 * 8 * SAMPLE)
    found = group_scans(PARTITION, together=True)
    assert found["2"] == ("1", "2", "3")
    assert found["4"] == ("4",)
    monkeypatch.setattr(_calibration, "SUM_BLOCK_BYTES", 90 * 8 * SAMPLE - 1)
    assert group_scans(PARTITION, together=True)["2"] == ("2",)


def test_pieces_of_scans_that_are_read_together_have_the_same_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_calibration, "SUM_BLOCK_BYTES", 90 * 20 * SAMPLE)
    context, together = make_context(1), ("1", "2", "3")
    pieces = [cut_scan(context, PARTITION, scan, (5, 64), together) for scan in together]
    bands = [(5, 16), (16, 32), (32, 48), (48, 64)]  # whole zarr chunks of the 20 channels that fit
    assert [[piece.channels for piece in one] for one in pieces] == [bands] * 3
    assert {piece.times for piece in pieces[2]} == {(30, 45)}
    alone = cut_scan(context, PARTITION, "3", (5, 64), ("3",))
    assert int(90 * 20 / (COPIES * 15)) == 30  # channels that fit of a scan by itself
    assert [piece.channels for piece in alone] == [(5, 24), (24, 48), (48, 64)]


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        (1, ["abc", "d", "ef"]),
        (3, ["abc", "d", "ef"]),
        (4, ["a", "bc", "d", "e", "f"]),
        (64, ["a", "b", "c", "d", "e", "f"]),
    ],
)
def test_scans_are_shared_out_to_all_slots(slots: int, expected: list[str]) -> None:
    shares = share_out(make_context(slots), [1, 1, 1, 2, 3, 3])
    assert ["abcdef"[share] for share in shares] == expected
