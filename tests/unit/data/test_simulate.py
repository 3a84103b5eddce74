"""Simulated observations: every datum against the equation of its truth, and the same bits in any order."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radps.data import stores
from radps.data.addresses import VisibilityAddress
from radps.data.demo_observation import demo_observation
from radps.data.observation_model import ObservationModel
from radps.data.simulate import (
    block_memory_bytes,
    create_simulation,
    describe_observation,
    simulate_block,
    simulate_observation,
    write_simulated_block,
)
from radps.data.simulated_truth import (
    true_bandpasses,
    true_components,
    true_flux,
    true_gains,
    true_visibilities,
)
from radps.data.visibilities import load_visibilities
from radps.domain.array import baselines
from radps.domain.flux_models import compute_flux_density, get_flux_model
from radps.errors import DataError, SelectionError

LIGHT_M_S = 299792458.0
TINY = demo_observation("tiny")
NOISELESS = TINY.model_copy(update={"noise": None, "interference": None, "dead_antennas": (), "noisy_antennas": ()})
PAIRS = baselines(9, autocorrelations=True)
CROSS = PAIRS.antenna1 != PAIRS.antenna2


@pytest.fixture
def url() -> Iterator[str]:
    folder = f"memory://{uuid.uuid4().hex}"
    yield f"{folder}/sim.ps.zarr"
    stores.delete(folder)


def read(url: str, model: ObservationModel, field: str) -> Any:
    """Read a field from the disk, NaN and flags as they are."""
    number = [one.name for one in model.fields].index(field)
    return load_visibilities(VisibilityAddress.of_measurement_set(f"{url}/{model.name}_{number}"))


# --- the truth ---


@pytest.mark.parametrize("field", ["3C286", "J1445+0958", "N5921"])
def test_the_sky_is_the_direct_sum_over_its_components(field: str) -> None:
    uvw = simulate_block(NOISELESS, field).uvw_m
    frequency = NOISELESS.band.frequency_hz
    u, v, w = np.moveaxis(uvw[..., np.newaxis] * frequency / LIGHT_M_S, 2, 0)
    expected = np.zeros(u.shape, np.complex128)
    for component in NOISELESS.find_field(field).components:
        if component.flux_standard is not None:
            flux = compute_flux_density(get_flux_model(component.flux_standard), frequency)
        else:
            flux = component.flux * (frequency / component.reference_frequency) ** component.spectral_index
        if component.line_peak:
            offset = (frequency - component.line_center) / component.line_width
            flux = flux + component.line_peak * 2.0 ** -((2 * offset) ** 2)
        l, m = component.east, component.north
        sine, cosine = math.sin(component.position_angle), math.cos(component.position_angle)
        along, across = u * sine + v * cosine, u * cosine - v * sine
        size = (component.major * along) ** 2 + (component.minor * across) ** 2
        phase = u * l + v * m + w * (math.sqrt(1 - l**2 - m**2) - 1)
        expected += flux * np.exp(-(math.pi**2) / (4 * math.log(2)) * size) * np.exp(2j * np.pi * phase)
    np.testing.assert_allclose(true_visibilities(NOISELESS, field), expected, atol=1e-10)


def test_raw_data_are_the_sky_times_gains_and_bandpasses() -> None:
    block = simulate_block(NOISELESS, "N5921")
    total = true_gains(NOISELESS, "N5921")[:, :, np.newaxis] * true_bandpasses(NOISELESS)
    sky = true_visibilities(NOISELESS, "N5921")[..., np.newaxis]
    expected = total[:, PAIRS.antenna1] * total[:, PAIRS.antenna2].conj() * sky
    # complex64
    np.testing.assert_allclose(block.visibilities[:, CROSS], expected[:, CROSS], rtol=1e-6, atol=1e-9)
    assert not block.flags.any()
    np.testing.assert_array_equal(block.weights, 1.0)


def test_noise_has_the_standard_deviation_that_the_weights_say() -> None:
    model = TINY.model_copy(update={"interference": None, "dead_antennas": (), "gains": None, "bandpasses": None})
    block = simulate_block(model, "N5921")
    noise = block.visibilities[..., :] - true_visibilities(model, "N5921")[..., np.newaxis]
    noisy = (PAIRS.antenna1 == 5) | (PAIRS.antenna2 == 5)  # ea06
    scaled = noise * np.sqrt(block.weights)
    for part, factor in ((CROSS & ~noisy, 1.0), (CROSS & noisy, 2.0)):
        values = np.concatenate([scaled[:, part].real.ravel(), scaled[:, part].imag.ravel()])
        # the geometric mean of 1 and 4 times the SEFD is 2; 4 sigma of a standard deviation of n numbers
        assert values.std() == pytest.approx(factor, rel=4 / math.sqrt(2 * values.size))
    sigma = 100.0 / (0.93 * math.sqrt(2 * model.band.channel_width * 30.0))
    np.testing.assert_allclose(block.weights, 1 / sigma**2, rtol=1e-6)


def test_autocorrelations_are_real_and_see_the_receiver() -> None:
    model = TINY.model_copy(update={"interference": None, "gains": None, "bandpasses": None})
    auto = simulate_block(model, "3C286").visibilities[:, ~CROSS]
    np.testing.assert_array_equal(auto.imag, 0.0)
    # 100 Jy of receiver and 15 Jy of source, the noisy antenna 400 Jy, the dead one no source
    mean = auto.real.mean(axis=(0, 2, 3))
    np.testing.assert_allclose(np.delete(mean, [2, 5]), 115.0, rtol=0.01)
    np.testing.assert_allclose(mean[[2, 5]], [100.0, 415.0], rtol=0.01)


def test_a_dead_antenna_sees_nothing_but_noise() -> None:
    model = TINY.model_copy(update={"interference": None})
    block = simulate_block(model, "3C286")
    total = true_gains(model, "3C286")[:, :, np.newaxis] * true_bandpasses(model)
    sky = block.visibilities / (total[:, PAIRS.antenna1] * total[:, PAIRS.antenna2].conj())
    dead = CROSS & ((PAIRS.antenna1 == 2) | (PAIRS.antenna2 == 2))  # ea03
    assert abs(sky[:, dead].mean()) < 0.05
    assert abs(sky[:, CROSS & ~dead].mean()) == pytest.approx(15.0, rel=0.01)


def test_interference_is_in_its_channels_only() -> None:
    model = TINY.model_copy(update={"noise": None})
    difference = (
        simulate_block(model, "N5921").visibilities
        - simulate_block(model.model_copy(update={"interference": None}), "N5921").visibilities
    )
    assert TINY.interference is not None
    with_signal = np.abs(difference[:, CROSS]).max(axis=(0, 1, 3)) > 0
    assert np.flatnonzero(with_signal).tolist() == list(TINY.interference.carrier_channels)


def test_late_antennas_see_nothing_at_the_start_of_each_scan() -> None:
    model = NOISELESS.model_copy(update={"late_integrations": 1})
    block = simulate_block(model, "J1445+0958")
    strength = np.abs(block.visibilities[:, CROSS]).max(axis=(1, 2, 3))
    assert (strength == 0).tolist() == [True, False] * 3


def test_the_flux_standard_sets_the_spectrum() -> None:
    flux = true_flux(TINY, "3C286")
    np.testing.assert_allclose(flux[0], compute_flux_density(get_flux_model("3C286"), TINY.band.frequency_hz))
    assert true_components(TINY, "3C286")[0].flux_jy == pytest.approx(15.012, rel=1e-3)


def test_a_component_may_be_given_by_its_position_on_the_sky() -> None:
    target = TINY.find_field("N5921")
    component = {"ra": target.ra + 1e-3, "dec": target.dec, "flux": 1.0}
    moved = ObservationModel.model_validate(
        {
            **TINY.model_dump(),
            "fields": [*TINY.model_dump()["fields"][:2], {**target.model_dump(), "components": [component]}],
        }
    )
    (found,) = true_components(moved, "N5921")
    assert found.l == pytest.approx(math.cos(target.dec) * math.sin(1e-3))
    assert 0 < found.m < 1e-6  # a great circle and not a parallel


def test_gains_drift_between_the_scans_of_a_field() -> None:
    gains = true_gains(TINY, "J1445+0958")
    assert np.abs(gains[-1] / gains[0] - 1).max() > 0.01
    assert np.abs(gains[1] / gains[0] - 1).max() < 0.1


# --- blocks ---


@pytest.mark.parametrize("times", [slice(0, 1), slice(2, 6)])
@pytest.mark.parametrize("channels", [slice(0, 4), slice(5, 16), slice(9, 10)])
def test_a_block_has_the_bits_of_the_whole(times: slice, channels: slice) -> None:
    whole = simulate_block(TINY, "N5921")
    part = simulate_block(TINY, "N5921", times, channels)
    np.testing.assert_array_equal(part.visibilities, whole.visibilities[times, :, channels])
    np.testing.assert_array_equal(part.uvw_m, whole.uvw_m[times])


@pytest.mark.parametrize("chunks", [(1, 16), (64, 5), (2, 4)])
def test_the_data_on_the_disk_do_not_depend_on_the_chunks(url: str, chunks: tuple[int, int]) -> None:
    truth = simulate_observation(url, TINY, chunks=chunks)
    assert truth.n_visibilities == 15 * 45 * 16 * 2
    assert truth.dead_antennas == ("ea03",)
    assert truth.flux_jy["3C286"] == pytest.approx(15.012, rel=1e-3)
    for field in truth.partitions:
        expected = simulate_block(TINY, field)
        found = read(url, TINY, field)
        np.testing.assert_array_equal(found.visibilities, expected.visibilities)
        np.testing.assert_array_equal(found.weights, expected.weights)
        np.testing.assert_array_equal(found.uvw_m, expected.uvw_m)
        assert not found.flags.any()


def test_blocks_may_be_written_in_any_order_and_twice(url: str) -> None:
    create_simulation(url, TINY, chunks=(2, 8))
    blocks = [(slice(t, t + 2), slice(c, c + 8)) for t in range(0, 6, 2) for c in (0, 8)]
    order = np.random.default_rng(1).permutation(len(blocks) * 2) % len(blocks)
    written = sum(write_simulated_block(url, TINY, "N5921", *blocks[number]) for number in order)
    assert written == 2 * 6 * 45 * 16 * 2
    found = read(url, TINY, "N5921")
    np.testing.assert_array_equal(found.visibilities, simulate_block(TINY, "N5921").visibilities)


def test_the_seed_decides_all_that_is_random() -> None:
    same = simulate_block(demo_observation("tiny", seed=1), "N5921")
    other = simulate_block(demo_observation("tiny", seed=2), "N5921")
    np.testing.assert_array_equal(same.visibilities, simulate_block(TINY, "N5921").visibilities)
    assert np.mean(same.visibilities == other.visibilities) < 0.05  # zero imaginary parts of autocorrelations
    np.testing.assert_array_equal(same.uvw_m, other.uvw_m)


def test_the_memory_of_a_block_is_as_said() -> None:
    import tracemalloc

    model = demo_observation("small")
    simulate_block(model, "N5921", slice(0, 1), slice(0, 1))  # compiled before it is measured
    tracemalloc.start()
    simulate_block(model, "N5921", slice(0, 12), slice(0, 32))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    said = block_memory_bytes(model, 12, 32)
    assert 0.6 * said < peak < 1.2 * said


# --- metadata ---


def test_scans_follow_each_other_with_slews_between() -> None:
    flux, phase, target = describe_observation(TINY)
    assert flux.scan_names == ("1",) * 3
    assert phase.scan_names == ("2", "2", "4", "4", "6", "6")
    start = TINY.start.timestamp()
    assert flux.time_s.tolist() == [start + 15, start + 45, start + 75]
    assert phase.time_s[0] == start + 90 + 60 + 15
    assert target.time_s[0] == phase.time_s[1] + 30 + 60
    assert [one.intents for one in (flux, phase, target)] == [field.intents for field in TINY.fields]


def test_linear_feeds_are_described_as_such() -> None:
    model = TINY.model_copy(update={"polarizations": "XX YY"})
    description = describe_observation(model)[0]
    assert description.polarizations == ("XX", "YY")
    assert description.antennas.receptors == ("X", "Y")


# --- errors ---


def test_a_field_below_the_horizon_is_refused() -> None:
    low = TINY.model_copy(update={"start": TINY.start.replace(hour=20)})
    with pytest.raises(SelectionError, match=r"the simulated field '3C286' is .* degrees below the horizon of VLA at"):
        describe_observation(low)


@pytest.mark.parametrize(
    ("times", "channels", "text"),
    [
        (slice(0, 7), slice(None), "integrations 0:7:None of the simulated field 'N5921'; it has 6"),
        (slice(2, 2), slice(None), "integrations 2:2:None"),
        (slice(None), slice(3, 17), "channels 3:17:None of the simulated field 'N5921'; it has 16"),
        (slice(None), slice(0, 8, 2), "channels 0:8:2"),
        (slice(-1, None), slice(None), "integrations -1:None:None"),
    ],
)
def test_blocks_outside_of_the_data_are_refused(times: slice, channels: slice, text: str) -> None:
    for function in (simulate_block, true_visibilities):
        with pytest.raises(SelectionError, match=text):
            function(TINY, "N5921", times, channels)


@pytest.mark.parametrize("function", [simulate_block, true_gains, true_components, true_flux, true_visibilities])
def test_an_unknown_field_is_refused(function: Any) -> None:
    with pytest.raises(SelectionError, match="has no field 'M31'; it has 3C286, J1445"):
        function(TINY, "M31")


def test_an_observation_is_not_written_over(tmp_path: Path) -> None:
    target = str(tmp_path / "sim.ps.zarr")
    create_simulation(target, TINY)
    with pytest.raises(DataError, match=r"something at .*sim\.ps\.zarr already; choose another place"):
        simulate_observation(target, TINY)


def test_a_task_that_is_repeated_finds_the_same_store(url: str) -> None:
    first = create_simulation(url, TINY)
    write_simulated_block(url, TINY, "3C286", slice(0, 3), slice(0, 16))
    assert create_simulation(url, TINY) == first
    np.testing.assert_array_equal(read(url, TINY, "3C286").visibilities, simulate_block(TINY, "3C286").visibilities)


def test_blocks_that_cut_a_chunk_are_refused(url: str) -> None:
    create_simulation(url, TINY, chunks=(2, 8))
    with pytest.raises(DataError, match="chunk"):
        write_simulated_block(url, TINY, "N5921", slice(0, 3), slice(0, 8))
