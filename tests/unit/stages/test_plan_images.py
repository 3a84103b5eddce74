"""The list of images to make: pixels within a limit, what to expect of them, and how the imaging stages use it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from radps.context.model import Context, Workspace
from radps.context.records import (
    Antenna,
    DataGroup,
    DataSetMetadata,
    Direction,
    FrequencyRange,
    Observation,
    ObservedField,
    Outcome,
    OutcomeStatus,
    Partition,
    ProjectMetadata,
    SpectralWindow,
    VlaExtension,
)
from radps.domain.geometry import ImageGrid
from radps.domain.weights import Weighting
from radps.errors import SelectionError
from radps.stages import _imaging, image_continuum, image_cube, plan_images

N_CHANNELS = 100
FIRST_HZ = 1.4e9
WAVELENGTH_M = 299792458.0 / (FIRST_HZ + (N_CHANNELS - 1) * 1e4)
EXTENSION = VlaExtension(configuration="D", bands={"spw0": "L", "spw1": "L"})


def window(name: str, virtual: int) -> SpectralWindow:
    first_hz = FIRST_HZ - virtual * 1e7
    return SpectralWindow(
        name=name,
        virtual=virtual,
        frequency_hz=(first_hz, first_hz + (N_CHANNELS - 1) * 1e4),
        n_channels=N_CHANNELS,
        channel_width_hz=1e4,
        frame="LSRK",
    )


def partition(window: str) -> Partition:
    group = DataGroup(visibility="V", flag="F", weight="W", uvw="UVW")
    return Partition(
        name=f"galaxy_{window}",
        dataset="data",
        path="data",
        field="galaxy",
        window=window,
        intents=("OBSERVE_TARGET#ON_SOURCE",),
        shape=(40, 378, N_CHANNELS, 2),
        chunks=(40, 8),
        polarizations=("RR", "LL"),
        integration_time_s=10.0,
        scans={"1": (0, 40)},
        groups={"base": group},
    )


def make_context(n_windows: int = 1, **changes: Any) -> Context:
    """27 antennas, with autocorrelations, for 400 s."""
    observation = Observation(
        project=ProjectMetadata(datasets=(DataSetMetadata(name="data", telescope="VLA", start_s=0.0, stop_s=400.0),)),
        antennas=tuple(
            Antenna(name=f"ea{n:02d}", station="P", position_m=(0.0, 0.0, 0.0), diameter_m=25.0) for n in range(27)
        ),
        fields=(
            ObservedField(
                name="galaxy",
                source="galaxy",
                direction=Direction(ra_rad=1.0, dec_rad=0.5, frame="fk5"),
                intents=("OBSERVE_TARGET#ON_SOURCE",),
            ),
        ),
        windows=tuple(window(f"spw{n}", n) for n in range(n_windows)),
        scans=(),
        partitions=tuple(partition(f"spw{n}") for n in range(n_windows)),
        longest_baseline_m=1000.0,
        synthesized_beam_rad=2e-4,
        extension=EXTENSION,
    ).model_copy(update=changes)
    workspace = Workspace(url="memory://run", step="cube")
    return Context(run_id="r").with_outcome("import_data", Outcome(observation=observation)).at(workspace)


def plan(context: Context, **params: Any) -> Outcome:
    return plan_images.plan_images(context, plan_images.Params(**params))


def test_a_field_gets_a_continuum_image_and_a_cube_of_every_window() -> None:
    outcome = plan(make_context(2))
    assert [(one.name, one.mode, one.virtual_windows) for one in outcome.planned_images] == [
        ("galaxy_continuum", "continuum", (0, 1)),
        ("galaxy-spw0_cube", "cube", (0,)),
        ("galaxy-spw1_cube", "cube", (1,)),
    ]
    assert outcome.status is OutcomeStatus.SUCCESS
    assert [one.name for one in plan(make_context(), modes=["cube"]).planned_images] == ["galaxy_cube"]
    assert [one.name for one in plan(make_context(), modes=["continuum"]).planned_images] == ["galaxy_continuum"]


@pytest.mark.parametrize(("stage", "mode"), [(image_cube, "cube"), (image_continuum, "continuum")])
def test_without_wishes_the_pixels_are_those_that_the_imaging_stages_choose_themselves(stage: Any, mode: str) -> None:
    context = make_context()
    (entry,) = plan(context, modes=[mode]).planned_images
    chosen = _imaging.choose_grid(context, stage.Params(), window("spw0", 0))
    assert chosen == ImageGrid(entry.image_size, entry.image_size, entry.cell_size_rad)
    assert entry.beam_rad == pytest.approx(WAVELENGTH_M / 1000.0)
    assert entry.reductions == ()


def test_the_expected_noise_is_that_of_the_radiometer_equation_and_says_what_it_assumes() -> None:
    continuum, cube = plan(make_context(), sefd=420).planned_images
    expected = 420 / math.sqrt(2 * 27 * 26 * 1e4 * 400)
    assert cube.noise_jy == pytest.approx(expected)
    assert continuum.noise_jy == pytest.approx(expected / math.sqrt(N_CHANNELS))
    assert cube.assumptions == ("given SEFD of 420 Jy", "natural weights, no data flagged, no loss in the correlator")
    assert continuum.assumptions[-1] == "all channels"


def test_the_expected_noise_counts_the_baselines_of_each_data_set_not_the_antennas_of_all() -> None:
    # 28 antennas in all, 27 of them in these data with their autocorrelations: 378 rows a time.
    one = partition("spw0").model_copy(update={"cross_baselines": 351})
    more = tuple(Antenna(name=f"A{n}", station="P", position_m=(0.0, 0.0, 0.0), diameter_m=25.0) for n in range(28))
    context = make_context(partitions=(one,), antennas=more)
    _, cube = plan(context, sefd=420).planned_images
    assert cube.noise_jy == pytest.approx(420 / math.sqrt(2 * 27 * 26 * 1e4 * 400))


def test_the_name_of_an_image_stays_when_a_data_set_brings_another_band() -> None:
    context = make_context(2)
    later = partition("spw1").model_copy(update={"dataset": "later"})
    context = context.with_outcome(
        "again",
        Outcome(
            observation=context.require_observation().model_copy(update={"partitions": (partition("spw0"), later)})
        ),
    )
    assert [_imaging.image_name(context, "galaxy", virtual) for virtual in (0, 1)] == ["galaxy", "galaxy-spw1"]
    names = [one.name for one in plan(context, modes=["cube"]).planned_images]
    assert names == ["galaxy_cube", "galaxy-spw1_cube"]
    assert [one.name for one in image_cube.find_targets(context, image_cube.Params())] == ["galaxy", "galaxy-spw1"]


@pytest.mark.parametrize(("stop_hz", "n_line_free"), [(FIRST_HZ + 24.5e4, 25), (FIRST_HZ, 1)])
def test_the_expected_noise_of_the_continuum_is_of_the_line_free_channels(stop_hz: float, n_line_free: int) -> None:
    line_free = FrequencyRange(start_hz=FIRST_HZ, stop_hz=stop_hz, frame="LSRK", origin="config")
    context = make_context().with_outcome("subtract_continuum", Outcome(line_free=(line_free,)))
    continuum, cube = plan(context, sefd=420).planned_images
    assert continuum.noise_jy == pytest.approx(float(cube.noise_jy or 0) / math.sqrt(n_line_free))
    assert continuum.assumptions[-1] == "line-free channels"


def test_without_line_free_channels_there_is_no_expected_noise_of_the_continuum() -> None:
    context = make_context().with_outcome("subtract_continuum", Outcome(line_free=()))
    continuum, cube = plan(context, sefd=420).planned_images
    assert (continuum.noise_jy, continuum.assumptions) == (None, ("no channel is free of lines",))
    assert cube.noise_jy is not None


def test_without_a_given_noise_the_nominal_one_of_the_telescope_is_taken_if_there_is_one() -> None:
    (cube,) = plan(make_context(), modes=["cube"]).planned_images
    assert cube.assumptions[0] == "nominal SEFD of 358 Jy"
    (cube,) = plan(make_context(extension=None), modes=["cube"]).planned_images
    assert cube.noise_jy is None
    assert cube.assumptions == ("no noise of an antenna is known for spw0: give sefd",)
    silent = partition("spw0").model_copy(update={"integration_time_s": 0.0})
    (cube,) = plan(make_context(partitions=(silent,)), modes=["cube"]).planned_images
    assert cube.noise_jy is None
    assert cube.assumptions == ("the data of galaxy_spw0 do not say how long an integration is",)


def test_a_cube_that_is_too_large_loses_field_of_view_and_the_continuum_image_does_not() -> None:
    whole = plan(make_context()).planned_images[1]
    outcome = plan(make_context(), max_size=whole.size_bytes / 2)
    continuum, cube = outcome.planned_images
    assert continuum.reductions == ()
    assert cube.size_bytes <= whole.size_bytes / 2
    assert cube.cell_size_rad == whole.cell_size_rad
    (cut,) = cube.reductions
    assert (cut.quantity, cut.wanted) == ("field of view [primary beams]", 2.0)
    assert 1.0 < cut.used < 1.5
    assert outcome.status is OutcomeStatus.SUCCESS
    assert outcome.summary["reduced"] == ["galaxy_cube"]
    assert [score.score for score in outcome.qa] == [1.0, pytest.approx(cut.used / 2.0)]
    assert "galaxy_cube: " in outcome.message
    assert f"field of view [primary beams] 2 -> {cut.used:.3g}" in outcome.message


def test_a_cube_that_stays_too_large_is_a_caveat_that_says_what_to_do() -> None:
    outcome = plan(make_context(), max_size="200 kB")
    cube = outcome.planned_images[1]
    assert [(cut.quantity, cut.used) for cut in cube.reductions] == [
        ("field of view [primary beams]", 1.0),
        ("pixels per beam", 3.0),
    ]
    assert outcome.status is OutcomeStatus.CAVEATS
    assert outcome.summary["too_large"] == ["galaxy_cube"]
    assert "galaxy_cube is 6.06 MiB large, above the limit of 195 KiB" in outcome.message
    assert "image fewer channels, raise max_size, or lower min_field_of_view" in outcome.message


def test_fewer_channels_make_a_smaller_cube() -> None:
    whole, part = (plan(make_context(), modes=["cube"], channels=ch).planned_images[0] for ch in (None, "10~19"))
    assert (whole.channels, part.channels) == (None, ("10~19",))
    assert part.size_bytes * 10 == whole.size_bytes


def test_what_the_user_gives_is_not_reduced() -> None:
    (cube,) = plan(make_context(), modes=["cube"], image_size=256, cell_size=5e-5, max_size=1e3).planned_images
    assert (cube.image_size, cube.cell_size_rad, cube.reductions) == (256, 5e-5, ())
    (cube,) = plan(make_context(), modes=["cube"], cell_size=5e-5, max_size=1e3).planned_images
    assert cube.cell_size_rad == 5e-5
    assert [cut.quantity for cut in cube.reductions] == ["field of view [primary beams]"]


def test_dishes_of_unknown_size_need_an_image_size() -> None:
    antennas = (Antenna(name="A", station="P", position_m=(0.0, 0.0, 0.0), diameter_m=0.0),)
    context = make_context(antennas=antennas)
    with pytest.raises(SelectionError, match="do not say how large the dishes are; give image_size"):
        plan(context)
    assert plan(context, image_size=256).planned_images[0].image_size == 256


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"field_of_view": 0.5}, r"min_field_of_view is 1.0 and larger than field_of_view, which is 0.5; give both"),
        ({"pixels_per_beam": 2.5}, r"min_pixels_per_beam is 3.0 and larger than pixels_per_beam, which is 2.5"),
        ({"modes": []}, "at least 1 item"),
        ({"max_size": 0}, "greater than 0"),
        ({"sefd": "3 m"}, "not a flux density"),
        ({"channels": "9~4"}, "runs backwards"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        plan_images.Params(**params)


# --- how the imaging stages use the list ---


def planned(**params: Any) -> Context:
    context = make_context()
    wishes = {"image_size": 320, "cell_size": 5e-5, "channels": "10~19", **params}
    return context.with_outcome("plan_images", plan(context, **wishes))


def test_a_cube_takes_from_the_list_what_its_parameters_leave_open() -> None:
    context = planned()
    (target,) = image_cube.find_targets(context, image_cube.Params())
    assert target.channels == (((10, 20),),)
    assert target.planned is not None
    assert target.planned.name == "galaxy_cube"
    grid = _imaging.choose_grid(context, image_cube.Params(), window("spw0", 0), target.planned)
    assert grid == ImageGrid(320, 320, 5e-5)


def test_weights_come_from_the_parameters_else_from_the_list_else_by_default() -> None:
    entry = planned(weighting="uniform", robust=-1).imaging.planned[0]
    assert _imaging.choose_weighting(image_cube.Params())[:2] == (Weighting.BRIGGS, 0.5)
    assert _imaging.choose_weighting(image_cube.Params(), entry)[:2] == (Weighting.UNIFORM, -1.0)
    assert _imaging.choose_weighting(image_cube.Params(weighting="briggs"), entry)[:2] == (Weighting.BRIGGS, -1.0)
    assert _imaging.choose_weighting(image_cube.Params(robust=2), entry)[:2] == (Weighting.UNIFORM, 2.0)


def test_explicit_parameters_win_over_the_list() -> None:
    context = planned()
    params = image_cube.Params(channels="0~3", image_size=64, cell_size=1e-5)
    (target,) = image_cube.find_targets(context, params)
    assert target.channels == (((0, 4),),)
    assert _imaging.choose_grid(context, params, window("spw0", 0), target.planned) == ImageGrid(64, 64, 1e-5)
    # another cell alone: the field of view of the list stays
    params = image_cube.Params(cell_size=1e-4)
    assert _imaging.choose_grid(context, params, window("spw0", 0), target.planned) == ImageGrid(160, 160, 1e-4)


def test_an_entry_of_another_mode_or_window_is_not_used() -> None:
    context = planned(modes=["continuum"])
    (target,) = image_cube.find_targets(context, image_cube.Params())
    assert target.planned is None
    assert target.channels == (((0, N_CHANNELS),),)


def test_the_continuum_uses_line_free_channels_unless_an_entry_was_refined_by_a_later_step() -> None:
    line_free = FrequencyRange(start_hz=FIRST_HZ, stop_hz=FIRST_HZ + 9.5e4, frame="LSRK", origin="config")
    context = planned().with_outcome("subtract_continuum", Outcome(line_free=(line_free,)))
    (target,) = image_continuum.find_continuum_targets(context, image_continuum.Params())
    assert target.channels == (((0, 10),),)
    entry = target.planned
    assert entry is not None
    refined = entry.model_copy(update={"channels": ("50~59",)})
    context = context.with_outcome("find_lines", Outcome(planned_images=(refined,)))
    (target,) = image_continuum.find_continuum_targets(context, image_continuum.Params())
    assert target.channels == (((50, 60),),)
    (target,) = image_continuum.find_continuum_targets(context, image_continuum.Params(channels=("4~6",)))
    assert target.channels == (((4, 7),),)
