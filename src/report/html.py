"""One HTML page with a whole report: it embeds its pictures, needs no network and no scripts, and has a dark mode."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from src.report.tables.table import Table, html

STYLE = """
:root { color-scheme: light dark; --text: #1c1c1e; --dim: #6b6b70; --line: #d8d8dc; --page: #ffffff; --soft: #f5f5f7; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8ea; --dim: #9a9aa0; --line: #3a3a3e; --page: #161618; --soft: #202024; }
}
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; color: var(--text); background: var(--page);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .4rem; }
figure { margin: 1.5rem 0; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap; }
.name { text-align: left; } .span { text-align: center; }
thead { border-top: 2px solid var(--text); border-bottom: 1px solid var(--text); }
tbody { border-bottom: 2px solid var(--text); }
tbody tr:hover { background: var(--soft); } .rule td { border-top: 1px solid var(--text); }
.notes { margin: .5rem 0 0; padding-left: 1.1rem; color: var(--dim); font-size: .82rem; }
figcaption { color: var(--dim); font-size: .82rem; }
img { max-width: 100%; height: auto; border-radius: 6px; background: #fff; }
sub, sup { font-size: .75em; line-height: 0; }
nav a { margin-right: 1rem; } summary { cursor: pointer; font-weight: 600; } a { color: inherit; }
"""


class Page:
    """Collects sections and writes them as one file."""

    def __init__(self, title: str, subtitle: str) -> None:
        self.title, self.subtitle = title, subtitle
        self._sections: list[str] = []
        self._parts: list[str] = []

    def section(self, name: str) -> None:
        """Begin a section; a link at the top of the page leads to it."""
        self._parts.append(f'<h2 id="s{len(self._sections)}">{escape(name)}</h2>')
        self._sections.append(name)

    def tables(self, tables: Sequence[Table], folded: str | None = None) -> None:
        """Add tables; if `folded` is a text, they are folded behind that text and open on a click."""
        body = "\n".join(html(table) for table in tables)
        if body:
            self._parts.append(f"<details><summary>{escape(folded)}</summary>{body}</details>" if folded else body)

    def picture(self, path: Path, caption: str) -> None:
        """Embed a picture as WebP, about a tenth of a PNG's size."""
        with Image.open(path) as picture:
            buffer = io.BytesIO()
            picture.convert("RGB").save(buffer, "WEBP", quality=85, method=4)
            size = f'width="{picture.width}" height="{picture.height}"'
        data = base64.b64encode(buffer.getvalue()).decode()
        image = f'<img src="data:image/webp;base64,{data}" {size} alt="{escape(caption)}">'
        self._parts.append(f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>")

    def write(self, path: Path) -> None:
        """Write the finished page."""
        links = "".join(f'<a href="#s{i}">{escape(name)}</a>' for i, name in enumerate(self._sections))
        head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        head += f"<title>{escape(self.title)}</title>"
        body = f"<h1>{escape(self.title)}</h1><p>{escape(self.subtitle)}</p><nav>{links}</nav>"
        page = [
            f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>',
            body,
            *self._parts,
            "</body></html>",
        ]
        path.write_text("\n".join(page) + "\n", encoding="utf-8")
