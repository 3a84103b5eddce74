"""The configurations that come with radps run as they are, and find what was put into their skies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import radps
from radps.context.model import Context
from radps.data.images import load_planes

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parents[2] / "configs"


def find_spectral_indices(context: Context) -> None:
    """Points of 120, 60 and 40 mJy: -0.9, -0.6, 0.4 (VLA, two windows)."""
    (image,) = context.find_images(step="wide")
    sky, index, error = (
        load_planes(context.locate(image.path), name)[0]
        for name in ("SKY", "SKY_SPECTRAL_INDEX", "SKY_SPECTRAL_INDEX_ERROR")
    )
    arcmin = 60 / 3.5
    for east, north, alpha in ((3.15, 2.1, -0.9), (-5.6, 4.9, -0.6), (-2.8, -6.3, 0.4)):
        l, m = round(256 - east * arcmin), round(256 + north * arcmin)
        near = (slice(l - 3, l + 4), slice(m - 3, m + 4))
        peak = np.unravel_index(np.nanargmax(sky[near]), (7, 7))
        # three times its own error, and a calibration that knows the slope of the phase calibrator to 0.1
        assert index[near][peak] == pytest.approx(alpha, abs=3 * float(error[near][peak]) + 0.1)


def find_line(context: Context) -> None:
    """Two halves of a disc with 6.92 Jy km/s together (ALMA)."""
    message = context.steps["spectra"].outcome.message  # type: ignore[union-attr]
    flux, error = (float(word) for word in (message.split(": ")[1].split()[0], message.split("+- ")[1].split()[0]))
    # noise, and the flux density of the phase calibrator, known to 1.2 %
    assert flux == pytest.approx(6.92, abs=3 * error)


def find_companion(context: Context) -> None:
    """CO of 664 Jy km/s, and at the half-power radius of the primary beam a point of 0.16 Jy (ALMA 7 m)."""
    message = context.steps["spectra"].outcome.message  # type: ignore[union-attr]
    # the scale of the phase calibrator is known to 2 %; the rest is what CLEAN leaves of a resolved source
    assert float(message.split(": ")[1].split()[0]) == pytest.approx(664.0, rel=0.08)
    (image,) = context.find_images(kind="continuum")
    apparent, corrected = (
        load_planes(context.locate(image.path), name)[0, 50:58, 70:82] for name in ("SKY", "SKY_PRIMARY_BEAM_CORRECTED")
    )
    # 80 mJy are seen; the width of 43 arcsec at half power is that of ALMA's handbook, a pixel of it 4 %
    assert np.nanmax(apparent) == pytest.approx(0.08, rel=0.08)
    assert np.nanmax(corrected) == pytest.approx(0.16, rel=0.12)
    numbers = context.steps["assess"].outcome.summary["images"]  # type: ignore[union-attr]
    cube = numbers[context.find_images(kind="cube")[0].name]
    assert cube["noise_jy"] < 1.5 * cube["expected_noise_jy"]


def find_interference(context: Context) -> None:
    """AOFlagger flags, and the image has its noise (VLA)."""
    summary = context.steps["flag_rfi"].outcome.summary  # type: ignore[union-attr]
    assert summary
    assert context.find_images(kind="continuum")[0].noise_jy > 0
    # The flags are those from before the clip.
    groups = [one.groups["corrected"].flag for one in context.visibilities("target")]
    assert groups
    assert not any("clip" in flag for flag in groups)


def find_better_phases(context: Context) -> None:
    """The trial of self-calibration is kept."""
    assert any("self_calibrated" in partition.groups for partition in context.visibilities("target"))


def find_polarization(context: Context) -> None:
    """A point with 0.1, -0.06 and 0.02 of its flux in Q, U and V, and the noise of two windows that overlap (VLA)."""
    (image,) = context.find_images(kind="cube")
    values = load_planes(context.locate(image.path), "SKY", polarization=None).mean(axis=0)
    intensity, *polarized = values[:, 64 - 13, 64 - 7]  # 200 arcsec to the east, 100 to the south, in pixels of 15
    for value, fraction in zip(polarized, (0.1, -0.06, 0.02), strict=True):
        # Noise of 20 channels together: 0.014 of I.
        assert value / intensity == pytest.approx(fraction, abs=4 * image.noise_jy / 20**0.5 / float(intensity))
    expected_jy = context.steps["assess"].outcome.summary["images"][image.name]["expected_noise_jy"]  # type: ignore[union-attr]
    # Nothing is left of a source in V; the correlator of the simulation loses 7 %.
    assert image.polarization_noise_jy["V"] / expected_jy == pytest.approx(1 / 0.93, abs=0.03)


def has_images(context: Context) -> None:
    """There are images with sources."""
    assert context.images
    assert all(image.noise_jy == 0 or image.statistics.max > 5 * image.noise_jy for image in context.images)


CONFIGS: dict[str, Callable[[Context], None]] = {
    "alma_7m": find_companion,
    "alma_cube": find_line,
    "extended_cube": has_images,
    "meerkat_continuum": has_images,
    "self_calibration": find_better_phases,
    "vla_continuum": find_spectral_indices,
    "vla_interference": find_interference,
    "windows_iquv": find_polarization,
}


def test_every_config_is_here_or_has_tests_of_its_own() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} - {"demo", "ngc5921"} == set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_runs_as_it_is(name: str, tmp_path: Path) -> None:
    if name == "vla_interference":
        pytest.importorskip("aoflagger", reason="interference is looked for by AOFlagger: radps[rfi]")
    changes: dict[str, Any] = {"run": str(tmp_path / "run"), "cluster": "none"}
    workflow = radps.load_workflow(FOLDER / f"{name}.yaml", changes)
    run = radps.Run(workflow.run, workflow)
    run.resume(progress=False)
    context = run.context
    assert {record.id: str(record.state) for record in context.steps.values() if record.state != "done"} == {}
    CONFIGS[name](context)
