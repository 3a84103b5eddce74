"""The calibration kernels on the real VLA data of NGC 5921, against what CASA 6.7.0 made of the same file.

The recipe is that of CASA's run: autocorrelations flagged, bandpass from 3C286 (one solution, VA15 as reference), gains
of each scan of the calibrators from channels 6 to 56 with the bandpass applied, flux transfer.
"""

from __future__ import annotations

import json
import lzma
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.flagging import flag_autocorrelations, flag_invalid
from radps.domain.flux_models import compute_flux_density, get_flux_model
from radps.domain.flux_transfer import FluxTransfer, rescale_gains, transfer_flux
from radps.domain.gains import GainTable, solve_bandpass, solve_time_gains
from radps.domain.interpolation import apply_gains, interpolate_gains

REFERENCE_ANTENNA = 14  # VA15
N_ANTENNAS = 28
FLUX_FIELD, PHASE_FIELD = "1331+30500002_0", "1445+09900002_0"


class Observation(NamedTuple):
    """The calibrator scans as arrays in the conventions of radps."""

    visibilities: NDArray[np.complex64]
    flags: NDArray[np.bool_]
    weights: NDArray[np.float32]
    antenna1: NDArray[np.int64]
    antenna2: NDArray[np.int64]
    time_s: NDArray[np.float64]
    frequency_hz: NDArray[np.float64]
    scan: NDArray[np.int64]
    is_flux_field: NDArray[np.bool_]
    flux_field_direction_rad: tuple[float, float]


class Calibration(NamedTuple):
    """The tables that the kernels made."""

    bandpass: GainTable
    gains: GainTable
    transfer: FluxTransfer
    rescaled: GainTable
    model_flux_jy: float


def read_uvfits(path: Path) -> Any:
    """Read the file; its telescope has no known layout date and no phase frame, of which pyuvdata warns."""
    from pyuvdata import UVData  # takes seconds to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return UVData.from_file(str(path), file_type="uvfits", run_check=False)


@pytest.fixture(scope="module")
def reference(shared_data: Path) -> Path:
    return shared_data / "ngc5921" / "reference"


@pytest.fixture(scope="module")
def observation(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Observation:
    path = tmp_path_factory.mktemp("ngc5921") / "NGC5921.fits"
    path.write_bytes(lzma.decompress((shared_data / "ngc5921" / "NGC5921.fits.xz").read_bytes()))
    data = read_uvfits(path)
    field_ids = {entry["cat_name"]: number for number, entry in data.phase_center_catalog.items()}
    calibrators = [field_ids[FLUX_FIELD], field_ids[PHASE_FIELD]]
    wanted = np.isin(data.phase_center_id_array, calibrators)
    # a scan ends where the field changes; and where one time of a field is more than 5 minutes after the one before
    times, first = np.unique(data.time_array, return_index=True)
    fields = data.phase_center_id_array[first]
    scan = np.concatenate([[0], np.cumsum((np.diff(fields) != 0) | (np.diff(times) * 86400 > 300))])
    keep = np.isin(fields, calibrators)
    times, fields, scan = times[keep], fields[keep], np.unique(scan[keep], return_inverse=True)[1]

    numbers = data.telescope.antenna_numbers
    first_antenna = np.searchsorted(numbers, data.ant_1_array[wanted])
    second_antenna = np.searchsorted(numbers, data.ant_2_array[wanted])
    pairs, baseline = np.unique(first_antenna * N_ANTENNAS + second_antenna, return_inverse=True)
    row = np.searchsorted(times, data.time_array[wanted])
    shape = (len(times), len(pairs), data.Nfreqs, data.Npols)
    visibilities = np.full(shape, np.nan, np.complex64)
    weights = np.zeros(shape, np.float32)
    flags = np.ones(shape, np.bool_)
    # pyuvdata has the complex conjugate, and uvw of the other sign (docs/conventions.md)
    visibilities[row, baseline] = data.data_array[wanted].conj()
    weights[row, baseline] = data.nsample_array[wanted]
    flags[row, baseline] = data.flag_array[wanted]
    antenna1, antenna2 = pairs // N_ANTENNAS, pairs % N_ANTENNAS
    flags |= flag_autocorrelations(antenna1, antenna2) | flag_invalid(visibilities, weights)
    flux_entry = data.phase_center_catalog[field_ids[FLUX_FIELD]]
    return Observation(
        visibilities,
        flags,
        weights,
        antenna1,
        antenna2,
        (times - 2440587.5) * 86400,
        np.asarray(data.freq_array).ravel(),
        scan,
        fields == field_ids[FLUX_FIELD],
        (flux_entry["cat_lon"], flux_entry["cat_lat"]),
    )


@pytest.fixture(scope="module")
def calibration(observation: Observation) -> Calibration:
    data, on_flux = observation, observation.is_flux_field
    geometry = (data.antenna1, data.antenna2, N_ANTENNAS, REFERENCE_ANTENNA)
    model = get_flux_model(FLUX_FIELD)
    spectrum = compute_flux_density(model, data.frequency_hz)
    bandpass = solve_bandpass(
        data.visibilities[on_flux],
        spectrum[:, np.newaxis].astype(np.complex128),
        data.flags[on_flux],
        data.weights[on_flux],
        *geometry,
        time_s=data.time_s[on_flux],
        frequency_hz=data.frequency_hz,
    )
    at_data = interpolate_gains(bandpass, data.time_s, data.frequency_hz)
    # CASA's gaincal scales the weights by the tables that it applies on the fly, whatever applycal is told later
    corrected = apply_gains(
        data.visibilities,
        data.flags,
        data.weights,
        *at_data,
        data.antenna1,
        data.antenna2,
        ("RR", "LL"),
        calibrate_weights=True,
    )
    channels = np.zeros(len(data.frequency_hz), np.bool_)
    channels[6:57] = True
    sky = np.where(on_flux[:, np.newaxis], spectrum, 1.0)
    gains = solve_time_gains(
        corrected.visibilities,
        sky[:, np.newaxis, :, np.newaxis].astype(np.complex128),
        corrected.flags,
        corrected.weights,
        *geometry,
        time_s=data.time_s,
        frequency_hz=data.frequency_hz,
        interval=data.scan,
        channels=channels,
    )
    is_reference = np.array([on_flux[data.scan == number].all() for number in range(len(gains.time_s))])
    transfer = transfer_flux(gains, ~is_reference, is_reference, field_name=PHASE_FIELD)
    middle_flux = float(np.mean(spectrum))
    return Calibration(bandpass, gains, transfer, rescale_gains(gains, ~is_reference, transfer.scale), middle_flux)


def casa_gains(path: Path) -> tuple[NDArray[np.complex128], NDArray[np.bool_], NDArray[np.float64]]:
    """Return gains, flags and signal-to-noise of a CASA table, shape (time, antenna, channel, polarization)."""
    with np.load(path) as table:
        arrays = [table[name].reshape(-1, N_ANTENNAS, *table[name].shape[1:]) for name in ("cparam", "flag", "snr")]
    gains, flags, snr = (np.swapaxes(array, 2, 3) for array in arrays)
    return gains, flags, snr


def refer(gains: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Turn the phases to the reference antenna."""
    reference = gains[:, REFERENCE_ANTENNA : REFERENCE_ANTENNA + 1]
    return gains * np.abs(reference) / reference


def compare(
    ours: GainTable, gains: NDArray[np.complex128], flags: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return relative amplitude and phase [degrees] differences of all solutions that CASA did not flag."""
    np.testing.assert_array_equal(ours.flags, flags)
    ratio = ours.gains[~flags] / refer(gains)[~flags]
    return np.abs(np.abs(ratio) - 1), np.abs(np.degrees(np.angle(ratio)))


def test_scans_are_those_of_casa(observation: Observation, calibration: Calibration, reference: Path) -> None:
    with np.load(reference / "pb17_nocalwt_gcal.npz") as table:
        casa_time_s = table["time"].reshape(-1, N_ANTENNAS)[:, 0] - 3506716800.0  # MJD 0 to 1970 [s]
    # CASA weights the mean time; half a second of 150 s or more between scans is of no consequence
    np.testing.assert_allclose(calibration.gains.time_s, casa_time_s, atol=1.0)
    assert calibration.gains.gains.shape == (5, N_ANTENNAS, 1, 2)


def test_flux_calibrator_model(observation: Observation, calibration: Calibration, reference: Path) -> None:
    results = json.loads((reference / "pb17_nocalwt_results.json").read_text())
    assert calibration.model_flux_jy == pytest.approx(results["setjy"]["0"]["0"][0], rel=5e-4)
    by_position = get_flux_model("any name", *observation.flux_field_direction_rad)
    assert by_position.name == "3C286"


def test_bandpass(calibration: Calibration, reference: Path) -> None:
    gains, flags, _ = casa_gains(reference / "pb17_nocalwt_bcal.npz")
    amplitude, phase = compare(calibration.bandpass, gains, flags)
    assert amplitude.size > 3000  # 27 antennas, 63 channels, 2 hands
    assert amplitude.max() < 0.01
    assert phase.max() < 0.6


def test_gains(calibration: Calibration, reference: Path) -> None:
    gains, flags, _ = casa_gains(reference / "pb17_nocalwt_gcal.npz")
    amplitude, phase = compare(calibration.gains, gains, flags)
    assert amplitude.size == 5 * 27 * 2
    assert amplitude.max() < 0.005
    assert phase.max() < 0.3


def test_signal_to_noise_of_gains(calibration: Calibration, reference: Path) -> None:
    _, flags, snr = casa_gains(reference / "pb17_nocalwt_gcal.npz")
    # CASA estimates the scatter of the data differently: 5 % apart at most here
    np.testing.assert_allclose(calibration.gains.snr[~flags], snr[~flags], rtol=0.1)


def test_gains_with_the_opposite_sign_of_phase_would_not_pass(calibration: Calibration, reference: Path) -> None:
    gains, flags, _ = casa_gains(reference / "pb17_nocalwt_gcal.npz")
    _, phase = compare(calibration.gains, gains.conj(), flags)
    assert phase.max() > 0.3


def test_flux_transfer(calibration: Calibration, reference: Path) -> None:
    results = json.loads((reference / "pb17_nocalwt_results.json").read_text())["fluxscale"]["1"]["0"]
    assert calibration.transfer.flux_jy == pytest.approx(results["fluxd"][0], rel=3e-3)
    # the scatter of the 54 ratios is 0.5 %, the gains agree with those of CASA to 0.01 %: 2 % of the scatter
    assert calibration.transfer.casa_error_jy == pytest.approx(results["fluxdErr"][0], rel=0.02)
    assert calibration.transfer.n_solutions == results["numSol"][0]


def test_rescaled_gains(calibration: Calibration, reference: Path) -> None:
    gains, flags, _ = casa_gains(reference / "pb17_nocalwt_fluxscale.npz")
    amplitude, phase = compare(calibration.rescaled, gains, flags)
    assert amplitude.max() < 0.005
    assert phase.max() < 0.3
