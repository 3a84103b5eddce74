"""The continuum fit against numpy's polynomial fit, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.continuum import fit_continuum, subtract_polynomial
from radps.errors import SelectionError

N_CHANNELS = 20
FREQUENCY = 1.413e9 + 24.4e3 * np.arange(N_CHANNELS)
LINE_FREE = np.zeros(N_CHANNELS, np.bool_)
LINE_FREE[2:6] = LINE_FREE[13:18] = True


def draw(seed: int, dtype: Any = np.complex128) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.float64]]:
    """Draw visibilities, flags (a fifth) and weights of 2 times, 3 baselines, 2 hands."""
    rng = np.random.default_rng(seed)
    shape = (2, 3, N_CHANNELS, 2)
    visibilities = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    return visibilities, rng.random(shape) < 0.2, rng.uniform(0.2, 5.0, shape)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("frequency", [FREQUENCY, FREQUENCY[::-1]], ids=["ascending", "descending"])
def test_the_fit_is_that_of_numpy(order: int, frequency: NDArray[np.float64]) -> None:
    visibilities, flags, weights = draw(order)
    fit = fit_continuum(visibilities, flags, weights, frequency, LINE_FREE, order)
    x = (frequency - frequency.mean()) / 1e5
    for time, baseline, hand in np.ndindex(2, 3, 2):
        row = (time, baseline, slice(None), hand)
        good = LINE_FREE & ~flags[row]
        # numpy multiplies residuals by w, so that w is the root of a weight
        root = np.sqrt(weights[row][good])
        values = visibilities[row]
        parts = [np.polyval(np.polyfit(x[good], part[good], order, w=root), x) for part in (values.real, values.imag)]
        np.testing.assert_allclose(fit.model[row], parts[0] + 1j * parts[1], rtol=1e-9, atol=1e-9)
    assert not fit.row_flags.any()


def test_weights_matter() -> None:
    visibilities, flags, weights = draw(1)
    fit = fit_continuum(visibilities, flags, weights, FREQUENCY, LINE_FREE)
    plain = fit_continuum(visibilities, flags, np.ones_like(weights), FREQUENCY, LINE_FREE)
    assert np.abs(fit.model - plain.model).max() > 0.05


@pytest.mark.parametrize("order", [0, 1, 4])
def test_a_polynomial_is_subtracted_to_rounding_and_a_line_stays(order: int) -> None:
    _, flags, weights = draw(2)
    rng = np.random.default_rng(3)
    x = np.linspace(-1, 1, N_CHANNELS)
    coefficients = rng.standard_normal((2, 3, 2, order + 1)) + 1j * rng.standard_normal((2, 3, 2, order + 1))
    continuum = np.moveaxis(np.polynomial.polynomial.polyval(x, np.moveaxis(coefficients, -1, 0)), -1, 2)
    line = np.where(LINE_FREE, 0.0, 1.0 + 2.0j)[:, np.newaxis]
    found = subtract_polynomial(continuum + line, flags, weights, FREQUENCY, LINE_FREE, order)
    np.testing.assert_allclose(found.visibilities, np.broadcast_to(line, flags.shape), atol=1e-10)
    np.testing.assert_array_equal(found.flags, flags)
    assert found.n_failed == 0


def test_too_low_an_order_would_leave_a_residual() -> None:
    shape = (1, 1, N_CHANNELS, 1)
    slope = np.linspace(-1, 1, N_CHANNELS).reshape(shape) + 0j
    found = subtract_polynomial(slope, np.zeros(shape, np.bool_), np.ones(shape), FREQUENCY, LINE_FREE, 0)
    assert np.abs(found.visibilities).max() > 0.5


def test_rows_with_too_few_channels_are_flagged_and_counted() -> None:
    visibilities, flags, weights = draw(4)
    flags[:] = False
    flags[0, 0, LINE_FREE, 0] = True  # no line-free channel, but line data: fails
    flags[0, 1, LINE_FREE, 1] = True
    flags[0, 1, 3, 1] = False  # one line-free channel: fails for order 1
    flags[1, 2] = True  # no data at all: nothing that could fail
    found = fit_continuum(visibilities, flags, weights, FREQUENCY, LINE_FREE, 1)
    assert found.n_failed == 2
    assert sorted(map(tuple, np.argwhere(found.row_flags).tolist())) == [(0, 0, 0), (0, 1, 1), (1, 2, 0), (1, 2, 1)]
    np.testing.assert_array_equal(found.model[0, 0, :, 0], 0.0)
    line = subtract_polynomial(visibilities, flags, weights, FREQUENCY, LINE_FREE, 1)
    np.testing.assert_array_equal(line.flags, flags | found.row_flags[:, :, np.newaxis])
    np.testing.assert_array_equal(line.visibilities[0, 0, :, 0], visibilities[0, 0, :, 0])
    assert fit_continuum(visibilities, flags, weights, FREQUENCY, LINE_FREE, 0).n_failed == 1


def test_a_row_needs_as_many_channels_as_asked_for() -> None:
    visibilities, flags, weights = draw(4)
    flags[:] = False
    flags[0, 0, 2:6, 0] = True
    assert fit_continuum(visibilities, flags, weights, FREQUENCY, LINE_FREE, min_channels=6).n_failed == 1
    assert fit_continuum(visibilities, flags, weights, FREQUENCY, LINE_FREE, min_channels=5).n_failed == 0


def test_bad_numbers_do_not_count() -> None:
    visibilities, flags, weights = draw(5)
    expected_flags = flags.copy()
    visibilities[0, 0, 3, 0], weights[0, 1, 4, 0], weights[1, 0, 5, 1] = np.nan, -1.0, np.nan
    expected_flags[0, 0, 3, 0] = expected_flags[0, 1, 4, 0] = expected_flags[1, 0, 5, 1] = True
    found = fit_continuum(visibilities, flags, weights, FREQUENCY, LINE_FREE, 1)
    expected = fit_continuum(
        np.nan_to_num(visibilities), expected_flags, np.abs(np.nan_to_num(weights)), FREQUENCY, LINE_FREE, 1
    )
    np.testing.assert_array_equal(found.model, expected.model)


def test_single_precision_data_stay_so_and_lose_nothing() -> None:
    visibilities, flags, weights = draw(6, np.complex64)
    found = fit_continuum(visibilities, flags, weights.astype(np.float32), FREQUENCY, LINE_FREE, 1)
    assert found.model.dtype == np.complex64
    exact = fit_continuum(
        visibilities.astype(np.complex128), flags, weights.astype(np.float32), FREQUENCY, LINE_FREE, 1
    )
    # one rounding at the end
    np.testing.assert_allclose(found.model, exact.model, rtol=2e-7)


def test_a_single_channel_can_be_fitted() -> None:
    shape = (1, 1, 1, 1)
    found = subtract_polynomial(
        np.full(shape, 2 + 1j), np.zeros(shape, np.bool_), np.ones(shape), np.array([1e9]), np.ones(1, np.bool_)
    )
    np.testing.assert_array_equal(found.visibilities, 0.0)


def test_arguments_are_not_changed() -> None:
    data = draw(7)
    copies = [array.copy() for array in data]
    subtract_polynomial(*data, FREQUENCY, LINE_FREE, 1)
    for array, copy in zip(data, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("line_free", "order", "text"),
    [
        (LINE_FREE, -1, "found order -1, allowed are 0 and above"),
        (LINE_FREE[:5], 0, r"mask has shape \(5,\), the data have 20 channels"),
        (np.zeros(N_CHANNELS, np.bool_), 0, "found 0 line-free channels of 20, needs at least 1; widen"),
        (np.arange(N_CHANNELS) < 2, 2, "of order 2: found 2 line-free channels of 20, needs at least 3"),
    ],
)
def test_impossible_fits_are_refused(line_free: NDArray[np.bool_], order: int, text: str) -> None:
    with pytest.raises(SelectionError, match=text):
        fit_continuum(*draw(1), FREQUENCY, line_free, order)
