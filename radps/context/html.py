"""Small HTML tables, for Jupyter."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def html_heading(text: str) -> str:
    """Return a line of text in bold."""
    return f"<p><b>{html.escape(text)}</b></p>"


def html_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table with a title; nothing if it has no rows. All text is escaped."""
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    if not body:
        return ""
    head = f"<thead><tr>{_cells('th', header)}</tr></thead>"
    return f"<p>{html.escape(title)}</p><table>{head}<tbody>{body}</tbody></table>"


def _cells(tag: str, row: Sequence[object]) -> str:
    return "".join(f'<{tag} style="text-align: left">{html.escape(str(cell))}</{tag}>' for cell in row)
