"""The whole way on a tiny simulated observation: what is in the run folder at the end."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import radps
from radps.api import Run
from radps.data import stores
from radps.errors import SelectionError


def test_every_step_is_done_and_scored(tiny_run: Run) -> None:
    context = tiny_run.context
    assert {record.state for record in context.steps.values()} == {"done"}
    assert {"calibrate", "flag", "assess"} <= set(context.qa)
    assert all(0 <= score.score <= 1 for scores in context.qa.values() for score in scores)
    assert {flux.field for flux in context.flux_densities} == {"3C286", "J1445+0958"}
    assert all(table.state == "applied" for table in context.calibration.tables)


def test_transferred_flux_density_is_the_truth(tiny_run: Run) -> None:
    found = next(flux for flux in tiny_run.context.flux_densities if flux.field == "J1445+0958")
    # Gains drift by 3 % between the scans of the two calibrators: that, not the noise, is what limits the transfer.
    assert found.flux_jy == pytest.approx(2.5, rel=0.06)
    assert found.error_jy > 0


def test_images_have_a_sky_and_a_beam(tiny_run: Run) -> None:
    images = {image.kind: image for image in tiny_run.context.images}
    assert set(images) == {"continuum", "cube", "moment"}
    for image in images.values():
        assert image.beam is not None
        assert 30 < np.rad2deg(image.beam.minor_rad) * 3600 < np.rad2deg(image.beam.major_rad) * 3600 < 90
        assert image.statistics.max > 3 * image.statistics.rms
    # The brightest source has 0.25 Jy; the primary beam and a gain that drifts take some of it.
    assert 0.1 < images["continuum"].statistics.max < 0.3


def test_an_image_and_its_fits_file_say_what_made_them(tiny_run: Run) -> None:
    context = tiny_run.context
    for image in context.images:
        attributes = tiny_run.image(image.name).attrs["provenance"]
        record = tiny_run.provenance(image.name)[-1]
        assert "run" not in attributes  # two runs make the same files
        assert (attributes["step"], attributes["stage"], attributes["attempt"]) == (
            record.id,
            record.stage,
            record.attempt,
        )
        assert (attributes["fingerprint"], attributes["versions"]) == (record.fingerprint, record.versions)
        assert attributes["lineage"] == [f"{one.id}-{one.attempt}" for one in tiny_run.provenance(image.name)[:-1]]
        assert attributes["parameters"].items() >= {"n_sigma": record.params["n_sigma"]}.items()
        (product, *_) = (one for one in context.products if one.source == image.name)
        cards = [str(card) for card in fits.getheader(Path(tiny_run.url) / product.path)["HISTORY"]]
        assert {f"radps step: {record.id}", "radps attempt: 1"} <= set(cards)
        assert f'radps versions radps: "{radps.__version__}"' in cards
        assert f"radps parameters n_sigma: {record.params['n_sigma']}" in cards


def test_the_provenance_of_a_product_reaches_back_to_the_raw_data(tiny_run: Run) -> None:
    (cube,) = (image for image in tiny_run.context.images if image.kind == "cube")
    chain = tiny_run.provenance(cube.name)
    assert chain[0].stage == "simulate"
    assert chain[-1].stage == "image_cube"
    assert all(record.provenance is not None for record in chain)
    last = chain[-1].provenance
    assert last is not None
    assert [read.step for read in last.steps_read] == [record.id for record in chain[:-1]]
    assert last.cluster == "in this process"
    assert last.code[0].path.endswith("radps/stages/image_cube.py")
    with pytest.raises(SelectionError, match=f"no step made 'cub'; there are: .*{cube.name}"):
        tiny_run.provenance("cub")


def test_the_manifest_has_the_lineage_of_every_file(tiny_run: Run) -> None:
    context = tiny_run.context
    (manifest,) = (product.path for product in context.products if product.kind == "manifest")
    content = json.loads((Path(tiny_run.url) / manifest).read_text())
    for entry in content["products"]:
        *before, last = entry["lineage"]
        assert last == "export"
        assert before == [record.id for record in tiny_run.provenance(entry["source"])]
        for step in before:
            said, record = content["steps"][step], context.steps[step]
            assert (said["stage"], said["attempt"]) == (record.stage, record.attempt)
            assert (said["parameters"], said["fingerprint"]) == (record.params, record.fingerprint)
            assert said["provenance"]["distributions"]["ducc0"]
    said, record = content["steps"]["export"], context.steps["export"]
    assert (said["fingerprint"], said["versions"]) == (record.fingerprint, record.versions)


def test_images_come_from_the_list_and_their_noise_is_as_expected(tiny_run: Run) -> None:
    context = tiny_run.context
    assert [(one.mode, one.state) for one in context.imaging.planned] == [("continuum", "made"), ("cube", "made")]
    for entry in context.imaging.planned:
        assert entry.image is not None
        record = context.image_record(entry.image)
        assert record.planned == entry.name
        assert context.find_images(kind=entry.mode, field="N5921", step=f"image_{entry.mode}") == (record,)
        assert [one.source for one in context.find_products(kind="fits", field="N5921", source=record.name)] != []
        assert entry.noise_jy is not None
    cube = context.imaging.planned[1]
    # Two of nine antennas are dead or noisy, so that 21 of 36 baselines make the image: the noise is 1.3 times the one
    # expected; Briggs weights and what CLEAN leaves add to it.
    assert 1.2 < context.image_record(str(cube.image)).noise_jy / float(cube.noise_jy or 0) < 2.5


def test_manifest_lists_every_fits_file_with_its_checksum(tiny_run: Run) -> None:
    folder = Path(tiny_run.url)
    products = {product.path: product for product in tiny_run.context.products}
    (manifest,) = (path for path in products if path.endswith("manifest.json"))
    listed = json.loads((folder / manifest).read_text())["products"]
    assert {entry["path"] for entry in listed} == set(products) - {manifest}
    for entry in listed:
        content = (folder / entry["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        assert len(content) == entry["size_bytes"]


# The file has the place of the array as OBSGEO-X, -Y, -Z; astropy says that it derives longitude and latitude from it.
@pytest.mark.filterwarnings("ignore:'obsfix' made the change")
def test_cube_as_fits_has_the_coordinates_of_the_sky(tiny_run: Run) -> None:
    record = next(image for image in tiny_run.context.images if image.kind == "cube")
    product = next(p for p in tiny_run.context.products if p.source == record.name)
    with fits.open(Path(tiny_run.url) / product.path) as units:
        header, data = units[0].header, units[0].data
        assert header["BUNIT"] == "Jy/beam"
        assert header["RESTFRQ"] == pytest.approx(1420.405751768e6)
        assert header["SPECSYS"] == "LSRK"
        assert data.shape == (1, record.shape[0], *record.shape[:0:-1]) or data.shape[-2:] == record.shape[1:]
        sky = WCS(header).celestial
        centre = sky.wcs_pix2world([[record.shape[1] // 2, record.shape[2] // 2]], 0)[0]
        # The phase centre of the simulation is in ICRS; FK5 would differ by 0.02 arcsec.
        np.testing.assert_allclose(centre, [230.5, 5.0666667], atol=1e-4)
        east = sky.wcs_pix2world([[record.shape[1] // 2 - 1, record.shape[2] // 2]], 0)[0]
        assert east[0] > centre[0]


def test_status_tells_programs_everything(tiny_run: Run) -> None:
    status = json.loads(tiny_run.status().model_dump_json())
    assert [step["id"] for step in status["steps"]] == list(tiny_run.context.steps)
    assert {image["kind"] for image in status["images"]} == {"cube", "continuum", "moment"}
    assert all(image["file"].endswith(".fits") for image in status["images"])
    assert status["line_free"]
    assert status["flux_densities"]["J1445+0958"]["spw0"]["flux_jy"] > 0


def test_run_lives_in_an_object_store(tiny_run: Run, tiny_config: Callable[..., dict[str, Any]]) -> None:
    url = f"memory://{uuid.uuid4().hex}/run"
    try:
        other = radps.run(tiny_config(url), progress=False)
        assert {record.state for record in other.context.steps.values()} == {"done"}
        expected = {image.name: image.statistics for image in tiny_run.context.images}
        assert {image.name: image.statistics for image in other.context.images} == expected
        assert stores.exists(f"{url}/{other.context.products[0].path}")
    finally:
        stores.delete(url)


def test_second_run_does_nothing(tiny_run: Run, tiny_config: Callable[..., dict[str, Any]]) -> None:
    sequence = tiny_run.context.sequence
    again = radps.run(tiny_config(tiny_run.url), progress=False)
    assert again.context.sequence == sequence


def test_a_fully_flagged_target_is_an_outcome_to_the_end(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    config = tiny_config(str(tmp_path / "run"), flag={"manual": [{"fields": ["N5921"], "channels": ["0~15"]}]})
    context = radps.run(config, progress=False).context
    assert {record.state for record in context.steps.values()} == {"done"}
    images = {image.kind: image for image in context.images}
    assert images["cube"].channels == {"no_data": 16}
    assert images["continuum"].channels == {"no_data": 1}
    assert len(images["cube"].listed) == 16
    results = {name: record.outcome.status for name, record in context.steps.items() if record.outcome is not None}
    assert results["image_continuum"] == results["image_cube"] == results["assess"] == "caveats"
    assert results["moments"] == "nothing"
    scores = {(one.applies_to, one.name): one.score for one in context.qa["assess"] if one.scope == "image"}
    assert scores == {(images[kind].name, "channels with data"): 0.0 for kind in ("continuum", "cube")}
