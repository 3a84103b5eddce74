"""How images are planned: from metadata alone, before anything is computed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from radps.context import planning
from radps.context.model import Context, Workspace
from radps.context.records import (
    Antenna,
    DataGroup,
    DataSetMetadata,
    Direction,
    FrequencyRange,
    LineSearch,
    Observation,
    ObservedField,
    Outcome,
    Partition,
    ProjectMetadata,
    Resources,
    SpectralWindow,
)
from radps.domain.regridding import SpectralAxis
from radps.errors import ResourceError, SelectionError
from radps.stages import _imaging, image_continuum, image_cube

N_CHANNELS = 100
ZARR_CHANNELS = 8


def partition(dataset: str, window: str, n_times: int = 40) -> Partition:
    path = f"visibilities/import_data-1.ps.zarr/{dataset}"
    group = DataGroup(visibility=f"{path}/V", flag=f"{path}/F", weight=f"{path}/W", uvw=f"{path}/UVW")
    return Partition(
        name=dataset,
        dataset=dataset,
        path=path,
        field="galaxy",
        window=window,
        intents=("OBSERVE_TARGET#ON_SOURCE",),
        shape=(n_times, 378, N_CHANNELS, 2),
        chunks=(n_times, ZARR_CHANNELS),
        polarizations=("RR", "LL"),
        integration_time_s=10.0,
        scans={"1": (0, n_times)},
        groups={"base": group, "corrected": group, "continuum_subtracted": group},
    )


def window(name: str, first_hz: float = 1.4e9) -> SpectralWindow:
    return SpectralWindow(
        name=name,
        virtual=0,
        frequency_hz=(first_hz, first_hz + (N_CHANNELS - 1) * 1e4),
        n_channels=N_CHANNELS,
        channel_width_hz=1e4,
        frame="LSRK",
        rest_frequency_hz=1.420405752e9,
    )


def make_context(
    *windows: SpectralWindow, slots: int = 2, memory_bytes: int = 2**32, url: str = "memory://run"
) -> Context:
    windows = windows or (window("spw0"),)
    field = ObservedField(
        name="galaxy",
        source="galaxy",
        direction=Direction(ra_rad=1.0, dec_rad=0.5, frame="fk5"),
        intents=("OBSERVE_TARGET#ON_SOURCE",),
    )
    observation = Observation(
        project=ProjectMetadata(
            datasets=tuple(
                DataSetMetadata(name=f"day{number}", telescope="VLA", start_s=0.0, stop_s=400.0)
                for number in range(len(windows))
            )
        ),
        antennas=(Antenna(name="A", station="P", position_m=(0.0, 0.0, 0.0), diameter_m=25.0),),
        fields=(field,),
        windows=windows,
        scans=(),
        partitions=tuple(partition(f"day{number}", one.name) for number, one in enumerate(windows)),
        longest_baseline_m=1000.0,
        synthesized_beam_rad=2e-4,
    )
    resources = Resources(slots=slots, memory_bytes=memory_bytes)
    workspace = Workspace(url=url, step="cube", attempt=1, resources=resources)
    return Context(run_id="r").with_outcome("import_data", Outcome(observation=observation)).at(workspace)


def with_fields(*names: str) -> Context:
    """Return a context with targets of these names."""
    context = make_context(*(window(f"spw{number}") for number in range(len(names))))
    observation = context.require_observation()
    (field,) = observation.fields
    changes = {
        "fields": tuple(field.model_copy(update={"name": name}) for name in names),
        "windows": observation.windows[:1],
        "partitions": tuple(
            one.model_copy(update={"field": name, "window": "spw0", "dataset": "day0"})
            for one, name in zip(observation.partitions, names, strict=True)
        ),
    }
    return context.with_outcome("again", Outcome(observation=observation.model_copy(update=changes)))


def parts(context: Context, **parameters: object) -> tuple[image_cube.CubePart, ...]:
    params = image_cube.Params(image_size=64, cell_size=1e-5, **parameters)
    (target,) = image_cube.find_targets(context, params)
    grid = _imaging.choose_grid(context, params, context.require_observation().windows[0])
    return image_cube.plan_parts(context, params, target, grid, 1)


@pytest.mark.parametrize("slots", [1, 2, 7, 64])
@pytest.mark.parametrize("channels", [None, "3~3", "5~50", "0~99"])
def test_parts_cover_every_channel_once_and_read_within_zarr_chunks(slots: int, channels: str | None) -> None:
    first, last = (0, N_CHANNELS - 1) if channels is None else map(int, channels.split("~"))
    found = parts(make_context(slots=slots), channels=channels)
    covered = [channel for part in found for piece in part.pieces for channel in range(*piece)]
    assert covered == list(range(last - first + 1))
    for part in found:
        ((start, stop),) = {source.channels for source in part.sources}
        assert (start, stop) == (first + part.channels[0], first + part.channels[1])
        for low, high in part.pieces:
            assert (first + low) // ZARR_CHANNELS == (first + high - 1) // ZARR_CHANNELS


def test_a_task_reads_fewer_channels_at_once_where_a_zarr_chunk_does_not_fit() -> None:
    plenty, little = make_context(), make_context(memory_bytes=8 * 2**20)
    widest = [max(high - low for part in parts(one) for low, high in part.pieces) for one in (plenty, little)]
    assert widest[0] == ZARR_CHANNELS > widest[1] >= 1
    covered = [channel for part in parts(little) for piece in part.pieces for channel in range(*piece)]
    assert covered == list(range(N_CHANNELS))
    borders = {low for part in parts(little) for low, _ in part.pieces}
    assert borders >= set(range(0, N_CHANNELS, ZARR_CHANNELS)), "no piece reads of two zarr chunks"


def test_all_slots_get_work() -> None:
    assert len(parts(make_context(slots=16))) == 32
    assert len(parts(make_context(slots=16), channels="0~4")) == 5


def test_an_image_that_does_not_fit_into_memory_is_refused_with_both_numbers() -> None:
    context = make_context(memory_bytes=50 * 2**20)
    with pytest.raises(ResourceError, match=r"stage cube: 1 channel needs .* a worker slot has 50 MiB.*smaller"):
        image_cube.image_cube(context, image_cube.Params(image_size=4096, cell_size=1e-5))


def test_an_image_that_does_not_fit_on_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radps.data.stores.free_bytes", lambda url: 2**20)
    context = make_context(url=str(tmp_path))
    params = image_cube.Params(image_size=256, cell_size=1e-5)
    with pytest.raises(ResourceError, match=r"4 images of 100 channels with 256 x 256 pixels needs .* 1 MiB free"):
        image_cube.image_cube(context, params)
    assert not list(tmp_path.iterdir())


def test_blocks_of_a_sum_do_not_depend_on_the_cluster() -> None:
    plans = []
    for slots, memory in ((1, 2**33), (2, 2**32), (64, 2**30)):
        context = make_context(window("a"), window("b"), slots=slots, memory_bytes=memory)
        (target,) = image_continuum.find_continuum_targets(context, image_continuum.Params(channels=("4~6", "50~99")))
        plans.append(_imaging.cut_for_sum(context, target, ["corrected"] * 2))
    assert plans[0] == plans[1] == plans[2]
    assert {source.channels for source in plans[0]} == {(4, 7), (50, 100)}


def test_blocks_of_a_sum_stay_below_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SUM_BLOCK_BYTES", 40 * 378 * 2 * 13 * 2 * ZARR_CHANNELS)
    context = make_context()
    (target,) = image_continuum.find_continuum_targets(context, image_continuum.Params())
    blocks = _imaging.cut_for_sum(context, target, [None])
    covered = [channel for block in blocks for channel in range(*block.channels)]
    assert covered == list(range(N_CHANNELS))
    assert max(stop - start for start, stop in (block.channels for block in blocks)) == 2 * ZARR_CHANNELS


def test_continuum_comes_from_data_that_still_have_it_and_from_the_line_free_channels() -> None:
    context = make_context()
    line_free = FrequencyRange(start_hz=1.4e9 + 9.5e4, stop_hz=1.4e9 + 19.5e4, frame="LSRK", origin="config")
    context = context.with_outcome("subtract_continuum", Outcome(line_free=(line_free,)))
    params = image_continuum.Params()
    (target,) = image_continuum.find_continuum_targets(context, params)
    assert target.channels == (((10, 20),),)
    assert image_continuum.choose_data_group(params, target.partitions[0]) == "corrected"
    assert image_continuum.choose_data_group(image_continuum.Params(data_group="base"), target.partitions[0]) == "base"


def test_each_window_of_a_continuum_gives_its_own_newest_data() -> None:
    context = make_context(window("a"), window("b", 1.41e9))
    params = image_continuum.Params(channels=("0~9",))
    (target,) = image_continuum.find_continuum_targets(context, params)
    first, second = target.partitions
    target = target._replace(partitions=(first.model_copy(update={"groups": {"base": first.groups["base"]}}), second))
    groups = [image_continuum.choose_data_group(params, one) for one in target.partitions]
    assert groups == ["base", "corrected"]
    assert [one.group for one in _imaging.imaged_data(target, groups)] == groups
    sources = _imaging.cut_for_sum(context, target, groups)
    assert [one.address.store for one in sources] == [context.locate(one.path) for one in target.partitions]


def test_a_field_without_line_free_channels_is_an_error_that_says_what_to_give() -> None:
    context = make_context().with_outcome("subtract_continuum", Outcome(line_free=()))
    with pytest.raises(SelectionError, match="no channel of field galaxy is line-free; name channels"):
        image_continuum.find_continuum_targets(context, image_continuum.Params())
    with pytest.raises(SelectionError, match="no channel of field galaxy is line-free"):
        image_continuum.find_continuum_targets(context, image_continuum.Params(spectral_windows="each"))


def test_a_field_that_is_all_line_does_not_keep_the_others_from_their_continuum() -> None:
    context = with_fields("galaxy", "maser")
    first, second = context.require_observation().partitions
    line_free = FrequencyRange(
        start_hz=1.4e9 + 9.5e4, stop_hz=1.4e9 + 19.5e4, frame="LSRK", origin="config", field="galaxy"
    )
    searches = tuple(
        LineSearch(
            field=one.field,
            window=one.window,
            coverage=found,
            origin="find_continuum",
            n_channels=N_CHANNELS,
            n_line_free=count,
        )
        for one, found, count in ((first, "some", 10), (second, "none", 0))
    )
    context = context.with_outcome("find_continuum", Outcome(line_free=(line_free,), line_searches=searches))
    params = image_continuum.Params()
    targets = image_continuum.find_continuum_targets(context, params)
    assert [target.field for target in targets] == ["galaxy"]
    (text,) = image_continuum.describe_unimaged(context, params, targets)
    assert text.startswith("no channel of field maser is line-free, so that it has no continuum; name channels")


def test_names_of_images_have_no_characters_that_stand_for_others() -> None:
    """On an object store the files of `Sgr A*` would be those of `Sgr A-east`, too, when they are removed."""
    context = with_fields("Sgr A*", "Sgr A/", "[HB89] 1+2")
    names = [target.name for target in image_cube.find_targets(context, image_cube.Params())]
    assert names == ["Sgr A_", "Sgr A__2", "_HB89_ 1+2"]
    assert [one.name for one in image_continuum.find_continuum_targets(context, image_continuum.Params())] == names


def test_a_window_with_too_few_channels_to_search_is_continuum_as_a_whole() -> None:
    """It was taken for one that is all line, and refused: a window of one channel, or a field that is all flagged."""
    search = LineSearch(
        field="galaxy", window="spw0", coverage="no data", origin="find_continuum", n_channels=1, n_line_free=0
    )
    context = make_context().with_outcome("find_continuum", Outcome(line_free=(), line_searches=(search,)))
    (target,) = image_continuum.find_continuum_targets(context, image_continuum.Params())
    assert target.channels == (((0, N_CHANNELS),),)
    given = FrequencyRange(start_hz=1.4e9 + 9.5e4, stop_hz=1.4e9 + 19.5e4, frame="LSRK", origin="config")
    context = context.with_outcome("subtract_continuum", Outcome(line_free=(given,)))
    assert context.continuum_channels("galaxy", "spw0") == ((10, 20),), "what the user gives wins"


def test_automatic_pixels_sample_the_beam_and_cover_the_primary_beam() -> None:
    context = make_context()
    params = image_cube.Params()
    grid = _imaging.choose_grid(context, params, window("spw0"))
    wavelength = 299792458.0 / 1.4e9
    assert grid.cell_size_rad == pytest.approx(wavelength / 1000.0 / 4, rel=1e-3)
    width = grid.n_l * grid.cell_size_rad / (1.02 * wavelength / 25.0)
    assert 2.0 <= width < 2.2  # the next good size above twice the width of the primary beam


def test_a_wide_band_has_the_cell_of_its_highest_and_the_field_of_view_of_its_lowest_frequency() -> None:
    context = make_context()
    narrow = _imaging.choose_grid(context, image_continuum.Params(), window("spw0"))
    wide = _imaging.choose_grid(context, image_continuum.Params(), window("spw0"), None, 0.7e9)
    assert wide.cell_size_rad == narrow.cell_size_rad
    assert 2.0 <= wide.n_l / narrow.n_l < 2.2


def test_the_w_term_is_taken_where_the_phase_error_asks_for_it() -> None:
    context = make_context()
    for size, expected in ((64, False), (2048, True)):
        params = image_cube.Params(image_size=size, cell_size=2e-5)
        grid = _imaging.choose_grid(context, params, window("spw0"))
        corner = (size / 2 * 2e-5) ** 2 * 2
        phase = 2 * math.pi * 1000.0 * 1.4e9 / 299792458.0 * corner / 2
        assert (phase > 0.1) is expected
        rules = _imaging.make_rules(context, params, grid, 1.4e9, _imaging.choose_weighting(params))
        assert rules.clean.w_term is expected
    params = image_cube.Params(w_term=False)
    forced = _imaging.make_rules(context, params, grid, 1.4e9, _imaging.choose_weighting(params))
    assert forced.clean.w_term is False


def test_data_sets_with_other_channels_make_no_common_cube() -> None:
    context = make_context(window("a"), window("b", 1.4001e9))
    with pytest.raises(SelectionError, match=r"day1 and day0 have different channels .*1400\.100000 MHz"):
        image_cube.find_targets(context, image_cube.Params())


def test_two_data_sets_with_the_same_channels_make_one_cube() -> None:
    (target,) = image_cube.find_targets(make_context(window("a"), window("b")), image_cube.Params(channels="4~9"))
    assert [one.name for one in target.partitions] == ["day0", "day1"]
    assert target.channels == (((4, 10),), ((4, 10),))


def test_channels_outside_of_the_band_and_unknown_fields_are_named() -> None:
    with pytest.raises(SelectionError, match=r"channels 5~100 are outside .* 0~99"):
        image_cube.find_targets(make_context(), image_cube.Params(channels="5~100"))
    with pytest.raises(SelectionError, match=r"no field 'glaxy'; fields: galaxy"):
        image_cube.find_targets(make_context(), image_cube.Params(field="glaxy"))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"robust": 3}, "less than or equal to 2"),
        ({"threshold": "8 arcsec"}, "not a flux density"),
        ({"cell_size": "8 mJy"}, "not an angle"),
        ({"gain": 0}, "greater than 0"),
        ({"channels": "9~4"}, "runs backwards"),
        ({"weighting": "robust"}, "'natural', 'uniform' or 'briggs'"),
        ({"image_size": 63}, "even"),
        ({"image_size": 16}, "at least 32"),
        ({"width": "0 km/s"}, "a channel of no width"),
        ({"start": "8 mJy"}, "neither a frequency nor a velocity; write it like '1420.4 MHz' or '1500 km/s'"),
        ({"windows": ()}, "at least 1 item"),
    ],
)
def test_wrong_parameters_are_refused_with_what_is_allowed(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        image_cube.Params(**parameters)


def axis_of(context: Context, **parameters: object) -> SpectralAxis:
    """Return the axis of the first cube."""
    target = image_cube.find_targets(context, image_cube.Params(image_size=64, cell_size=1e-5, **parameters))[0]
    assert target.axis is not None
    return target.axis


HI_HZ = 1.420405752e9


def test_an_axis_in_radio_velocity_is_even_in_frequency_and_falls_as_the_velocity_grows() -> None:
    axis = axis_of(make_context(), start="4290 km/s", width="3 km/s", n_channels=10)
    velocity = 299792.458 * (1 - axis.frequency_hz() / HI_HZ)
    np.testing.assert_allclose(velocity, 4290 + 3 * np.arange(10), atol=1e-7)
    assert (axis.frame, axis.interpolation) == ("LSRK", "linear")


def test_an_axis_in_optical_velocity_has_both_ends_where_they_are_asked_for() -> None:
    axis = axis_of(
        make_context(), start="4320 km/s", width="3 km/s", n_channels=10, velocity_convention="optical",
        interpolation="nearest",
    )  # fmt: skip
    velocity = 299792.458 * (HI_HZ / axis.frequency_hz() - 1)
    assert velocity[[0, -1]] == pytest.approx([4320, 4347], abs=1e-7)
    # Even in frequency: in between off by c (dv / c)^2 / 4, here 7e-4 km/s.
    np.testing.assert_allclose(velocity, 4320 + 3 * np.arange(10), atol=1e-3)
    assert axis.interpolation == "nearest"


def test_what_is_left_open_comes_from_the_data() -> None:
    context = make_context()
    axis = axis_of(context, width="40 kHz")
    assert (axis.first_hz, axis.step_hz, axis.n_channels) == (1.4e9, 4e4, 25)
    axis = axis_of(context, width="-40 kHz", channels="10~49")
    assert axis.first_hz == pytest.approx(1.4e9 + 49e4)
    assert (axis.step_hz, axis.n_channels) == (-4e4, 10)
    # A velocity alone: channels as wide as those of the data, in the direction of the velocity.
    axis = axis_of(context, start="4200 km/s", rest_frequency="1420 MHz")
    assert axis.step_hz == pytest.approx(-1e4)
    assert axis.first_hz == pytest.approx(1.42e9 * (1 - 4200 / 299792.458))
    # The Earth moves the axis by less than 1e-4, in its width too.
    axis = axis_of(make_context(window("spw0").model_copy(update={"frame": "TOPO"})), frame="LSRK")
    assert axis.step_hz == pytest.approx(1e4, rel=1e-4)
    assert 1e3 < abs(axis.first_hz - 1.4e9) < 1.4e5
    assert axis.n_channels in (99, 100)
    descending = window("spw0").model_copy(update={"frequency_hz": (1.4e9, 1.4e9 - 99e4)})
    axis = axis_of(make_context(descending), start="1399.9 MHz", n_channels=3, width="-12 kHz")
    assert (axis.first_hz, axis.step_hz) == (1.3999e9, -1.2e4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"start": "1401.5 MHz"},
            r"from 1401\.500000 MHz in steps of 0\.01 MHz leaves the data.*1400\.000000 to 1400\.99",
        ),
        ({"start": "1500 km/s", "n_channels": 4}, r"axis reaches from 1413\.\d* to .* MHz and the data .*by `windows`"),
        ({"start": "299000 km/s", "width": "1000 km/s", "n_channels": 3}, "frequencies are positive: change start"),
        ({"start": 100, "n_channels": 3}, "starts at channel 100 of spw0, which has channels 0~99"),
        ({"windows": ("spw7",)}, "no virtual window 'spw7'"),
    ],
)
def test_an_axis_outside_of_the_data_is_refused(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        axis_of(make_context(), **parameters)


def test_a_velocity_without_a_rest_frequency_is_refused() -> None:
    context = make_context(window("spw0").model_copy(update={"rest_frequency_hz": None}))
    with pytest.raises(SelectionError, match="name no rest frequency for spw0; give rest_frequency"):
        axis_of(context, start="1500 km/s")


def test_windows_without_data_of_the_field_are_refused() -> None:
    other = window("spw1", 1.5e9).model_copy(update={"virtual": 1})
    context = make_context(window("spw0"), other)
    observation = context.require_observation()
    without = observation.model_copy(update={"partitions": observation.partitions[:1]})
    context = context.with_outcome("again", Outcome(observation=without))
    with pytest.raises(SelectionError, match=r"no data of 'target' in the spectral windows spw1; name others"):
        image_cube.find_targets(context, image_cube.Params(windows=("spw1",)))


def test_parts_of_a_cube_with_its_own_axis_cover_it_and_have_the_windows_that_reach_them() -> None:
    windows = [window(f"spw{n}", 1.4e9 + n * 9.9e5).model_copy(update={"virtual": n}) for n in range(4)]
    context = make_context(*windows, slots=8)
    params = image_cube.Params(image_size=64, cell_size=1e-5, combine_windows=True, width="20 kHz")
    (target,) = image_cube.find_targets(context, params)
    grid = _imaging.choose_grid(context, params, windows[0])
    found = image_cube.plan_parts(context, params, target, grid, 1)
    covered = [channel for part in found for piece in part.pieces for channel in range(*piece)]
    assert covered == list(range(target.axis.n_channels))
    assert {len(part.sources) for part in found} <= {1, 2}
    for part in found:
        edges = target.axis.frequency_hz()[[part.channels[0], part.channels[1] - 1]]
        for number, one in enumerate(windows):
            touches = one.edges_hz[0] < edges[1] and one.edges_hz[1] > edges[0]
            has = any(source.address.store.endswith(f"day{number}") for source in part.sources)
            assert has or not touches


def test_stokes_parameters_that_the_data_cannot_give_are_refused_with_what_is_there() -> None:
    message = r"day0: no Stokes IQUV from the polarizations \['RR', 'LL'\]: RL, LR needed"
    with pytest.raises(SelectionError, match=message):
        image_cube.find_targets(make_context(), image_cube.Params(stokes="IQUV"))
    (target,) = image_cube.find_targets(make_context(), image_cube.Params(stokes="IV"))
    assert target.name == "galaxy"
