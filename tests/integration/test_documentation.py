"""The built documentation: every page opens from disk without a network, on a laptop and on a phone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_page_opens_without_a_network_and_fits_its_window(tmp_path: Path, browser: Any) -> None:
    pytest.importorskip("mkdocs", reason="no mkdocs: pip install radps[docs]")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    subprocess.run(command, cwd=ROOT, check=True)
    pages = sorted(path for path in (tmp_path / "site").rglob("*.html") if path.name != "404.html")  # made for servers
    assert len(pages) > 40
    for path in pages:
        for width in (360, 1280):
            browser.look(width)
            browser.open(path.as_uri())
            wide = browser.ask("document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, f"{path} has to be scrolled sideways at {width} pixels"
    assert browser.complaints == []
