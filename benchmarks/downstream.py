"""What pretraining gives a task: the same layers on a random biLM, on a pretrained one, and on its top layer only.

    python benchmarks/downstream.py --model MODEL --output_dir FOLDER --tasks SETTINGS.json... \\
        [--seeds 1 2 3] [--fractions 0.01 0.1 1] [--figures FOLDER]

A file of SETTINGS holds what one script is told beside model, encoder and seeds, and which script that is:
{"script": "ner", "measure": "test_f1", "train_file": ...}; "percent": true is for measures that are not fractions. Its
name is the task's. No encoder is tuned; all above it is trained alike:

    random      weights as initialized, others for each seed, and the mix is learnt: characters but no pretraining
    pretrained  the weights of MODEL, and the mix is learnt
    top layer   the same weights, the top layer in place of a mix

Every run is a command, printed before it starts; what lies finished in the output folder is not repeated. Then come
the tables, mean and standard deviation over the seeds, and two plots (with matplotlib): the learnt shares of layers,
and, with several FRACTIONS, the measure by the part of the training examples, drawn anew for each seed.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from hf_elmo.plots import COLORS, DASHES, MARKERS, bars, panels

ENCODERS = {"random": ["--random_encoder", "True"], "pretrained": [], "top layer": ["--mix", "top"]}
CURVES = ("random", "pretrained")  # compared on parts of the examples


class Run(NamedTuple):
    """One row of the tables: a task, an encoder, a part of the training examples."""

    settings: Path
    encoder: str
    fraction: float

    @property
    def task(self) -> str:
        return self.settings.stem

    @property
    def name(self) -> str:
        return f"{self.task}-{self.encoder.replace(' ', '-')}-{self.fraction:g}"


def read_settings(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def command(run: Run, arguments: argparse.Namespace) -> list[str]:
    settings = read_settings(run.settings)
    del settings["measure"]
    settings.pop("percent", None)
    words = ["python", "-m", f"hf_elmo.training.{settings.pop('script')}", "--model_name_or_path", arguments.model]
    for name, value in settings.items():
        words += [f"--{name}", *([str(part) for part in value] if isinstance(value, list) else [as_word(value)])]
    words += [*ENCODERS[run.encoder], *(["--train_fraction", f"{run.fraction:g}"] if run.fraction < 1 else [])]
    return [*words, "--seeds", *map(str, arguments.seeds), "--output_dir", str(arguments.output_dir / run.name)]


def as_word(value) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)


def results(run: Run, arguments: argparse.Namespace) -> dict:
    """What the run's script wrote, after running it if it has not."""
    file = arguments.output_dir / run.name / "all_results.json"
    if not file.exists():
        words = command(run, arguments)
        print(f"\n$ {shlex.join(words)}", flush=True)
        subprocess.run([sys.executable, *words[1:]], check=True)
    return json.loads(file.read_text(encoding="utf-8"))


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def scale(settings: dict) -> int:
    """What a measure is multiplied by, to be in percent."""
    return 1 if settings.get("percent") else 100


def percent(found: dict, settings: dict) -> str:
    measure, times = settings["measure"], scale(settings)
    deviation = f" ± {times * found['std'][measure]:.1f}" if measure in found["std"] else ""
    return f"{times * found['mean'][measure]:.1f}{deviation}"


def mean_shares(found: dict) -> list[float]:
    """The share of each layer in the first mix, the mean over the runs."""
    columns = zip(*(each["mix_weights"][0] for each in found["runs"]))
    return [sum(column) / len(found["runs"]) for column in columns]


def draw_shares(shares: dict[str, list[float]], path: Path) -> None:
    """Bars: for each task the learnt share of each layer."""
    layers = len(next(iter(shares.values())))
    labels = ["token\nembeddings", *(f"biLSTM\nlayer {layer}" for layer in range(1, layers))]
    with panels(width=6.5) as (figure, (axes,)):
        bars(axes, labels, shares, digits=-1)
        axes.set_ylabel("learnt share of the layer")
        axes.axhline(1 / layers, color="gray", linewidth=0.8, linestyle=":")  # where every mix begins
        figure.savefig(path)


def draw_curves(scores: dict[Run, dict], path: Path) -> None:
    """Lines with error bars: for each task the measure by the number of training examples."""
    files = sorted({run.settings for run in scores})
    with panels(len(files), width=3.8, height=3) as (figure, all_axes):
        for axes, file in zip(all_axes, files):
            settings = read_settings(file)
            measure, times = settings["measure"], scale(settings)
            for encoder, color, marker, dashes in zip(CURVES, COLORS, MARKERS, DASHES):
                points = sorted(
                    (
                        found["runs"][0]["train_examples"],
                        times * found["mean"][measure],
                        times * found["std"].get(measure, 0),
                    )
                    for run, found in scores.items()
                    if run.settings == file and run.encoder == encoder
                )
                look = {"color": color, "marker": marker, "linestyle": dashes, "capsize": 2}
                axes.errorbar(
                    *zip(*[point[:2] for point in points]), [point[2] for point in points], label=encoder, **look
                )
            axes.set_xscale("log")
            axes.minorticks_off()
            numbers = sorted(
                {found["runs"][0]["train_examples"] for run, found in scores.items() if run.settings == file}
            )
            axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
            axes.set_title(file.stem)
            axes.set_xlabel("training examples")
            axes.set_ylabel(measure.removeprefix("test_"))
            axes.legend()
        figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="A pretrained encoder, a folder or a name on the Hub.")
    parser.add_argument("--tasks", nargs="+", required=True, type=Path, metavar="SETTINGS.json")
    parser.add_argument("--output_dir", required=True, type=Path, help="Of the runs: models, predictions, results.")
    parser.add_argument("--seeds", nargs="+", default=[1, 2, 3], type=int)
    parser.add_argument("--fractions", nargs="+", default=[0.01, 0.1, 1.0], type=float)
    parser.add_argument("--figures", type=Path, help="Draw the plots into this folder.")
    arguments = parser.parse_args()

    whole = [Run(file, encoder, 1.0) for file in arguments.tasks for encoder in ENCODERS]
    parts = [Run(file, name, part) for file in arguments.tasks for name in CURVES for part in arguments.fractions]
    found = {run: results(run, arguments) for run in dict.fromkeys([*whole, *parts])}

    rows = []
    for run in whole:
        shares = ", ".join(f"{share:.2f}" for share in mean_shares(found[run]))
        settings = read_settings(run.settings)
        rows.append([run.task, run.encoder, settings["measure"], percent(found[run], settings), shares])
    print_table("All examples", ["task", "encoder", "measure", "mean ± deviation", "learnt shares"], rows)
    rows = []
    for run in parts:
        examples = str(found[run]["runs"][0]["train_examples"])
        rows.append([run.task, run.encoder, examples, percent(found[run], read_settings(run.settings))])
    print_table("Parts of the examples", ["task", "encoder", "training examples", "mean ± deviation"], rows)
    if arguments.figures:
        arguments.figures.mkdir(parents=True, exist_ok=True)
        learnt = {run.task: mean_shares(found[run]) for run in whole if run.encoder == "pretrained"}
        draw_shares(learnt, arguments.figures / "layer-shares.png")
        if len(arguments.fractions) > 1:
            draw_curves({run: found[run] for run in parts}, arguments.figures / "sample-efficiency.png")


if __name__ == "__main__":
    main()
