"""The pages of runs that are not done."""

from __future__ import annotations

import re

from radps.context.model import Context
from radps.context.records import StepRecord, StepState
from radps.node_tasks.plotting import Picture
from radps.report.pages import make_pages
from radps.report.parameters import ParameterMeaning


def record(name: str, state: StepState, **changes: object) -> StepRecord:
    fixed = {"id": name, "stage": name, "attempt": 1, "fingerprint": "", "params": {}, "start_s": 1.7e9}
    return StepRecord.model_validate({"after": (), "state": state, **fixed, **changes})


def test_a_run_that_is_being_driven_has_pages() -> None:
    done = record("flag", StepState.DONE, stop_s=1.7e9 + 90, tasks=4, tasks_done=4)
    running = record(
        "cube", StepState.RUNNING, after=("flag",), tasks=10, tasks_done=3, retries=1, last_error="OSError: x"
    )
    blocked = record("export", StepState.BLOCKED, after=("cube",), error="needs cube")
    pages = make_pages(Context(run_id="r").with_records([done, running, blocked]), [], "products/report", {})
    front, _, cube, export = (page.content for page in pages)
    assert "1 done, 1 running, 1 blocked" in front
    assert "90.0 s" in front
    assert "3 of 10 have a result" in cube
    assert "1; last error: OSError: x" in cube
    assert "<dt>Took</dt>" not in cube
    assert '<a href="step-flag.html">flag</a>' in cube
    assert "needs cube" in export


def test_a_picture_leads_to_itself_in_the_colours_that_are_shown() -> None:
    done = record("flag", StepState.DONE, stop_s=1.7e9 + 90)
    picture = Picture("flag", "Flags", "How many.", "products/report/pictures/flags.png", "", "", 630, 360)
    pages = make_pages(Context(run_id="r").with_records([done]), [picture], "products/report", {})
    links = re.findall(r'<a class="in-(\w+)" href="([^"]+)"><img src="([^"]+)"', pages[1].content)
    assert links == [
        ("light", "pictures/flags.png", "pictures/flags.png"),
        ("dark", "pictures/dark/flags.png", "pictures/dark/flags.png"),
    ]


def test_words_of_code_in_a_meaning_are_code_and_nothing_in_it_is_markup() -> None:
    done = record("cube", StepState.DONE, params={"threshold": 0.1}, stop_s=1.7e9 + 1)
    meaning = ParameterMeaning("threshold", "0.0", "Jy", "Stop here (CASA `threshold`), if <b> is `x < y`.")
    pages = make_pages(Context(run_id="r").with_records([done]), [], "products/report", {"cube": (meaning,)})
    expected = "Stop here (CASA <code>threshold</code>), if &lt;b&gt; is <code>x &lt; y</code>."
    assert expected in pages[1].content
