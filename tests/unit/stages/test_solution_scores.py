"""Scores of calibration solutions."""

from __future__ import annotations

from typing import Any

import pytest

from radps.node_tasks.calibration import SolveSummary
from radps.stages._solution_scores import median_snr, score_misfit, score_scatter, score_snr


def summary(snr: tuple[float, ...], has_data: tuple[bool, ...]) -> SolveSummary:
    return SolveSummary(10, 0, 0, 0, snr, has_data, (1,))


def test_channels_without_data_do_not_count() -> None:
    assert median_snr(summary((40.0, 0.0, 10.0, 12.0), (True, False, True, True))) == 12.0
    assert median_snr(summary((0.0,), (False,))) == 0.0
    # A channel that has data and no solution is noise, and counts.
    assert median_snr(summary((0.0, 10.0), (True, True))) == 5.0


@pytest.mark.parametrize(("snr", "score"), [(50.0, 1.0), (12.5, 0.5), (5.0, 0.0), (0.0, 0.0)])
def test_the_signal_to_noise_is_scored(snr: float, score: float) -> None:
    found = score_snr("L", "bandpass", snr)
    assert found.score == pytest.approx(score)
    assert (found.name, found.applies_to, found.scope) == ("signal-to-noise of bandpass solutions", "L", "window")


def scatter(**medians: float | None) -> dict[str, Any]:
    by_antenna = {
        "ea01": {"amplitude_rms": 0.05, "phase_step_deg": 10.0},
        "ea02": {"amplitude_rms": 0.6, "phase_step_deg": None},
        "ea03": {"amplitude_rms": None, "phase_step_deg": 70.0},
    }
    return {"amplitude_rms": 0.3, "phase_step_deg": 60.0, "by_antenna": by_antenna, **medians}


def test_the_scatter_is_scored_and_the_worst_antenna_named() -> None:
    amplitude, phase = score_scatter("L", scatter())
    assert (amplitude.value, amplitude.score) == (pytest.approx(30.0), pytest.approx(0.5))
    assert "the largest is that of ea02, 60 %" in amplitude.message
    assert (phase.value, phase.score) == (pytest.approx(60.0), pytest.approx(0.5))
    assert "the largest is that of ea03, 70 deg" in phase.message


def test_a_single_solution_has_no_scatter() -> None:
    assert score_scatter("L", scatter(amplitude_rms=None, phase_step_deg=None)) == []


def test_the_misfit_of_a_bandpass_is_scored() -> None:
    found = score_misfit("L", 0.11)
    assert (found.value, found.score) == (pytest.approx(11.0), pytest.approx(0.5))
    assert "a higher degree of the polynomials" in found.message
