# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The results of a topic: tables with a plot beside them, as text, JSON, or sections of one self-contained page."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from ..plots import INSTALL, content, has_matplotlib
from ..tables import Table

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #000;
  background: #fff; }}
h1 {{ font-size: 1.3em; }} h2 {{ font-size: 1.1em; margin-top: 2em; }}
table {{ border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; white-space: nowrap; color: #333; padding-bottom: .3em; }}
th, td {{ padding: .2em .8em; border-bottom: 1px solid #ccc; text-align: left; vertical-align: top; }}
th {{ border-bottom: 2px solid #000; }}
td.number, th.number {{ text-align: right; }}
svg {{ max-width: 100%; height: auto; }}
.words span {{ padding: .15em .1em; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


@dataclass
class Findings:
    """The results of a topic.

    Args:
        topic: Its name.
        tables: The tables.
        facts: The same for `--json`.
        draw: Returns the figure.
        notes: Sentences that explain the numbers.
        words: HTML with words in color, if there is any.
    """

    topic: str
    tables: list[Table]
    facts: dict[str, Any]
    draw: Callable[[], Any]
    notes: list[str] = field(default_factory=list)
    words: str = ""

    def text(self) -> str:
        return "\n\n".join([*(table.text() for table in self.tables), *self.notes])

    def html(self) -> str:
        parts = [f"<h2>{escape(self.topic)}</h2>", self.words, *(table.html() for table in self.tables)]
        if has_matplotlib():
            svg = content(self.draw(), "svg").decode("utf-8")
            parts.append(unique_ids(svg[svg.index("<svg") :], self.topic))
        else:
            parts.append(f"<p>{escape(INSTALL)}</p>")
        return "\n".join([*parts, *(f"<p>{escape(note)}</p>" for note in self.notes)])


def unique_ids(svg: str, prefix: str) -> str:
    """Return an SVG whose ids differ from those of other plots of the page."""
    return (
        svg.replace('id="', f'id="{prefix}-')
        .replace("url(#", f"url(#{prefix}-")
        .replace('href="#', f'href="#{prefix}-')
    )


def write_page(path: str, title: str, findings: Sequence[Findings]) -> None:
    """Write a self-contained page; it is complete or absent."""
    page = PAGE.format(title=escape(title), body="\n".join(found.html() for found in findings))
    unfinished = f"{path}.unfinished"
    try:
        Path(unfinished).write_text(page, encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        Path(unfinished).unlink(missing_ok=True)
