"""Channels on another axis, against numpy's interpolation a row at a time, and against what has to be conserved."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.regridding import (
    ChannelData,
    SpectralAxis,
    count_channel_parts,
    find_needed_channels,
    part_frequencies,
    regrid_channel,
)
from radps.errors import DataError

FIRST_HZ, STEP_HZ, N_CHANNELS = 1.4e9, 1e4, 40
FACTORS = 1.0 + np.array([0.0, 2.3e-6, -1.1e-6])
"""Up to a third of a channel."""


def frequencies(step_hz: float = STEP_HZ) -> NDArray[np.float64]:
    return FIRST_HZ + step_hz * np.arange(N_CHANNELS)


def make_data(
    visibilities: NDArray[np.complex64],
    weights: NDArray[np.float32] | None = None,
    *,
    step_hz: float = STEP_HZ,
    loaded: tuple[int, int] = (0, N_CHANNELS),
    usable: tuple[int, int] = (0, N_CHANNELS),
) -> ChannelData:
    every = frequencies(step_hz)
    weights = np.ones(visibilities.shape, np.float32) if weights is None else weights
    part = slice(*loaded)
    ends = (float(every[0]), float(every[-1]))
    return ChannelData(
        visibilities[..., part].copy(), weights[..., part].copy(), loaded[0], ends, N_CHANNELS, abs(step_hz), usable
    )


def random_visibilities(seed: int = 1, n_baselines: int = 4) -> NDArray[np.complex64]:
    rng = np.random.default_rng(seed)
    shape = (len(FACTORS), n_baselines, N_CHANNELS)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


@pytest.mark.parametrize("step_hz", [STEP_HZ, -STEP_HZ])
@pytest.mark.parametrize("width", [STEP_HZ, 0.7 * STEP_HZ, -2.5 * STEP_HZ])
def test_linear_is_that_of_numpy_for_every_part(step_hz: float, width: float) -> None:
    data = random_visibilities()
    weights = np.random.default_rng(2).uniform(0.5, 2.0, data.shape).astype(np.float32)
    middle = frequencies(step_hz)[N_CHANNELS // 2]
    axis = SpectralAxis(middle, width, 3, "LSRK")
    every = frequencies(step_hz)
    order = np.argsort(every)
    for channel in range(3):
        found = regrid_channel(make_data(data, weights, step_hz=step_hz), FACTORS, axis, channel)
        centres = part_frequencies(axis, channel, found.weights.shape[0])
        for part, time in np.ndindex(found.weights.shape[:2]):
            wanted = centres[part] / FACTORS[time]
            for baseline in range(data.shape[1]):
                row = data[time, baseline][order]
                expected = np.interp(wanted, every[order], row.real) + 1j * np.interp(wanted, every[order], row.imag)
                # Nothing is mixed within 1e-4 of a channel; values are of the order of 1.
                assert found.visibilities[part, time, baseline] == pytest.approx(expected, abs=5e-4)
            mixed = [np.interp(wanted, every[order], row[order]) for row in weights[time]]
            np.testing.assert_allclose(found.weights[part, time], mixed, rtol=1e-3)
            # The part's own wavelengths: of the frequency that the data have there.
            assert found.scale[part, time] == pytest.approx(wanted / axis.frequency_hz()[channel], rel=1e-15)


def test_channels_of_the_data_come_through_bit_by_bit() -> None:
    data, weights = random_visibilities(), np.full((3, 4, N_CHANNELS), 2.5, np.float32)
    axis = SpectralAxis(frequencies()[5], STEP_HZ, 10, "LSRK")
    for channel in range(10):
        for interpolation in ("linear", "nearest"):
            found = regrid_channel(
                make_data(data, weights), np.ones(3), axis._replace(interpolation=interpolation), channel
            )
            np.testing.assert_array_equal(found.visibilities[0], data[..., 5 + channel])
            np.testing.assert_array_equal(found.weights[0], weights[..., 5 + channel])


def test_the_nearest_channel_is_taken_as_it_is() -> None:
    data = random_visibilities()
    axis = SpectralAxis(frequencies()[5] + 0.4 * STEP_HZ, STEP_HZ, 3, "LSRK", "nearest")
    found = regrid_channel(make_data(data), FACTORS, axis, 1)
    # By 0.4 to the next centre, and by -0.32, 0.15 of a channel by the Doppler shift.
    np.testing.assert_array_equal(found.visibilities[0, 0], data[0, :, 6])
    np.testing.assert_array_equal(found.visibilities[0, 1], data[1, :, 6])
    np.testing.assert_array_equal(found.visibilities[0, 2], data[2, :, 7])


def test_a_flagged_channel_takes_what_would_be_mixed_with_it() -> None:
    data, weights = random_visibilities(), np.ones((3, 4, N_CHANNELS), np.float32)
    weights[0, 2, 10] = 0.0
    axis = SpectralAxis(frequencies()[0] + 0.5 * STEP_HZ, STEP_HZ, N_CHANNELS - 1, "LSRK")
    used = np.array([regrid_channel(make_data(data, weights), np.ones(3), axis, n).weights[0, 0] for n in range(39)])
    assert np.argwhere(used == 0).tolist() == [[9, 2], [10, 2]]
    # A wide channel goes on with the parts that are left.
    wide = SpectralAxis(frequencies()[10], 4 * STEP_HZ, 1, "LSRK")
    found = regrid_channel(make_data(data, weights), np.ones(3), wide, 0)
    assert (found.weights[:, 0, 2] > 0).tolist() == [True, False, False, True]


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_nothing_is_extrapolated_nor_taken_from_channels_that_may_not_be_used(interpolation: str) -> None:
    data = make_data(random_visibilities(), usable=(3, 30))
    axis = SpectralAxis(frequencies()[0] - 2.25 * STEP_HZ, 0.5 * STEP_HZ, 2 * N_CHANNELS + 10, "LSRK", interpolation)
    places = (axis.frequency_hz() - FIRST_HZ) / STEP_HZ
    has = np.array([regrid_channel(data, np.ones(3), axis, n).weights.all() for n in range(axis.n_channels)])
    margin = 0.0 if interpolation == "linear" else 0.5
    np.testing.assert_array_equal(has, (places >= 3 - margin) & (places <= 29 + margin))


@pytest.mark.parametrize("width", [STEP_HZ, 0.6 * STEP_HZ, 3.2 * STEP_HZ])
def test_line_flux_and_place_are_kept_at_any_width(width: float) -> None:
    # A Gaussian line of 6 channels: linear interpolation broadens it, and keeps its sum and its middle.
    centre, sigma = FIRST_HZ + 19.37 * STEP_HZ, 2.5 * STEP_HZ
    every = frequencies()
    data = np.empty((3, 1, N_CHANNELS), np.complex64)
    for time, factor in enumerate(FACTORS):
        data[time, 0] = np.exp(-0.5 * np.square((every * factor - centre) / sigma))
    n_channels = int(30 * STEP_HZ / width)
    axis = SpectralAxis(FIRST_HZ + 4.8 * STEP_HZ, width, n_channels, "LSRK")
    samples = [regrid_channel(make_data(data), FACTORS, axis, n).visibilities.real for n in range(n_channels)]
    spectra = np.array([one[:, :, 0].mean(axis=0) for one in samples], np.float64)
    for time in range(3):
        total = spectra[:, time].sum() * width
        assert total == pytest.approx(np.sqrt(2 * np.pi) * sigma, rel=2e-3)
        mean = (spectra[:, time] * axis.frequency_hz()).sum() / spectra[:, time].sum()
        assert abs(mean - centre) < 0.01 * STEP_HZ
    # Without the shift of each integration the middle is off by what the test has to see.
    unshifted = np.array([regrid_channel(make_data(data), np.ones(3), axis, n).visibilities[:, 1, 0].real.mean()
                          for n in range(n_channels)], np.float64)  # fmt: skip
    mean = (unshifted * axis.frequency_hz()).sum() / unshifted.sum()
    assert abs(mean - centre) > 0.2 * STEP_HZ


def test_all_parts_of_a_channel_count_the_same() -> None:
    # Were the weights inverse variances, parts in the middle between channels would count twice.
    axis = SpectralAxis(frequencies()[10] + 0.3 * STEP_HZ, 3.3 * STEP_HZ, 1, "LSRK")
    found = regrid_channel(make_data(random_visibilities()), FACTORS, axis, 0)
    assert found.weights.shape[0] == 4
    np.testing.assert_allclose(found.weights, 1.0, rtol=1e-6)
    # A mixture in the middle has half of the variance of what it is made of, and no more noise than its weight says.
    noise = np.random.default_rng(3).normal(size=(3, 20_000, N_CHANNELS)).astype(np.complex64)
    middle = SpectralAxis(frequencies()[10] + 0.5 * STEP_HZ, STEP_HZ, 1, "LSRK")
    mixed = regrid_channel(make_data(noise), np.ones(3), middle, 0).visibilities
    assert float(np.var(mixed.real)) == pytest.approx(0.5, rel=0.03)  # of 60,000 samples: 0.6 %


def test_a_channel_does_not_depend_on_what_is_read_with_it() -> None:
    data = random_visibilities()
    axis = SpectralAxis(frequencies()[3] + 1234.0, 1.9 * STEP_HZ, 15, "LSRK")
    for channel in range(axis.n_channels):
        alone = find_needed_channels(axis, (channel, channel + 1), FACTORS, frequencies(), (0, N_CHANNELS))
        assert alone[1] - alone[0] <= 5
        one = regrid_channel(make_data(data, loaded=alone), FACTORS, axis, channel)
        every = regrid_channel(make_data(data), FACTORS, axis, channel)
        for found, expected in zip(one, every, strict=True):
            np.testing.assert_array_equal(found, expected)
        assert every.weights.all()


def test_a_window_of_one_channel_is_used_where_a_part_lies_in_it() -> None:
    data = ChannelData(np.ones((1, 1, 1), np.complex64), np.ones((1, 1, 1), np.float32), 0, (1e9, 1e9), 1, 1e6, (0, 1))
    used = [
        regrid_channel(data, np.ones(1), SpectralAxis(1e9 + offset, 1e6, 1, "LSRK"), 0).weights.item()
        for offset in (-6e5, -4e5, 4e5, 6e5)
    ]
    assert used == [0, 1, 1, 0]
    assert find_needed_channels(SpectralAxis(1e9, 1e6, 1, "LSRK"), (0, 1), np.ones(1), np.array([1e9]), (0, 1)) == (
        0,
        1,
    )


def test_parts_are_no_wider_than_channels_of_the_data() -> None:
    assert [count_channel_parts(width, 1e4) for width in (3e3, -1e4, 1.0001e4, 1.5e4, -3.0002e4, 3.2e4)] == [
        1, 1, 1, 2, 3, 4,
    ]  # fmt: skip


def test_uneven_channels_are_refused() -> None:
    uneven = frequencies()
    uneven[20:] += 3e3
    with pytest.raises(DataError, match=r"channels of the data are 10000 to 13000 Hz apart; only evenly spaced"):
        find_needed_channels(SpectralAxis(FIRST_HZ, STEP_HZ, 3, "LSRK"), (0, 1), np.ones(1), uneven, (0, N_CHANNELS))
