"""The table of how the solver of each channel went."""

from __future__ import annotations

import numpy as np

from radps.data.convergence import (
    PlaneStatistics,
    create_convergence,
    load_convergence,
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
