# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Tables that commands and training runs print, or put into pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass
class Table:
    """A table with a title.

    Args:
        title: What the rows are, with units.
        header: Names of the columns.
        rows: Cells: texts, and numbers, of which those with a fraction are shown with `digits` digits.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    digits: int = 3

    def shown(self, cell: Any) -> str:
        if cell is None:
            return "-"
        return f"{cell:.{self.digits}f}" if isinstance(cell, float) else str(cell)

    def is_numeric(self, column: int) -> bool:
        return all(isinstance(row[column], (int, float, type(None))) for row in self.rows)

    def text(self) -> str:
        """Return the table in columns of equal width, numbers to the right."""
        cells = [[*self.header], *([self.shown(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.header))]
        aligned = [">" if self.is_numeric(column) else "<" for column in range(len(self.header))]
        lines = ["  ".join(f"{c:{a}{w}}" for c, a, w in zip(row, aligned, widths)).rstrip() for row in cells]
        return "\n".join([self.title, *lines])

    def html(self) -> str:
        classes = [' class="number"' if self.is_numeric(column) else "" for column in range(len(self.header))]
        head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(classes, self.header))
        body = (
            "<tr>" + "".join(f"<td{kind}>{escape(self.shown(cell))}</td>" for kind, cell in zip(classes, row)) + "</tr>"
            for row in self.rows
        )
        return f"<table><caption>{escape(self.title)}</caption><tr>{head}</tr>\n" + "\n".join(body) + "\n</table>"
