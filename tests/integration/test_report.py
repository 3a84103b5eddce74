"""The report of a run: its pages hang together, hide nothing, and trust no name."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image

import radps
from radps.api import Run
from radps.data.demo_observation import demo_observation
from radps.errors import StageError
from radps.plots.themes import THEMES

NASTY = "<script>alert(1)</script> $x$"

PICTURES = """[...document.images].filter(image => image.checkVisibility()).map(image => {
  const box = image.getBoundingClientRect();
  const card = getComputedStyle(image.closest('figure')).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number);
  const link = image.closest('a').href;
  const edges = [box.left, box.top + scrollY, box.right, box.bottom + scrollY];
  return {src: image.currentSrc, link: link, card: card, box: edges};
})"""
WAIT_FOR_PICTURES = """Promise.all([...document.images].map(image => {
  image.loading = 'eager';
  return image.decode().then(() => '', () => image.src);
})).then(found => found.filter(src => src))"""
COLOURS = """(style => [style.color, style.backgroundColor].map(text => text.match(/\\d+/g).slice(0, 3).map(Number)))(
  getComputedStyle(document.body))"""
NUMBER_STOPS = """(stops => (stops.forEach((stop, number) => { stop.dataset.stop = number; }), stops.length))(
  [...document.querySelectorAll('a[href], summary, [tabindex="0"]')].filter(one => one.checkVisibility()))"""
FOCUSED = """(one => [Number(one.dataset.stop ?? -1), parseFloat(getComputedStyle(one).outlineWidth)])(
  document.activeElement)"""


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
        self.links += [found[name] or "" for name in ("href", "src", "srcset") if name in found]
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
                name, _, anchor = unquote(link).partition("#")
                assert not name or (folder / name).exists(), f"{path.name}: {link}"
                assert not anchor or anchor in page.ids, f"{path.name}: {link}"


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
    assert "Part of the solutions that found too little signal" in calibrate  # what a score means
    assert "2~12 (default none)" in calibrate  # parameters that were changed
    assert "Antenna whose phase is zero" in calibrate  # what parameters mean
    cube = Page(folder / "step-image_cube.html").text
    assert "20 arcsec" in cube
    for name in context.steps["calibrate"].params:
        assert name in calibrate
    assert context.steps["calibrate"].fingerprint in calibrate


def test_every_stage_that_has_plots_shows_them(folder: Path) -> None:
    def pictures(step: str) -> int:
        return Page(folder / f"step-{step}.html").tags.count("img") // len(THEMES)

    assert pictures("import_data") == 3  # antennas, elevation, uv coverage
    assert pictures("flag") == 2  # by antenna and by field
    assert pictures("calibrate") == 4  # amplitude and phase of bandpass and gains
    # Visibilities and flags of three fields, the models of two of them.
    assert pictures("apply_calibration") == 8
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
def test_a_browser_shows_every_page_without_a_complaint(folder: Path, browser: Any) -> None:
    widths = {"phone": 360, "laptop": 1280}
    browser.complaints.clear()
    for path in sorted(folder.glob("*.html")):
        for scheme, (device, width) in itertools.product(("light", "dark"), widths.items()):
            browser.look(width, scheme=scheme)
            browser.open(path.as_uri())
            assert browser.ask("document.querySelector('footer') !== null")
            wide = browser.ask("document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, f"{path.name} has to be scrolled sideways on a {device}"
            lost = browser.ask(WAIT_FOR_PICTURES)
            assert lost == [], f"{path.name}: {lost}"
            text, page = browser.ask(COLOURS)
            assert contrast(text, page) > 7  # of the AAA level of WCAG 2.2
    assert browser.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_have_the_colours_of_the_page_and_text_that_is_read(
    folder: Path, browser: Any, tmp_path: Path, scheme: str
) -> None:
    browser.look(scheme=scheme)
    for path in sorted(folder.glob("*.html")):
        browser.open(path.as_uri())
        browser.ask(WAIT_FOR_PICTURES)
        browser.picture(tmp_path / "page.png")
        page = Image.open(tmp_path / "page.png").convert("RGB")
        for found in browser.ask(PICTURES):
            assert ("/dark/" in found["src"]) == (scheme == "dark")
            assert found["link"] == found["src"]
            left, top, right, bottom = (round(edge) for edge in found["box"])
            background = list(page.getpixel((left + 5, top + 5)))
            assert contrast(background, found["card"]) < 1.1, f"{found['src']} does not look like a part of its page"
            # Left of the axes there are labels and nothing else.
            margin = page.crop((left, top + 5, left + (right - left) // 20, bottom - 5))
            best = max(contrast(list(colour), background) for _, colour in margin.getcolors(2**24))
            assert best > 4.5, f"{found['src']}: the contrast of its labels is {best:.1f}"  # AA of WCAG 2.2


@pytest.mark.slow
def test_all_can_be_reached_by_the_keyboard_in_the_order_of_the_page(folder: Path, browser: Any) -> None:
    browser.look()
    for path in sorted(folder.glob("*.html")):
        browser.open(path.as_uri())
        wanted = browser.ask(NUMBER_STOPS)
        reached = []
        for _ in range(wanted):
            browser.press("Tab")
            number, outline = browser.ask(FOCUSED)
            assert outline >= 2, f"{path.name}: nobody sees where the focus is, at stop {number}"
            reached.append(number)
        assert reached == list(range(wanted)), path.name
        browser.press("Tab")
        # It leaves the page; a browser without a window of its own has nowhere else to go than to the begin.
        left = "document.activeElement === document.body || document.activeElement.dataset.stop === '0'"
        assert browser.ask(left), f"{path.name} holds the focus"


@pytest.mark.slow
def test_the_keyboard_skips_the_links_opens_details_and_follows_links(folder: Path, browser: Any) -> None:
    browser.look()
    browser.open((folder / "step-calibrate.html").as_uri())
    browser.press("Tab")
    assert browser.ask("document.activeElement.getBoundingClientRect().left") > 0  # it comes into sight with the focus
    browser.press("Enter")
    assert browser.ask("document.activeElement.id") == "content"
    browser.press("Tab")
    assert browser.ask("document.activeElement.closest('main') !== null")
    browser.ask("document.querySelector('summary').focus()")
    browser.press(" ")
    assert browser.ask("document.querySelector('details').open")
    browser.ask("document.querySelector('nav a').focus()")
    browser.follow("Enter")
    assert browser.ask("location.pathname").endswith("/index.html")


@pytest.mark.slow
def test_print_is_dark_on_white_and_cuts_nothing_off(folder: Path, browser: Any) -> None:
    browser.look(scheme="dark", media="print")
    browser.open((folder / "index.html").as_uri())
    assert browser.ask(COLOURS) == [[0, 0, 0], [255, 255, 255]]
    assert not any("/dark/" in found["src"] for found in browser.ask(PICTURES))
    assert browser.ask("getComputedStyle(document.querySelector('.table')).overflowX") == "visible"
    assert browser.ask("getComputedStyle(document.querySelector('nav')).display") == "none"


def contrast(text: list[int], page: list[int]) -> float:
    """Return the contrast of two colours, as WCAG defines it."""

    def luminance(colour: list[int]) -> float:
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (one / 255 for one in colour)]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((luminance(text), luminance(page)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.slow
def test_a_field_with_the_name_of_a_script_is_harmless(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, browser: Any
) -> None:
    observation = demo_observation("tiny").model_dump(mode="json")
    for one in [*observation["fields"], *observation["scans"]]:
        key = "name" if "name" in one else "field"
        one[key] = NASTY if one[key] == "N5921" else one[key]
    config = tiny_config(str(tmp_path / "run"))
    config["steps"] = [{"simulate": {"observation": observation}}, "import_data", "flag"]
    page = Path(radps.run(config, progress=False).report())
    assert NASTY in Page(page).text
    for path in page.parent.glob("*.html"):
        assert "script" not in Page(path).tags
        browser.open(path.as_uri())
        assert browser.ask(WAIT_FOR_PICTURES) == []
    assert browser.complaints == []
