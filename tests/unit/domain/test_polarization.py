"""Stokes I from parallel hands: which samples count, and with what weight."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.polarization import (
    StokesModel,
    find_receptors,
    find_recipes,
    parallel_hands,
    to_parallel_hands,
    to_stokes,
    to_stokes_i,
)
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


@pytest.mark.parametrize(
    ("polarizations", "first", "second"),
    [
        (["RR", "RL", "LR", "LL"], [0, 0, 1, 1], [0, 1, 0, 1]),
        (["RR", "LL", "RL", "LR"], [0, 1, 0, 1], [0, 1, 1, 0]),
        (["YY", "XX"], [1, 0], [1, 0]),
        (["LL"], [0], [0]),
    ],
)
def test_receptors_of_correlations_are_found_by_name(
    polarizations: list[str], first: list[int], second: list[int]
) -> None:
    found = find_receptors(polarizations)
    assert found[0].tolist() == first
    assert found[1].tolist() == second


def test_a_correlation_of_a_receptor_without_parallel_hand_has_no_gain() -> None:
    with pytest.raises(
        DataError, match=r"no gains for RL of the polarizations \['RR', 'RL'\]: the parallel hand of each"
    ):
        find_receptors(["RR", "RL"])


CIRCULAR, LINEAR = ["RR", "RL", "LR", "LL"], ["XX", "XY", "YX", "YY"]


def observe(sky: NDArray[np.complex128], names: list[str], angle: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Return what turning feeds see of Stokes visibilities (time, baseline, channel, IQUV), by matrices."""
    i, q, u, v = np.moveaxis(sky, -1, 0)
    coherency = np.stack([np.stack([i + q, u + 1j * v], -1), np.stack([u - 1j * v, i - q], -1)], -2)
    feeds = np.eye(2) if names == LINEAR else np.array([[1, 1j], [1, -1j]]) / np.sqrt(2)
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    jones = np.einsum("ij,jkt->tik", feeds, turned)
    seen = np.einsum("tij,tbcjk,tlk->tbcil", jones, coherency, jones.conj())
    return seen.reshape(*sky.shape).astype(np.complex64)


@pytest.mark.parametrize("names", [CIRCULAR, LINEAR])
@pytest.mark.parametrize("is_turning", [True, False])
def test_stokes_parameters_are_those_of_the_sky(names: list[str], is_turning: bool) -> None:
    sky = draw(4)[0].astype(np.complex128)
    _, flags, weights = draw(4)
    angle = np.array([0.3, -1.2, 2.8]) if is_turning else np.zeros(3)
    seen = observe(sky, names, angle)
    found = to_stokes(seen, flags, weights, names, "IQUV", angle if is_turning else None)
    for number, plane in enumerate(found):
        np.testing.assert_allclose(plane.visibilities, sky[..., number], atol=1e-5)  # single precision
        assert (plane.weights > 0).all()
    weight = weights.astype(np.float64)
    if is_turning:
        expected = weight.sum(axis=-1) / 2 if names == LINEAR else weight[..., 1] + weight[..., 2]
        np.testing.assert_allclose(found[1].weights, expected, rtol=1e-6)
        np.testing.assert_array_equal(found[1].weights, found[2].weights)
        alone = to_stokes(seen, flags, weights, names, ["Q"], angle)
        np.testing.assert_array_equal(alone[0].visibilities, found[1].visibilities)
        not_turned = to_stokes(seen, flags, weights, names, "IQUV")
        assert np.abs(not_turned[1].visibilities - sky[..., 1]).max() > 0.1


def test_a_flagged_correlation_takes_what_is_made_of_it() -> None:
    visibilities, flags, weights = draw(4)
    flags[0, 0, 0, 1] = flags[1, 0, 0, 0] = True
    used = [plane.weights > 0 for plane in to_stokes(visibilities, flags, weights, CIRCULAR, "IQUV")]
    assert [one[0, 0, 0] for one in used] == [True, False, False, True]
    assert [one[1, 0, 0] for one in used] == [False, True, True, False]
    used = [plane.weights > 0 for plane in to_stokes(visibilities, flags, weights, LINEAR, "IQUV", np.ones(3))]
    assert [one[0, 0, 0] for one in used] == [True, False, False, False]
    assert [one[1, 0, 0] for one in used] == [False, False, False, True]
    assert all(one[2].all() for one in used)


def test_data_that_are_stokes_parameters_pass() -> None:
    visibilities, flags, weights = draw(4)
    for number, plane in enumerate(to_stokes(visibilities, flags, weights, list("IQUV"), "IQUV")):
        np.testing.assert_allclose(plane.visibilities, visibilities[..., number], rtol=1e-6)
        np.testing.assert_array_equal(plane.weights, weights[..., number])


@pytest.mark.parametrize(
    ("names", "stokes", "is_turning", "message"),
    [
        (["RR", "LL"], "IQUV", False, r"no Stokes IQUV from the polarizations \['RR', 'LL'\]: RL, LR needed; ask for"),
        (["XX", "YY"], "IV", False, "XY, YX needed"),
        (["XX", "YY"], "IQ", True, "XY, YX needed with feeds that turn against the sky"),
        (["RR", "RL"], "I", False, "LL needed"),
        (["I"], "IQ", False, "Q needed"),
    ],
)
def test_missing_correlations_are_named(names: list[str], stokes: str, is_turning: bool, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_recipes(names, stokes, is_turning=is_turning)


def test_parallel_hands_are_enough_for_some() -> None:
    assert list(find_recipes(["RR", "LL"], "IV", is_turning=True)) == ["I", "V"]
    assert list(find_recipes(["XX", "YY"], "IQ", is_turning=False)) == ["I", "Q"]


def test_parallel_hands_of_a_model_are_those_of_its_turned_coherences() -> None:
    rng = np.random.default_rng(8)
    i, q, u, v = rng.standard_normal((4, *SHAPE)) + 1j * rng.standard_normal((4, *SHAPE))
    angle = np.array([0.3, -1.1, 2.0])
    coherences = np.moveaxis(np.array([[i + q, u + 1j * v], [u - 1j * v, i - q]]), (0, 1), (-2, -1))
    # X of a feed that is turned by psi, from north through east, is X cos psi + Y sin psi.
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = np.einsum("xat,tbcad,ydt->tbcxy", turn, coherences, turn)
    model = StokesModel(i, q, u, v)
    linear = to_parallel_hands(model, ["XX", "YY"], angle)
    np.testing.assert_allclose(linear, np.stack([turned[..., 0, 0], turned[..., 1, 1]], -1), rtol=1e-12)
    still = to_parallel_hands(model, ["YY", "XX"])
    np.testing.assert_allclose(still, np.stack([coherences[..., 1, 1], coherences[..., 0, 0]], -1))
    circular = to_parallel_hands(model, ["RR", "LL"], angle)
    np.testing.assert_allclose(circular, np.stack([i + v, i - v], -1))
