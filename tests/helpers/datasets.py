"""Small data sets in the formats of other programs, with the truth that was written into them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ANTENNA_POSITIONS_M = np.array(
    [
        [-1601155.61, -5041783.88, 3555162.34],
        [-1601188.99, -5042000.53, 3554843.41],
        [-1601225.24, -5041980.43, 3554855.68],
        [-1601068.81, -5042051.93, 3554824.79],
    ]
)
STATIONS = ("VLA:N7", "VLA:W1", "VLA:W2", "VLA:E1")
FIELDS = (("3C286", 3.5392, 0.5325), ("N5921_2", 4.0230, 0.0884))
INTEGRATION_S = 30.0
START_JD = 2449820.5
"""1995-04-13, when atomic time was 29 s ahead of UTC."""
LEAP_SECONDS = 29.0


class UvfitsTruth(NamedTuple):
    """What a file holds, one entry a row."""

    samples: NDArray[np.float32]
    """(row, window, channel, polarization, 3): real, imaginary, weight."""
    uvw_s: NDArray[np.float32]
    antenna1: NDArray[np.int64]
    """Index of the antenna."""
    antenna2: NDArray[np.int64]
    seconds: NDArray[np.float64]
    """From ``START_JD``, in the time system of the file."""
    source: NDArray[np.int64]
    """Number of the source, from 1."""


class Msv2Truth(NamedTuple):
    """What the MAIN table holds, one entry a row."""

    data: NDArray[np.complex64]
    flag: NDArray[np.bool_]
    weight: NDArray[np.float32]
    """(row, polarization)"""
    uvw_m: NDArray[np.float64]
    antenna1: NDArray[np.int64]
    antenna2: NDArray[np.int64]
    unix_s: NDArray[np.float64]
    field: NDArray[np.int64]


def write_uvfits(
    path: Path,
    *,
    times_of_fields: tuple[int, ...] = (2, 3, 2),
    n_channels: int = 5,
    n_windows: int = 1,
    channel_width_hz: float = 24414.0625,
    epoch: float = 2000.0,
    time_system: str = "TAI",
    telescope: str = "VLA",
    has_sources: bool = True,
    has_intervals: bool = True,
    frequency_setups: int = 1,
    subarrays: int = 1,
    uvw_suffix: str = "",
    first_axis: str = "COMPLEX",
    tables: tuple[str, ...] = ("AIPS AN", "AIPS FQ", "AIPS SU"),
    repeated_rows: int = 0,
    all_flagged: bool = False,
    baseline_kind: str = "256",
    source_columns: dict[str, Any] | None = None,
    header: dict[str, Any] | None = None,
) -> UvfitsTruth:
    """Write a UVFITS file: scans of two fields in turn, 4 antennas of the table, of which the last has no data."""
    from astropy.io import fits

    rng = np.random.default_rng(5)
    first, second = np.triu_indices(3)
    n_times, n_baselines = sum(times_of_fields), len(first)
    scan = np.repeat(np.arange(len(times_of_fields)), times_of_fields)
    seconds = np.repeat(3600.0 + INTEGRATION_S * np.arange(n_times), n_baselines)
    source = np.repeat(1 + scan % 2, n_baselines) if has_sources else np.ones(n_times * n_baselines, np.int64)
    antenna1, antenna2 = np.tile(first, n_times), np.tile(second, n_times)
    rows = np.delete(np.arange(n_times * n_baselines), 7)  # a baseline is missing at one time
    rows = np.concatenate([rows, rows[:repeated_rows]])
    samples = rng.normal(size=(len(rows), n_windows, n_channels, 2, 3)).astype(np.float32)
    samples[..., 2] = rng.choice([-2.0, 0.5, 1.0, 3.0], size=samples.shape[:-1])
    if all_flagged:
        samples[..., 2] = -1.0
    uvw_s = rng.normal(scale=1e-6, size=(len(rows), 3)).astype(np.float32)
    subarray = np.arange(n_times * n_baselines) % subarrays
    baselines = {
        "256": [("BASELINE", 256 * (antenna1 + 1) + antenna2 + 1 + 0.01 * subarray)],
        "2048": [("BASELINE", 2048 * (antenna1 + 1) + antenna2 + 1 + 65536)],
        "antennas": [("ANTENNA1", antenna1 + 1), ("ANTENNA2", antenna2 + 1), ("SUBARRAY", subarray + 1)],
    }[baseline_kind]
    days = seconds[rows] / 86400
    parameters = [
        *((f"{name}{uvw_suffix}", uvw_s[:, axis]) for axis, name in enumerate(("UU", "VV", "WW"))),
        ("DATE", np.floor(days * 1024) / 1024),
        ("DATE", days - np.floor(days * 1024) / 1024),
        *((name, values[rows]) for name, values in baselines),
        ("FREQSEL", 1 + np.arange(len(rows)) % frequency_setups),
        *([("SOURCE", source[rows])] if has_sources else []),
        *([("INTTIM", np.full(len(rows), INTEGRATION_S))] if has_intervals else []),
    ]
    data = fits.GroupData(
        samples[:, np.newaxis, np.newaxis],
        bitpix=-32,
        parnames=[name for name, _ in parameters],
        pardata=[np.asarray(values, np.float32) for _, values in parameters],
    )
    primary = fits.GroupsHDU(data)
    axes = ((first_axis, 1, 1), ("STOKES", -1, -1), ("FREQ", 1.41e9, channel_width_hz), ("IF", 1, 1))
    for axis, (name, value, step) in enumerate((*axes, ("RA", np.rad2deg(FIELDS[0][1]), 1), ("DEC", 30.51, 1)), 2):
        primary.header.update({f"CTYPE{axis}": name, f"CRVAL{axis}": value, f"CDELT{axis}": step, f"CRPIX{axis}": 1})
    primary.header.update(
        {
            "PZERO4": START_JD,
            "OBJECT": "MULTI" if has_sources else "3C286",
            "TELESCOP": telescope,
            "INSTRUME": telescope,
            "OBSERVER": "TEST",
            "EPOCH": epoch,
            "DATE-OBS": "1995-04-13",
            "RESTFREQ": 1.420405752e9,
            "SPECSYS": "LSRK",
            **(header or {}),
        }
    )
    written = {
        "AIPS AN": _antenna_table(time_system),
        "AIPS FQ": _frequency_table(n_windows, channel_width_hz, n_channels),
        "AIPS SU": _source_table(epoch, source_columns or {}) if has_sources else None,
    }
    extensions = [written[name] for name in tables if written[name] is not None]
    fits.HDUList([primary, *extensions]).writeto(path)
    return UvfitsTruth(samples, uvw_s, antenna1[rows], antenna2[rows], seconds[rows], source[rows])


def _antenna_table(time_system: str) -> Any:
    from astropy.io import fits

    n_antennas = len(STATIONS)
    columns = [
        fits.Column("ANNAME", "8A", array=np.array(STATIONS)),
        fits.Column("STABXYZ", "3D", unit="METERS", array=ANTENNA_POSITIONS_M),
        fits.Column("ORBPARM", "0D", array=np.zeros((n_antennas, 0))),
        fits.Column("NOSTA", "1J", array=np.arange(1, n_antennas + 1)),
        fits.Column("MNTSTA", "1J", array=np.zeros(n_antennas)),
        fits.Column("STAXOF", "1E", unit="METERS", array=np.zeros(n_antennas)),
        fits.Column("POLTYA", "1A", array=np.array(["R"] * n_antennas)),
        fits.Column("POLAA", "1E", array=np.zeros(n_antennas)),
        fits.Column("POLCALA", "1E", array=np.zeros(n_antennas)),
        fits.Column("POLTYB", "1A", array=np.array(["L"] * n_antennas)),
        fits.Column("POLAB", "1E", array=np.zeros(n_antennas)),
        fits.Column("POLCALB", "1E", array=np.zeros(n_antennas)),
        fits.Column("DIAMETER", "1E", array=np.full(n_antennas, 25.0)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="AIPS AN")
    table.header.update(
        {
            "ARRAYX": 0.0, "ARRAYY": 0.0, "ARRAYZ": 0.0, "GSTIA0": 200.7, "DEGPDY": 360.9856, "FREQ": 1.41e9,
            "RDATE": "1995-04-13", "POLARX": 0.0, "POLARY": 0.0, "UT1UTC": 0.0, "IATUTC": 29.0, "TIMSYS": time_system,
            "ARRNAM": "VLA", "NUMORB": 0, "NOPCAL": 0, "POLTYPE": "", "XYZHAND": "RIGHT", "FRAME": "ITRF",
        }
    )  # fmt: skip
    return table


def _frequency_table(n_windows: int, channel_width_hz: float, n_channels: int) -> Any:
    from astropy.io import fits

    def column(name: str, kind: str, values: Any) -> Any:
        return fits.Column(name, f"{n_windows}{kind}", array=np.broadcast_to(values, n_windows)[np.newaxis])

    columns = [
        fits.Column("FRQSEL", "1J", array=np.array([1])),
        column("IF FREQ", "D", 1.0e6 * np.arange(n_windows)),
        column("CH WIDTH", "E", channel_width_hz),
        column("TOTAL BANDWIDTH", "E", abs(channel_width_hz) * n_channels),
        column("SIDEBAND", "J", np.sign(channel_width_hz)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="AIPS FQ")
    table.header["NO_IF"] = n_windows
    return table


def _source_table(epoch: float, more: dict[str, Any]) -> Any:
    from astropy.io import fits

    columns = [
        fits.Column("ID. NO.", "1J", array=np.array([1, 2])),
        fits.Column("SOURCE", "20A", array=np.array([name for name, _, _ in FIELDS])),
        fits.Column("RAEPO", "1D", unit="DEGREES", array=np.rad2deg([ra for _, ra, _ in FIELDS])),
        fits.Column("DECEPO", "1D", unit="DEGREES", array=np.rad2deg([dec for _, _, dec in FIELDS])),
        fits.Column("EPOCH", "1D", unit="YEARS", array=np.full(2, epoch)),
        *(fits.Column(name, f"{np.shape(values)[1]}D", array=np.array(values)) for name, values in more.items()),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="AIPS SU")
    table.header["NO_IF"] = 1
    return table


def write_msv2(
    path: Path,
    *,
    n_channels: int = 5,
    positions_m: NDArray[np.float64] = ANTENNA_POSITIONS_M,
    frequency_hz: float = 1.41e9,
    has_data: bool = True,
) -> Msv2Truth:
    """Write an MSv2 by arcae: two fields in turn, the calibrator with two intents, autocorrelations included.

    The calibrator is observed with the intent "flux" first and "phase" later, of which XRADIO makes two partitions. One
    row is missing.
    """
    from arcae.lib.arrow_tables import Table, ms_descriptor

    rng = np.random.default_rng(9)
    shutil.rmtree(path, ignore_errors=True)
    first, second = np.triu_indices(len(STATIONS))
    n_baselines = len(first)
    state_of_time = np.array([0, 0, 1, 1, 2, 1])
    field_of_state = np.array([0, 1, 0])
    n_times = len(state_of_time)
    rows = np.delete(np.arange(n_times * n_baselines), 13)
    n_rows = len(rows)
    unix_s = 7.9776e8 + INTEGRATION_S * np.repeat(np.arange(n_times), n_baselines)[rows]
    state = np.repeat(state_of_time, n_baselines)[rows]
    cells = (n_rows, n_channels, 2)
    truth = Msv2Truth(
        data=(rng.normal(size=cells) + 1j * rng.normal(size=cells)).astype(np.complex64),
        flag=rng.random(cells) < 0.1,
        weight=(1 + rng.random((n_rows, 2))).astype(np.float32),
        uvw_m=rng.normal(size=(n_rows, 3)),
        antenna1=np.tile(first, n_times)[rows],
        antenna2=np.tile(second, n_times)[rows],
        unix_s=unix_s,
        field=field_of_state[state],
    )
    columns = {"DATA": ms_descriptor("MAIN", complete=True)["DATA"]} if has_data else {}
    main = Table.ms_from_descriptor(str(path), "MAIN", columns, {})
    main.addrows(n_rows)
    mjd_s = unix_s + 40587.0 * 86400
    scan = np.repeat(np.array([1, 1, 2, 2, 3, 4]), n_baselines)[rows]
    values: dict[str, Any] = {
        "TIME": mjd_s, "TIME_CENTROID": mjd_s, "UVW": truth.uvw_m, "FLAG": truth.flag, "WEIGHT": truth.weight,
        "SIGMA": truth.weight, "INTERVAL": np.full(n_rows, INTEGRATION_S), "EXPOSURE": np.full(n_rows, INTEGRATION_S),
        "ANTENNA1": truth.antenna1, "ANTENNA2": truth.antenna2, "FIELD_ID": truth.field, "SCAN_NUMBER": scan,
        "STATE_ID": state, "FLAG_ROW": np.zeros(n_rows, np.bool_),
        **dict.fromkeys(
            ("ARRAY_ID", "DATA_DESC_ID", "FEED1", "FEED2", "OBSERVATION_ID", "PROCESSOR_ID"), np.zeros(n_rows, np.int64)
        ),
        **({"DATA": truth.data} if has_data else {}),
    }  # fmt: skip
    for name, column in values.items():
        main.putcol(name, column.astype(np.int32) if column.dtype == np.int64 else column)
    main.close()
    for name, table in _subtables(n_channels, positions_m, frequency_hz).items():
        _fill(Table.from_filename(f"{path}/{name}", readonly=False), table)
    return truth


def _fill(table: Any, columns: dict[str, Any]) -> None:
    table.addrows(len(next(iter(columns.values()))))
    for name, values in columns.items():
        array = np.asarray(values)
        kinds = {"U": object, "i": np.int32}
        table.putcol(name, array.astype(kinds.get(array.dtype.kind, array.dtype)))
    table.close()


def _subtables(n_channels: int, positions_m: NDArray[np.float64], frequency_hz: float) -> dict[str, dict[str, Any]]:
    n_antennas, width = len(STATIONS), 24414.0625
    no = np.zeros(1, np.int64)
    directions = np.array([[[ra, dec]] for _, ra, dec in FIELDS])
    widths = np.full((1, n_channels), width)
    return {
        "ANTENNA": {
            "NAME": [f"VA{number:02d}" for number in range(1, n_antennas + 1)], "STATION": list(STATIONS),
            "TYPE": ["GROUND-BASED"] * n_antennas, "MOUNT": ["ALT-AZ"] * n_antennas, "POSITION": positions_m,
            "OFFSET": np.zeros((n_antennas, 3)), "DISH_DIAMETER": np.full(n_antennas, 25.0),
            "FLAG_ROW": np.zeros(n_antennas, np.bool_),
        },
        "FIELD": {
            "NAME": [name for name, _, _ in FIELDS], "CODE": ["", ""], "PHASE_DIR": directions, "DELAY_DIR": directions,
            "REFERENCE_DIR": directions, "NUM_POLY": [0, 0], "SOURCE_ID": [0, 1], "TIME": np.full(2, 4.3e9),
            "FLAG_ROW": np.zeros(2, np.bool_),
        },
        "SPECTRAL_WINDOW": {
            "NAME": ["band"], "CHAN_FREQ": (frequency_hz + width * np.arange(n_channels))[np.newaxis],
            "CHAN_WIDTH": widths, "EFFECTIVE_BW": widths, "RESOLUTION": widths, "REF_FREQUENCY": [frequency_hz],
            "MEAS_FREQ_REF": [1], "NUM_CHAN": [n_channels], "TOTAL_BANDWIDTH": [width * n_channels],
            "NET_SIDEBAND": [1], "FREQ_GROUP": no, "FREQ_GROUP_NAME": [""], "IF_CONV_CHAIN": no,
            "FLAG_ROW": no.astype(np.bool_),
        },
        "POLARIZATION": {
            "NUM_CORR": [2], "CORR_TYPE": [[5, 8]], "CORR_PRODUCT": [[[0, 0], [1, 1]]], "FLAG_ROW": no.astype(np.bool_),
        },
        "DATA_DESCRIPTION": {"SPECTRAL_WINDOW_ID": no, "POLARIZATION_ID": no, "FLAG_ROW": no.astype(np.bool_)},
        "OBSERVATION": {
            "TELESCOPE_NAME": ["VLA"], "OBSERVER": ["TEST"], "PROJECT": ["AB1"], "TIME_RANGE": np.full((1, 2), 4.3e9),
            "RELEASE_DATE": [0.0], "SCHEDULE_TYPE": [""], "FLAG_ROW": no.astype(np.bool_),
        },
        "STATE": {
            "OBS_MODE": [
                "CALIBRATE_FLUX#ON_SOURCE,CALIBRATE_BANDPASS#ON_SOURCE", "OBSERVE_TARGET#ON_SOURCE",
                "CALIBRATE_PHASE#ON_SOURCE",
            ],
            "CAL": np.zeros(3), "LOAD": np.zeros(3), "REF": np.zeros(3, np.bool_), "SIG": np.ones(3, np.bool_),
            "SUB_SCAN": [0, 0, 0], "FLAG_ROW": np.zeros(3, np.bool_),
        },
        "FEED": {
            "ANTENNA_ID": np.arange(n_antennas), "FEED_ID": [0] * n_antennas, "SPECTRAL_WINDOW_ID": [-1] * n_antennas,
            "TIME": np.zeros(n_antennas), "INTERVAL": np.zeros(n_antennas), "NUM_RECEPTORS": [2] * n_antennas,
            "BEAM_ID": [-1] * n_antennas, "BEAM_OFFSET": np.zeros((n_antennas, 2, 2)),
            "POLARIZATION_TYPE": [["R", "L"]] * n_antennas, "POSITION": np.zeros((n_antennas, 3)),
            "POL_RESPONSE": np.zeros((n_antennas, 2, 2), np.complex64), "RECEPTOR_ANGLE": np.zeros((n_antennas, 2)),
        },
        "PROCESSOR": {
            "TYPE": ["CORRELATOR"], "SUB_TYPE": [""], "TYPE_ID": no, "MODE_ID": no, "FLAG_ROW": no.astype(np.bool_),
        },
    }  # fmt: skip
