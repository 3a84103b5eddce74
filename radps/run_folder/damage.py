"""Whether what the steps wrote is still there as they left it."""

from __future__ import annotations

from radps.context.records import StepRecord, StepState
from radps.data.output_stamps import OutputStamp, describe_difference, stamp_output
from radps.data.urls import join_url
from radps.run_folder.outputs import output_roots


def stamp_outputs(record: StepRecord, run_url: str) -> dict[str, OutputStamp]:
    """Return the stamps of what a step wrote and its outcome refers to: path relative to the run folder -> stamp."""
    return {root: stamp_output(join_url(run_url, root)) for root in output_roots(record)}


def describe_damage(record: StepRecord, run_url: str) -> str:
    """Return in words what is no longer there of what a step wrote; empty if it is not done, or all of it is there."""
    return find_damage(record, run_url) if record.state is StepState.DONE else ""


def find_damage(record: StepRecord, run_url: str) -> str:
    """Return in words what is no longer there of what the last attempt of a step wrote that was done."""
    differences = (
        (root, describe_difference(stamp, stamp_output(join_url(run_url, root))))
        for root, stamp in record.outputs.items()
    )
    return "; ".join(f"{root} was changed: {difference}" for root, difference in differences if difference)
