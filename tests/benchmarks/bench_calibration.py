"""Phase-up, bandpass and gains of every integration against the truth and CASA, by CPU time of all processes.

Run on demand, on a machine that does nothing else::

    RADPS_CASA_PYTHON=casa/bin/python pytest tests/benchmarks/bench_calibration.py

A calibrator of 5 Jy, 27 antennas, 128 channels, 360 integrations in six scans: 16 million cells of two hands. Both
programs solve for phases of integrations in the middle of the band, then a bandpass, then amplitudes and phases of
integrations from all channels. The Python of ``RADPS_CASA_PYTHON`` has casatasks; without it only radps is measured.
The table of docs/calibration.md is what this prints (``-s``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from peers import children_cpu_s, measure, run_radps, simulate_both

import radps
from radps.data.observation_model import ObservationModel
from radps.data.simulated_truth import true_bandpasses, true_gains

FIELD = "calibrator_0"
"""XRADIO's name of the field ``calibrator`` of an MSv2."""
FLUX_JY = 5.0
NOISE_JY = 0.4
N_ANTENNAS, N_CHANNELS, N_INTEGRATIONS = 27, 128, 360
MODEL = ObservationModel.model_validate(
    {
        "integration_time": "60 s",
        "layout": {"kind": "vla", "configuration": "C", "n_antennas": N_ANTENNAS},
        "band": {
            "start_frequency": 1.4e9,
            "channel_width": 1e5,
            "n_channels": N_CHANNELS,
            "spectral_frame": "TOPO",
        },
        "fields": [
            {
                "name": "calibrator",
                "ra": "190 deg",
                "dec": "40 deg",
                "intents": ["CALIBRATE_BANDPASS#ON_SOURCE", "CALIBRATE_PHASE#ON_SOURCE"],
                "components": [{"flux": FLUX_JY}],
            }
        ],
        "scans": [{"field": "calibrator", "n_integrations": N_INTEGRATIONS // 6}] * 6,
        "bandpasses": {"edge_fraction": 0.0},
        "noise": {"sefd": NOISE_JY * np.sqrt(2 * 1e5 * 60) * 0.93},
    }
)
CASA = """
import sys, numpy as np
from casatasks import bandpass, gaincal
from casatools import table
vis, out = sys.argv[1:]
common = dict(vis=vis, refant="0", smodel=[5, 0, 0, 0], minsnr=2)
gaincal(caltable=out + ".G0", solint="int", calmode="p", gaintype="G", spw="0:56~72", **common)
bandpass(caltable=out + ".B", solint="inf", combine="scan", bandtype="B", gaintable=[out + ".G0"], **common)
gaincal(caltable=out + ".G", solint="int", calmode="ap", gaintype="G", gaintable=[out + ".B"], **common)
tb = table()
found = {}
for name in "BG":
    tb.open(out + "." + name)
    found[name], found[name + "flag"] = tb.getcol("CPARAM"), tb.getcol("FLAG")
    found[name + "antenna"], found[name + "time"] = tb.getcol("ANTENNA1"), tb.getcol("TIME")
    tb.close()
np.savez(out + ".npz", **found)
"""

Solved = tuple[NDArray[np.complex128], NDArray[np.complex128]]
"""Gains of shape (time, antenna, hand) and bandpasses of shape (antenna, channel, hand); NaN = no solution."""


def solve_by_radps(data: Path, folder: Path) -> tuple[float, Solved]:
    steps = [
        "import_data",
        {"set_model": {"models": {FIELD: [{"flux": FLUX_JY, "reference_frequency": "1.4 GHz"}]}}},
        {
            "calibrate": {
                "bandpass": {"phase_up": {}},
                "gain_channels": f"0~{N_CHANNELS - 1}",
                "solution_interval": "integration",
                "gain_calibrators": ["phase"],
                "min_snr": 2.0,
            }
        },
    ]
    used = run_radps(folder, Path(f"{data}.ps.zarr"), steps)
    tables = radps.open_run(folder / "radps").context.tree["calibrate/spw0"]
    gains, bandpass = (tables[kind].to_dataset() for kind in ("gain", "bandpass"))
    return used, (
        np.where(gains["FLAG"], np.nan, gains["GAIN"])[:, :, 0],
        np.where(bandpass["FLAG"], np.nan, bandpass["GAIN"])[0],
    )


def solve_by_casa(python: str, data: Path, folder: Path) -> tuple[float, Solved]:
    script = folder / "solve.py"
    script.write_text(CASA)
    used = measure([python, str(script), f"{data}.ms", str(folder / "casa")], folder)
    with np.load(folder / "casa.npz") as found:
        bandpass = np.where(found["Bflag"], np.nan, found["B"])  # (hand, channel, row)
        gains = np.where(found["Gflag"], np.nan, found["G"])[:, 0]
        _, time = np.unique(found["Gtime"], return_inverse=True)
        solved = (
            np.full((N_INTEGRATIONS, N_ANTENNAS, 2), np.nan, np.complex128),
            np.full((N_ANTENNAS, N_CHANNELS, 2), np.nan, np.complex128),
        )
        solved[0][time, found["Gantenna"]] = gains.T
        solved[1][found["Bantenna"]] = bandpass.T
    return used, solved


def errors(solved: Solved) -> tuple[float, float]:
    """Return the rms errors of gain times bandpass, phases against antenna 0: of the amplitude, relative, and [deg]."""

    def total(gains: NDArray[Any], bandpass: NDArray[Any]) -> NDArray[Any]:
        product = gains[:, :, np.newaxis] * bandpass
        return product * np.exp(-1j * np.angle(product[:, :1]))

    ratio = total(*solved) / total(true_gains(MODEL, "calibrator"), true_bandpasses(MODEL))
    assert np.isfinite(ratio).mean() > 0.999
    return float(np.nanstd(np.abs(ratio))), float(np.degrees(np.nanstd(np.angle(ratio))))


def expected_error() -> float:
    """Return the error of an amplitude that the noise leaves: that of gain and bandpass of one antenna, relative.

    The logarithms of amplitudes a_i + a_j are measured to sigma / S on each baseline; the normal equations of N
    antennas without autocorrelations, (N - 2) I + 1 1^T, leave (sigma / S)² / (N - 2) of variance, up to 1 / (2N).
    """
    per_datum = (NOISE_JY / FLUX_JY) ** 2 / (N_ANTENNAS - 2)
    return float(np.sqrt(per_datum / N_CHANNELS + per_datum / N_INTEGRATIONS))


@pytest.mark.benchmark(group="calibration", timer=children_cpu_s)
@pytest.mark.timeout(3600)
def test_gains_against_truth_and_casa(benchmark: Any, tmp_path: Path) -> None:
    data = tmp_path / "calibrator"
    simulate_both(data, MODEL)
    mine, solved = benchmark.pedantic(solve_by_radps, args=(data, tmp_path), rounds=1, warmup_rounds=1)
    found = [errors(solved)]
    used = [mine]
    if python := os.environ.get("RADPS_CASA_PYTHON"):
        theirs, solved = solve_by_casa(python, data, tmp_path)
        found.append(errors(solved))
        used.append(theirs)
    print()
    print("| rms error of amplitudes |", " | ".join(f"{amplitude:.5f}" for amplitude, _ in found), "|")
    print("| rms error of phases [deg] |", " | ".join(f"{phase:.4f}" for _, phase in found), "|")
    print("| CPU time, start and import included [s] |", " | ".join(f"{one:.1f}" for one in used), "|")
    benchmark.extra_info.update({"cpu_s": used, "errors": found})
    # Noise drawn 360 x 27 x 2 times for gains, 27 x 128 x 2 times for bandpasses: 1 % of scatter; 2 % of the theory.
    assert found[0][0] == pytest.approx(expected_error(), rel=0.05)
