"""Spectra of calibrators from their flux densities in several windows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radps.domain.flux_spectrum import fit_flux_spectrum
from radps.errors import DataError

FREQUENCY = np.array([1.1e9, 1.3e9, 1.5e9, 1.9e9])


def true_flux(index: float, curvature: float = 0.0) -> np.ndarray:
    """2.5 Jy at 1.4 GHz."""
    x = np.log10(FREQUENCY / 1.4e9)
    return 2.5 * 10 ** (index * x + curvature * x**2)


def test_a_power_law_is_found_exactly() -> None:
    found = fit_flux_spectrum(FREQUENCY, true_flux(-0.7), np.full(4, 0.01))
    assert found.terms == (pytest.approx(-0.7, abs=1e-12),)
    expected = 2.5 * (found.reference_frequency_hz / 1.4e9) ** -0.7
    assert found.flux_jy == pytest.approx(expected, rel=1e-12)
    assert found.reduced_chi_squared == pytest.approx(0.0, abs=1e-12)


def test_a_curved_spectrum_needs_two_terms() -> None:
    flux = true_flux(-0.7, -0.4)
    two = fit_flux_spectrum(FREQUENCY, flux, np.zeros(4), order=2)
    x = math.log10(two.reference_frequency_hz / 1.4e9)
    assert two.terms == (pytest.approx(-0.7 - 2 * 0.4 * x, abs=1e-10), pytest.approx(-0.4, abs=1e-9))
    one = fit_flux_spectrum(FREQUENCY, flux, np.full(4, 1e-4))
    assert one.reduced_chi_squared > 100


def test_the_errors_are_those_of_many_draws() -> None:
    rng = np.random.default_rng(3)
    flux, error = true_flux(-0.7), np.array([0.02, 0.01, 0.03, 0.02])
    draws = [fit_flux_spectrum(FREQUENCY, flux + error * rng.standard_normal(4), error) for _ in range(2000)]
    scatter = np.std([draw.terms[0] for draw in draws])
    # 2,000 draws tell a standard deviation to 1.6 %; 5 % is three times that
    assert draws[0].term_errors[0] == pytest.approx(scatter, rel=0.05)
    assert draws[0].flux_error_jy == pytest.approx(np.std([draw.flux_jy for draw in draws]), rel=0.05)
    assert np.mean([draw.terms[0] for draw in draws]) == pytest.approx(-0.7, abs=4 * scatter / math.sqrt(2000))
    assert np.mean([draw.reduced_chi_squared for draw in draws]) == pytest.approx(1.0, rel=0.1)


def test_without_errors_the_scatter_tells_them() -> None:
    flux = true_flux(-0.7) * np.array([1.01, 0.99, 1.01, 0.99])
    found = fit_flux_spectrum(FREQUENCY, flux, np.array([0.0, 0.1, math.nan, 0.1]))
    reference = np.polyfit(np.log10(FREQUENCY / found.reference_frequency_hz), np.log10(flux), 1, cov=True)
    assert found.terms[0] == pytest.approx(reference[0][0])
    assert found.term_errors[0] == pytest.approx(math.sqrt(reference[1][0, 0]))
    assert math.isnan(found.reduced_chi_squared)


def test_there_are_no_more_terms_than_frequencies() -> None:
    found = fit_flux_spectrum(FREQUENCY[:2], true_flux(-0.7)[:2], np.full(2, 0.01), order=3)
    assert len(found.terms) == 1
    assert math.isnan(fit_flux_spectrum(FREQUENCY[:2], true_flux(0.0)[:2], np.zeros(2)).term_errors[0])


@pytest.mark.parametrize(("frequency", "flux"), [([1e9], [1.0]), ([1e9, 1e9], [1.0, 1.0]), ([1e9, 2e9], [1.0, -1.0])])
def test_what_is_no_spectrum_is_refused(frequency: list[float], flux: list[float]) -> None:
    with pytest.raises(DataError, match="needs positive flux densities at two or more different frequencies"):
        fit_flux_spectrum(frequency, flux, [0.1] * len(flux))
