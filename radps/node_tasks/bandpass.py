"""Bandpasses on a worker that are smoother than single channels: solve groups of channels, join, smooth, fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from radps.data import solutions
from radps.data.solutions import Solution
from radps.domain.bandpass import (
    choose_averaging,
    expand_bandpass,
    fit_bandpass,
    measure_misfit,
    smooth_bandpass,
)
from radps.domain.gains import GainTable
from radps.domain.stefcal import GainOptions
from radps.node_tasks.applying import AppliedTable
from radps.node_tasks.blocks import Block
from radps.node_tasks.calibration import SolveSummary, solve_block, summarise_gains
from radps.node_tasks.prediction import FieldModel


class BandpassRule(NamedTuple):
    """What is made of the solutions of single channels or groups of them."""

    kind: Literal["channels", "smoothed", "polynomial"]
    width: int
    """Channels (or groups) of a line of the kind ``smoothed``."""
    amplitude_degree: int
    phase_degree: int


def find_averaging(url: str, target_snr: float) -> int:
    """Return how many channels to average, from the table of single channels at ``url``."""
    return choose_averaging(solutions.load_solution(url).table.snr, target_snr)


def solve_group_block(
    block: Block,
    n_average: int,
    n_channels: int,
    model: FieldModel,
    n_antennas: int,
    reference_order: Sequence[int],
    options: GainOptions,
    applied: tuple[AppliedTable, ...],
) -> GainTable | None:
    """Solve the groups of channels that begin in a block; None if there is none.

    Groups are counted from the first channel of the spectral window, so that they do not depend on the blocks; the
    last one of a block may reach into the next block.
    """
    first = -(-block.channels[0] // n_average) * n_average
    if n_average == 1 or first >= block.channels[1]:
        return None
    last = -(-block.channels[1] // n_average) * n_average
    channels = (first, min(last, n_channels))
    part = block.model_copy(update={"channels": channels})
    return solve_block(part, model, n_antennas, reference_order, options, applied, n_average)


def finish_bandpass(
    channels_url: str, groups: Sequence[GainTable | None], url: str, rule: BandpassRule
) -> SolveSummary:
    """Join groups of channels, smooth or fit them, and write the bandpass of all channels.

    ``channels_url`` is the table of single channels: that of the solutions, if there are no groups.
    """
    solution = solutions.load_solution(channels_url)
    frequency_hz = solution.table.frequency_hz
    found = [group for group in groups if group is not None]
    table = _join_groups(found) if found else solution.table
    if rule.kind == "polynomial":
        table = fit_bandpass(table, rule.amplitude_degree, rule.phase_degree, frequency_hz if found else None)
    else:
        table = smooth_bandpass(table, rule.width) if rule.kind == "smoothed" else table
        table = expand_bandpass(table, frequency_hz) if found else table
    solutions.save_solution(url, Solution(solution.description, table, solution.fields, solution.scans))
    return summarise_gains(table, "channel")._replace(misfit=measure_misfit(solution.table, table))


def _join_groups(groups: Sequence[GainTable]) -> GainTable:
    """Join tables along frequency."""
    axes = {"gains": 2, "flags": 2, "snr": 2, "stop_reason": 1, "n_iterations": 1, "frequency_hz": 0}
    if groups[0].outliers is not None:
        axes["outliers"] = 1
    joined = {name: np.concatenate([getattr(one, name) for one in groups], axis=axis) for name, axis in axes.items()}
    return GainTable(time_s=groups[0].time_s, **joined)
