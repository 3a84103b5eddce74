"""The context is a fold over outcomes; selections name what there is when they fail."""

from __future__ import annotations

import pytest

from radps.context.model import Context, Workspace
from radps.context.records import (
    Antenna,
    DataGroup,
    DataSetMetadata,
    Direction,
    FluxDensityRecord,
    Observation,
    ObservedField,
    Outcome,
    Partition,
    ProjectMetadata,
    QAScore,
    SpectralWindow,
    StepRecord,
    StepState,
)
from radps.errors import ContextError, SelectionError


def observation() -> Observation:
    window = SpectralWindow(
        name="L", virtual=0, frequency_hz=(1e9, 1.01e9), n_channels=11, channel_width_hz=1e6, frame="LSRK"
    )

    def field(name: str, *intents: str) -> ObservedField:
        return ObservedField(
            name=name, source=name, direction=Direction(ra_rad=1.0, dec_rad=0.5, frame="fk5"), intents=intents
        )

    def partition(name: str) -> Partition:
        base = f"visibilities/import_data-1.ps.zarr/{name}"
        group = DataGroup(visibility=f"{base}/V", flag=f"{base}/F", weight=f"{base}/W", uvw=f"{base}/UVW")
        return Partition(
            name=name,
            dataset="data",
            path=base,
            field=name,
            window="L",
            intents=(),
            shape=(4, 3, 11, 2),
            chunks=(4, 11),
            polarizations=("RR", "LL"),
            integration_time_s=10.0,
            scans={"1": (0, 4)},
            groups={"base": group},
        )

    return Observation(
        project=ProjectMetadata(datasets=(DataSetMetadata(name="data", telescope="VLA", start_s=0.0, stop_s=40.0),)),
        antennas=(Antenna(name="A", station="P", position_m=(0.0, 0.0, 0.0), diameter_m=25.0),),
        fields=(field("cal", "CALIBRATE_FLUX#ON_SOURCE"), field("star", "OBSERVE_TARGET#ON_SOURCE")),
        windows=(window,),
        scans=(),
        partitions=(partition("cal"), partition("star")),
        longest_baseline_m=1000.0,
        synthesized_beam_rad=3e-4,
    )


def record(step: str, outcome: Outcome | None, state: StepState = StepState.DONE) -> StepRecord:
    return StepRecord(
        id=step, stage=step, state=state, attempt=1, fingerprint="", after=(), params={}, start_s=0.0, outcome=outcome
    )


@pytest.fixture
def context() -> Context:
    base = Context(run_id="r").at(Workspace(url="memory://run", step="flag", attempt=2))
    return base.with_outcome("import_data", Outcome(observation=observation()))


def test_a_context_survives_the_way_through_json(context: Context) -> None:
    assert Context.model_validate_json(context.model_dump_json()) == context.model_copy(update={"workspace": None})


def test_new_data_groups_become_the_newest_and_leave_the_old_readable(context: Context) -> None:
    (star,) = context.visibilities("target")
    new = star.groups["base"].model_copy(update={"visibility": "visibilities/apply-1.zarr/star/VISIBILITY_CORRECTED"})
    later = context.with_outcome("apply", Outcome(groups={"star": {"corrected": new}}))
    (star,) = later.visibilities("target")
    assert later.address(star).visibility == "memory://run/visibilities/apply-1.zarr/star/VISIBILITY_CORRECTED"
    assert later.address(star, "base").visibility.endswith("import_data-1.ps.zarr/star/V")
    assert list(context.visibilities("target")[0].groups) == ["base"]  # the old context did not change


def test_the_fold_takes_only_what_is_done() -> None:
    flux = FluxDensityRecord(field="cal", flux_jy=2.5, error_jy=0.1, frequency_hz=1e9, origin="flux transfer")
    records = [
        record("import_data", Outcome(observation=observation())),
        record("calibrate", Outcome(flux_densities=(flux,)), StepState.FAILED),
    ]
    context = Context(run_id="r").with_records(records)
    assert context.observation is not None
    assert context.flux_densities == ()
    assert list(context.steps) == ["import_data", "calibrate"]


def test_a_later_flux_density_replaces_the_one_of_the_same_field(context: Context) -> None:
    for flux in (1.0, 2.0):
        one = FluxDensityRecord(field="cal", flux_jy=flux, error_jy=0.1, frequency_hz=1e9, origin="config")
        context = context.with_outcome("calibrate", Outcome(flux_densities=(one,)))
    assert [flux.flux_jy for flux in context.flux_densities] == [2.0]


def test_scores_are_kept_by_step(context: Context) -> None:
    score = QAScore(name="n", score=1, value=1, unit="", good=1, bad=0, applies_to="all", message="")
    assert context.with_outcome("flag", Outcome(qa=(score,))).qa == {"flag": (score,)}


def test_words_select_by_intent_and_names_by_name(context: Context) -> None:
    assert context.field_names("flux") == ("cal",)
    assert context.field_names(["target", "cal"]) == ("cal", "star")
    assert context.field_names("all") == ("cal", "star")


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("moon", r"there is no field 'moon'; fields: cal, star; words: flux, bandpass, phase, target, all"),
        ("phase", r"no field has the intent CALIBRATE_PHASE .*cal: CALIBRATE_FLUX#ON_SOURCE"),
    ],
)
def test_a_selection_that_finds_nothing_lists_what_there_is(context: Context, selection: str, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        context.field_names(selection)


def test_an_unknown_data_group_lists_those_there_are(context: Context) -> None:
    with pytest.raises(SelectionError, match="cal has no data group 'corrected'; it has: base"):
        context.address(context.visibilities("cal")[0], "corrected")


def test_paths_of_an_attempt_carry_its_step_and_number(context: Context) -> None:
    assert context.new_path("images") == "images/flag-2.zarr"
    assert context.new_path("visibilities", "star/FLAG") == "visibilities/flag-2.zarr/star/FLAG"


def test_asking_too_early_says_what_is_missing() -> None:
    with pytest.raises(ContextError, match="no data were imported yet"):
        Context(run_id="r").visibilities("all")
    with pytest.raises(ContextError, match="not bound to a run folder"):
        Context(run_id="r").place()
    with pytest.raises(ContextError, match="no calibration table 'b'; there are: none"):
        Context(run_id="r").calibration.table("b")
    with pytest.raises(ContextError, match="step 'flag' made new data, but no data were imported"):
        Context(run_id="r").with_outcome("flag", Outcome(groups={"x": {}}))


def test_new_data_of_an_unknown_partition_are_refused(context: Context) -> None:
    with pytest.raises(ContextError, match="unknown partitions moon; known: cal, star"):
        context.with_outcome("flag", Outcome(groups={"moon": {}}))
