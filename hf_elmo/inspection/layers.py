# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The learnt mixes of models: the normalized weight of each layer, and the scale (Peters et al. 2018, equation 1).

Where a model lies in the folder of a run with several seeds, the weights are means over them, with deviations.
"""

import json
import statistics
from argparse import Namespace
from pathlib import Path

from transformers import AutoConfig

from ..loading import load_encoder
from ..plots import Figure, layer_weights
from ..tables import Table
from .report import Findings

RESULTS_FILE = "all_results.json"


def inspect_layers(options: Namespace) -> Findings:
    """Return the mixes of all models."""
    mixes = [mix for name in options.model for mix in mixes_of(name)]
    count = max(len(mix["weights"]) for mix in mixes)
    layers = [f"layer {number}" for number in range(count)]
    rows = []
    for mix in mixes:
        deviations = mix["deviations"] or [0.0] * len(mix["weights"])
        cells = [
            f"{weight:.3f}" + (f" ± {deviation:.3f}" if mix["deviations"] else "")
            for weight, deviation in zip(mix["weights"], deviations)
        ]
        cells += ["-"] * (count - len(cells))
        rows.append([mix["model"], mix["mix"], *cells, f"{mix['gamma']:.3f}", mix["seeds"]])
    header = ["model", "mix", *layers, "gamma", "seeds"]
    table = Table("normalized weights of the layers (0: characters) and scale of each mix", header, rows)
    notes = []
    if all(len(set(mix["weights"])) == 1 and mix["gamma"] == 1 for mix in mixes):
        notes.append("All weights are equal: no task has trained these mixes.")
    return Findings("layers", [table], {"mixes": mixes}, lambda: draw(mixes, layers), notes)


def mixes_of(name: str) -> list[dict]:
    """Return the mixes of a model: of all seeds of its run, or of its weights."""
    model = load_encoder(name)
    saved = (AutoConfig.from_pretrained(name).architectures or ["ElmoModel"])[0]
    path = Path(name) / RESULTS_FILE
    runs = []
    if path.is_file():
        try:
            runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
            shares = [[*zip(run["mix_weights"], run["mix_scales"])] for run in runs]
        except (ValueError, KeyError, TypeError):
            runs = []
    if len(runs) < 2:
        shares = [[*zip(model.mix_weights().tolist(), model.mix_scales().tolist())]]
    mixes = []
    for number, of_runs in enumerate(zip(*shares)):
        columns = [*zip(*(weights for weights, _ in of_runs))]
        mixes.append(
            {"model": name, "architecture": saved, "mix": number, "seeds": len(of_runs)}
            | {"weights": [round(statistics.fmean(column), 6) for column in columns]}
            | {"deviations": [round(statistics.stdev(column), 6) for column in columns] if len(of_runs) > 1 else None}
            | {"gamma": round(statistics.fmean(scale for _, scale in of_runs), 6)}
        )
    return mixes


def draw(mixes: list[dict], layers: list[str]) -> Figure:
    """Draw the weights of each mix as a group of bars."""
    several = max(mix["mix"] for mix in mixes) > 0
    groups = [Path(mix["model"]).name + (f", mix {mix['mix']}" if several else "") for mix in mixes]
    return layer_weights(groups, [mix["weights"] for mix in mixes], [mix["deviations"] for mix in mixes])


__all__ = ["inspect_layers"]
