"""Antenna positions, baselines, and the (u, v, w) of a source as the Earth turns.

1. Positions are geocentric and fixed to the Earth (ITRF). The VLA's four configurations are a table of pads, ALMA and
   MeerKAT stand in :mod:`radps.domain.array_tables`; other arrays can be drawn from a seed.
2. The axes of (u, v, w) are built on the celestial sphere: w towards the source, u to the east, v to the north (ICRS;
   FK5 at J2000 differs by 0.02 arcsec). The aberration of light by the Earth's orbit turns them by up to
   20 arcsec; the rotation is the smallest one that takes the true to the apparent direction.
3. Precession, nutation and the Earth rotation angle bring the axes to the Earth (:mod:`radps.domain.earth`).
4. In the convention of MSv4 data, as written by CASA, ::

       uvw = position(antenna1) - position(antenna2), along (u, v, w)

   and a source at direction cosines (l, m) has the visibility S exp(+2 pi i (u l + v m + w (n - 1))).

Against CASA's simulator (VLA C configuration) uvw agree to 5 mm in 3.4 km.

References
----------
Thompson, Moran & Swenson 2017, Interferometry and Synthesis in Radio Astronomy, section 4.1.
Woan & Duffett-Smith 1990, A&A 240, 577 (smallest rotation).
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import erfa  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from radps.domain.array_tables import ALMA_CONFIGURATIONS, ALMA_PADS_M, MEERKAT_ANTENNAS_M
from radps.domain.earth import celestial_to_earth, orbital_velocity
from radps.errors import SelectionError

VlaConfiguration = Literal["A", "B", "C", "D"]
AlmaConfiguration = Literal["C-1", "C-4", "C-7", "7m"]

VLA_PADS_M: dict[str, tuple[float, float, float]] = {
    "W01": (-1601188.989, -5042000.519, 3554843.384),
    "W02": (-1601225.231, -5041980.391, 3554855.658),
    "W03": (-1601265.110, -5041982.563, 3554834.816),
    "W04": (-1601315.874, -5041985.324, 3554808.264),
    "W05": (-1601376.950, -5041988.683, 3554776.345),
    "W06": (-1601447.177, -5041992.529, 3554739.647),
    "W07": (-1601526.335, -5041996.876, 3554698.285),
    "W08": (-1601614.061, -5042001.677, 3554652.456),
    "W09": (-1601709.987, -5042006.943, 3554602.306),
    "W10": (-1601814.013, -5042012.911, 3554548.170),
    "W12": (-1602044.868, -5042025.834, 3554427.791),
    "W14": (-1602304.870, -5042039.853, 3554291.691),
    "W16": (-1602592.824, -5042055.013, 3554140.653),
    "W18": (-1602908.143, -5042072.313, 3553975.848),
    "W20": (-1603249.636, -5042091.417, 3553797.759),
    "W24": (-1604008.702, -5042135.836, 3553403.667),
    "W28": (-1604865.614, -5042190.032, 3552962.315),
    "W32": (-1605808.598, -5042230.070, 3552459.167),
    "W36": (-1606841.923, -5042279.678, 3551912.963),
    "W40": (-1607962.412, -5042338.158, 3551324.887),
    "W48": (-1610451.987, -5042471.380, 3550021.012),
    "W56": (-1613255.373, -5042613.053, 3548545.864),
    "W64": (-1616361.554, -5042770.441, 3546911.386),
    "W72": (-1619757.278, -5042937.575, 3545120.333),
    "E01": (-1601192.424, -5042022.884, 3554810.383),
    "E02": (-1601150.027, -5042000.631, 3554860.703),
    "E03": (-1601114.318, -5042023.188, 3554844.922),
    "E04": (-1601068.771, -5042051.929, 3554824.767),
    "E05": (-1601014.406, -5042086.262, 3554800.769),
    "E06": (-1600951.546, -5042125.927, 3554772.987),
    "E07": (-1600880.545, -5042170.377, 3554741.425),
    "E08": (-1600801.881, -5042219.387, 3554706.382),
    "E09": (-1600715.919, -5042273.142, 3554668.129),
    "E10": (-1600622.884, -5042331.783, 3554626.994),
    "E12": (-1600416.766, -5042462.383, 3554536.019),
    "E14": (-1600183.912, -5042610.019, 3554433.595),
    "E16": (-1599926.059, -5042772.993, 3554319.743),
    "E18": (-1599644.831, -5042953.700, 3554196.975),
    "E20": (-1599340.772, -5043150.994, 3554065.186),
    "E24": (-1598663.046, -5043581.427, 3553766.973),
    "E28": (-1597899.874, -5044068.732, 3553432.399),
    "E32": (-1597053.096, -5044604.748, 3553058.947),
    "E36": (-1596127.707, -5045193.798, 3552652.369),
    "E40": (-1595124.919, -5045829.516, 3552210.615),
    "E48": (-1592894.066, -5047229.199, 3551221.180),
    "E56": (-1590380.588, -5048810.325, 3550108.401),
    "E64": (-1587600.202, -5050575.976, 3548885.379),
    "E72": (-1584460.899, -5052385.735, 3547599.959),
    "N01": (-1601185.554, -5041978.192, 3554876.383),
    "N02": (-1601180.821, -5041947.460, 3554921.573),
    "N03": (-1601177.368, -5041925.069, 3554954.533),
    "N04": (-1601173.904, -5041902.679, 3554987.486),
    "N05": (-1601168.736, -5041869.063, 3555036.886),
    "N06": (-1601162.553, -5041829.022, 3555095.855),
    "N07": (-1601155.594, -5041783.861, 3555162.328),
    "N08": (-1601147.885, -5041733.855, 3555235.915),
    "N09": (-1601139.483, -5041679.021, 3555316.478),
    "N10": (-1601130.276, -5041619.788, 3555403.703),
    "N12": (-1601109.980, -5041488.119, 3555597.387),
    "N14": (-1601087.135, -5041339.868, 3555815.804),
    "N16": (-1601061.916, -5041175.908, 3556057.982),
    "N18": (-1601034.338, -5040996.548, 3556322.885),
    "N20": (-1601004.619, -5040802.826, 3556610.116),
    "N24": (-1600929.967, -5040316.402, 3557330.278),
    "N28": (-1600863.571, -5039885.323, 3557965.280),
    "N32": (-1600780.996, -5039347.464, 3558761.487),
    "N36": (-1600690.843, -5038758.670, 3559632.016),
    "N40": (-1600592.693, -5038121.381, 3560574.803),
    "N48": (-1600374.808, -5036704.253, 3562667.856),
    "N56": (-1600128.314, -5035104.177, 3565024.645),
    "N64": (-1599855.571, -5033332.403, 3567636.579),
    "N72": (-1599557.838, -5031396.392, 3570494.717),
}
"""ITRF X, Y, Z [m] of the VLA's antenna pads, as in the files vla.{a,b,c,d}.cfg of CASA's simulator (package casadata
2025.9.22, folder alma/simmos), rounded to millimetres. N, E, W: the arm; the number counts along it."""

_PAD_NUMBERS: dict[str, tuple[int, ...]] = {
    "A": (8, 16, 24, 32, 40, 48, 56, 64, 72),
    "B": (4, 8, 12, 16, 20, 24, 28, 32, 36),
    "C": (2, 4, 6, 8, 10, 12, 14, 16, 18),
    "D": (1, 2, 3, 4, 5, 6, 7, 8, 9),
}
_FILL_ORDER = (8, 0, 4, 2, 6, 1, 5, 3, 7)
"""Places along an arm in the order in which a small array takes them: the ends first, so that the beam stays alike."""

_VLA_DIAMETER_M = 25.0
_MEERKAT_DIAMETER_M = 13.5
_ALMA_DIAMETERS_M = {"C-1": 12.0, "C-4": 12.0, "C-7": 12.0, "7m": 7.0}
_VLA_CENTER_M = np.mean([VLA_PADS_M[pad] for pad in ("N01", "E01", "W01")], axis=0)
"""ITRF of the middle of the VLA: between its innermost pads."""

_LIGHT_AU_PER_DAY = 173.1446326846693


class AntennaArray(NamedTuple):
    """Where the antennas of an array stand."""

    telescope: str
    """Name of the observatory."""
    names: tuple[str, ...]
    stations: tuple[str, ...]
    positions_m: NDArray[np.float64]
    """ITRF, shape (antenna, 3)."""
    dish_diameter_m: float


class Baselines(NamedTuple):
    """The pairs of antennas, antenna1 <= antenna2, ordered by antenna1, then antenna2."""

    antenna1: NDArray[np.int64]
    antenna2: NDArray[np.int64]


class HorizontalDirection(NamedTuple):
    """How a source stands in the sky of an array."""

    elevation_rad: NDArray[np.float64]
    """Above the horizon, without refraction; shape (time,)."""
    parallactic_angle_rad: NDArray[np.float64]
    """Of the zenith as seen at the source, from north through east; shape (time,)."""


def vla_array(configuration: VlaConfiguration, n_antennas: int = 27) -> AntennaArray:
    """Return the VLA in one of its configurations.

    Parameters
    ----------
    configuration : {"A", "B", "C", "D"}
        A is the widest (36 km), D the most compact (1 km).
    n_antennas : int
        1 to 27. Fewer than 27 are spread over the arms, their ends first, so that the array keeps its extent.

    Raises
    ------
    SelectionError
        The VLA has no such configuration or not so many antennas.
    """
    if configuration not in get_args(VlaConfiguration):
        raise SelectionError(f"the VLA has no configuration {configuration!r}; it has A, B, C and D")
    if not 1 <= n_antennas <= 27:
        raise SelectionError(f"{n_antennas} antennas asked of the VLA; a configuration has 1 to 27")
    arms = ("W", "E", "N")
    taken = [(arm, place) for place in _FILL_ORDER for arm in range(3)][:n_antennas]
    numbers = _PAD_NUMBERS[configuration]
    stations = tuple(f"{arms[arm]}{numbers[place]:02d}" for arm, place in sorted(taken))
    positions = np.array([VLA_PADS_M[station] for station in stations])
    names = tuple(f"ea{number:02d}" for number in range(1, n_antennas + 1))
    return AntennaArray("VLA", names, stations, positions, _VLA_DIAMETER_M)


def alma_array(configuration: AlmaConfiguration, n_antennas: int | None = None) -> AntennaArray:
    """Return ALMA in one of its configurations.

    Parameters
    ----------
    configuration : {"C-1", "C-4", "C-7", "7m"}
        Of the 12 m array in cycle 10 (longest baselines 161 m, 784 m and 3.6 km), or the 7 m array.
    n_antennas : int, optional
        Default: all of them, 43 of 12 m or 10 of 7 m. Fewer are spread from the centre to the edge.

    Raises
    ------
    SelectionError
        There is no such configuration, or it does not have so many antennas.
    """
    if configuration not in ALMA_CONFIGURATIONS:
        known = ", ".join(ALMA_CONFIGURATIONS)
        raise SelectionError(f"ALMA has no configuration {configuration!r} in radps; it has {known}")
    pads = ALMA_CONFIGURATIONS[configuration].split()
    positions = np.array([ALMA_PADS_M[pad] for pad in pads])
    chosen = _spread(positions, n_antennas, f"ALMA's configuration {configuration}")
    # The 12 m antennas of two makers are called DA41 and following, and DV01 and following.
    large = [*(f"DA{number}" for number in range(41, 66)), *(f"DV{number:02d}" for number in range(1, 26))]
    names = [f"CM{number:02d}" for number in range(1, 13)] if configuration == "7m" else large
    return AntennaArray(
        "ALMA",
        tuple(names[: len(chosen)]),
        tuple(pads[number] for number in chosen),
        positions[chosen],
        _ALMA_DIAMETERS_M[configuration],
    )


def meerkat_array(n_antennas: int | None = None) -> AntennaArray:
    """Return MeerKAT: 64 antennas, m000 to m063.

    Parameters
    ----------
    n_antennas : int, optional
        Default: all of them. Fewer are spread from the centre to the edge.

    Raises
    ------
    SelectionError
        MeerKAT does not have so many antennas.
    """
    names = tuple(MEERKAT_ANTENNAS_M)
    positions = np.array(list(MEERKAT_ANTENNAS_M.values()))
    chosen = _spread(positions, n_antennas, "MeerKAT")
    kept = tuple(names[number] for number in chosen)
    return AntennaArray("MeerKAT", kept, kept, positions[chosen], _MEERKAT_DIAMETER_M)


def random_array(
    n_antennas: int, longest_baseline_m: float, rng: np.random.Generator, dish_diameter_m: float = _VLA_DIAMETER_M
) -> AntennaArray:
    """Draw an array at the place of the VLA: a disc of antennas, denser towards its centre, no two closer than a dish.

    Parameters
    ----------
    n_antennas : int
    longest_baseline_m : float
        Diameter of the disc.
    rng : numpy.random.Generator
    dish_diameter_m : float

    Raises
    ------
    SelectionError
        The disc does not hold so many dishes.
    """
    # A quarter of the disc covered by dishes is about as dense as a random filling gets.
    most = int(0.25 * (longest_baseline_m / dish_diameter_m) ** 2)
    if not 1 <= n_antennas <= most:
        raise SelectionError(
            f"{n_antennas} antennas of {dish_diameter_m} m asked for within {longest_baseline_m} m; 1 to {most} fit: "
            "raise the longest baseline or lower the number of antennas"
        )
    local = np.empty((0, 2))
    power = 1.0
    while len(local) < n_antennas:
        radius, angle = 0.5 * longest_baseline_m * rng.random() ** power, 2 * np.pi * rng.random()
        place = radius * np.array([np.sin(angle), np.cos(angle)])
        if np.all(np.hypot(*(local - place).T) > dish_diameter_m):
            local = np.vstack([local, place])
        else:
            power = max(0.5, 0.98 * power)  # crowded in the middle: towards an even filling
    east, north, _ = _local_axes(_VLA_CENTER_M)
    positions = _VLA_CENTER_M + local[:, :1] * east + local[:, 1:] * north
    names = tuple(f"sim{number:03d}" for number in range(1, n_antennas + 1))
    return AntennaArray("SIMULATED", names, names, positions, dish_diameter_m)


def local_positions(positions_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return east, north and up of antennas from the middle of their array [m], shape (antenna, 3).

    Parameters
    ----------
    positions_m : ndarray, shape (antenna, 3)
        ITRF [m].
    """
    middle = np.mean(positions_m, axis=0)
    return np.asarray((positions_m - middle) @ np.stack(_local_axes(middle), axis=1))


def baselines(n_antennas: int, *, autocorrelations: bool = False) -> Baselines:
    """Return all pairs of ``n_antennas``, with each antenna's pair with itself if ``autocorrelations`` is True."""
    first, second = np.triu_indices(n_antennas, 0 if autocorrelations else 1)
    return Baselines(first.astype(np.int64), second.astype(np.int64))


def uvw_from_positions(
    positions_m: NDArray[np.float64],
    time_s: NDArray[np.float64],
    ra_rad: float,
    dec_rad: float,
    pairs: Baselines,
    *,
    ut1_utc_s: float = 0.0,
) -> NDArray[np.float64]:
    """Return the (u, v, w) of every baseline at every time.

    Parameters
    ----------
    positions_m : ndarray, shape (antenna, 3)
        ITRF [m].
    time_s : ndarray, shape (time,)
        UTC, unix seconds.
    ra_rad, dec_rad : float
        Phase centre, ICRS [rad].
    pairs : Baselines
    ut1_utc_s : float
        UT1 - UTC, below 0.9 s. Leaving it out turns the array by less than 7e-5 rad.

    Returns
    -------
    ndarray, float64, shape (time, baseline, 3)
        Metres, in the sign convention of MSv4. A time's values do not depend on which others are asked for.
    """
    axes = _axes_on_earth(np.atleast_1d(np.asarray(time_s, np.float64)), ra_rad, dec_rad, ut1_utc_s)
    baseline = positions_m[pairs.antenna1] - positions_m[pairs.antenna2]
    x, y, z = (baseline[None, :, None, k] for k in range(3))
    return np.asarray(axes[:, None, :, 0] * x + axes[:, None, :, 1] * y + axes[:, None, :, 2] * z)


def horizontal_direction(
    positions_m: NDArray[np.float64], time_s: NDArray[np.float64], ra_rad: float, dec_rad: float
) -> HorizontalDirection:
    """Return elevation and parallactic angle of a source at the centre of the array.

    Parameters
    ----------
    positions_m : ndarray, shape (antenna, 3)
        ITRF [m]; their mean is the place.
    time_s : ndarray, shape (time,)
        UTC, unix seconds.
    ra_rad, dec_rad : float
        Source, ICRS [rad].
    """
    axes = _axes_on_earth(np.atleast_1d(np.asarray(time_s, np.float64)), ra_rad, dec_rad, 0.0)
    _, _, up = _local_axes(np.mean(positions_m, axis=0))
    to_zenith = axes @ up
    # The angle counts from the pole of date, as that of a dish does, not from the pole of J2000.
    to_pole = axes[:, :, 2]
    angle = np.arctan2(to_zenith[:, 0], to_zenith[:, 1]) - np.arctan2(to_pole[:, 0], to_pole[:, 1])
    return HorizontalDirection(np.arcsin(np.clip(to_zenith[:, 2], -1, 1)), np.mod(angle + np.pi, 2 * np.pi) - np.pi)


def _spread(positions_m: NDArray[np.float64], n_antennas: int | None, array: str) -> list[int]:
    """Return which antennas a smaller array keeps, in their order: the nearest to the centre to the farthest."""
    total = len(positions_m)
    wanted = total if n_antennas is None else n_antennas
    if not 1 <= wanted <= total:
        raise SelectionError(f"{wanted} antennas asked of {array}, which has 1 to {total}")
    outward = np.argsort(np.linalg.norm(positions_m - np.median(positions_m, axis=0), axis=1), kind="stable")
    return sorted(outward[np.linspace(0, total - 1, wanted).round().astype(int)].tolist())


def _axes_on_earth(time_s: NDArray[np.float64], ra_rad: float, dec_rad: float, ut1_utc_s: float) -> NDArray[np.float64]:
    """Return the (u, v, w) axes in ITRF, shape (time, axis, xyz)."""
    to_earth = celestial_to_earth(time_s, ut1_utc_s)
    velocity = orbital_velocity(time_s) / _LIGHT_AU_PER_DAY

    w = np.array([np.cos(ra_rad) * np.cos(dec_rad), np.sin(ra_rad) * np.cos(dec_rad), np.sin(dec_rad)])
    u = np.array([-np.sin(ra_rad), np.cos(ra_rad), 0.0])
    v = np.cross(w, u)
    apparent = w + velocity
    apparent = apparent / np.sqrt(_dot(apparent, apparent))[:, None]
    middle = w + apparent
    scale = 1.0 + _dot(apparent, w)
    turned = [axis - (_dot(apparent, axis) / scale)[:, None] * middle for axis in (u, v)]
    celestial = np.stack([*turned, apparent], axis=1)
    # Written out: the result of a library's matrix product may depend on the number of matrices in its last bit.
    return np.asarray(sum(celestial[:, :, None, k] * to_earth[:, None, :, k] for k in range(3)))


def _dot(vectors: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scalar products of rows of three."""
    return np.asarray(
        vectors[..., 0] * other[..., 0] + vectors[..., 1] * other[..., 1] + vectors[..., 2] * other[..., 2]
    )


def _local_axes(
    position_m: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return east, north and up (normal of the WGS84 ellipsoid) at a geocentric place."""
    longitude, latitude, _ = erfa.gc2gd(2, position_m)
    east = np.array([-np.sin(longitude), np.cos(longitude), 0.0])
    up = np.array([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])
    return east, np.cross(up, east), up
