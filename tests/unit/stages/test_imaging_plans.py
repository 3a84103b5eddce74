"""How images are planned: from metadata alone, before anything is computed."""

from __future__ import annotations

import math
from pathlib import Path

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
    Partition,
    ProjectMetadata,
    Resources,
    SpectralWindow,
)
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
        plans.append(_imaging.cut_for_sum(context, target, "corrected"))
    assert plans[0] == plans[1] == plans[2]
    assert {source.channels for source in plans[0]} == {(4, 7), (50, 100)}


def test_blocks_of_a_sum_stay_below_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_imaging, "SUM_BLOCK_BYTES", 40 * 378 * 2 * 13 * 2 * ZARR_CHANNELS)
    context = make_context()
    (target,) = image_continuum.find_continuum_targets(context, image_continuum.Params())
    blocks = _imaging.cut_for_sum(context, target, None)
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


def test_a_field_without_line_free_channels_is_an_error_that_says_what_to_give() -> None:
    context = make_context().with_outcome("subtract_continuum", Outcome(line_free=()))
    with pytest.raises(SelectionError, match="no channel of field galaxy is line-free; name channels"):
        image_continuum.find_continuum_targets(context, image_continuum.Params())


def test_automatic_pixels_sample_the_beam_and_cover_the_primary_beam() -> None:
    context = make_context()
    params = image_cube.Params()
    grid = _imaging.choose_grid(context, params, window("spw0"))
    wavelength = 299792458.0 / 1.4e9
    assert grid.cell_size_rad == pytest.approx(wavelength / 1000.0 / 4, rel=1e-3)
    width = grid.n_l * grid.cell_size_rad / (1.02 * wavelength / 25.0)
    assert 2.0 <= width < 2.2  # the next good size above twice the width of the primary beam


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
    ],
)
def test_wrong_parameters_are_refused_with_what_is_allowed(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        image_cube.Params(**parameters)
