"""Gantt pictures: every task is in them, ten thousand are still a small file, pauses are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from radps.data.stores import delete
from radps.errors import ContextError
from radps.plots.figures import render
from radps.report import gantt
from radps.report.gantt import StepTasks, draw_gantt, gantt_chart
from radps.run_folder.task_records import TaskRecord, load_task_records, save_task_records, task_records_url
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow

START = 1.8e9


def task(number: int, start: float, stop: float, worker: str = "tcp://10.0.0.1:4000", **changes: Any) -> TaskRecord:
    record = TaskRecord(f"s.x-1-{number:05d}", "done", worker, START + start, START + stop, 1, 0, 0, "")
    return record._replace(**changes)


def step(name: str, *tasks: TaskRecord, start: float = 0.0, stop: float = 10.0, state: str = "done") -> StepTasks:
    return StepTasks(name, START + start, START + stop, state, tasks, "")


def bars(*steps: StepTasks) -> list[Any]:
    """Return the bars of a picture."""
    spans = [(task.start_s, task.stop_s) for one in steps for task in one.tasks]
    lanes = gantt._assign_lanes(steps)
    rows = {lane: number for number, lane in enumerate(sorted(set(lanes.values())))}
    return gantt._bars(steps, gantt._Clock(spans), lanes, rows)


def test_a_run_has_its_steps_and_workers_in_the_picture(tmp_path: Path, user_stages: str) -> None:
    steps: list[Any] = [
        {"id": "cost", "stage": "user_stages:squares"},
        {"id": "bad", "stage": "user_stages:fails", "after": []},
        {"id": "lost", "stage": "user_stages:writes", "after": []},
        {"id": "torn", "stage": "user_stages:writes", "after": []},
    ]
    run_workflow(load_workflow({"run": str(tmp_path), "cluster": "none", "project": "a$b$c", "steps": steps}))
    delete(task_records_url(str(tmp_path), "lost", 1))
    delete(f"{task_records_url(str(tmp_path), 'torn', 1)}/key")
    data = render(gantt_chart(str(tmp_path)), "svg")
    ElementTree.fromstring(data)
    text = data.decode()
    worker = load_task_records(task_records_url(str(tmp_path), "cost", 1))[0].worker
    for expected in ("cost", "bad", "a$b$c", worker, "no records of its tasks", "records of its tasks are damaged"):
        assert expected in text


def test_tasks_whose_times_are_not_known_are_counted_and_do_not_stretch_the_axis(
    tmp_path: Path, user_stages: str
) -> None:
    run_workflow(load_workflow({"run": str(tmp_path), "cluster": "none", "steps": ["user_stages:squares"]}))
    place = task_records_url(str(tmp_path), "squares", 1)
    first, *others = load_task_records(place)
    save_task_records(place, [first._replace(start_s=0.0, stop_s=0.0, state="failed"), *others])
    figure = gantt_chart(str(tmp_path))
    assert figure.axes[1].get_xlim()[1] < 3600.0
    assert b"1 task without times" in render(figure, "svg")


def test_a_clock_that_went_back_does_not_stop_the_picture() -> None:
    assert render(draw_gantt("x", [step("a", task(0, 5, 3), task(1, 6, 7), start=2.0, stop=1.0)]), "svg")


def test_there_is_no_picture_of_no_run(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="is not a run folder"):
        gantt_chart(str(tmp_path))


def test_each_task_is_a_bar_and_those_of_one_worker_at_one_time_stand_below_each_other() -> None:
    found = bars(step("a", task(0, 0, 4), task(1, 1, 3), task(2, 3, 5), task(3, 2, 6, worker="tcp://10.0.0.2:4000")))
    assert [(bar.lane, round(bar.start_s, 6), round(bar.stop_s, 6)) for bar in found] == [
        (0, 0.0, 4.0),
        (1, 1.0, 3.0),
        (1, 3.0, 5.0),
        (2, 2.0, 6.0),
    ]


def test_narrow_neighbours_of_one_step_become_one_bar_and_no_time_is_lost() -> None:
    many = [task(number, number * 0.001, (number + 1) * 0.001) for number in range(10_000)]
    found = bars(step("a", *many))
    assert 500 <= len(found) <= 5_000
    assert sum(bar.stop_s - bar.start_s for bar in found) == pytest.approx(10.0, rel=1e-3)
    wide = [task(number, number, number + 1) for number in range(10)]
    assert len(bars(step("a", *wide))) == 10
    kept = [one._replace(state="kept") if number % 2 else one for number, one in enumerate(many)]
    assert {bar.is_kept for bar in bars(step("a", *kept))} == {True, False}


def test_ten_thousand_tasks_are_a_small_file() -> None:
    many = [
        task(number, number // 8, number // 8 + 1, f"tcp://10.0.0.{number % 8}:4000", tries=1 + (number % 3 == 0))
        for number in range(10_000)
    ]
    data = render(draw_gantt("big", [step("a", *many, stop=1250.0)]), "svg")
    assert b"repeated: 3,334 of 10,000 tasks" in data
    assert len(data) < 4e6


def test_failed_tasks_are_counted_apart_from_repeated_ones() -> None:
    tasks = [task(0, 0, 1, tries=2), task(1, 1, 2, tries=3, state="failed"), task(2, 2, 3)]
    text = render(draw_gantt("x", [step("a", *tasks, state="failed")]), "svg").decode()
    assert "repeated: 1 of 3 tasks" in text
    assert "failed: 1 of 3 tasks" in text


def test_a_long_pause_is_cut_and_named() -> None:
    steps = [step("a", task(0, 0, 10)), step("b", task(0, 86410, 86420), start=86410.0, stop=86420.0)]
    clock = gantt._Clock([(one.start_s, one.stop_s) for one in steps])
    assert clock.pauses == [(pytest.approx(10.2), 86400.0)]
    assert clock.place(START + 86410.0) == pytest.approx(10.4)
    assert clock.end == pytest.approx(20.4)
    text = render(draw_gantt("x", steps), "svg").decode()
    assert "pause 24 h" in text
    assert "without pauses" in text


@pytest.mark.parametrize(
    ("stop", "last", "unit"), [(50.0, "50", "s"), (350.0, "5", "min"), (20000.0, "5", "h"), (0.5, "0.5", "s")]
)
def test_the_axis_of_time_has_round_numbers_of_its_unit(stop: float, last: str, unit: str) -> None:
    axes = draw_gantt("x", [step("a", task(0, 0, stop), stop=stop)]).axes[-1]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert axes.get_xlabel() == f"time since the start [{unit}]"
    assert (labels[0], labels[-1]) == ("0", last)
    assert max(map(len, labels)) <= 4


def test_many_workers_and_no_tasks_at_all_can_be_drawn() -> None:
    many = [task(number, 0, 1, f"tcp://10.0.{number // 250}.{number % 250}:1") for number in range(500)]
    figure = draw_gantt("x", [step("a", *many)])
    assert figure.get_figheight() < 45.0
    assert b"no records of tasks" in render(draw_gantt("x", [step("a")]), "svg")
    assert render(draw_gantt("x", []), "png")
