r"""The spectrum of a source from flux densities at several frequencies: a polynomial in logarithms.

.. math:: \log_{10} S = a_0 + a_1 x + a_2 x^2, \qquad x = \log_{10}(\nu / \nu_0)

1. The reference frequency :math:`\nu_0` is the geometric mean of the frequencies.
2. The error of :math:`\log_{10} S` is :math:`\sigma_S / (S \ln 10)`. Where all flux densities have one, the weights are
   :math:`1 / \sigma^2`, and the errors of the terms follow from those of the flux densities.
3. Where one of them has none, all weights are equal, and the errors follow from the scatter about the fit.
4. There are never more terms than frequencies (CASA ``fluxscale``, which lowers ``fitorder`` too).

Where it fails: a spectrum with a turnover inside the band needs a higher order; frequencies that lie close together
leave the index open, which its error shows. The errors are those of the scatter of antennas: an error of the flux scale
itself, the same in all windows, is not in them.

References
----------
CASA ``fluxscale`` (``fitorder``, 1 by default).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radps.errors import DataError


class FluxSpectrum(NamedTuple):
    """A spectrum fitted to flux densities."""

    reference_frequency_hz: float
    """Where ``flux_jy`` holds."""
    flux_jy: float
    flux_error_jy: float
    """Standard error; NaN where nothing tells it: no errors given, and no scatter."""
    terms: tuple[float, ...]
    """Spectral index, then curvatures: log10(S / flux) = terms[0] x + terms[1] x^2 + ..."""
    term_errors: tuple[float, ...]
    """Standard errors of ``terms``; NaN where nothing tells them."""
    reduced_chi_squared: float
    """Of the fit, with the errors given; NaN without errors, or with as many terms as frequencies."""


def fit_flux_spectrum(
    frequency_hz: ArrayLike, flux_jy: ArrayLike, error_jy: ArrayLike, *, order: int = 1
) -> FluxSpectrum:
    """Fit log S over log frequency.

    Parameters
    ----------
    frequency_hz : array_like, shape (n,)
        Frequencies, all different [Hz].
    flux_jy : array_like, shape (n,)
        Flux densities [Jy].
    error_jy : array_like, shape (n,)
        Their standard errors [Jy]; 0 or NaN = unknown.
    order : int
        Of the polynomial: 1 = a power law; at most the number of frequencies less one (CASA ``fitorder``).

    Returns
    -------
    FluxSpectrum

    Raises
    ------
    DataError
        There are fewer than two frequencies, two are equal, or a flux density is not positive.
    """
    frequency, flux, error = (np.asarray(values, np.float64) for values in (frequency_hz, flux_jy, error_jy))
    if len(np.unique(frequency)) != frequency.size or frequency.size < 2 or not (flux > 0).all():
        raise DataError(
            f"a spectrum through {flux.tolist()} Jy at {frequency.tolist()} Hz: it needs positive flux densities at "
            "two or more different frequencies"
        )
    reference_hz = float(np.exp(np.mean(np.log(frequency))))
    n_terms = min(order + 1, frequency.size)
    design = np.vander(np.log10(frequency / reference_hz), n_terms, increasing=True)
    known = np.isfinite(error) & (error > 0)
    sigma = error / (flux * math.log(10)) if known.all() else np.ones_like(flux)
    terms, covariance, chi_squared = _solve(design, np.log10(flux), sigma)
    n_free = frequency.size - n_terms
    if not known.all():
        covariance = covariance * (chi_squared / n_free if n_free else math.nan)
    errors = np.sqrt(np.diag(covariance))
    flux_0 = float(10.0 ** terms[0])
    return FluxSpectrum(
        reference_frequency_hz=reference_hz,
        flux_jy=flux_0,
        flux_error_jy=float(flux_0 * math.log(10) * errors[0]),
        terms=tuple(terms[1:].tolist()),
        term_errors=tuple(errors[1:].tolist()),
        reduced_chi_squared=chi_squared / n_free if known.all() and n_free else math.nan,
    )


def _solve(
    design: NDArray[np.float64], values: NDArray[np.float64], sigma: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return the terms of a weighted linear fit, their covariance for those errors, and chi squared."""
    weighted = design / sigma[:, np.newaxis]
    inverse = np.linalg.pinv(weighted)
    terms = inverse @ (values / sigma)
    residual = values / sigma - weighted @ terms
    return terms, inverse @ inverse.T, float(residual @ residual)
