"""The report of a run: its pages hang together, hide nothing, and trust no name."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import radps
from radps.api import Run
from radps.data.demo_observation import demo_observation
from radps.errors import StageError

NASTY = "<script>alert(1)</script> $x$"


class Page(HTMLParser):
    """What a page refers to, and what it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.unnamed: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.links += [found[name] or "" for name in ("href", "src") if name in found]
        self.ids += [found["id"] or ""] if "id" in found else []
        if tag == "img" and not found.get("alt"):
            self.unnamed.append(str(found.get("src")))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def folder(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a copy of the tiny run whose project has a nasty name."""
    run = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(tiny_run.url, run)
    opened = radps.open_run(str(run))
    page = Path(opened.report())
    assert page.name == "index.html"
    return page.parent


def test_every_link_of_every_page_leads_somewhere(folder: Path) -> None:
    pages = sorted(folder.glob("*.html"))
    assert len(pages) == 14  # the front page, and one for each of the 13 steps
    for path in pages:
        page = Page(path)
        assert not page.unnamed
        assert len(page.ids) == len(set(page.ids))
        for link in page.links:
            assert not link.startswith(("http", "//")), f"{path.name} needs a network: {link}"
            if not link.startswith("data:"):
                assert (folder / unquote(link)).exists(), f"{path.name}: {link}"


def test_the_pages_say_what_the_run_knows(folder: Path, tiny_run: Run) -> None:
    context = tiny_run.context
    front = Page(folder / "index.html").text
    for image in context.images:
        assert image.name in front
    for one in context.flux_densities:
        assert f"{one.flux_jy:.5g}" in front
    calibrate = Page(folder / "step-calibrate.html").text
    for score in context.qa["calibrate"]:
        assert score.message in calibrate
    for name in context.steps["calibrate"].params:
        assert name in calibrate
    assert context.steps["calibrate"].fingerprint in calibrate


def test_every_stage_that_has_plots_shows_them(folder: Path) -> None:
    def pictures(step: str) -> int:
        return Page(folder / f"step-{step}.html").tags.count("img")

    assert pictures("import_data") == 3  # antennas, elevation, uv coverage
    assert pictures("flag") == 2  # by antenna and by field
    assert pictures("calibrate") == 4  # amplitude and phase of bandpass and gains
    assert pictures("apply_calibration") == 3  # visibilities of three fields
    assert pictures("assess") == 2  # baselines of two calibrators
    assert pictures("image_continuum") == 3  # image, residual, convergence
    assert pictures("image_cube") == 3  # channels, numbers by channel, convergence
    assert pictures("moments") == 4  # three moments and the spectrum


def test_a_run_that_failed_and_nasty_names_have_a_report(tmp_path: Path, user_stages: str) -> None:
    config: dict[str, Any] = {
        "run": str(tmp_path / "run"),
        "project": NASTY,
        "cluster": "none",
        "steps": ["user_stages:squares", {"id": "bad", "stage": "user_stages:fails", "params": {"text": NASTY}}],
    }
    with pytest.raises(StageError):
        radps.run(config, progress=False)
    page = Path(radps.open_run(str(tmp_path / "run")).report())
    assert "<script>alert" not in page.read_text()
    assert NASTY in Page(page).text
    failed = Page(page.with_name("step-bad.html"))
    assert "script" not in failed.tags
    assert f"ValueError: {NASTY}" in failed.text
    assert "Traceback" in failed.text


@pytest.mark.slow
def test_what_was_lost_is_said_in_its_place(tiny_run: Run, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.url, tmp_path / "run")
    (image,) = (one for one in tiny_run.context.images if one.kind == "continuum")
    shutil.rmtree(tmp_path / "run" / image.path)
    page = Path(radps.open_run(str(tmp_path / "run")).report(visibilities=False))
    assert "could not be drawn: no zarr array at" in Page(page).text


def test_a_step_makes_it_too(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    config = tiny_config(str(tmp_path / "run"))
    config["steps"] = [{"simulate": {"observation": demo_observation("tiny").model_dump(mode="json")}}]
    config["steps"] += ["import_data", "report"]
    context = radps.run(config, progress=False).context
    outcome = context.steps["report"].outcome
    assert outcome is not None
    assert outcome.summary["not_drawn"] == []
    (product,) = context.find_products(kind="report")
    assert (tmp_path / "run" / product.path).exists()


@pytest.mark.slow
def test_a_browser_shows_every_page_without_a_complaint(folder: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no browser: install chromium")
    for path in sorted(folder.glob("*.html")):
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        options += ["--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--log-level=0"]
        done = subprocess.run(
            [chromium, *options, f"--user-data-dir={tmp_path}", "--dump-dom", path.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert "</footer>" in done.stdout
        assert "CONSOLE" not in done.stderr
