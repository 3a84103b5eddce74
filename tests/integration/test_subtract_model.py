"""The subtraction of a model image from a simulated sky of two continuum sources and a line."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

import radps
from radps.api import Run
from radps.context.model import Context
from radps.context.records import OutcomeStatus
from radps.data.addresses import VisibilityAddress
from radps.data.observation_model import ObservationModel
from radps.data.simulated_truth import true_visibilities
from radps.data.visibilities import VisibilityChunk, load_visibilities
from radps.errors import DataError, ModelError, SelectionError
from radps.stages.image_continuum import Params as ContinuumParams
from radps.stages.image_continuum import choose_data_group
from radps.stages.subtract_model import Params, subtract_model

CELL = math.radians(25 / 3600)
SIZE = 96
STRONG = {"east": 12 * CELL, "north": -20 * CELL, "flux": 1.0, "spectral_index": -0.8}
WEAK = {"east": -25 * CELL, "north": 5 * CELL, "flux": 0.3, "spectral_index": -0.8}
LINE = {"east": 3 * CELL, "north": 15 * CELL, "line_peak": 0.8, "line_center": 1.4e9 + 3e5, "line_width": 1e5}
SKY = {"name": "sky", "ra": "190 deg", "dec": "40 deg"}


def observation(*components: dict[str, float]) -> ObservationModel:
    """A perfect array without noise, some autocorrelations."""
    return ObservationModel.model_validate(
        {
            "integration_time": "60 s",
            "layout": {"kind": "vla", "configuration": "D", "n_antennas": 9},
            "band": {"start_frequency": 1.4e9, "channel_width": 1e5, "n_channels": 8},
            "fields": [{**SKY, "components": components}],
            "scans": [{"field": "sky", "n_integrations": 12}],
            "gains": None,
            "bandpasses": None,
            "noise": None,
            "autocorrelations": True,
        }
    )


def write_model(path: Path, **header: Any) -> str:
    """Write the continuum sources as a FITS image in Jy/pixel."""
    data = np.zeros((SIZE, SIZE), np.float32)
    for one in (STRONG, WEAK):
        data[SIZE // 2 + round(one["north"] / CELL), SIZE // 2 - round(one["east"] / CELL)] = one["flux"]
    hdu = fits.PrimaryHDU(data)
    cell, middle = math.degrees(CELL), SIZE // 2 + 1.0
    hdu.header.update(
        {
            "CTYPE1": "RA---SIN", "CRVAL1": 190.0, "CDELT1": -cell, "CRPIX1": middle, "CUNIT1": "deg",
            "CTYPE2": "DEC--SIN", "CRVAL2": 40.0, "CDELT2": cell, "CRPIX2": middle, "CUNIT2": "deg",
            "RADESYS": "ICRS", "BUNIT": "Jy/pixel", **header,
        }
    )  # fmt: skip
    hdu.writeto(path)
    return str(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Imaged from channels without line; the truth is subtracted, then the CLEAN model."""
    folder = tmp_path_factory.mktemp("model")
    truth = {"image": write_model(folder / "truth.fits"), "reference_frequency": 1.4e9, "spectral_index": -0.8}
    imaging = {"image_size": SIZE, "cell_size": CELL, "n_sigma": 0, "threshold": "2 mJy", "max_iterations": 1000}
    config = {
        "run": str(folder / "run"),
        "cluster": "none",
        "steps": [
            {"simulate": {"observation": observation(STRONG, WEAK, LINE).model_dump(mode="json")}},
            "import_data",
            {"flag": {"manual": [{"channels": ["6"]}]}},
            {"image_continuum": {**imaging, "channels": ["0~1", "5~7"]}},
            {"id": "exact", "stage": "subtract_model", "params": truth},
            {"id": "clean", "stage": "subtract_model"},
        ],
    }
    return radps.run(config, progress=False)


def load(run: Run, step: str) -> tuple[VisibilityChunk, NDArray[np.complex64]]:
    """Return the data that a step left, and the visibilities before it."""
    context = run.context
    (partition,) = context.visibilities("sky")
    group = context.steps[step].outcome.groups[partition.name]["model_subtracted"]
    address = context.address(partition, "base")
    after = VisibilityAddress(
        store=address.store,
        visibility=context.locate(group.visibility),
        flag=address.flag,
        weight=address.weight,
        uvw=address.uvw,
    )
    return load_visibilities(after), load_visibilities(address).visibilities


def largest(values: NDArray[np.complex64], data: VisibilityChunk) -> float:
    return float(np.abs(np.where(data.flags, 0, values)).max())


def test_what_is_left_of_the_truth_is_the_line(run: Run) -> None:
    data, before = load(run, "exact")
    line = true_visibilities(observation(LINE), "sky")[..., np.newaxis]
    assert largest(data.visibilities - line, data) < 3e-5  # the accuracy of the gridder, 1e-5 of 1.3 Jy, in one channel
    assert largest(before - line, data) > 0.5
    auto = data.antenna1 == data.antenna2
    np.testing.assert_array_equal(data.visibilities[:, auto], before[:, auto])


def test_the_clean_model_of_the_newest_image_is_subtracted(run: Run) -> None:
    data, before = load(run, "clean")
    line = true_visibilities(observation(LINE), "sky")[..., np.newaxis]
    # CLEAN stopped at 2 mJy, so that of each source some per mille are left, and their spectral index over the band
    assert largest(data.visibilities - line, data) < 0.02
    assert largest(before - line, data) > 0.5
    outcome = run.context.steps["clean"].outcome
    assert outcome.status is OutcomeStatus.SUCCESS
    numbers = outcome.summary["fields"]["sky"]
    assert numbers["rms_after_jy"] < numbers["rms_before_jy"]
    assert outcome.qa[0].score == 1.0


def test_the_continuum_is_not_imaged_without_it(run: Run) -> None:
    (partition,) = run.context.visibilities("sky")
    assert list(partition.groups)[-1] == "model_subtracted"
    assert choose_data_group(ContinuumParams(), partition) == "base"


@pytest.fixture
def compute(run: Run) -> Callable[..., Any]:
    """Computes the stage with some parameters at a step of its own."""
    import dask

    def of(context: Context, **params: Any) -> Any:
        workspace = context.place().model_copy(update={"step": f"step_{len(str(params))}", "names_given": set()})
        graph = subtract_model(context.at(workspace), Params(**params))
        return dask.compute(graph, scheduler="synchronous")[0]

    return of


@pytest.fixture
def context(run: Run) -> Context:
    from radps.context.model import Workspace

    return run.context.at(Workspace(url=run.url, step="check"))


def test_a_model_that_does_not_fit_is_reported(compute: Callable[..., Any], context: Context, tmp_path: Path) -> None:
    url = write_model(tmp_path / "wrong.fits", CRVAL2=40.0 + 0.05)
    outcome = compute(context, image=url, reference_frequency="1.4 GHz")
    assert outcome.status is OutcomeStatus.CAVEATS
    assert "the model does not fit to the data of sky" in outcome.message
    assert outcome.qa[0].score < 1.0


def test_models_that_cannot_be_subtracted_are_refused(
    compute: Callable[..., Any], context: Context, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="the model image has no frequency; give its reference_frequency"):
        compute(context, image=write_model(tmp_path / "model.fits"))
    with pytest.raises(DataError, match="there is no such file, and no image of this run has that name"):
        compute(context, image="no_such_image")
    imageless = context.model_copy(update={"images": ()})
    with pytest.raises(SelectionError, match=r"no continuum image of field 'sky' to subtract \(continuum images: none"):
        compute(imageless)
