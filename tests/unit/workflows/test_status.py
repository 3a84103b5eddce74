"""The status of a run: what programs read, valid by its schema."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from radps.context.model import Context
from radps.context.records import (
    Beam,
    FluxDensityRecord,
    FrequencyRange,
    ImageRecord,
    Outcome,
    OutcomeStatus,
    ProductRecord,
    QAScore,
    StatisticsRecord,
    StepRecord,
    StepState,
)
from radps.errors import ContextError
from radps.run_folder.store import RunStore
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow
from radps.workflows.schema import SCHEMAS
from radps.workflows.status import Status, load_status, make_status

ARCSEC = 4.84813681109536e-06


def record(step: str, state: StepState, **values: Any) -> StepRecord:
    defaults = {"attempt": 1, "fingerprint": "", "after": (), "params": {}, "start_s": 1e9, "stop_s": 1e9 + 2.5}
    return StepRecord(id=step, stage=step, state=state, **{**defaults, **values})


def full_outcome() -> Outcome:
    image = ImageRecord(
        name="galaxy_cube",
        kind="cube",
        path="images/cube-1/galaxy.zarr",
        variable="SKY",
        companions=("SKY_RESIDUAL",),
        field="galaxy",
        window="L",
        shape=(4, 8, 8),
        cell_size_rad=ARCSEC,
        frequency_hz=(1.42e9, 1.43e9),
        channel_width_hz=1e6,
        statistics=StatisticsRecord(max=2.0, min=-1.0, rms=0.5),
        noise_jy=0.1,
        beam=Beam(major_rad=20 * ARCSEC, minor_rad=10 * ARCSEC, position_angle_rad=0.5),
        channels={"threshold": 3, "diverged": 1},
        listed=("channel 2: diverged",),
    )
    continuum = image.model_copy(update={"name": "galaxy_continuum", "kind": "continuum", "path": "images/c.zarr"})
    products = tuple(
        ProductRecord(
            path=f"products/export-1/{name}",
            kind="fits",
            source="galaxy_cube",
            variable=variable,
            size_bytes=3,
            sha256="0" * 64,
        )
        for name, variable in (("residual.fits", "SKY_RESIDUAL"), ("cube.fits", "SKY"))
    )
    return Outcome(
        status=OutcomeStatus.CAVEATS,
        message="one channel diverged",
        flux_densities=(
            FluxDensityRecord(
                field="cal", window="low", flux_jy=2.5, error_jy=0.01, frequency_hz=1.4e9, origin="flux transfer"
            ),
        ),
        line_free=(FrequencyRange(start_hz=1.41e9, stop_hz=1.42e9, frame="LSRK", origin="config"),),
        images=(image, continuum),
        products=products,
        qa=(
            QAScore(
                name="noise",
                score=0.7,
                value=0.1,
                unit="Jy",
                good=0.0,
                bad=0.3,
                applies_to="galaxy_cube",
                message="noise 0.1 Jy",
            ),
        ),
    )


@pytest.fixture
def status() -> Status:
    records = [
        record("cube", StepState.DONE, outcome=full_outcome(), tasks=12, attempt=2),
        record("export", StepState.FAILED, error="disk full", traceback="..."),
        record("report", StepState.PENDING, attempt=0, stop_s=None),
    ]
    return make_status(Context(run_id="r", project="P").with_records(records), "s3://bucket/run")


def test_steps_come_with_state_time_tasks_and_message(status: Status) -> None:
    cube, export, report = status.steps
    assert (cube.state, cube.result, cube.attempts, cube.tasks, cube.seconds) == ("done", "caveats", 2, 12, 2.5)
    assert (cube.message, cube.start) == ("one channel diverged", "2001-09-09T01:46:40Z")
    assert (export.state, export.result, export.message) == ("failed", None, "disk full")
    assert (report.state, report.seconds, report.start, report.attempts) == ("pending", None, None, 0)
    assert status.state == "failed"


def test_an_image_points_to_its_fits_file_or_else_to_its_store(status: Status) -> None:
    cube, continuum = status.images
    assert cube.file == "s3://bucket/run/products/export-1/cube.fits"
    assert continuum.file == "s3://bucket/run/images/c.zarr"
    assert (cube.max, cube.min, cube.rms) == (2.0, -1.0, 0.5)
    assert (cube.channels, cube.listed) == ({"threshold": 3, "diverged": 1}, ("channel 2: diverged",))


def test_a_beam_is_in_arcseconds_and_degrees(status: Status) -> None:
    beam = status.images[0].beam
    assert beam is not None
    assert (beam.major_arcsec, beam.minor_arcsec) == pytest.approx((20.0, 10.0))
    assert beam.position_angle_deg == pytest.approx(28.6479, rel=1e-5)


def test_scores_fluxes_and_ranges_are_there(status: Status) -> None:
    assert [(score.step, score.name, score.score) for score in status.qa] == [("cube", "noise", 0.7)]
    assert status.flux_densities["cal"]["low"].flux_jy == 2.5
    assert status.line_free is not None
    assert status.line_free[0].stop_hz == 1.42e9
    assert [product.kind for product in status.products] == ["fits", "fits"]


def test_what_is_written_is_valid_by_the_schema(status: Status) -> None:
    schema = SCHEMAS["status"]()
    document = json.loads(status.model_dump_json())
    jsonschema.validate(document, schema)
    assert document["schema_version"] == 1
    del document["images"][0]["max"]
    with pytest.raises(jsonschema.ValidationError, match="'max' is a required property"):
        jsonschema.validate(document, schema)


@pytest.mark.parametrize(
    ("states", "driver", "expected"),
    [
        (("done", "done"), "", "done"),
        (("done", "pending"), "", "stopped"),
        (("pending", "pending"), "", "pending"),
        (("done", "failed", "blocked"), "", "failed"),
        (("done", "stopped"), "", "stopped"),
        (("done", "running"), "process 1", "running"),
        (("done", "running"), "", "stopped"),
    ],
)
def test_the_state_of_the_run_follows_from_its_steps(states: tuple[str, ...], driver: str, expected: str) -> None:
    records = [record(f"s{number}", StepState(state)) for number, state in enumerate(states)]
    assert make_status(Context(run_id="r").with_records(records), "run", driver).state == expected


def test_a_step_that_runs_shows_its_time_so_far_and_without_a_driver_that_it_was_left() -> None:
    records = [record("a", StepState.RUNNING, start_s=time.time() - 5.0, stop_s=None)]
    context = Context(run_id="r").with_records(records)
    (running,) = make_status(context, "run", "process 1").steps
    assert running.seconds == pytest.approx(5.0, abs=2.0)
    (left,) = make_status(context, "run").steps
    assert (left.state, left.message) == ("stopped", "the process that ran it is gone")


def test_the_status_of_a_folder_is_read_with_its_driver(tmp_path: Path) -> None:
    url = str(tmp_path / "run")
    with pytest.raises(ContextError, match="is not a run folder"):
        load_status(url)
    run_workflow(load_workflow({"run": url, "cluster": "none", "steps": ["user_stages:squares"]}))
    found = load_status(url)
    assert (found.run, found.state, found.driver) == (url, "done", None)
    with RunStore(url).lock() as driver:
        assert load_status(url).driver == str(driver)


def test_jupyter_gets_tables_with_text_that_cannot_break_them(status: Status) -> None:
    html = status._repr_html_()
    assert "<td" in html
    assert "galaxy_cube" in html
    failed = record("x<b>", StepState.FAILED, error="<script>")
    html = make_status(Context(run_id="r").with_records([failed]), "run")._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
