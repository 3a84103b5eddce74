"""What people see of a run: tables."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from radps.terminal import make_console, show_status
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow
from radps.workflows.status import (
    BeamStatus,
    FluxDensityStatus,
    ImageStatus,
    ProductStatus,
    ScoreStatus,
    Status,
    load_status,
)


@pytest.fixture(autouse=True)
def _stages(user_stages: str) -> None:
    """The stages of the tests can be imported."""


def full_status(folder: Path) -> Status:
    steps = ["user_stages:squares", {"user_stages:fails": None}]
    run_workflow(load_workflow({"run": str(folder), "cluster": "none", "steps": steps}))
    image = ImageStatus(
        name="sky",
        kind="cube",
        field="star",
        max=1.5,
        min=-0.25,
        rms=0.0123456,
        unit="Jy/beam",
        beam=BeamStatus(major_arcsec=20.0, minor_arcsec=10.5, position_angle_deg=-30.0),
        file="/run/sky.zarr",
        channels={},
        listed=(),
    )
    score = ScoreStatus(
        step="bad", name="noise", score=0.3, value=1, unit="", good=0, bad=2, applies_to="[star]", message="too [noisy]"
    )
    flux = FluxDensityStatus(flux_jy=2.526531, error_jy=0.00218, frequency_hz=1.4134e9, origin="flux transfer")
    return load_status(str(folder)).model_copy(
        update={"qa": (score,), "images": (image,), "flux_densities": {"1445+099": {"spw0": flux}}}
    )


def test_the_tables_of_a_run_show_what_it_found(tmp_path: Path, screens: ModuleType) -> None:
    screen = screens.console(is_terminal=False)
    show_status(screen, full_status(tmp_path / "run"))
    text = screens.text_of(screen)
    assert re.search(r"noise\s+0\.30\s+bad\s+\[star\]\s+too \[noisy\]", text)
    assert re.search(r"1445\+099\s+spw0\s+2\.5265\s+0\.0022\s+1\.4134\s+flux transfer", text)
    assert re.search(r'sky\s+cube\s+1\.5\s+-0\.25\s+0\.01235\s+Jy/beam\s+20" x 10\.5", PA -30', text)
    assert text.endswith(f"Products:\n  /run/sky.zarr\nRun folder: {tmp_path / 'run'}\n")


def test_exported_files_are_named_rather_than_stores(tmp_path: Path, screens: ModuleType) -> None:
    product = ProductStatus(file="/run/sky.fits", kind="fits", source="sky", size_bytes=1, sha256="0")
    screen = screens.console(is_terminal=False)
    show_status(screen, full_status(tmp_path / "run").model_copy(update={"products": (product,)}))
    assert "Products:\n  /run/sky.fits\nRun folder" in screens.text_of(screen)


@pytest.mark.parametrize(("name", "colours"), [("NO_COLOR", False), ("UNRELATED", True)])
def test_who_wants_no_colours_gets_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, colours: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(name, "1")
    written = io.StringIO()
    screen = Console(file=written, force_terminal=True, width=100)
    show_status(screen, full_status(tmp_path / "run"))
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", written.getvalue())) is colours


def test_good_scores_are_counted_and_the_worst_one_comes_first(tmp_path: Path, screens: ModuleType) -> None:
    status = full_status(tmp_path / "run")
    (bad,) = status.qa
    scores = [bad.model_copy(update={"name": f"score{n}", "score": n / 10}) for n in (10, 7, 2, 9)]
    screen = screens.console(is_terminal=False)
    show_status(screen, status.model_copy(update={"qa": tuple(scores)}))
    text = screens.text_of(screen)
    assert "QA: 2 of 4 scores are 0.9 or better; a report has all" in text
    assert re.findall(r"score\d+", text) == ["score2", "score7"]


def test_a_report_is_named_apart_from_the_products(tmp_path: Path, screens: ModuleType) -> None:
    product = ProductStatus(file="/run/sky.fits", kind="fits", source="sky", size_bytes=1, sha256="0")
    report = product.model_copy(update={"file": "/run/report-1/index.html", "kind": "report"})
    screen = screens.console(is_terminal=False)
    show_status(screen, full_status(tmp_path / "run").model_copy(update={"products": (product, report)}))
    assert "Products:\n  /run/sky.fits\nOpen in a browser: /run/report-1/index.html\nRun folder" in screens.text_of(
        screen
    )


@pytest.mark.parametrize(("columns", "width"), [(None, 1000), ("100", 100)])
def test_a_file_gets_room_for_tables(monkeypatch: pytest.MonkeyPatch, columns: str | None, width: int) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert make_console().width == width
