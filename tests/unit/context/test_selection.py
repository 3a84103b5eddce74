"""Ranges of channels and frequencies."""

from __future__ import annotations

import pytest

from radps.context.records import SpectralWindow
from radps.context.selection import channels_of, channels_of_frequencies, frequency_ranges, parse_range
from radps.errors import SelectionError


def window(first_hz: float = 1.0e9, last_hz: float = 1.062e9) -> SpectralWindow:
    return SpectralWindow(
        name="L", virtual=0, frequency_hz=(first_hz, last_hz), n_channels=63, channel_width_hz=1e6, frame="LSRK"
    )


def test_channels_include_both_ends_and_are_merged() -> None:
    assert channels_of(["50~59", "4~6", "7~8"], window()) == ((4, 9), (50, 60))
    assert channels_of(["12"], window()) == ((12, 13),)


def test_frequencies_mean_the_channels_whose_centres_they_hold() -> None:
    assert channels_of(["1004 MHz ~ 1006 MHz"], window()) == ((4, 7),)
    assert channels_of(["1006.4 MHz ~ 1004.1 MHz"], window()) == ((5, 7),)


@pytest.mark.parametrize("spectral", [window(), window(1.062e9, 1.0e9)], ids=["rising", "falling"])
def test_channels_survive_the_way_through_frequencies(spectral: SpectralWindow) -> None:
    channels = ((0, 3), (4, 7), (50, 63))
    assert channels_of_frequencies(frequency_ranges(channels, spectral, "test"), spectral) == channels


def test_frequency_ranges_reach_from_edge_to_edge() -> None:
    (one,) = frequency_ranges(((4, 7),), window(), "test")
    assert (one.start_hz, one.stop_hz, one.frame) == (1.0035e9, 1.0065e9, "LSRK")


def test_ranges_of_another_window_give_no_channels() -> None:
    ranges = frequency_ranges(((4, 7),), window(2.0e9, 2.062e9), "test")
    assert channels_of_frequencies(ranges, window()) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4~80", r"channels 4~80 are outside the spectral window L, which has channels 0~62"),
        ("2 GHz ~ 2.1 GHz", r"outside the spectral window L, which reaches from 999.5\d* MHz to 1062.5"),
        ("1004.1 MHz ~ 1004.2 MHz", r"hold the centre of no channel .* 1000.000 kHz wide"),
    ],
)
def test_ranges_outside_the_band_are_refused(text: str, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        channels_of([text], window())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("6~4", "runs backwards; write '4~6'"),
        ("a~b", "is not a range"),
        ("1~2~3", "is not a range"),
        ("-3", "not a"),
        ("1 GHz ~ 2 GHz GALACTO", r"is not a range; .* a frame \(LSRK, BARY, TOPO\) behind"),
        ("4~6 LSRK", "names channels and a frame; only frequencies have one"),
    ],
)
def test_texts_that_are_no_range_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_range(text)


def test_ranges_that_several_data_sets_name_count_once() -> None:
    ranges = frequency_ranges(((2, 4), (10, 12)), window(), "config")
    assert channels_of_frequencies((*ranges, *ranges), window()) == ((2, 4), (10, 12))
    wider = frequency_ranges(((3, 6),), window(), "config")
    assert channels_of_frequencies((*ranges, *wider), window()) == ((2, 6), (10, 12))


@pytest.mark.parametrize("text", ["1.004 GHz ~ 1.006 GHz LSRK", "1.004~1.006GHz LSRK", "1006~1004 MHz  lsrk"])
def test_a_frame_and_one_unit_for_both_ends_are_understood(text: str) -> None:
    assert parse_range(text) == (1.004e9, 1.006e9, True, "LSRK")
    assert channels_of([text], window()) == ((4, 7),)


def test_of_a_range_in_another_frame_channels_count_that_are_in_it_at_all_times() -> None:
    # Frequencies are higher in the barycentre by 0.1 to 0.3 %: the range moves by 1 to 3 channels.
    def shift(frame: str) -> tuple[float, float]:
        assert frame == "BARY"
        return 1.001, 1.003

    low, high = (1e9 + 10e6) / 1e6, (1e9 + 20e6) / 1e6
    start, stop = 10 - 1010 * 0.001 / 1.001, 20 - 1020 * 0.003 / 1.003
    ((first, last),) = channels_of([f"{low}~{high} MHz BARY"], window(), shift)
    assert (first, last) == (int(start) + 1, int(stop) + 1)
    # Beyond the band it ends where the band does; what is in it at no time, or between channels, is refused.
    assert channels_of(["1050~1100 MHz BARY"], window(), shift)[0][1] == 63
    with pytest.raises(SelectionError, match=r"outside the spectral window L, which reaches from 1000\..*BARY"):
        channels_of(["990~999 MHz BARY"], window(), shift)
    with pytest.raises(SelectionError, match="hold the centre of no channel"):
        channels_of(["1010~1011 MHz BARY"], window(), shift)
    with pytest.raises(SelectionError, match=r"in another frame than the channels of L \(LSRK\)"):
        channels_of(["1010~1011 MHz BARY"], window())
