"""Stokes I from parallel hands: which samples count, and with what weight."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.polarization import parallel_hands, to_stokes_i
from radps.errors import DataError

SHAPE = (3, 4, 5)


def draw(n_polarizations: int) -> tuple[NDArray[np.complex64], NDArray[np.bool_], NDArray[np.float32]]:
    rng = np.random.default_rng(3)
    shape = (*SHAPE, n_polarizations)
    visibilities = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    return visibilities, np.zeros(shape, np.bool_), rng.uniform(1, 2, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("names", "first", "second"),
    [
        (["RR", "LL"], 0, 1),
        (["RR", "RL", "LR", "LL"], 0, 3),
        (["XX", "XY", "YX", "YY"], 0, 3),
        (["LL", "RR"], 1, 0),
    ],
)
def test_stokes_i_is_the_mean_of_the_parallel_hands(names: list[str], first: int, second: int) -> None:
    visibilities, flags, weights = draw(len(names))
    result = to_stokes_i(visibilities, flags, weights, names)
    expected = (visibilities[..., first] + visibilities[..., second]) / 2
    np.testing.assert_allclose(result.visibilities, expected, rtol=1e-6)  # single precision
    np.testing.assert_allclose(result.weights, weights[..., first] + weights[..., second], rtol=1e-6)
    assert result.visibilities.dtype == np.complex64
    assert result.weights.dtype == np.float32


def test_the_mean_has_the_variance_that_the_weight_says() -> None:
    rng = np.random.default_rng(5)
    shape = (1, 20_000, 1, 2)
    noise = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64) * np.float32(0.5)
    weights = np.full(shape, 1 / 0.5**2, np.float32)
    result = to_stokes_i(noise, np.zeros(shape, np.bool_), weights, ["RR", "LL"])
    # 40,000 real numbers: their variance is known to 0.7 %
    assert result.visibilities.real.var() == pytest.approx(1 / result.weights[0, 0, 0], rel=0.03)


def test_unequal_weights_do_not_let_polarization_leak_into_i() -> None:
    visibilities = np.array([[[[1.2, 0.8]]]], np.complex64)  # I = 1, V = 0.2
    weights = np.array([[[[1.0, 9.0]]]], np.float32)
    assert to_stokes_i(visibilities, np.zeros((1, 1, 1, 2), np.bool_), weights, ["RR", "LL"]).visibilities == 1.0


@pytest.mark.parametrize("hand", [0, 1])
def test_a_sample_counts_only_where_both_hands_are_good(hand: int) -> None:
    visibilities, flags, weights = draw(2)
    flags[0, 0, 0, hand] = True
    visibilities[0, 0, 1, hand] = np.nan
    visibilities[0, 0, 2, hand] = complex(0, np.inf)
    weights[0, 0, 3, hand] = 0
    weights[0, 0, 4, hand] = np.nan
    weights[0, 1, 0, hand] = -1
    result = to_stokes_i(visibilities, flags, weights, ["RR", "LL"])
    lost = result.weights == 0
    assert lost.sum() == 6
    assert lost[0, 0].all()
    assert lost[0, 1, 0]
    assert (result.visibilities[lost] == 0).all()
    assert np.isfinite(result.visibilities).all()


def test_stokes_i_data_keep_their_weight() -> None:
    visibilities, flags, weights = draw(1)
    flags[1, 2, 3, 0] = True
    result = to_stokes_i(visibilities, flags, weights, ["I"])
    expected = np.where(flags[..., 0], 0, visibilities[..., 0])
    np.testing.assert_array_equal(result.visibilities, expected)
    np.testing.assert_array_equal(result.weights, np.where(flags[..., 0], 0, weights[..., 0]))


def test_without_both_hands_there_is_no_stokes_i() -> None:
    visibilities, flags, weights = draw(2)
    with pytest.raises(DataError, match=r"no Stokes I from the polarizations \['RR', 'RL'\]"):
        to_stokes_i(visibilities, flags, weights, ["RR", "RL"])


def test_parallel_hands_are_found_by_name() -> None:
    assert parallel_hands(["RR", "RL", "LR", "LL"]) == [0, 3]
    assert parallel_hands(["LL", "RR"]) == [1, 0]
    assert parallel_hands(["YY"]) == [0]
    with pytest.raises(DataError, match="no parallel hands"):
        parallel_hands(["RL", "LR"])
