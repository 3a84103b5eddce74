"""Whether what the steps wrote is still there as they left it."""

from __future__ import annotations

from radps.context.records import StepRecord, StepState
from radps.data.output_stamps import OutputStamp, describe_difference, stamp_output
from radps.data.urls import join_url
from radps.run_folder.outputs import output_roots


def stamp_outputs(record: StepRecord, run_url: str) -> dict[str, OutputStamp]:
    """Return the stamps of what a step wrote and its outcome refers to: path relative to the run folder -> stamp."""
    return {root: stamp_output(join_url(run_url, root)) for root in output_roots(record)}


class DamageFinder:
    """Finds what is no longer there of what steps wrote; it lists each output once, however often it is asked.

    Parameters
    ----------
    run_url : str
        The run folder.
    """

    def __init__(self, run_url: str) -> None:
        self._run_url = run_url
        self._found: dict[tuple[str, OutputStamp], str] = {}
        """Output as it was written -> what became of it."""

    def describe(self, record: StepRecord) -> str:
        """Return in words what is no longer there of a step; empty if it is not done, or all of it is there.

        Raises
        ------
        DataError
            An output cannot be listed.
        """
        return self.describe_outputs(record) if record.state is StepState.DONE else ""

    def describe_outputs(self, record: StepRecord) -> str:
        """Return the same of the last attempt of a step that was done, whatever became of the step since."""
        differences = ((root, self._compare(root, stamp)) for root, stamp in record.outputs.items())
        return "; ".join(f"{root} was changed: {difference}" for root, difference in differences if difference)

    def _compare(self, root: str, stamp: OutputStamp) -> str:
        if (root, stamp) not in self._found:
            self._found[root, stamp] = describe_difference(stamp, stamp_output(join_url(self._run_url, root)))
        return self._found[root, stamp]


def find_damage(record: StepRecord, run_url: str) -> str:
    """Return in words what is no longer there now of what the last attempt of a step wrote that was done."""
    return DamageFinder(run_url).describe_outputs(record)
