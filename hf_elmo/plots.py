# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The plots of commands and of training runs, by matplotlib, which the extra `plots` installs.

Figures are made without a display and without a global state. Series differ in color (those of Okabe and Ito 2008), and
also in lightness, marker, dashes or hatch: grayscale and color blindness leave them distinct.
"""

import contextlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

# matplotlib's classes; the library is imported when something is drawn
Axes: TypeAlias = Any
Figure: TypeAlias = Any

INSTALL = "plots need matplotlib: pip install 'hf-elmo[plots]', or pip install matplotlib"
SUFFIXES = (".png", ".svg")
COLORS = "#0072B2 #E69F00 #000000 #D55E00 #56B4E9 #009E73 #CC79A7 #7F7F7F".split()
MARKERS = "osD^vPX*"
DASHES = ["-", "--", ":", "-."]
HATCHES = ["", "///", "...", "xx", "\\\\\\", "++", "oo", "--"]
# Color and hatch of the parts of a bar; the first is what is right.
PARTS = [("#d0d0d0", ""), (COLORS[0], "///"), (COLORS[1], "..."), ("white", "xx"), (COLORS[3], "\\\\\\")]
# Text of an SVG stays text; ids in it depend on the content alone, so that equal plots are equal files.
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "hf_elmo",
    "legend.frameon": False,
    "savefig.dpi": 150,
}


def has_matplotlib() -> bool:
    return find_spec("matplotlib") is not None


def import_matplotlib() -> Any:
    """Return the module; `ValueError` with what to type where it is not installed."""
    try:
        import matplotlib.figure
    except ImportError:
        raise ValueError(INSTALL) from None
    return matplotlib


def check_plot_file(path: str) -> None:
    """Raise `ValueError` if a plot cannot be drawn into a file of this name."""
    if not path.lower().endswith(SUFFIXES):
        raise ValueError(f"{path}: a plot is a {' or '.join(SUFFIXES)} file")
    if not Path(path).resolve().parent.is_dir():
        raise ValueError(f"{path}: there is no folder {Path(path).parent}")
    if not has_matplotlib():
        raise ValueError(INSTALL)


@contextlib.contextmanager
def panels(count: int = 1, width: float = 6.0, height: float = 3.6) -> Iterator[tuple[Figure, list[Axes]]]:
    """Make a figure of panels side by side, each `width` x `height` inches; at most three of them in a row."""
    matplotlib = import_matplotlib()
    columns = 2 if count == 4 else min(count, 3)
    rows = -(-count // columns)
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(width * columns, height * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
        for unused in axes[count:]:
            unused.set_axis_off()
        yield figure, axes[:count]


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as its name says, PNG or SVG; the file is complete or absent."""
    unfinished = f"{path}.unfinished"
    try:
        with open(unfinished, "wb") as file:
            file.write(content(figure, Path(path).suffix[1:].lower()))
        os.replace(unfinished, path)
    finally:
        Path(unfinished).unlink(missing_ok=True)


def content(figure: Figure, format: str) -> bytes:
    """Return a figure as the bytes of a `png` or `svg`, without dates, so that equal plots are equal bytes."""
    matplotlib = import_matplotlib()
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format=format, metadata={"Date": None} if format == "svg" else {"Software": None})
    return buffer.getvalue()


# ---- Kinds of plots


def bars(
    axes: Axes,
    groups: Sequence[str],
    series: Mapping[str, Sequence[float]],
    errors: Mapping[str, Sequence[float]] | None = None,
    digits: int = 2,
    are_ordered: bool = False,
) -> None:
    """Draw groups of bars, one bar of each series in a group, with their values.

    Args:
        errors: Half the length of the error bars of each series.
        digits: Digits of the values above the bars; -1 for none.
        are_ordered: Whether the series are steps of a scale, such as layers: from dark to light.
    """
    width = 0.8 / len(series)
    colors = COLORS
    if are_ordered:
        colors = [
            import_matplotlib().colormaps["cividis"](place) for place in np.linspace(0.05, 0.95, max(2, len(series)))
        ]
    for number, (name, values) in enumerate(series.items()):
        places = np.arange(len(groups)) + (number - (len(series) - 1) / 2) * width
        drawn = axes.bar(
            places,
            values,
            width * 0.94,
            label=name,
            color=colors[number % len(colors)],
            edgecolor="black",
            linewidth=0.6,
            hatch=HATCHES[number % len(HATCHES)] if not are_ordered else "",
            yerr=None if errors is None else errors.get(name),
            capsize=3,
        )
        if digits >= 0:
            for text in axes.bar_label(drawn, fmt=f"%.{digits}f", fontsize=8, padding=2):
                text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # above lines that cross it
    is_long = sum(map(len, groups)) > 60
    axes.set_xticks(np.arange(len(groups)), groups, rotation=30 if is_long else 0, ha="right" if is_long else "center")
    axes.margins(y=0.15)
    if len(series) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)


def curves(
    axes: Axes,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    styles: Mapping[str, tuple[int, int]] | None = None,
) -> None:
    """Draw lines through points, each with a color, marker and dashes of its own.

    Args:
        lines: Name of each line, and the x and y of its points.
        styles: Number of color and marker, and number of dashes, of each line; by default its position.
    """
    for number, (name, (x, y)) in enumerate(lines.items()):
        style, dashes = (number, number) if styles is None else styles[name]
        axes.plot(
            x,
            y,
            label=name,
            color=COLORS[style % len(COLORS)],
            marker=MARKERS[style % len(MARKERS)],
            linestyle=DASHES[dashes % len(DASHES)],
            markersize=5,
            linewidth=1.6,
        )
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def legend_below(figure: Figure, axes: Axes, title: str | None = None) -> None:
    """Put the legend of one panel, whose series all panels have, below the figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, title=title, loc="outside lower center", ncols=min(4, len(labels)), fontsize=9)


def points(axes: Axes, places: np.ndarray, groups: Sequence[str], order: Sequence[str]) -> None:
    """Draw points `(N, 2)`, with color and marker by group; names of groups are the legend's."""
    names = np.asarray(groups)
    for number, name in enumerate(order):
        chosen = places[names == name]
        axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=90 if MARKERS[number % len(MARKERS)] in "PX*" else 36,  # which fill less of their square
            label=name,
            color=COLORS[number % len(COLORS)],
            marker=MARKERS[number % len(MARKERS)],
            edgecolor="white",
            linewidth=0.5,
            alpha=0.9,
        )
    axes.margins(0.08)


def matrix(axes: Axes, counts: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Draw counts `(rows, columns)` as shaded cells with numbers; the shade is the part of the row."""
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(parts, cmap="Greys", vmin=0, vmax=1.15, aspect="auto")
    size = 9 if max(counts.shape) <= 10 else 8 if counts.max(initial=0) < 10_000 else 6
    for row, column in zip(*np.nonzero(counts)):  # without the zeros, which would hide what there is
        color = "white" if parts[row, column] > 0.55 else "black"
        axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=color, fontsize=size)
    for set_ticks, count in ((axes.set_xticks, len(columns)), (axes.set_yticks, len(rows))):
        set_ticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#cccccc", linewidth=0.6)
    is_long = max(map(len, columns)) * len(columns) > 50
    axes.set_xticks(range(len(columns)), columns, rotation=45 if is_long else 0, ha="right" if is_long else "center")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def signed_bars(axes: Axes, names: Sequence[str], values: Sequence[float]) -> None:
    """Draw horizontal bars from top to bottom, hatched where they are negative."""
    places: Any = np.arange(len(names))
    above = [value >= 0 for value in values]
    axes.barh(
        places,
        values,
        color=[COLORS[0] if positive else COLORS[1] for positive in above],
        hatch=["" if positive else "///" for positive in above],
        edgecolor="black",
        linewidth=0.6,
    )
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)


def values(axes: Axes, right: Sequence[float], predicted: Sequence[float]) -> None:
    """Draw predicted by right values, and the line on which they are equal."""
    low, high = min([*right, *predicted]), max([*right, *predicted])
    axes.plot([low, high], [low, high], color="black", linestyle="--", linewidth=1)
    axes.scatter(right, predicted, s=30, color=COLORS[0], alpha=0.6, linewidth=0)
    axes.set_xlabel("right value")
    axes.set_ylabel("predicted value")


def stacked_bars(axes: Axes, groups: Sequence[str], series: Mapping[str, Sequence[int]]) -> None:
    """Draw a horizontal bar of counts for each group, from top to bottom, in parts that have their numbers."""
    left = np.zeros(len(groups))
    most = max(1, max(map(sum, zip(*series.values())), default=1))
    for number, (name, values) in enumerate(series.items()):
        color, hatch = PARTS[number % len(PARTS)]
        drawn = axes.barh(
            np.arange(len(groups)),
            values,
            left=left,
            label=name,
            color=color,
            edgecolor="black",
            linewidth=0.6,
            hatch=hatch,
        )
        labels = [f"{value:,}" if value > 0.03 * most else "" for value in values]
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        for text, label in zip(axes.bar_label(drawn, labels, label_type="center", fontsize=8), labels):
            if label:
                text.set_bbox(box)
        left += values
    axes.set_yticks(np.arange(len(groups)), groups)
    axes.invert_yaxis()


def layer_weights(
    groups: Sequence[str], weights: Sequence[Sequence[float]], deviations: Sequence[Sequence[float] | None]
) -> Figure:
    """Draw the normalized weights of mixes, which may have different numbers of layers.

    Args:
        groups: Name of each mix.
        deviations: Standard deviations of the weights of each mix over several runs, if there are several.
    """
    count = max(map(len, weights))
    series, errors = {}, {}
    for layer in range(count):
        name = f"layer {layer}"
        series[name] = [mix[layer] if layer < len(mix) else 0.0 for mix in weights]
        errors[name] = [part[layer] if part and layer < len(part) else np.nan for part in deviations]
    has_errors = any(deviations)
    with panels(1, width=max(5.5, 1.5 + 0.45 * count * len(groups)), height=3.4) as (figure, (axes,)):
        bars(axes, groups, series, errors if has_errors else None, are_ordered=True)
        axes.axhline(1 / count, color="black", linestyle=":", linewidth=1)
        axes.set_ylabel("normalized weight" + ("\n(mean ± deviation over seeds)" if has_errors else ""))
        axes.set_title("Weights of the layers in each mix (dotted: equal weights)", loc="left")
    return figure


__all__ = [
    "INSTALL",
    "Axes",
    "Figure",
    "bars",
    "check_plot_file",
    "content",
    "curves",
    "has_matplotlib",
    "layer_weights",
    "legend_below",
    "matrix",
    "panels",
    "points",
    "save",
    "signed_bars",
    "stacked_bars",
    "values",
]
