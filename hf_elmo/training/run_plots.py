"""The plots of a run: curves of loss and metric, weights of layers, and what was predicted wrongly.

They lie in the output folder and in the card. Nothing else depends on them, and they depend on the run's results alone.
"""

import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import plots
from .run_record import PLOTS

logger = logging.getLogger("hf_elmo.training")

CURVES, LAYERS, ERRORS = PLOTS
TITLES = {
    CURVES: "Curves of loss and metric by epoch",
    LAYERS: "Weights of the layers in each mix",
    ERRORS: "What was predicted for what",
}


def draw_run(folder: Path, results: dict, states: Mapping[str, Path], metric: str | None) -> None:
    """Draw the plots of all runs of a command into a folder; without matplotlib, log what to install.

    Args:
        results: Of all runs, as `all_results.json` has them.
        states: For each run by its name, the file of its trainer's state.
        metric: The metric that selects checkpoints, without its prefix.
    """
    if not may_draw():
        return
    histories = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in states.items() if path.is_file()}
    draw_curves(folder, histories, metric)
    runs = results["runs"]
    mixes = [*zip(*(run["mix_weights"] for run in runs))]  # of each mix, the weights in each run
    columns = [[*zip(*mix)] for mix in mixes]
    deviations = [[statistics.stdev(weights) for weights in mix] if len(runs) > 1 else None for mix in columns]
    means = [[statistics.fmean(weights) for weights in mix] for mix in columns]
    names = [f"mix {number}" for number in range(len(mixes))]
    plots.save(plots.layer_weights(names, means, deviations), folder / LAYERS)
    best = next(run for run in runs if run["seed"] == results["best_seed"])
    if "errors" in best:
        draw_errors(folder, best["errors"])


def may_draw() -> bool:
    """Return whether matplotlib is installed; if it is not, log what to install."""
    if not plots.has_matplotlib():
        logger.info("%-13s%s", "plots:", plots.INSTALL)
    return plots.has_matplotlib()


def draw_curves(folder: Path, histories: Mapping[str, dict], metric: str | None) -> None:
    """Draw loss, and the metric on validation examples, of each run by epoch. A run without a step has no curve.

    Args:
        histories: For each run by its name, the state of its trainer.
    """
    losses: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    styles: dict[str, tuple[int, int]] = {}
    kept: list[tuple[float, float]] = []
    for number, (run, state) in enumerate(histories.items()):
        log, suffix = [{"epoch": entry["step"], **entry} for entry in state["log_history"]], f", {run}" if run else ""
        for lines, name, key, dashes in (
            (losses, f"training{suffix}", "loss", 0),
            (losses, f"validation{suffix}", "eval_loss", 1),
            (metrics, run or "validation", f"eval_{metric}", 1),
        ):
            styles[name] = number, dashes
            if points := [(entry["epoch"], entry[key]) for entry in log if key in entry]:
                lines[name] = tuple(zip(*points))
        best = state.get("best_global_step")
        chosen = [entry for entry in log if best and entry["step"] == best and f"eval_{metric}" in entry]
        kept += [(entry["epoch"], entry[f"eval_{metric}"]) for entry in chosen[:1]]
    shown = [(name, lines) for name, lines in (("loss", losses), (metric or "", metrics)) if lines]
    if not shown:
        return
    with plots.panels(len(shown), width=4.8, height=3.4) as (figure, axes):
        for one, (name, lines) in zip(axes, shown):
            plots.curves(one, lines, styles)
            one.set_xlabel("epoch")
            one.set_ylabel(name.replace("_", " "))
            one.xaxis.get_major_locator().set_params(integer=True)
            if not any(value for _, values in lines.values() for value in values):
                one.set_ylim(-0.02, 1)
            title = name.replace("_", " ")
            if lines is metrics:
                title = f"{title} on validation examples"
                if kept:
                    one.scatter(*zip(*kept), s=130, facecolors="none", edgecolors="black", linewidths=1.2, zorder=5)
                    title += "\n(circle: the checkpoint that was kept)"
            one.set_title(title, loc="left")
            if len(lines) > 1:
                place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17), "ncols": min(3, len(lines))}
                one.legend(**place, fontsize=8, handlelength=3)
    plots.save(figure, folder / CURVES)


def draw_errors(folder: Path, errors: Mapping[str, dict]) -> None:
    """Draw confusions, outcomes or values of each split; see `errors` for their forms."""
    rows = max(len(error.get("labels", error.get("groups", range(12)))) for error in errors.values())
    height = min(9.0, max(3.2, 1.6 + 0.36 * rows))
    with plots.panels(len(errors), width=max(5.2, min(9.0, 2.4 + 0.5 * rows)), height=height) as (figure, axes):
        for one, (split, error) in zip(axes, errors.items()):
            if "labels" in error:
                plots.matrix(one, np.asarray(error["counts"]), error["labels"], error["labels"])
                one.set_xlabel("predicted")
                one.set_ylabel("right")
                one.set_title(f"{split}: {error['units']} by label (shade: part of the row)", loc="left")
            elif "groups" in error:
                plots.stacked_bars(one, error["groups"], error["outcomes"])
                one.set_xlabel(f"number of {error['units']}")
                one.set_title(f"{split}: {error['units']} by outcome", loc="left")
                one.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28 * 3.2 / height), ncols=3, fontsize=9)
            else:
                plots.values(one, error["right"], error["predicted"])
                one.set_title(f"{split}: values (on the line: right)", loc="left")
    plots.save(figure, folder / ERRORS)


def drawn(folder: Path) -> Sequence[str]:
    """Return the names of the plots in a folder."""
    return [name for name in PLOTS if (folder / name).is_file()]


def pictures(names: Sequence[str]) -> str:
    """Return plots as Markdown."""
    return "\n\n".join(f"![{TITLES[name]}]({name})" for name in names)
