r"""Transfer the flux-density scale from calibrators of known flux density to others.

Gains of a field that was solved with a model of 1 Jy absorb the square root of its flux density. The gain amplitudes of
the instrument are the same for all fields, so that their ratio gives the flux density:

1. per antenna and hand, the mean amplitude of the unflagged gains of the transfer field, and of the reference fields;
2. the ratio r of the two, where both exist;
3. the flux density is the square of the *median* of r over antennas and hands, times that of the model (CASA
   ``fluxscale``);
4. the gains of the transfer field are divided by the median of r, which puts them on the scale of the reference.

The error is the standard error of the median, propagated: :math:`2 r \sqrt{\pi/2}\, s / \sqrt{n}` times the flux
density of the model, s = standard deviation of the ratios (ddof 1), n = their number. CASA reports
:math:`2 s / \sqrt{n - 1}`, without the factor r, which is kept beside it to compare.

Where it fails: gains that change with elevation or time between the fields; a transfer field that is resolved (its
gains drop on long baselines); pointing errors. The scatter of the ratios shows it.

References
----------
CASA ``fluxscale`` (6.7.0; the definition of its error was found by reproducing its numbers).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.gains import GainTable
from radps.errors import DataError


class FluxTransfer(NamedTuple):
    """Flux density of one transfer field."""

    flux_jy: float
    """Flux density [Jy]."""
    error_jy: float
    """Standard error [Jy]; NaN for a single ratio."""
    casa_error_jy: float
    """The error as CASA defines it [Jy]; NaN for a single ratio."""
    n_solutions: int
    """Number of ratios: antennas times hands that have gains in both fields."""
    scale: float
    """Median ratio of gain amplitudes, transfer over reference; the gains of the field are to be divided by it."""
    ratios: NDArray[np.float64]
    """Ratio of each antenna and hand, shape (antenna, polarization); NaN where there is none."""


def transfer_flux(
    table: GainTable,
    transfer: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    *,
    model_flux_jy: float = 1.0,
    field_name: str = "",
) -> FluxTransfer:
    """Find the flux density of a field from gains solved with a model of arbitrary flux density.

    Parameters
    ----------
    table : GainTable
        Gains with one channel, in which the reference fields were solved with their known flux densities.
    transfer, reference : ndarray of bool, shape (time,)
        True = the solutions of the transfer field, or of the reference fields.
    model_flux_jy : float
        Flux density of the model with which the transfer field was solved [Jy].
    field_name : str
        Name of the transfer field, for messages.

    Returns
    -------
    FluxTransfer
        The flux density, its error, and the ratios behind it.

    Raises
    ------
    DataError
        If no antenna has unflagged gains in both.
    """
    ratios = _mean_amplitudes(table, transfer) / _mean_amplitudes(table, reference)
    found = ratios[np.isfinite(ratios)]
    if found.size == 0:
        raise DataError(
            f"flux transfer to field {field_name!r}: no antenna has unflagged gains both here ({int(transfer.sum())} "
            f"intervals) and on the reference fields ({int(reference.sum())} intervals); check the flags and the "
            "choice of reference fields"
        )
    scale = float(np.median(found))
    scatter = float(np.std(found, ddof=1)) if found.size > 1 else math.nan
    return FluxTransfer(
        flux_jy=scale**2 * model_flux_jy,
        error_jy=2 * scale * model_flux_jy * math.sqrt(math.pi / 2) * scatter / math.sqrt(found.size),
        casa_error_jy=2 * model_flux_jy * scatter / math.sqrt(max(found.size - 1, 1)),
        n_solutions=int(found.size),
        scale=scale,
        ratios=ratios,
    )


def rescale_gains(table: GainTable, transfer: NDArray[np.bool_], scale: float) -> GainTable:
    """Put the gains of a transfer field on the flux-density scale of the reference.

    Parameters
    ----------
    table : GainTable
        Gains; unchanged.
    transfer : ndarray of bool, shape (time,)
        True = the solutions of the transfer field.
    scale : float
        From :func:`transfer_flux`.

    Returns
    -------
    GainTable
        The gains of those times divided by the scale. Flagged gains stay 1.
    """
    factor = np.where(transfer[:, np.newaxis, np.newaxis, np.newaxis] & ~table.flags, 1.0 / scale, 1.0)
    return table._replace(gains=table.gains * factor)


def flag_gains(table: GainTable, selected: NDArray[np.bool_]) -> GainTable:
    """Flag all gains of the selected times, because they have no scale; they become 1.

    Parameters
    ----------
    table : GainTable
        Gains; unchanged.
    selected : ndarray of bool, shape (time,)
        True = the solutions of the transfer field.
    """
    flags = table.flags | selected[:, np.newaxis, np.newaxis, np.newaxis]
    return table._replace(gains=np.where(flags, 1.0, table.gains), flags=flags)


def _mean_amplitudes(table: GainTable, selected: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean amplitude over the selected times and all channels, shape (antenna, polarization); or NaN."""
    valid = ~table.flags[selected]
    total = np.sum(np.abs(table.gains[selected]), axis=(0, 2), where=valid)
    count = np.sum(valid, axis=(0, 2))
    mean: NDArray[np.float64] = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean
