"""MSv2 folders as ALMA and MeerKAT write them, by arcae: simulated data with the oddities of real ones."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.observation_model import ObservationModel
from radps.data.simulate import describe_observation, simulate_block

CORRELATIONS = {"I": 1, "RR": 5, "RL": 6, "LR": 7, "LL": 8, "XX": 9, "XY": 10, "YX": 11, "YY": 12}
UNIX_MJD_S = 40587.0 * 86400


class Window(NamedTuple):
    """A data description: a spectral window with a polarization setup."""

    name: str
    frequency_hz: NDArray[np.float64]
    width_hz: float
    correlations: tuple[str, ...]


class Rows(NamedTuple):
    """Rows of the MAIN table of one field and window."""

    window: int
    field: int
    state: int
    time_s: NDArray[np.float64]
    scan: NDArray[np.int64]
    antenna1: NDArray[np.int64]
    antenna2: NDArray[np.int64]
    data: NDArray[np.complex64]
    """(row, channel, correlation)"""
    flag: NDArray[np.bool_]
    uvw_m: NDArray[np.float64]


def write_simulated_msv2(
    path: Path,
    model: ObservationModel,
    *,
    modes: Sequence[str] | None = None,
    averaged: bool = False,
    wvr: bool = False,
    offsets_rad: Sequence[float] = (),
) -> None:
    """Write a simulated observation.

    Parameters
    ----------
    path : Path
        The new folder.
    model : ObservationModel
    modes : sequence of str, optional
        OBS_MODE of each field; default: the intents of the model.
    averaged : bool
        Each band comes once more as one channel, as ALMA's channel averages.
    wvr : bool
        A window of ALMA's radiometers: autocorrelations of 4 channels in Stokes I, before all others.
    offsets_rad : sequence of float
        Further pointings of the last field, so far to the north: a mosaic.
    """
    from arcae.lib.arrow_tables import Table, ms_descriptor

    shutil.rmtree(path, ignore_errors=True)
    windows, rows = _windows_and_rows(model, averaged=averaged, wvr=wvr, n_pointings=1 + len(offsets_rad))
    counts = [len(one.time_s) for one in rows]
    main = Table.ms_from_descriptor(str(path), "MAIN", {"DATA": ms_descriptor("MAIN", complete=True)["DATA"]}, {})
    main.addrows(sum(counts))
    interval = np.full(sum(counts), model.integration_time)
    time_s = np.concatenate([one.time_s for one in rows]) + UNIX_MJD_S
    columns: dict[str, Any] = {
        "TIME": time_s, "TIME_CENTROID": time_s, "INTERVAL": interval, "EXPOSURE": interval,
        "UVW": np.concatenate([one.uvw_m for one in rows]),
        "ANTENNA1": np.concatenate([one.antenna1 for one in rows]),
        "ANTENNA2": np.concatenate([one.antenna2 for one in rows]),
        "SCAN_NUMBER": np.concatenate([one.scan for one in rows]),
        "DATA_DESC_ID": np.repeat([one.window for one in rows], counts),
        "FIELD_ID": np.repeat([one.field for one in rows], counts),
        "STATE_ID": np.repeat([one.state for one in rows], counts),
        "FLAG_ROW": np.zeros(sum(counts), np.bool_),
        **dict.fromkeys(
            ("ARRAY_ID", "FEED1", "FEED2", "OBSERVATION_ID", "PROCESSOR_ID"), np.zeros(sum(counts), np.int64)
        ),
    }  # fmt: skip
    for name, values in columns.items():
        main.putcol(name, values.astype(np.int32) if values.dtype == np.int64 else values)
    stop = np.cumsum(counts)
    for one, last, count in zip(rows, stop, counts, strict=True):
        place = (slice(int(last - count), int(last)),)
        weight = np.ones((count, one.data.shape[2]), np.float32)
        for name, values in (("DATA", one.data), ("FLAG", one.flag), ("WEIGHT", weight), ("SIGMA", weight)):
            main.putcol(name, values, index=place)
    main.close()
    tables = _subtables(model, windows, modes or [",".join(one.intents) for one in model.fields], offsets_rad)
    for name, table in tables.items():
        _fill(Table.from_filename(f"{path}/{name}", readonly=False), table)


def _windows_and_rows(
    model: ObservationModel, *, averaged: bool, wvr: bool, n_pointings: int
) -> tuple[list[Window], list[Rows]]:
    windows: list[Window] = []
    rows: list[Rows] = []
    described = describe_observation(model)
    n_bands = len(model.bands)
    if wvr:
        windows.append(Window("WVR#NOMINAL", 184.19e9 + 1.5e9 * np.arange(4), 1.5e9, ("I",)))
        for number, field in enumerate(model.fields):
            rows.append(_radiometer(described[number * n_bands], number))
            assert field.name == described[number * n_bands].field_name
    for band, window in enumerate(model.bands):
        names = model.polarization_names
        place = len(windows)
        title = f"ALMA_RB_06#BB_{band + 1}#SW-01#FULL_RES" if model.layout.kind == "alma" else window.name
        windows.append(Window(title, window.frequency_hz, window.channel_width, names))
        for number in range(len(model.fields)):
            rows += _of_field(model, described[number * n_bands + band], number, band, place, n_pointings)
        if averaged:
            width = window.channel_width * window.n_channels
            windows.append(
                Window(title.replace("FULL_RES", "CH_AVG"), np.array([window.frequency_hz.mean()]), width, names)
            )
            last = [one for one in rows if one.window == place]
            rows += [
                one._replace(
                    window=place + 1,
                    data=one.data.mean(axis=1, keepdims=True),
                    flag=one.flag.all(axis=1, keepdims=True),
                )
                for one in last
            ]
    return windows, rows


def _radiometer(description: Any, field: int) -> Rows:
    n_antennas, n_times = len(description.antennas.names), len(description.time_s)
    antenna = np.tile(np.arange(n_antennas), n_times)
    shape = (len(antenna), 4, 1)
    return Rows(
        window=0,
        field=field,
        state=field,
        time_s=np.repeat(description.time_s, n_antennas),
        scan=np.repeat(np.array(description.scan_names, np.int64), n_antennas),
        antenna1=antenna,
        antenna2=antenna,
        data=np.full(shape, 200.0, np.complex64),
        flag=np.zeros(shape, np.bool_),
        uvw_m=np.zeros((len(antenna), 3)),
    )


def _of_field(
    model: ObservationModel, description: Any, field: int, band: int, window: int, n_pointings: int
) -> list[Rows]:
    block = simulate_block(model, description.field_name, band=band)
    n_baselines = len(description.antenna1)
    is_last = field == len(model.fields) - 1
    found = []
    pointings = np.arange(len(description.time_s)) % (n_pointings if is_last else 1)
    for pointing in range(n_pointings if is_last else 1):
        times = np.flatnonzero(pointings == pointing)
        n_rows = len(times) * n_baselines
        found.append(
            Rows(
                window=window,
                field=field + pointing,
                state=field,
                time_s=np.repeat(description.time_s[times], n_baselines),
                scan=np.repeat(np.array(description.scan_names, np.int64)[times], n_baselines),
                antenna1=np.tile(description.antenna1, len(times)),
                antenna2=np.tile(description.antenna2, len(times)),
                data=block.visibilities[times].reshape(n_rows, *block.visibilities.shape[2:]),
                flag=block.flags[times].reshape(n_rows, *block.flags.shape[2:]),
                uvw_m=block.uvw_m[times].reshape(n_rows, 3),
            )
        )
    return found


def _fill(table: Any, columns: dict[str, Any]) -> None:
    first = next(iter(columns.values()))
    table.addrows(len(first))
    kinds = {"U": object, "i": np.int32}
    for name, values in columns.items():
        if isinstance(values, list) and values and isinstance(values[0], np.ndarray):  # cells of different shapes
            for row, value in enumerate(values):
                table.putcol(
                    name,
                    value[np.newaxis].astype(kinds.get(value.dtype.kind, value.dtype)),
                    index=(slice(row, row + 1),),
                )
            continue
        array = np.asarray(values)
        table.putcol(name, array.astype(kinds.get(array.dtype.kind, array.dtype)))
    table.close()


def _subtables(
    model: ObservationModel, windows: Sequence[Window], modes: Sequence[str], offsets_rad: Sequence[float]
) -> dict[str, dict[str, Any]]:
    array = describe_observation(model)[0].antennas
    n_antennas, n_windows, n_states = len(array.names), len(windows), len(modes)
    fields = [(one.name, one.ra, one.dec, number) for number, one in enumerate(model.fields)]
    fields += [(fields[-1][0], fields[-1][1], fields[-1][2] + offset, fields[-1][3]) for offset in offsets_rad]
    directions = np.array([[[ra, dec]] for _, ra, dec, _ in fields])
    setups = list(dict.fromkeys(one.correlations for one in windows))
    products = [np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0, 0], [1, 1]]), np.array([[0, 0]])]
    by_count = {len(one): one for one in products}
    widths = [np.full(len(one.frequency_hz), one.width_hz) for one in windows]
    no = np.zeros(n_windows, np.int64)
    return {
        "ANTENNA": {
            "NAME": list(array.names), "STATION": list(array.stations), "TYPE": ["GROUND-BASED"] * n_antennas,
            "MOUNT": ["ALT-AZ"] * n_antennas, "POSITION": array.positions_m, "OFFSET": np.zeros((n_antennas, 3)),
            "DISH_DIAMETER": array.diameters_m, "FLAG_ROW": np.zeros(n_antennas, np.bool_),
        },
        "FIELD": {
            "NAME": [name for name, _, _, _ in fields], "CODE": ["none"] * len(fields), "PHASE_DIR": directions,
            "DELAY_DIR": directions, "REFERENCE_DIR": directions, "NUM_POLY": [0] * len(fields),
            "SOURCE_ID": [source for _, _, _, source in fields], "TIME": np.full(len(fields), 4.3e9),
            "FLAG_ROW": np.zeros(len(fields), np.bool_),
        },
        "SPECTRAL_WINDOW": {
            "NAME": [one.name for one in windows], "CHAN_FREQ": [one.frequency_hz for one in windows],
            "CHAN_WIDTH": widths, "EFFECTIVE_BW": widths, "RESOLUTION": widths,
            "REF_FREQUENCY": [float(one.frequency_hz[0]) for one in windows],
            "MEAS_FREQ_REF": [5] * n_windows, "NUM_CHAN": [len(one.frequency_hz) for one in windows],
            "TOTAL_BANDWIDTH": [float(width.sum()) for width in widths], "NET_SIDEBAND": [1] * n_windows,
            "FREQ_GROUP": no, "FREQ_GROUP_NAME": [""] * n_windows, "IF_CONV_CHAIN": no,
            "FLAG_ROW": no.astype(np.bool_),
        },
        "POLARIZATION": {
            "NUM_CORR": [len(one) for one in setups],
            "CORR_TYPE": [np.array([CORRELATIONS[name] for name in one]) for one in setups],
            "CORR_PRODUCT": [by_count[len(one)] for one in setups], "FLAG_ROW": np.zeros(len(setups), np.bool_),
        },
        "DATA_DESCRIPTION": {
            "SPECTRAL_WINDOW_ID": np.arange(n_windows),
            "POLARIZATION_ID": np.array([setups.index(one.correlations) for one in windows]),
            "FLAG_ROW": no.astype(np.bool_),
        },
        "OBSERVATION": {
            "TELESCOPE_NAME": [describe_observation(model)[0].telescope], "OBSERVER": ["TEST"],
            "PROJECT": ["uid://A001/X1/X2"], "TIME_RANGE": np.full((1, 2), 4.3e9), "RELEASE_DATE": [0.0],
            "SCHEDULE_TYPE": [""], "FLAG_ROW": np.zeros(1, np.bool_),
        },
        "STATE": {
            "OBS_MODE": list(modes), "CAL": np.zeros(n_states), "LOAD": np.zeros(n_states),
            "REF": np.zeros(n_states, np.bool_), "SIG": np.ones(n_states, np.bool_), "SUB_SCAN": [0] * n_states,
            "FLAG_ROW": np.zeros(n_states, np.bool_),
        },
        "FEED": {
            "ANTENNA_ID": np.arange(n_antennas), "FEED_ID": [0] * n_antennas, "SPECTRAL_WINDOW_ID": [-1] * n_antennas,
            "TIME": np.zeros(n_antennas), "INTERVAL": np.zeros(n_antennas), "NUM_RECEPTORS": [2] * n_antennas,
            "BEAM_ID": [-1] * n_antennas, "BEAM_OFFSET": np.zeros((n_antennas, 2, 2)),
            "POLARIZATION_TYPE": [list(array.receptors)] * n_antennas, "POSITION": np.zeros((n_antennas, 3)),
            "POL_RESPONSE": np.zeros((n_antennas, 2, 2), np.complex64), "RECEPTOR_ANGLE": np.zeros((n_antennas, 2)),
        },
        "PROCESSOR": {
            "TYPE": ["CORRELATOR"], "SUB_TYPE": ["ALMA_CORRELATOR_MODE"], "TYPE_ID": [0], "MODE_ID": [0],
            "FLAG_ROW": np.zeros(1, np.bool_),
        },
    }  # fmt: skip
