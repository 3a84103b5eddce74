"""The command line pauses before a step, and a debugger stops inside of a task."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from radps.run_folder.store import RunStore

HELPERS = Path(__file__).parents[1] / "helpers"
QUESTION = "direct: paused before it. Enter goes on, q ends here"
SECONDS = 60.0

CONFIG = """\
run: {run}
cluster: none
steps:
  - user_stages:squares
  - user_stages:direct
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(run=tmp_path / "run"))
    return path


def states(config: Path) -> dict[str, str]:
    context = RunStore(str(config.parent / "run")).load()
    return {name: str(record.state) for name, record in context.steps.items()}


def test_without_a_terminal_the_run_ends_there_with_code_0_and_says_how_to_go_on(call, config: Path) -> None:
    result = call(config, "--pause-before", "direct")
    assert result.code == 0
    assert "direct: paused before it; the same command without --pause-before goes on\n" in result.output
    assert re.search(r"direct\s+paused\s+the run was to pause before this step", result.output)
    assert states(config) == {"squares": "done", "direct": "paused"}
    assert "paused" in call("status", config).output.splitlines()[0]
    assert "paused" in call("list", config.parent).output
    result = call(config, "--dry-run")
    assert re.search(r"squares\s.*done\s+no\s+unchanged", result.output)
    assert re.search(r"direct\s.*new\s+yes\s+never run", result.output)
    assert call(config).code == 0
    assert states(config) == {"squares": "done", "direct": "done"}


def test_a_pause_before_no_step_is_a_wrong_call(call, config: Path) -> None:
    result = call(config, "--pause-before", "dirct")
    assert result.code == 2
    assert "there is no step 'dirct'; did you mean 'direct'?" in result.errors


class Terminal:
    """A run of the command line on a terminal of its own."""

    def __init__(self, *arguments: object, module: Sequence[str] = ("radps",)) -> None:
        self._ours, theirs = pty.openpty()
        path = os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", *module, *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200", "TERM": "xterm"}
        self.process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.text = ""

    def wait_for(self, text: str, count: int = 1) -> None:
        """Read until a text was written so many times."""
        stop = time.monotonic() + SECONDS
        while re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.text).count(text) < count:
            assert time.monotonic() < stop, self.text
            self._read(0.2)

    def write(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> int:
        """Read to the end and return the exit code."""
        stop = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < stop, self.text
            self._read(0.2)
        self._read(0.0)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)

    def _read(self, seconds: float) -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while select.select([self._ours], [], [], seconds)[0]:
                self.text += os.read(self._ours, 2**16).decode(errors="replace")
                seconds = 0.0


@pytest.fixture
def terminal(config: Path) -> Iterator[Terminal]:
    """A run that pauses, and asks."""
    terminal = Terminal(config, "--pause-before", "direct")
    terminal.wait_for(QUESTION)
    yield terminal
    terminal.close()


def test_on_a_terminal_enter_goes_on(terminal: Terminal, config: Path) -> None:
    terminal.write("what?\n")
    terminal.wait_for(QUESTION, count=2)
    terminal.write("\n")
    assert terminal.end() == 0
    assert states(config) == {"squares": "done", "direct": "done"}


def test_on_a_terminal_q_ends_the_run_there(terminal: Terminal, config: Path) -> None:
    terminal.write("q\n")
    assert terminal.end() == 0
    assert "the same command without --pause-before goes on" in terminal.text
    assert states(config) == {"squares": "done", "direct": "paused"}


def test_the_end_of_the_input_is_no_yes(terminal: Terminal, config: Path) -> None:
    terminal.write("\x04")
    assert terminal.end() == 0
    assert states(config)["direct"] == "paused"


def test_a_signal_at_the_question_stops_the_run_with_code_130(terminal: Terminal, config: Path) -> None:
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert states(config) == {"squares": "done", "direct": "pending"}


def test_a_run_that_asks_is_stopped_from_outside(terminal: Terminal, call, config: Path) -> None:
    assert call("stop", config, "--wait", "30").code == 0
    assert terminal.end() == 130
    assert states(config) == {"squares": "done", "direct": "pending"}


def test_a_debugger_stops_inside_of_a_task(config: Path) -> None:
    source = HELPERS / "user_stages.py"
    line = source.read_text().splitlines().index("    return number * number") + 1
    debugger = ("pdb", "-c", f"break {source}:{line}", "-c", "continue", "-m", "radps")
    terminal = Terminal(config, module=debugger)
    try:
        terminal.wait_for("-> return number * number")
        terminal.write("print(number >= 0)\n")
        terminal.wait_for("True")
        terminal.write("clear 1\ncontinue\n")
        terminal.wait_for("Exit status: 0")
        terminal.write("quit\n")
        assert terminal.end() == 0
    finally:
        terminal.close()
    assert states(config) == {"squares": "done", "direct": "done"}


def test_the_line_that_the_docs_name_is_where_the_loop_asks_whether_it_ends() -> None:
    root = Path(__file__).parents[2]
    path, line = re.findall(r"break (radps/domain/solver.py):(\d+)", (root / "docs/interactive.md").read_text())[0]
    assert "_reason_to_stop(residual" in (root / path).read_text().splitlines()[int(line) - 1]
