"""The flux-density scale goes from one field to another by the gains."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from radps.domain.flux_transfer import rescale_gains, transfer_flux
from radps.domain.gains import GainTable
from radps.errors import DataError

TRANSFER = np.array([False, True, False, True])
REFERENCE = ~TRANSFER


def make_table(flux_jy: float, seed: int = 1, scatter: float = 0.0, n_antennas: int = 6) -> GainTable:
    """Make gains of two fields in turn, the second one solved with 1 Jy in place of ``flux_jy``."""
    rng = np.random.default_rng(seed)
    instrument = rng.uniform(0.3, 3.0, (1, n_antennas, 1, 2)) * np.exp(
        scatter * rng.standard_normal((4, n_antennas, 1, 2))
    )
    phases = np.exp(2j * np.pi * rng.random(instrument.shape))
    gains = instrument * phases * np.where(TRANSFER, math.sqrt(flux_jy), 1.0)[:, None, None, None]
    flags = np.zeros(gains.shape, np.bool_)
    cells = (4, 1, 2)
    return GainTable(
        10.0 * np.arange(4),
        np.array([1.4e9]),
        gains,
        flags,
        np.ones(gains.shape),
        np.ones(cells, np.int8),
        np.ones(cells, np.int32),
    )


def test_the_flux_density_is_the_true_one() -> None:
    found = transfer_flux(make_table(2.5), TRANSFER, REFERENCE)
    assert found.flux_jy == pytest.approx(2.5, rel=1e-12)
    assert found.scale == pytest.approx(math.sqrt(2.5), rel=1e-12)
    assert found.n_solutions == 12
    assert found.error_jy == pytest.approx(0.0, abs=1e-12)


def test_a_model_of_another_flux_density_scales_the_result() -> None:
    assert transfer_flux(make_table(2.5), TRANSFER, REFERENCE, model_flux_jy=3.0).flux_jy == pytest.approx(7.5)


def test_the_formulae_are_those_of_the_docstring() -> None:
    table = make_table(2.5, scatter=0.05)
    found = transfer_flux(table, TRANSFER, REFERENCE)
    amplitudes = np.abs(table.gains[:, :, 0])
    ratios = amplitudes[TRANSFER].mean(axis=0) / amplitudes[REFERENCE].mean(axis=0)
    np.testing.assert_allclose(found.ratios, ratios, rtol=1e-12)
    median, deviation = np.median(ratios), np.std(ratios, ddof=1)
    assert found.flux_jy == pytest.approx(median**2)
    assert found.error_jy == pytest.approx(2 * median * math.sqrt(math.pi / 2) * deviation / math.sqrt(12))
    assert found.casa_error_jy == pytest.approx(2 * deviation / math.sqrt(11))


def test_the_error_is_that_of_many_trials() -> None:
    found = [transfer_flux(make_table(2.5, seed, 0.03, 26), TRANSFER, REFERENCE) for seed in range(200)]
    # 200 trials know a scatter to 5 %; 4 sigma
    assert np.std([one.flux_jy for one in found]) == pytest.approx(np.mean([one.error_jy for one in found]), rel=0.2)
    assert np.mean([one.flux_jy for one in found]) == pytest.approx(2.5, rel=0.005)


def test_a_bad_antenna_does_not_move_the_median() -> None:
    table = make_table(2.5)
    table.gains[1, 3] *= 10
    assert transfer_flux(table, TRANSFER, REFERENCE).flux_jy == pytest.approx(2.5, rel=1e-12)


def test_flagged_gains_do_not_count() -> None:
    table = make_table(2.5)
    table.flags[1, :3] = table.flags[3, 1] = True
    table.gains[table.flags] = 1e3
    found = transfer_flux(table, TRANSFER, REFERENCE)
    assert found.flux_jy == pytest.approx(2.5, rel=1e-12)
    assert found.n_solutions == 10
    assert np.isnan(found.ratios[1]).all()


def test_a_single_ratio_has_no_error() -> None:
    table = make_table(2.5)
    table.flags[:] = True
    table.flags[:2, 0, 0, 0] = False
    found = transfer_flux(table, TRANSFER, REFERENCE)
    assert found.n_solutions == 1
    assert math.isnan(found.error_jy)
    assert math.isnan(found.casa_error_jy)


@pytest.mark.parametrize("rows", [TRANSFER, REFERENCE, np.ones(4, np.bool_)])
def test_without_common_antennas_the_transfer_is_refused(rows: Any) -> None:
    table = make_table(2.5)
    table.flags[rows] = True
    text = (
        r"flux transfer to field 'J1445': no antenna has unflagged gains both here \(2 intervals\) and on the reference"
    )
    with pytest.raises(DataError, match=text):
        transfer_flux(table, TRANSFER, REFERENCE, field_name="J1445")


def test_rescaled_gains_are_on_the_scale_of_the_reference() -> None:
    table = make_table(2.5)
    table.flags[3, 2] = True
    table.gains[3, 2] = 1.0
    scaled = rescale_gains(table, TRANSFER, transfer_flux(table, TRANSFER, REFERENCE).scale)
    good = ~table.flags[3]
    np.testing.assert_allclose(np.abs(scaled.gains[3])[good], np.abs(table.gains[0])[good], rtol=1e-12)
    np.testing.assert_allclose(np.angle(scaled.gains), np.angle(table.gains), atol=1e-14)
    np.testing.assert_array_equal(scaled.gains[REFERENCE], table.gains[REFERENCE])
    np.testing.assert_array_equal(scaled.gains[3, 2], 1.0)
