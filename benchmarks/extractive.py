"""Summaries by selection: of each text the sentence that a classifier of sentences prefers, scored by ROUGE.

    python benchmarks/extractive.py --model MODEL --train train.jsonl --test test.jsonl --output_dir FOLDER \\
        [--generated FOLDER] [--papers N] [--max_steps N] [--seeds 1 2 3]

Files are those of SciTLDR: `source`, a list of sentences, and `target`, a list of summaries. The script
`hf_elmo.training.classify` learns the ROUGE-1 of each sentence with the summaries, from ELMo and nothing else: it knows
neither the place of a sentence nor its neighbors. The table has the first sentence and the best one, chosen with the
summaries in hand, beside those selected, and what `hf_elmo.training.seq2seq` wrote for the same test file.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

from hf_elmo.training.target_texts import ROUGE, load_metrics, score_texts

HEAD = {"sequence_encoder": "pooling", "pooling": "attention", "classifier_dropout": 0.2}


def read_papers(path: Path) -> list[dict]:
    """Return the rows that have sentences, without those sentences that are empty."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    papers = [{"sentences": [one for one in row["source"] if one.strip()], "targets": row["target"]} for row in rows]
    return [paper for paper in papers if paper["sentences"]]


def add_scores(papers: list[dict]) -> list[dict]:
    """Add the ROUGE-1 of each sentence, with the summary that it is most like."""
    scorer = load_metrics()[1]
    for paper in papers:
        found = [scorer.score_multi(paper["targets"], sentence) for sentence in paper["sentences"]]
        paper["scores"] = [scores["rouge1"].fmeasure for scores in found]
    return papers


def write_sentences(papers: list[dict], path: Path) -> Path:
    """Write a row for each sentence, with its score as the label."""
    rows = [{"text": text, "label": score} for paper in papers for text, score in zip(*map(paper.get, COLUMNS))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


COLUMNS = ("sentences", "scores")


def selected(papers: list[dict], predictions: Path) -> list[str]:
    """Return of each paper the sentence that has the highest prediction."""
    lines = predictions.read_text(encoding="utf-8").splitlines()[1:]
    values = iter([float(line.split("\t")[1]) for line in lines])
    return [max(zip([next(values) for _ in paper["sentences"]], paper["sentences"]))[1] for paper in papers]


def cells(papers: list[dict], versions: list[list[str]]) -> str:
    """Return mean and standard deviation of each ROUGE over versions of the summaries of the papers."""
    targets = [paper["targets"] for paper in papers]
    scores = [score_texts(list(zip(texts, targets, strict=True))) for texts in versions]
    columns = [[score[name] for score in scores] for name in ROUGE]
    return " | ".join(
        f"{statistics.mean(column):.1f}" + (f" ± {statistics.stdev(column):.1f}" if len(column) > 1 else "")
        for column in columns
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="A pretrained encoder, a folder or a name on the Hub.")
    parser.add_argument("--train", required=True, type=Path, metavar="FILE.jsonl")
    parser.add_argument("--test", required=True, type=Path, metavar="FILE.jsonl")
    parser.add_argument("--output_dir", required=True, type=Path, help="Of the classifiers and their sentences.")
    parser.add_argument("--generated", nargs="*", default=[], type=Path, help="Folders of runs of seq2seq.")
    parser.add_argument("--papers", type=int, help="Learn from the first ones only.")
    parser.add_argument("--max_steps", type=int, default=1000)
    parser.add_argument("--seeds", nargs="+", default=[1, 2, 3], type=int)
    arguments = parser.parse_args()

    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    train, test = add_scores(read_papers(arguments.train)[: arguments.papers]), add_scores(read_papers(arguments.test))
    files = {"train": write_sentences(train, arguments.output_dir / "train.jsonl")}
    files["test"] = write_sentences(test, arguments.output_dir / "test.jsonl")
    words = ["python", "-m", "hf_elmo.training.classify", "--model_name_or_path", arguments.model]
    words += [part for split, path in files.items() for part in (f"--{split}_file", str(path))]
    words += ["--problem_type", "regression", "--config_overrides", json.dumps(HEAD), "--learning_rate", "0.003"]
    words += ["--lr_scheduler_type", "linear", "--max_steps", str(arguments.max_steps), "--save_strategy", "no"]
    words += ["--seeds", *map(str, arguments.seeds), "--output_dir", str(arguments.output_dir / "classifier")]
    print(f"$ {shlex.join(words)}", flush=True)
    subprocess.run([sys.executable, *words[1:]], check=True)

    folders = [arguments.output_dir / "classifier" / f"seed-{seed}" for seed in arguments.seeds]
    rows = {
        "first sentence": [[paper["sentences"][0] for paper in test]],
        "selected sentence": [selected(test, folder / "test_predictions.tsv") for folder in folders],
        "best sentence": [[max(zip(paper["scores"], paper["sentences"]))[1] for paper in test]],
    }
    for folder in arguments.generated:
        files = sorted(folder.glob("seed-*/test_predictions.txt")) or [folder / "test_predictions.txt"]
        rows[folder.name] = [file.read_text(encoding="utf-8").split("\n")[:-1] for file in files]
    print(f"\n| summary | {' | '.join(ROUGE)} |\n|{' --- |' * (len(ROUGE) + 1)}")
    for name, versions in rows.items():
        print(f"| {name} | {cells(test, versions)} |")


if __name__ == "__main__":
    main()
