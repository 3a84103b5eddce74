"""What flagging by calibration solutions does on a worker: judge tables, flag antennas in a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from radps.data.solutions import load_solution
from radps.data.stores import join_url, load_array
from radps.domain.solution_outliers import OutlierLimits, flag_receptors, judge_solutions
from radps.node_tasks.blocks import Block
from radps.node_tasks.flag_writing import FlagCounts, FlagJob, write_flags


class JudgedAntenna(NamedTuple):
    """A receptor of an antenna that is bad by a table, and why: fractions of its solutions."""

    antenna: str
    receptor: str
    """Such as ``R``."""
    missing: float
    off_level: float
    jumping: float
    bad: float


class JudgedTable(NamedTuple):
    """What a table says of the antennas."""

    table: str
    n_antennas: int
    n_solutions: int
    """Of all antennas, those that are not flagged."""
    bad: tuple[JudgedAntenna, ...]


def judge_table(table: tuple[str, str], limits: OutlierLimits) -> JudgedTable:
    """Return which antennas are bad by a table, given by name and URL."""
    name, url = table
    solution = load_solution(url)
    description = solution.description
    fractions = judge_solutions(solution.table.gains, solution.table.flags, limits)
    is_bad = fractions.is_outlier(limits)
    bad = tuple(
        JudgedAntenna(antenna, hand[0], *(float(part[row, column]) for part in fractions))
        for row, antenna in enumerate(description.antenna_names)
        for column, hand in enumerate(description.polarizations)
        if is_bad[row, column]
    )
    return JudgedTable(name, len(description.antenna_names), int((~solution.table.flags).sum()), bad)


def flag_outliers_block(block: Block, judged: Sequence[JudgedTable], job: FlagJob) -> FlagCounts:
    """Flag the antennas of a block that are bad by the tables that apply to it."""
    data = block.load(("flag",))
    names = load_array(join_url(block.address.store, "antenna_xds", "antenna_name")).tolist()
    bad = {(names.index(one.antenna), one.receptor) for table in judged for one in table.bad if one.antenna in names}
    return write_flags(block, data, flag_receptors(data.antenna1, data.antenna2, data.polarizations, sorted(bad)), job)
