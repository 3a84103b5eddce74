"""The context is a fold over outcomes; selections name what there is when they fail."""

from __future__ import annotations

import time

import pytest

from radps.context.imaging_state import ImageKind
from radps.context.model import Context, Workspace
from radps.context.records import (
    Antenna,
    Applicability,
    CalibrationTable,
    DataGroup,
    DataSetMetadata,
    Direction,
    FluxDensityRecord,
    ImageRecord,
    Observation,
    ObservedField,
    Outcome,
    Partition,
    PlannedImage,
    ProductKind,
    ProductRecord,
    ProjectMetadata,
    QAScore,
    ScoreScope,
    SizeReduction,
    SpectralWindow,
    StatisticsRecord,
    StepRecord,
    StepState,
    VlaExtension,
)
from radps.context.scores import score_between
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


def test_data_that_are_made_again_are_the_newest_and_data_with_new_flags_are_not(context: Context) -> None:
    (star,) = context.visibilities("target")

    def group(name: str, **changes: str) -> DataGroup:
        return star.groups["base"].model_copy(update={"visibility": f"visibilities/{name}.zarr/star/V", **changes})

    for name, groups in (
        ("apply", {"corrected": group("apply-1")}),
        ("subtract", {"continuum_subtracted": group("subtract-1")}),
        ("flag", {"corrected": group("apply-1", flag="new"), "base": star.groups["base"]}),
    ):
        context = context.with_outcome(name, Outcome(groups={"star": groups}))
    (star,) = context.visibilities("target")
    assert list(star.groups) == ["base", "corrected", "continuum_subtracted"]
    assert star.groups["corrected"].flag == "new"
    context = context.with_outcome("apply_again", Outcome(groups={"star": {"corrected": group("apply_again-1")}}))
    (star,) = context.visibilities("target")
    assert list(star.groups) == ["base", "continuum_subtracted", "corrected"]
    assert context.address(star).visibility == "memory://run/visibilities/apply_again-1.zarr/star/V"


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


def test_a_later_flux_density_replaces_the_one_of_the_same_field_and_window(context: Context) -> None:
    for window, flux in (("low", 1.0), ("high", 3.0), ("low", 2.0)):
        one = FluxDensityRecord(
            field="cal", window=window, flux_jy=flux, error_jy=0.1, frequency_hz=1e9, origin="config"
        )
        context = context.with_outcome("calibrate", Outcome(flux_densities=(one,)))
    assert [(one.window, one.flux_jy) for one in context.flux_densities] == [("low", 2.0), ("high", 3.0)]


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


def table(name: str, *fields: str) -> CalibrationTable:
    use = Applicability(fields=fields, windows=("L",), from_fields=("cal",))
    return CalibrationTable(
        name=name, kind="gain", path=name, window="L", solved_on=("cal",), applies_to=(use,), reference_antenna="A"
    )


def test_tables_come_in_get_applied_and_go_by_outcomes(context: Context) -> None:
    solved = context.with_outcome("calibrate", Outcome(tables=(table("a", "cal"), table("b", "star"))))
    applied = solved.with_outcome("apply", Outcome(applied=("a",)))
    assert [one.name for one in applied.calibration.pending] == ["b"]
    dropped = applied.with_outcome("drop", Outcome(removed_tables=("a",)))
    assert [one.name for one in dropped.calibration.tables] == ["b"]
    (star,) = dropped.visibilities("star")
    assert [one.table.name for one in dropped.calibration.corrections(star)] == ["b"]


def test_a_step_whose_tables_contradict_others_is_refused_as_a_whole_and_named(context: Context) -> None:
    solved = context.with_outcome("calibrate", Outcome(tables=(table("a", "cal"),)))
    with pytest.raises(ContextError, match=r"step 'again': two corrections of kind gain for field 'cal'"):
        solved.with_outcome("again", Outcome(tables=(table("b", "star"), table("c", "cal"))))
    with pytest.raises(ContextError, match=r"step 'drop': no calibration table 'z' to remove; there are: a"):
        solved.with_outcome("drop", Outcome(removed_tables=("z",)))
    with pytest.raises(ContextError, match=r"step 'early': calibration table a applies to no data .* fields: none"):
        Context(run_id="r").with_outcome("early", Outcome(tables=(table("a", "cal"),)))


def image(name: str, kind: ImageKind, field: str) -> ImageRecord:
    return ImageRecord(
        name=name,
        kind=kind,
        path=f"images/{name}.zarr",
        variable="SKY",
        field=field,
        window="L",
        shape=(11, 32, 32),
        cell_size_rad=1e-5,
        frequency_hz=(1e9, 1.01e9),
        channel_width_hz=1e6,
        statistics=StatisticsRecord(max=1.0, min=0.0, rms=0.1),
        noise_jy=1e-3,
    )


def test_images_are_found_by_kind_field_window_and_step(context: Context) -> None:
    context = context.with_outcome("cube", Outcome(images=(image("c", "cube", "star"), image("d", "cube", "cal"))))
    context = context.with_outcome("mfs", Outcome(images=(image("m", "continuum", "star"),)))
    assert [one.name for one in context.find_images()] == ["c", "d", "m"]
    assert [one.name for one in context.find_images(kind="cube", field="star")] == ["c"]
    assert [one.name for one in context.find_images(step="mfs", window="L")] == ["m"]
    assert context.find_images(field="moon") == ()
    with pytest.raises(SelectionError, match="there is no kind of image 'mfs'; there are: cube, continuum, moment"):
        context.find_images(kind="mfs")  # type: ignore[arg-type]
    assert context.image_record("m").step == "mfs"
    with pytest.raises(SelectionError, match="there is no image 'x'; images: c, d, m"):
        context.image_record("x")


def test_products_are_found_by_kind_source_field_and_step(context: Context) -> None:
    def product(name: str, kind: ProductKind, field: str) -> ProductRecord:
        return ProductRecord(path=f"products/{name}", kind=kind, source="c", field=field, size_bytes=1, sha256="0")

    files = (product("a.fits", ProductKind.FITS, "star"), product("m.json", ProductKind.MANIFEST, ""))
    context = context.with_outcome("export", Outcome(products=files))
    assert [one.path for one in context.find_products(kind="fits")] == ["products/a.fits"]
    assert [one.path for one in context.find_products(step="export", source="c")] == [
        "products/a.fits",
        "products/m.json",
    ]
    assert context.find_products(field="star", kind=ProductKind.MANIFEST) == ()
    assert context.product("products/m.json").step == "export"
    with pytest.raises(SelectionError, match="there is no kind of product 'png'; there are: fits, manifest, table"):
        context.find_products(kind="png")
    with pytest.raises(
        SelectionError, match=r"there is no product 'b.fits'; products: products/a.fits, products/m.json"
    ):
        context.product("b.fits")


def test_the_worst_score_of_a_step_is_found(context: Context) -> None:
    def score(value: float) -> QAScore:
        return score_between("n", value, unit="", good=1, bad=0, applies_to="star", scope=ScoreScope.FIELD)

    context = context.with_outcome("flag", Outcome(qa=(score(0.5), score(0.25))))
    context = context.with_outcome("cube", Outcome(qa=(score(0.0),)))
    worst = context.worst_score("flag")
    assert worst is not None
    assert (worst.step, worst.score.score) == ("flag", 0.25)
    assert [one.score.score for one in context.scores(scope="field", applies_to="star")] == [0.0, 0.25, 0.5]
    assert context.worst_score("export") is None
    with pytest.raises(SelectionError, match="there is no scope of scores 'spw'; there are: run, field, window, ant"):
        context.scores(scope="spw")


def test_windows_are_found_by_name_and_virtual_windows_by_number_or_member() -> None:
    one = observation()
    (low,) = one.windows
    high = low.model_copy(update={"name": "H", "frequency_hz": (1.001e9, 1.011e9)})
    other = low.model_copy(update={"name": "C", "virtual": 1, "frequency_hz": (5.01e9, 5e9)})
    one = one.model_copy(update={"windows": (low, high, other)})
    context = Context(run_id="r").with_outcome("import_data", Outcome(observation=one))
    assert context.window("H") == high
    found = context.virtual_window("H")
    assert (found.number, found.name, found.members, found.frame) == (0, "L", ("L", "H"), "LSRK")
    assert found.frequency_hz == (1e9 - 5e5, 1.011e9 + 5e5)
    assert context.virtual_window(1).frequency_hz == (5e9 - 5e5, 5.01e9 + 5e5)
    with pytest.raises(SelectionError, match="there is no spectral window 'K'; spectral windows: L, H, C"):
        context.window("K")
    with pytest.raises(
        SelectionError, match=r"no virtual window 7; virtual windows and their members: 0 \(L, H\), 1 \(C\)"
    ):
        context.virtual_window(7)


def test_a_fold_over_thousands_of_steps_is_cheap(context: Context) -> None:
    """It is done again at every commit, so that its cost must not grow with what the steps left."""
    records = [record("import_data", Outcome(observation=context.observation))]
    records += [record(f"flag{number}", Outcome()) for number in range(2000)]
    start = time.process_time()
    folded = context.with_records(records)
    assert time.process_time() - start < 1.0
    assert len(folded.steps) == 2001


def test_jupyter_shows_the_observation_the_tables_and_the_images_to_make(context: Context) -> None:
    entry = PlannedImage(
        name="star_cube",
        mode="cube",
        field="star",
        virtual_windows=(0,),
        image_size=256,
        cell_size_rad=1e-5,
        beam_rad=4e-5,
        noise_jy=2e-3,
        size_bytes=1,
        reductions=(SizeReduction(quantity="pixels per beam", wanted=4.0, used=3.0),),
    )
    known = context.observation
    assert known is not None
    vla = known.model_copy(update={"extension": VlaExtension(configuration="D", bands={"L": "L"})})
    context = context.with_outcome("import_data", Outcome(observation=vla))
    context = context.with_outcome("all", Outcome(tables=(table("a", "cal"),), planned_images=(entry,)))
    html = context._repr_html_()
    for text in ("VLA, configuration D, band L", "1970-01-01 00:00:40", "field cal, window L from cal", "2 mJy"):
        assert text in html
    assert "pixels per beam 4 -&gt; 3" in html
