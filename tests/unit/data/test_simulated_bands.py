"""Several spectral windows, linear feeds and polarized skies, delays and the atmosphere of simulated observations."""

from __future__ import annotations

import math
import uuid
from typing import Any

import numpy as np
import pytest

from radps.data import stores
from radps.data.addresses import VisibilityAddress
from radps.data.demo_observation import demo_observation
from radps.data.demo_telescopes import DemoObservation
from radps.data.observation_model import Atmosphere, DelayErrors, SimulatedComponent
from radps.data.simulate import block_memory_bytes, describe_observation, simulate_block, simulate_observation
from radps.data.simulated_truth import true_bandpasses, true_delays, true_flux, true_gains, true_visibilities
from radps.data.visibilities import load_visibilities
from radps.domain.array import baselines, local_positions
from radps.errors import SelectionError
from radps.stages.simulate import Params

ALMA = DemoObservation(telescope="alma", size="tiny").build()
MEERKAT = DemoObservation(telescope="meerkat", size="tiny").build()
PAIRS = baselines(10)


def test_the_demo_keeps_its_bits() -> None:
    # Drawn before there were several bands; complex64, other libraries of mathematics differ in the last bits.
    found = simulate_block(demo_observation("tiny"), "N5921").visibilities
    assert found[0, 1, 0, 0] == pytest.approx(-0.005455389618873596 - 0.0026228821370750666j, rel=1e-5)
    assert found[3, 17, 9, 1] == pytest.approx(9.03252124786377, rel=1e-5)
    assert found[5, 40, 15, 0] == pytest.approx(-0.0007442397763952613 + 0.003980936948210001j, rel=1e-5)


@pytest.mark.parametrize("telescope", ["alma", "meerkat"])
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_the_demos_are_up_and_of_their_telescope(telescope: Any, size: Any) -> None:
    model = DemoObservation(telescope=telescope, size=size).build()
    described = describe_observation(model)  # refuses fields below the horizon
    assert len(described) == len(model.fields) * len(model.bands)
    assert {one.telescope.lower() for one in described} == {telescope}
    assert described[0].antennas.receptors == ("X", "Y")


def test_a_stage_takes_the_name_of_a_telescope() -> None:
    chosen = Params.model_validate({"observation": {"telescope": "alma", "size": "tiny", "seed": 1}}).observation
    assert isinstance(chosen, DemoObservation)
    assert chosen.build() == ALMA
    whole = Params.model_validate({"observation": ALMA.model_dump()}).observation
    assert whole == ALMA


def test_each_band_has_a_partition_with_its_own_data() -> None:
    url = f"memory://{uuid.uuid4().hex}/sim.ps.zarr"
    truth = simulate_observation(url, ALMA, chunks=(3, 5))
    assert list(truth.partitions)[:2] == ["J1058+0133/CO", "J1058+0133/continuum1"]
    for field in ALMA.fields:
        for number, band in enumerate(ALMA.bands):
            address = VisibilityAddress.of_measurement_set(truth.partitions[f"{field.name}/{band.name}"])
            expected = simulate_block(ALMA, field.name, band=number)
            np.testing.assert_array_equal(load_visibilities(address).visibilities, expected.visibilities)
    stores.delete(url)


@pytest.mark.parametrize("band", [0, 1])
def test_a_block_of_a_band_has_the_bits_of_the_whole(band: int) -> None:
    whole = simulate_block(ALMA, "disc", band=band)
    part = simulate_block(ALMA, "disc", slice(3, 7), slice(4, 9), band=band)
    np.testing.assert_array_equal(part.visibilities, whole.visibilities[3:7, :, 4:9])


def test_bands_have_noise_and_electronics_of_their_own_and_one_drift() -> None:
    bare = ALMA.model_copy(update={"atmosphere": None, "delays": None})
    noise = [simulate_block(bare, "disc", band=band).visibilities for band in (0, 1)]
    quiet = bare.model_copy(update={"noise": None})
    drawn = [n - simulate_block(quiet, "disc", band=k).visibilities for k, n in enumerate(noise)]
    correlation = np.abs(np.vdot(drawn[0], drawn[1])) / np.linalg.norm(drawn[0]) / np.linalg.norm(drawn[1])
    assert correlation < 4 / math.sqrt(drawn[0].size)
    first, second = (true_gains(bare, "J1037-2934", band) for band in (0, 1))
    assert np.abs(np.angle(second[0] / first[0])).max() > 0.5
    drift = [np.angle(gains / gains[:1]) for gains in (first, second)]
    assert np.abs(drift[0]).max() > 0.1
    ratio = ALMA.bands[1].middle_hz / ALMA.bands[0].middle_hz
    np.testing.assert_allclose(drift[1], ratio * drift[0], atol=1e-12)
    assert not np.allclose(true_bandpasses(bare, 0), true_bandpasses(bare, 1))


def test_delays_are_those_of_all_bands() -> None:
    model = ALMA.model_copy(update={"bandpasses": None, "delays": DelayErrors(rms=1e-9)})
    delays = true_delays(model)
    assert delays.std() == pytest.approx(1e-9, rel=0.5)  # 20 numbers: 16 % of a scatter, 3 sigma
    for number, band in enumerate(model.bands):
        expected = np.exp(2j * np.pi * delays[:, None] * (band.frequency_hz - model.band.middle_hz)[:, None])
        np.testing.assert_allclose(true_bandpasses(model, number), expected, atol=1e-9)
    assert not true_delays(model.model_copy(update={"delays": None})).any()


def test_the_atmosphere_is_worse_on_long_baselines() -> None:
    model = DemoObservation(telescope="alma", size="small").build()
    calm = model.model_copy(update={"atmosphere": None})
    rough = model.model_copy(update={"atmosphere": Atmosphere(phase_rms=0.6)})
    phase = np.angle(true_gains(rough, "disc")[..., 0] / true_gains(calm, "disc")[..., 0])
    position = local_positions(describe_observation(model)[0].antennas.positions_m)[:, :2]
    pairs = baselines(len(position))
    length = np.hypot(*(position[pairs.antenna1] - position[pairs.antenna2]).T)
    rms = np.angle(np.exp(1j * (phase[:, pairs.antenna1] - phase[:, pairs.antenna2]))).std(axis=0)
    # Kolmogorov: rms goes as length^(5/6); one time series of minutes scatters around that.
    slope = np.polyfit(np.log(length), np.log(rms), 1)[0]
    assert 0.6 < slope < 1.1


def test_correlations_of_a_polarized_sky() -> None:
    polarized = MEERKAT.model_copy(update={"noise": None, "gains": None, "bandpasses": None, "delays": None})
    polarized = polarized.model_copy(update={"atmosphere": None, "interference": None, "feeds_turn": False})
    target = polarized.fields[2]
    component = target.components[1].model_copy(update={"v_fraction": 0.05})
    polarized = polarized.model_copy(
        update={"fields": (*polarized.fields[:2], target.model_copy(update={"components": (component,)}))}
    )
    i, q, u, v = (true_visibilities(polarized, "field", stokes=one) for one in ("I", "Q", "U", "V"))  # type: ignore[arg-type]
    np.testing.assert_allclose(q, 0.1 * i, rtol=1e-12)
    np.testing.assert_allclose(u, -0.05 * i, rtol=1e-12)
    linear = simulate_block(polarized, "field").visibilities
    for place, expected in enumerate((i + q, u + 1j * v, u - 1j * v, i - q)):
        np.testing.assert_allclose(linear[..., place], expected, atol=1e-6)
    circular = simulate_block(polarized.model_copy(update={"polarizations": "RR RL LR LL"}), "field").visibilities
    for place, expected in enumerate((i + v, q + 1j * u, q - 1j * u, i - v)):
        np.testing.assert_allclose(circular[..., place], expected, atol=1e-6)


def test_the_sky_is_seen_through_the_primary_beam_of_each_channel() -> None:
    bare = MEERKAT.model_copy(update={"primary_beam": False})
    ratio = true_flux(MEERKAT, "field") / true_flux(bare, "field")
    frequency_hz = MEERKAT.band.frequency_hz
    np.testing.assert_allclose(ratio[0], 1.0)  # at the phase centre
    # Mauch et al. 2020: 57.5 arcmin wide at 1.5 GHz; near its centre it is a Gaussian to 1 %
    width_arcmin = 57.5 * 1.5e9 / frequency_hz
    np.testing.assert_allclose(ratio[1], np.exp2(-4 * (6.5**2 + 4.0**2) / width_arcmin**2), rtol=0.01)
    assert ratio[1, -1] < ratio[1, 0] - 0.03
    quiet = MEERKAT.model_copy(update={"noise": None, "gains": None, "bandpasses": None, "delays": None})
    quiet = quiet.model_copy(update={"atmosphere": None, "interference": None})
    seen = simulate_block(quiet, "field").visibilities
    np.testing.assert_allclose(0.5 * (seen[..., 0] + seen[..., 3]), true_visibilities(quiet, "field"), atol=1e-6)


def test_cross_hands_have_the_gains_of_both_receptors() -> None:
    quiet = MEERKAT.model_copy(update={"noise": None, "interference": None, "feeds_turn": False})
    block = simulate_block(quiet, "field")
    total = true_gains(quiet, "field")[:, :, None] * true_bandpasses(quiet)
    here, there = total[:, PAIRS.antenna1], total[:, PAIRS.antenna2].conj()
    sky = {one: true_visibilities(quiet, "field", stokes=one) for one in ("I", "Q", "U")}  # type: ignore[arg-type]
    expected = here[..., 0] * there[..., 1] * sky["U"]
    np.testing.assert_allclose(block.visibilities[..., 1], expected, atol=1e-6)
    np.testing.assert_allclose(
        block.visibilities[..., 3], here[..., 1] * there[..., 1] * (sky["I"] - sky["Q"]), atol=1e-6
    )


def test_the_memory_of_a_polarized_block_is_as_said() -> None:
    import tracemalloc

    model = DemoObservation(telescope="meerkat").build()
    simulate_block(model, "field", slice(0, 1), slice(0, 1))  # compiled before it is measured
    tracemalloc.start()
    simulate_block(model, "field", slice(0, 12), slice(0, 32))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    said = block_memory_bytes(model, 12, 32)
    assert 0.6 * said < peak < 1.2 * said


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(SelectionError, match="'alma_tiny' has no band 2; it has 0 to 1"):
        simulate_block(ALMA, "disc", band=2)
    with pytest.raises(SelectionError, match="'alma_tiny' has no band 2"):
        true_flux(ALMA, "disc", 2)
    with pytest.raises(ValueError, match="the band 'CO' is there twice"):
        type(ALMA).model_validate({**ALMA.model_dump(), "further_bands": [ALMA.band.model_dump()]})
    with pytest.raises(ValueError, match=r"make 1\.06 of Stokes I; at most 1 is there"):
        SimulatedComponent(flux=1.0, q_fraction=0.75, v_fraction=0.75)
    with pytest.raises(ValueError, match="Input should be 'vla', 'alma' or 'meerkat'"):
        Params.model_validate({"observation": {"telescope": "gmrt"}})
