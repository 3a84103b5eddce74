"""The roots of what a step wrote are found in its outcome."""

from __future__ import annotations

from radps.context.model import Context, Workspace
from radps.context.records import DataGroup, Outcome, ProductRecord, SkyModel, StepRecord, StepState
from radps.run_folder.outputs import output_roots, referenced_roots


def record(outcome: Outcome | None) -> StepRecord:
    return StepRecord(
        id="apply",
        stage="apply_calibration",
        state=StepState.DONE,
        attempt=2,
        fingerprint="",
        after=(),
        params={"message": "images/apply-9"},
        start_s=0.0,
        outcome=outcome,
    )


CORRECTED = DataGroup(
    visibility="visibilities/apply-2.zarr/x/VISIBILITY",
    flag="visibilities/apply-2.zarr/x/FLAG",
    weight="visibilities/import_data-1.ps.zarr/x/WEIGHT",
    uvw="/data/own.ps.zarr/x/UVW",
)


def test_the_roots_of_a_step_are_those_that_it_wrote_itself() -> None:
    outcome = Outcome(
        message="Jy/beam-area",
        groups={"x": {"corrected": CORRECTED}},
        products=(ProductRecord(path="products/apply-2/a.fits", kind="fits", source="", size_bytes=1, sha256=""),),
        dataset_paths=("s3://bucket/apply-2",),
        summary={"tables": [{"path": "context.zarr/apply-2"}]},
    )
    assert output_roots(record(outcome)) == ("context.zarr/apply-2", "products/apply-2", "visibilities/apply-2.zarr")


def test_a_step_without_an_outcome_has_no_roots() -> None:
    assert output_roots(record(None)) == ()


def test_the_paths_that_a_stage_asks_for_are_roots() -> None:
    context = Context(run_id="r").at(Workspace(url="/run", step="apply", attempt=2))
    for path in (context.new_path("images"), context.new_path("visibilities", "a/b", suffix="-scratch")):
        assert output_roots(record(Outcome(summary={"path": path})))[0] in path


def test_a_context_refers_to_what_all_its_fields_name() -> None:
    model = SkyModel(field="f", components=(), origin="images/model-1.zarr/SKY")
    context = Context(run_id="r", sky_models=(model,)).model_copy(
        update={"steps": {"apply": record(Outcome(groups={"x": {"corrected": CORRECTED}}))}}
    )
    assert referenced_roots(context) == {
        "images/model-1.zarr",
        "images/apply-9",
        "visibilities/apply-2.zarr",
        "visibilities/import_data-1.ps.zarr",
    }
