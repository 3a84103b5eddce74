"""Progress of a run: bars on a terminal, lines in a file."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from radps import progress
from radps.node_tasks.guard import TaskEnd, TaskEvent
from radps.progress import BarObserver, LineObserver, make_observer
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow


@pytest.fixture(autouse=True)
def _stages(user_stages: str) -> None:
    """The stages of the tests can be imported."""


STEPS = [
    {"id": "first", "stage": "user_stages:squares", "after": []},
    {"id": "bad", "stage": "user_stages:fails", "after": []},
    {"id": "waits", "stage": "user_stages:direct", "after": ["bad"]},
    {"id": "loop", "stage": "user_stages:cycles", "after": []},
    {"id": "tried", "stage": "user_stages:catches", "after": []},
]


def run(folder: Path, observer: Any) -> None:
    with observer:
        run_workflow(load_workflow({"run": str(folder), "cluster": "none", "steps": STEPS}), observer=observer)


def test_a_terminal_gets_bars_and_a_file_gets_lines(screens: ModuleType) -> None:
    assert isinstance(make_observer(screens.console(is_terminal=True)), BarObserver)
    assert isinstance(make_observer(screens.console(is_terminal=False)), LineObserver)
    assert isinstance(make_observer(screens.console(is_terminal=True), quiet=True), LineObserver)


def test_a_debugger_has_the_terminal_for_itself(screens: ModuleType) -> None:
    assert isinstance(make_observer(screens.console(is_terminal=True), in_process=True), LineObserver)


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize(("answers", "goes_on"), [(["x", " Q "], False), ([""], True), ([], False)])
def test_a_question_is_asked_until_it_is_answered(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, answers: list[str], goes_on: bool, screens: ModuleType
) -> None:
    screen = screens.console(is_terminal=is_terminal)
    left = iter(answers)

    def answer() -> str:
        for text in left:
            return text
        raise EOFError

    monkeypatch.setattr("builtins.input", answer)
    with make_observer(screen) as observer:
        assert observer.ask("cube") is goes_on
    assert screens.text_of(screen).count("cube: paused before it. Enter goes on, q ends here") == max(len(answers), 1)
    assert next(left, None) is None


def test_bars_count_tasks_and_end_with_the_state(tmp_path: Path, screens: ModuleType) -> None:
    screen = screens.console(is_terminal=True)
    run(tmp_path / "run", BarObserver(screen))
    last = screens.text_of(screen).splitlines()[-5:]
    assert re.search(r"first .* 5/5 tasks .* done", last[0])
    assert re.search(r"bad .* failed", last[1])
    assert re.search(r"waits .* blocked", last[2])
    assert re.search(r"loop .* 3/3 tasks .* done", last[3])
    assert re.search(r"tried .* caveats", last[4])


def test_a_bar_counts_repeated_tasks_and_has_the_largest_memory(tmp_path: Path, screens: ModuleType) -> None:
    screen = screens.console(is_terminal=True)
    config = {"run": str(tmp_path / "run"), "cluster": "none", "steps": STEPS[:1]}
    config |= {"defaults": {"retries": 9, "retry_delay": "1 ms"}, "faults": {"rate": 0.5, "seed": 1}}
    with BarObserver(screen) as observer:
        run_workflow(load_workflow(config), observer=observer)
    assert re.search(
        r"first .* 5/5 tasks +\d+ repeated .* up to [\d.]+ GiB done", screens.text_of(screen).splitlines()[-1]
    )


def test_lines_say_how_each_step_ended(tmp_path: Path, screens: ModuleType) -> None:
    screen = screens.console(is_terminal=False)
    run(tmp_path / "run", LineObserver(screen))
    text = screens.text_of(screen)
    assert "Computing: in this process\n" in text
    assert re.search(r"bad: failed in \d\.\d s \(0 tasks\): ValueError: nothing works\n", text)
    assert "waits: blocked: needs bad (failed)\n" in text
    assert re.search(r"tried: caveats in \d\.\d s \(2 tasks\)\n", text)


def test_a_long_step_says_now_and_then_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, screens: ModuleType
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", -1.0)
    screen = screens.console(is_terminal=False)
    run(tmp_path / "run", LineObserver(screen))
    assert "loop: 2 of 2 tasks\nloop: 3 of 3 tasks\n" in screens.text_of(screen)


def test_a_failed_task_does_not_count(tmp_path: Path, screens: ModuleType) -> None:
    screen = screens.console(is_terminal=False)
    observer = LineObserver(screen)
    workflow = load_workflow({"run": str(tmp_path), "cluster": "none", "steps": ["user_stages:squares"]})
    record = run_workflow(workflow).steps["squares"]
    observer.started(record)
    observer.graph("squares", 2)
    for end in TaskEnd:
        observer.task("squares", TaskEvent("squares.key-1", end, 0.0, 1.0, "worker", error="no", delay_s=5.0, of=3))
    assert observer._done == {"squares": 2}  # done, and kept from before
    printed = screen.file.getvalue()
    assert "squares: key-1 failed (no); up for retry 1 of 2 in 5 s" in printed
    assert "squares: key-1 lost its worker; it runs again on another one" in printed
