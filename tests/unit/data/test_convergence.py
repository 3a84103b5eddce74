"""The table of how the solver of each channel went."""

from __future__ import annotations

import numpy as np
import pytest

from radps.data import convergence, stores
from radps.data.convergence import (
    STATISTICS,
    PlaneStatistics,
    create_convergence,
    load_convergence,
    load_noise,
    load_stop_reasons,
    write_convergence,
)


def test_rows_come_back_and_channels_that_are_not_done_say_so(folder: str) -> None:
    url = f"{folder}/table"
    create_convergence(url, 1.4e9 + 1e4 * np.arange(3), 4, {"object": "galaxy"})
    history = np.array([[0.5, 0.0, 0.0], [0.1, 0.4, 20.0]])
    write_convergence(url, 1, 3, history, PlaneStatistics(0.5, -0.1, 2.0, 1.5, 64.0, 0.02, 0.03, 0.1, 9.0), 4)
    np.testing.assert_array_equal(load_stop_reasons(url), [0, 3, 0])
    np.testing.assert_array_equal(load_stop_reasons(url, slice(1, 3)), [3, 0])
    found = load_convergence(url)
    np.testing.assert_array_equal(found.peak_residual[1], [0.5, 0.1, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(found.model_flux[1, :2], [0.0, 0.4])
    np.testing.assert_array_equal(found.iterations[1, :2], [0.0, 20.0])
    np.testing.assert_array_equal(found.statistics[1], [0.5, -0.1, 2.0, 1.5, 64.0, 0.02, 0.03, 0.1, 9.0])
    assert np.isnan(found.statistics[0]).all()


def test_creating_the_table_again_keeps_its_rows(folder: str) -> None:
    url = f"{folder}/table"
    for _ in range(2):
        create_convergence(url, np.array([1.4e9, 1.5e9]), 2, {})
        if load_stop_reasons(url)[0] == 0:
            write_convergence(url, 0, 1, np.zeros((1, 3)), PlaneStatistics(0, 0, 0, 0, 0, 0), 2)
    np.testing.assert_array_equal(load_stop_reasons(url), [1, 0])


def test_a_table_of_an_earlier_radps_is_read_by_the_names_of_its_columns(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{folder}/table"
    with monkeypatch.context() as patch:
        patch.setattr(convergence, "STATISTICS", ("noise", "max", "n_pixels"))
        create_convergence(url, np.array([1.4e9]), 2, {})
        stores.write_region(f"{url}/STATISTICS", (slice(0, 1), slice(None)), np.array([[0.02, 0.5, 64.0]]))
    found = load_convergence(url).statistics
    assert found.shape == (1, len(STATISTICS))
    known = {name: value for name, value in zip(STATISTICS, found[0], strict=True) if np.isfinite(value)}
    assert known == {"max": 0.5, "n_pixels": 64.0, "noise": 0.02}
    np.testing.assert_array_equal(load_noise(url), [0.02])
