"""What self-calibration does on a worker besides solving and imaging: join the gains of the scans, drop trials."""

from __future__ import annotations

from collections.abc import Sequence

from radps.data import solutions
from radps.data.solutions import Solution, SolutionDescription
from radps.data.stores import delete, exists
from radps.domain.self_calibration import normalise_amplitudes
from radps.node_tasks.calibration import ScanGains, SolveSummary, merge_scan_gains, summarise_gains


def save_self_gains(
    parts: Sequence[Sequence[ScanGains]],
    url: str,
    description: SolutionDescription,
    reference_order: Sequence[int],
    *,
    normalise: bool,
) -> SolveSummary:
    """Join the gains of all scans to one table, their amplitudes normalised if asked to, write it, and count."""
    merged = merge_scan_gains(parts, reference_order)
    table = merged.table
    if normalise:
        table = table._replace(gains=normalise_amplitudes(table.gains, table.flags))
    solutions.save_solution(url, Solution(description, table, merged.fields, merged.scans))
    return summarise_gains(table, "time")


def drop_trial(urls: Sequence[str]) -> int:
    """Delete the visibilities of a trial that nothing reads any more; returns how many arrays there were."""
    found = [url for url in urls if exists(url)]
    for url in found:
        delete(url)
    return len(found)
