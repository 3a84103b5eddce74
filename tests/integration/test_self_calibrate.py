"""Self-calibration of a simulated field with phases and amplitudes that vary, of a perfect one, and of a faint one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import radps
from radps.api import Run
from radps.context.model import Workspace
from radps.context.records import OutcomeStatus, Partition
from radps.data import stores
from radps.data.images import load_planes
from radps.data.observation_model import ObservationModel
from radps.data.simulate import simulate_observation
from radps.data.solutions import load_solution
from radps.data.visibilities import load_visibilities
from radps.errors import SelectionError
from radps.stages.self_calibrate import Params, self_calibrate

CELL = math.radians(15 / 3600)
SIZE = 64
N_ANTENNAS = 16
SOURCES = ({"east": 8 * CELL, "north": -12 * CELL, "flux": 1.0}, {"east": -15 * CELL, "north": 5 * CELL, "flux": 0.3})
FAINT = ({"east": 8 * CELL, "north": -12 * CELL, "flux": 0.002},)
IMAGING = {"image_size": SIZE, "cell_size": CELL, "weighting": "natural", "max_cycles": 6}


def observation() -> ObservationModel:
    """Three fields of two scans of eight integrations; 0.5 mJy of noise in an image."""
    fields = {"bright": (40, SOURCES), "perfect": (42, SOURCES), "faint": (44, FAINT)}
    return ObservationModel.model_validate(
        {
            "integration_time": "30 s",
            "layout": {"kind": "vla", "configuration": "D", "n_antennas": N_ANTENNAS},
            "band": {"start_frequency": 1.4e9, "channel_width": 1e6, "n_channels": 4},
            "fields": [
                {"name": name, "ra": "190 deg", "dec": f"{declination} deg", "components": components}
                for name, (declination, components) in fields.items()
            ],
            "scans": [{"field": name, "n_integrations": 8} for _ in range(2) for name in fields],
            "gains": None,
            "bandpasses": None,
            "noise": {"sefd": 420.0},
        }
    )


def true_gains() -> NDArray[np.complex128]:
    """Phases that wander by 0.5 rad within minutes, amplitudes that change from scan to scan; (time, antenna, hand).

    The mean of their squares is 1: self-calibration cannot tell another scale of all gains from another flux density.
    """
    rng = np.random.default_rng(11)
    steps = rng.normal(scale=0.25, size=(16, N_ANTENNAS, 2))
    phases = np.cumsum(steps, axis=0)
    phases -= phases.mean(axis=0)
    amplitudes = np.repeat(1 + 0.05 * rng.standard_normal((2, N_ANTENNAS, 2)), 8, axis=0)
    amplitudes /= np.sqrt(np.mean(amplitudes**2, axis=(0, 1)))
    return amplitudes * np.exp(1j * phases)


def corrupt(store: str) -> None:
    """Multiply the visibilities of a partition by the gains."""
    url = f"{store}/VISIBILITY"
    visibilities = stores.load_array(url)
    first, second = np.triu_indices(N_ANTENNAS, 1)
    gains = true_gains()
    factor = gains[:, first] * gains[:, second].conj()
    stores.write_region(url, (slice(None),) * 4, (visibilities * factor[:, :, np.newaxis]).astype(np.complex64))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder: Path = tmp_path_factory.mktemp("selfcal")
    truth = simulate_observation(str(folder / "sim.ps.zarr"), observation(), chunks=(16, 4))
    corrupt(truth.partitions["bright"])
    config = {
        "run": str(folder / "run"),
        "data": {"path": str(folder / "sim.ps.zarr")},
        "cluster": "none",
        "steps": [
            "import_data",
            {"self_calibrate": {**IMAGING, "phase_intervals": ["scan", "integration"], "max_rounds": 2}},
            {"apply_calibration": {"fields": ["bright"]}},
        ],
    }
    return radps.run(config, progress=False)


def summary(run: Run, field: str) -> dict[str, Any]:
    outcome = run.context.steps["self_calibrate"].outcome
    assert outcome is not None
    found: dict[str, Any] = outcome.summary[field]
    return found


def partition(run: Run, field: str) -> Partition:
    (found,) = run.context.visibilities(field)
    return found


def test_the_dynamic_range_is_that_of_data_without_errors(run: Run) -> None:
    found, perfect = summary(run, "bright"), summary(run, "perfect")
    before, after = (found[key]["signal_to_noise"] for key in ("before", "after"))
    assert after > 10 * before
    # cycles end where another one brings less than 5 %: that is left, and the noise of the gains themselves
    assert after > 0.9 * perfect["before"]["signal_to_noise"]
    assert [row["cycle"] for row in found["cycles"] if row["kept"]] == [
        "phases of each scan",
        "phases of each integration",
        *["amplitudes and phases of each scan"] * 2,
    ]
    assert all(row["flagged_solutions_percent"] == 0 for row in found["cycles"])


def test_the_flux_densities_are_unbiased(run: Run) -> None:
    first, image = run.context.images
    assert (first.name, image.name) == ("bright-before_self_calibrate", "bright-after_self_calibrate")
    sky = load_planes(run.context.locate(image.path), "SKY")[0]
    for one in SOURCES:
        value = sky[SIZE // 2 - round(one["east"] / CELL), SIZE // 2 + round(one["north"] / CELL)]
        # half a per cent, and three times the noise
        assert value == pytest.approx(one["flux"], rel=0.005, abs=3 * image.noise_jy)
    assert load_planes(run.context.locate(first.path), "SKY").max() < 0.95


def test_the_phases_are_those_of_the_truth_within_their_errors(run: Run) -> None:
    table = next(one for one in run.context.calibration.tables if one.kind == "self_phase")
    assert (table.state, table.solved_on) == ("applied", ("bright",))
    found = load_solution(run.context.locate(table.path)).table
    assert found.gains.shape == (16, N_ANTENNAS, 1, 2)
    np.testing.assert_allclose(np.abs(found.gains), 1.0, rtol=1e-12)
    ratio = found.gains[:, :, 0] * true_gains().conj()
    # relative to the mean of the antennas, whose own error is small
    ratio *= np.exp(-1j * np.angle(ratio.sum(axis=1, keepdims=True)))
    errors = np.angle(ratio) * math.sqrt(2) * found.snr[:, :, 0]
    assert 0.8 < errors.std() < 1.2
    assert np.angle(true_gains()).std() > 0.3


def test_the_corrected_data_are_a_version_of_their_own(run: Run) -> None:
    one = partition(run, "bright")
    assert list(one.groups) == ["base", "self_calibrated", "corrected"]
    data = load_visibilities(run.context.address(one, "self_calibrated"))
    raw = load_visibilities(run.context.address(one, "base"))
    first, second = np.triu_indices(N_ANTENNAS, 1)
    gains = true_gains()
    exact = raw.visibilities / (gains[:, first] * gains[:, second].conj())[:, :, np.newaxis]
    noise = 1 / np.sqrt(raw.weights.mean())
    # 15 baselines tell each gain, so that their errors add a part of the noise
    assert np.abs(data.visibilities - exact).std() < 0.5 * noise
    assert np.abs(raw.visibilities - exact).std() > 3 * noise


def test_its_tables_are_applied_like_all_others(run: Run) -> None:
    one = partition(run, "bright")
    again, data = (
        load_visibilities(run.context.address(one, group)).visibilities for group in ("corrected", "self_calibrated")
    )
    np.testing.assert_allclose(again, data, rtol=1e-5)  # complex64


def test_data_that_it_made_itself_are_refused_as_a_start(run: Run) -> None:
    context = run.context.at(Workspace(url=run.url, step="again"))
    graphs = self_calibrate(context, Params(field="bright", data_group="self_calibrated"))
    text = (
        "data_group 'self_calibrated' is what self_calibrate makes itself; it starts from data before that: base, corr"
    )
    with pytest.raises(SelectionError, match=text):
        next(graphs)
    with pytest.raises(SelectionError, match=r"bright.* has no data group 'line'; it has: base, "):
        next(self_calibrate(context, Params(field="bright", data_group="line")))


def test_only_the_data_of_the_best_cycle_are_left(run: Run) -> None:
    group = partition(run, "bright").groups["self_calibrated"]
    folder = run.context.locate(group.visibility.partition("/bright-cycle")[0])
    left = [
        name
        for cycle in stores.list_children(folder)
        for inside in stores.list_children(f"{folder}/{cycle}")
        for name in stores.list_children(f"{folder}/{cycle}/{inside}")
        if name.startswith("VISIBILITY")
    ]
    assert left == ["VISIBILITY_SELF_CALIBRATED"]


@pytest.mark.parametrize(
    ("field", "text"), [("perfect", "no improvement"), ("faint", "too faint for self-calibration")]
)
def test_what_does_not_get_better_stays_as_it_is(run: Run, field: str, text: str) -> None:
    assert list(partition(run, field).groups) == ["base"]
    assert f"{field}: {text}" in run.context.steps["self_calibrate"].outcome.message
    assert not any(row["kept"] for row in summary(run, field)["cycles"])
    assert all(one.solved_on == ("bright",) for one in run.context.calibration.tables)
    assert all(image.field == "bright" for image in run.context.images)


def test_the_scores_are_those_of_the_fields(run: Run) -> None:
    scores = run.context.qa["self_calibrate"]
    assert [(one.applies_to, one.score) for one in scores] == [
        ("bright", 1.0),
        ("bright", 1.0),
        ("perfect", 1.0),
        ("faint", 1.0),
    ]
    assert run.context.steps["self_calibrate"].outcome.status is OutcomeStatus.SUCCESS


@pytest.mark.slow
def test_windows_are_combined_for_one_solution(tmp_path: Path) -> None:
    model = observation()
    fields, scans = model.fields[:1], tuple(one for one in model.scans if one.field == "bright")
    second = model.band.model_copy(update={"name": "high", "start_frequency": 1.45e9})
    both = model.model_copy(update={"fields": fields, "scans": scans, "further_bands": (second,)})
    truth = simulate_observation(str(tmp_path / "sim.ps.zarr"), both, chunks=(16, 4))
    for store in truth.partitions.values():
        corrupt(store)
    only = {"phase_intervals": ["integration"], "amplitude_intervals": []}
    steps = [
        "import_data",
        {"id": "each", "stage": "self_calibrate", "params": {**IMAGING, **only}},
        {"id": "both", "stage": "self_calibrate", "params": {**IMAGING, **only, "combine_windows": True}},
    ]
    config = {
        "run": str(tmp_path / "run"),
        "data": {"path": str(tmp_path / "sim.ps.zarr")},
        "cluster": "none",
        "steps": steps,
    }
    run = radps.run(config, progress=False)
    tables = [run.context.steps[step].outcome.tables for step in ("each", "both")]
    assert [len(found) for found in tables] == [2, 1]
    (table,) = run.context.calibration.tables  # in place of those of the step before
    assert {window for one in table.applies_to for window in one.windows} == {"spw0", "spw1"}
    alone, joined = (load_solution(run.context.locate(found[0].path)).table for found in tables)
    # twice the data of one window
    assert np.median(joined.snr) == pytest.approx(math.sqrt(2) * np.median(alone.snr), rel=0.1)
    assert all(list(one.groups) == ["base", "self_calibrated"] for one in run.context.visibilities("bright"))


# --- outliers among the data ---


def spoil(store: str) -> None:
    """Turn 3 % of the visibilities at random, and make them ten times too large."""
    url = f"{store}/VISIBILITY"
    visibilities = stores.load_array(url)
    rng = np.random.default_rng(4)
    factor = np.where(
        rng.random(visibilities.shape) < 0.03, 10 * np.exp(2j * np.pi * rng.random(visibilities.shape)), 1
    )
    stores.write_region(url, (slice(None),) * 4, (visibilities * factor).astype(np.complex64))


def test_robust_phases_of_spoiled_data_are_within_their_errors(tmp_path: Path) -> None:
    model = observation()
    one_field = model.model_copy(update={"fields": model.fields[:1], "scans": model.scans[::3]})
    truth = simulate_observation(str(tmp_path / "sim.ps.zarr"), one_field, chunks=(16, 4))
    corrupt(truth.partitions["bright"])
    spoil(truth.partitions["bright"])
    # any rise is good enough: what is looked at are the solutions
    solved = {"phase_intervals": ["integration"], "amplitude_intervals": [], "max_rounds": 1, "min_improvement": 0.0}
    solved["mask_primary_beam"] = 0.9  # within 6 arcmin, where the sources are
    robust = ("none", "reject")
    config = {
        "run": str(tmp_path / "run"),
        "data": {"path": str(tmp_path / "sim.ps.zarr")},
        "cluster": "none",
        "steps": [
            "import_data",
            *(
                {
                    "id": name,
                    "stage": "self_calibrate",
                    "params": {**IMAGING, **solved, "robust_gains": name},
                }
                for name in robust
            ),
        ],
    }
    found = radps.run(config, progress=False)
    errors, outlying = {}, {}
    for name in robust:
        (url,) = Path(found.url).glob(f"context.zarr/{name}-1/*/self_phase")
        gains = load_solution(str(url)).table.gains[:, :, 0]
        ratio = gains * true_gains().conj()
        ratio *= np.exp(-1j * np.angle(ratio.sum(axis=1, keepdims=True)))
        errors[name] = float(np.angle(ratio).std())
        outcome = found.context.steps[name].outcome
        assert outcome is not None
        (row,) = outcome.summary["bright"]["cycles"]
        outlying[name] = row["outlying_data_percent"]
    for image in sorted(Path(found.url).glob("images/*/bright-cycle?.zarr")):
        mask, model = (load_planes(str(image), variable)[0] for variable in ("MASK", "SKY_MODEL"))
        radius = np.hypot(*np.mgrid[-SIZE // 2 : SIZE // 2, -SIZE // 2 : SIZE // 2])
        assert mask[radius < 18].all()
        assert not mask[radius > 28].any()
        assert model.any()
        assert not model[~mask].any()
    assert outlying["none"] == 0
    assert outlying["reject"] == pytest.approx(3.0, abs=0.5)
    assert errors["reject"] < 0.3 * errors["none"]
