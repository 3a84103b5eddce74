"""Every flag rule against a loop over the data that says the same in plain words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from radps.domain.flagging import (
    QuackMode,
    add_flag_statistics,
    count_flags,
    count_times,
    flag_autocorrelations,
    flag_clip,
    flag_edge_channels,
    flag_invalid,
    flag_quack,
    flag_selection,
)
from radps.errors import SelectionError

N_ANTENNAS = 4
ANTENNA1, ANTENNA2 = np.triu_indices(N_ANTENNAS)
SHAPE = (5, len(ANTENNA1), 6, 2)
TIME_S = np.array([0.0, 10.0, 20.0, 100.0, 110.0])


def test_autocorrelations_are_flagged() -> None:
    mask = np.broadcast_to(flag_autocorrelations(ANTENNA1, ANTENNA2), SHAPE)
    for baseline, (first, second) in enumerate(zip(ANTENNA1, ANTENNA2, strict=True)):
        assert (mask[:, baseline] == (first == second)).all()


@pytest.mark.parametrize("zeros", [True, False])
def test_bad_numbers_are_flagged(zeros: bool) -> None:
    visibilities = np.ones(SHAPE, np.complex64)
    weights = np.ones(SHAPE, np.float32)
    visibilities[0, 0, 0, 0] = np.nan
    visibilities[0, 1, 0, 0] = complex(1, np.inf)
    visibilities[0, 2, 0, 0] = 0
    visibilities[0, 3, 0, 0] = 1j  # a real part of zero is a datum
    weights[1, 0, 0, 0], weights[1, 1, 0, 0], weights[1, 2, 0, 0], weights[1, 3, 0, 0] = np.nan, 0, -1, np.inf
    mask = flag_invalid(visibilities, weights, zeros=zeros)
    expected = {(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3)} | ({(0, 2)} if zeros else set())
    assert {tuple(place[:2]) for place in np.argwhere(mask).tolist()} == expected
    without_weights = flag_invalid(visibilities, zeros=zeros)
    assert not without_weights[1].any()


@pytest.mark.parametrize("polarizations", [None, [1]])
def test_amplitudes_outside_of_a_range_are_flagged(polarizations: list[int] | None) -> None:
    rng = np.random.default_rng(1)
    visibilities = rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE)
    visibilities[0, 0, 0] = np.nan
    visibilities[0, 1, 0] = 3 + 4j  # both limits are within
    mask = flag_clip(visibilities, 0.5, 5.0, polarizations=None if polarizations is None else np.array(polarizations))
    for place, value in np.ndenumerate(visibilities):
        amplitude = abs(value)
        is_bad = amplitude != amplitude or amplitude < 0.5 or amplitude > 5.0
        assert mask[place] == (is_bad and (polarizations is None or place[3] in polarizations))
    assert 0.02 < mask.mean() < 0.5
    assert not flag_clip(np.full(SHAPE, 1e30 + 0j)).any()


def test_ranges_that_are_no_ranges_are_refused() -> None:
    with pytest.raises(SelectionError, match="clip: found a range from 2 to 1; the lower limit has to come first"):
        flag_clip(np.ones(SHAPE), 2.0, 1.0)
    with pytest.raises(SelectionError, match="clip: found polarization 2, allowed are 0 to 1"):
        flag_clip(np.ones(SHAPE), 0.0, 1.0, polarizations=np.array([2]))


@pytest.mark.parametrize("interval_s", [0.0, 5.0, 10.0, 15.0, 25.0])
@pytest.mark.parametrize("mode", list(QuackMode))
def test_ends_of_scans_are_flagged(interval_s: float, mode: QuackMode) -> None:
    scan = np.array([7, 7, 7, 8, 8])
    mask = flag_quack(TIME_S, scan, interval_s, mode=mode, integration_s=10.0)
    assert mask.shape == (5, 1, 1, 1)
    for number, time in enumerate(TIME_S):
        begin, end = (-5.0, 25.0) if scan[number] == 7 else (95.0, 115.0)
        distance = time - begin if mode is QuackMode.BEGIN else end - time
        assert mask[number, 0, 0, 0] == (distance < interval_s)


def test_quack_needs_no_order_of_times() -> None:
    scan = np.array([8, 7, 8, 7, 7])
    times = np.array([110.0, 20.0, 100.0, 0.0, 10.0])
    assert flag_quack(times, scan, 10.0, integration_s=10.0).ravel().tolist() == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("arguments", "text"), [((-1.0,), "interval of -1 s, allowed are 0 s and above"), ((np.nan,), "interval of nan s")]
)
def test_an_impossible_interval_is_refused(arguments: Any, text: str) -> None:
    with pytest.raises(SelectionError, match=text):
        flag_quack(TIME_S, np.zeros(5, np.int64), *arguments)


def test_an_unknown_end_is_refused() -> None:
    with pytest.raises(SelectionError, match="quack: found mode 'middle', allowed are 'begin', 'end'"):
        flag_quack(TIME_S, np.zeros(5, np.int64), 1.0, mode="middle")


@pytest.mark.parametrize(("low", "high"), [(0, None), (1, None), (2, 0), (0, 5), (3, 2)])
def test_edge_channels_are_flagged(low: int, high: int | None) -> None:
    mask = flag_edge_channels(6, low, high)
    last = low if high is None else high
    assert mask[0, 0, :, 0].tolist() == [channel < low or channel >= 6 - last for channel in range(6)]


@pytest.mark.parametrize(("low", "high"), [(3, 3), (-1, 0), (0, -1), (6, 0)])
def test_edges_that_leave_nothing_are_refused(low: int, high: int) -> None:
    with pytest.raises(SelectionError, match=f"found {low} at the begin and {high} at the end of 6 channels"):
        flag_edge_channels(6, low, high)


def select(**selection: Any) -> Any:
    """Return the mask of a manual selection, of full shape."""
    mask = flag_selection(
        time_s=TIME_S, antenna1=ANTENNA1, antenna2=ANTENNA2, n_channels=SHAPE[2], n_polarizations=SHAPE[3], **selection
    )
    return np.broadcast_to(mask, SHAPE)


SELECTIONS: list[dict[str, Any]] = [
    {"antennas": [1]},
    {"antennas": [0, 3]},
    {"baselines": [[3, 1], [0, 0]]},
    {"time_ranges_s": [[10.0, 100.0]]},
    {"time_ranges_s": [[-1.0, 0.0], [105.0, 200.0]]},
    {"channel_ranges": [[1, 2], [5, 5]]},
    {"polarizations": [1]},
    {"antennas": [2], "channel_ranges": [[0, 3]], "polarizations": [0], "time_ranges_s": [[0.0, 10.0]]},
    {"antennas": []},
]


@pytest.mark.parametrize("selection", SELECTIONS)
def test_what_lies_in_all_selections_is_flagged(selection: dict[str, Any]) -> None:
    mask = select(**{name: np.array(value) for name, value in selection.items()})
    for t, b, c, p in np.ndindex(SHAPE):
        first, second = int(ANTENNA1[b]), int(ANTENNA2[b])
        inside = []
        if "antennas" in selection:
            inside.append(first in selection["antennas"] or second in selection["antennas"])
        if "baselines" in selection:
            inside.append(any(sorted(pair) == [first, second] for pair in selection["baselines"]))
        if "time_ranges_s" in selection:
            inside.append(any(start <= TIME_S[t] <= stop for start, stop in selection["time_ranges_s"]))
        if "channel_ranges" in selection:
            inside.append(any(start <= c <= stop for start, stop in selection["channel_ranges"]))
        if "polarizations" in selection:
            inside.append(p in selection["polarizations"])
        assert mask[t, b, c, p] == all(inside)


def test_a_selection_of_everything_is_refused() -> None:
    with pytest.raises(SelectionError, match="no antenna, baseline, time, channel or polarization given; give one"):
        select()


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        ({"channel_ranges": np.array([[4, 6]])}, "found channel 6, allowed are 0 to 5"),
        ({"channel_ranges": np.array([[-1, 3]])}, "found channel -1, allowed are 0 to 5"),
        ({"polarizations": np.array([2])}, "found polarization 2, allowed are 0 to 1"),
    ],
)
def test_places_outside_of_the_data_are_refused(selection: dict[str, Any], text: str) -> None:
    with pytest.raises(SelectionError, match=text):
        select(**selection)


# --- statistics ---


def draw_flags(seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    before = rng.random(SHAPE) < 0.3
    return before, before | (rng.random(SHAPE) < 0.3)


@pytest.mark.parametrize("is_complete", [True, False])
def test_flags_are_counted_as_a_loop_counts_them(is_complete: bool) -> None:
    before, after = draw_flags(1)
    present = np.ones(SHAPE[:2], bool) if is_complete else np.random.default_rng(4).random(SHAPE[:2]) < 0.7
    given = None if is_complete else present
    found = count_flags(before, after, ANTENNA1, ANTENNA2, N_ANTENNAS + 1, present=given)
    antenna = np.zeros((3, N_ANTENNAS + 1), np.int64)
    channel, polarization = np.zeros((3, 6), np.int64), np.zeros((3, 2), np.int64)
    for place in np.ndindex(SHAPE):
        if not present[place[:2]]:
            continue
        counted = np.array([1, before[place], after[place]], np.int64)
        for one in {int(ANTENNA1[place[1]]), int(ANTENNA2[place[1]])}:
            antenna[:, one] += counted
        channel[:, place[2]] += counted
        polarization[:, place[3]] += counted
    seen = present.sum() * np.prod(SHAPE[2:])
    assert (found.n_data, found.n_before, found.n_after) == (seen, before[present].sum(), after[present].sum())
    for name, expected in (("antenna", antenna), ("channel", channel), ("polarization", polarization)):
        for row, kind in zip(expected, ("data", "before", "after"), strict=True):
            np.testing.assert_array_equal(getattr(found, f"{name}_{kind}"), row)


def test_counts_of_chunks_add_up() -> None:
    before, after = draw_flags(2)
    whole = count_flags(before, after, ANTENNA1, ANTENNA2, N_ANTENNAS)
    parts = [
        count_flags(
            before[:, :, part],
            after[:, :, part],
            ANTENNA1,
            ANTENNA2,
            N_ANTENNAS,
            first_channel=part.start,
            n_channels=6,
        )
        for part in (slice(0, 2), slice(2, 6))
    ]
    for found, expected in zip(add_flag_statistics(*parts), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_chunk_outside_of_the_window_is_refused() -> None:
    before, after = draw_flags(3)
    with pytest.raises(SelectionError, match="channels 3 to 8 are outside of a window of 6 channels"):
        count_flags(before, after, ANTENNA1, ANTENNA2, N_ANTENNAS, first_channel=3, n_channels=6)


def test_times_are_counted_of_masks_of_any_layout() -> None:
    mask = np.random.default_rng(5).random((300, 4, 6, 2)) < 0.9  # more times than a byte counts
    np.testing.assert_array_equal(count_times(mask), np.count_nonzero(mask, axis=0))
    part = mask[::2, :, ::3].swapaxes(1, 2)
    np.testing.assert_array_equal(count_times(part), np.count_nonzero(part, axis=0))
