"""An array of dishes of 12 m and 7 m: each kind alone gives a source off axis its flux density."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import radps
from radps.api import Run
from radps.context.records import StepState
from radps.data import stores
from radps.data.images import load_planes
from radps.data.observation_model import ObservationModel
from radps.data.simulate import simulate_block, simulate_observation
from radps.data.visibilities import load_visibilities
from radps.errors import StageError

CELL = math.radians(0.6 / 3600)
SIZE = 128
PLACE = (40, -8)
"""East and north of the source [pixels]: 24 arcsec, where the beam of 12 m is about a half."""
FLUX_JY = 1.0
NAMES = ("CM01", "CM02", "CM03", "CM04", "CM05", "DA41", "DA42", "DV01", "DV02", "PM01")
N_SMALL = 5


def model(dish_diameter_m: float) -> ObservationModel:
    """Ten perfect antennas, all of one diameter."""
    source = {"east": PLACE[0] * CELL, "north": PLACE[1] * CELL, "flux": FLUX_JY, "reference_frequency": 1e11}
    return ObservationModel.model_validate(
        {
            "name": "mixed",
            "integration_time": "120 s",
            "layout": {
                "kind": "random",
                "n_antennas": len(NAMES),
                "longest_baseline": "250 m",
                "dish_diameter": dish_diameter_m,
            },
            "primary_beam": True,
            "band": {"start_frequency": "100 GHz", "channel_width": "100 MHz", "n_channels": 2},
            "fields": [{"name": "sky", "ra": "190 deg", "dec": "40 deg", "components": [source]}],
            "scans": [{"field": "sky", "n_integrations": 30}],
            "gains": None,
            "bandpasses": None,
            "noise": None,
        }
    )


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A processing set in which baselines of two kinds see the product of their voltage patterns."""
    url = str(tmp_path_factory.mktemp("mixed") / "mixed.ps.zarr")
    group = simulate_observation(url, model(12.0)).partitions["sky"]
    large, small = (simulate_block(model(size), "sky").visibilities for size in (12.0, 7.0))
    antenna1, antenna2 = np.triu_indices(len(NAMES), k=1)
    assert large.shape[1] == len(antenna1)
    np.testing.assert_allclose(np.angle(large / small), 0, atol=1e-5)  # the same places, the same source
    n_small = (antenna1 < N_SMALL).astype(int) + (antenna2 < N_SMALL)
    ratio = np.sqrt(np.abs(small) / np.abs(large))
    changed = {
        "VISIBILITY": large * ratio ** n_small[:, np.newaxis, np.newaxis],
        "antenna_xds/antenna_name": np.array(NAMES, object),
        "antenna_xds/ANTENNA_DISH_DIAMETER": np.where(np.arange(len(NAMES)) < N_SMALL, 7.0, 12.0),
        "baseline_antenna1_name": np.array(NAMES, object)[antenna1],
        "baseline_antenna2_name": np.array(NAMES, object)[antenna2],
    }
    for name, values in changed.items():
        stores.open_array(stores.join_url(group, *name.split("/")), mode="r+")[...] = values
    return url


def image(url: str, folder: Path, *antennas: str, **more: Any) -> Run:
    parameters = {
        "image_size": SIZE,
        "cell_size": CELL,
        "weighting": "natural",
        "threshold": "1 mJy",
        "primary_beam_correction": True,
    }
    return radps.run(
        {
            "data": {"path": url},
            "run": str(folder),
            "cluster": "none",
            "steps": [{"import_data": {"antennas": list(antennas)}}, {"image_continuum": parameters}],
            **more,
        },
        progress=False,
    )


@pytest.mark.parametrize(("antennas", "size"), [(("CM*",), 7.0), (("!CM*",), 12.0)])
def test_each_kind_of_dishes_gives_the_flux_density(
    mixed: str, tmp_path: Path, antennas: tuple[str, ...], size: float
) -> None:
    run = image(mixed, tmp_path / "run", *antennas)
    observation = run.context.require_observation()
    chosen = NAMES[:N_SMALL] if size == 7.0 else NAMES[N_SMALL:]
    assert tuple(antenna.name for antenna in observation.antennas) == chosen
    assert {antenna.diameter_m for antenna in observation.antennas} == {size}
    (partition,) = observation.partitions
    assert partition.cross_baselines == 10
    data = load_visibilities(run.context.address(partition))
    expected = simulate_block(model(size), "sky").visibilities
    antenna1, antenna2 = np.triu_indices(len(NAMES), k=1)
    own = (antenna1 < N_SMALL) & (antenna2 < N_SMALL) if size == 7.0 else antenna1 >= N_SMALL
    # a ratio of amplitudes is in those of 7 m
    np.testing.assert_allclose(data.visibilities, expected[:, own], rtol=1e-6)
    (record,) = run.context.find_images(kind="continuum")
    url = run.context.locate(record.path)
    apparent, corrected = (load_planes(url, name)[0] for name in ("SKY", "SKY_PRIMARY_BEAM_CORRECTED"))
    place = (SIZE // 2 - PLACE[0], SIZE // 2 + PLACE[1])
    # Of the two beams there, 0.58 and 0.83, each alone is the right one.
    assert apparent[place] < 0.9 * FLUX_JY
    assert corrected[place] == pytest.approx(FLUX_JY, rel=5e-3)


def test_both_kinds_together_have_no_primary_beam(mixed: str, tmp_path: Path) -> None:
    text = (
        r"dishes of 2 diameters, 5 of 7 m \(CM01, .*\) and 5 of 12 m .* Take one kind, by `import_data: \{antennas: "
        r'\["CM\*"\]\}` or `import_data: \{antennas: \["DA\*", "DV\*", "PM\*"\]\}`'
    )
    with pytest.raises(StageError, match=text):
        image(mixed, tmp_path / "run")
    # What the message says is a part of the config; the import alone is done again.
    run = image(mixed, tmp_path / "run", "DA*", "DV*", "PM*")
    assert run.context.steps["image_continuum"].state is StepState.DONE
    assert run.context.steps["import_data"].attempt == 2
