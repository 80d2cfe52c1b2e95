"""`python -m hf_elmo.training.classify` beyond one label a text: any number of labels, values, weights of classes."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_tasks
from toy_finetuning import COUNTS, QUIET, SMALL, write_encoder
from transformers import pipeline
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_elmo.training import classify
from hf_elmo.training.arguments import TextLabelArguments
from hf_elmo.training.classify import balanced_loss
from hf_elmo.training.data.texts import read_texts
from hf_elmo.training.labels import DEFAULT_METRICS, TextLabels
from hf_elmo.training.metrics import multi_label_scores

KINDS = {1: "place", 2: "person"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Texts with the kinds of names in them, as a list, and the fraction of words that are names of persons."""
    folder = tmp_path_factory.mktemp("classify")
    write_encoder(folder / "encoder")
    for seed, (split, count) in enumerate(COUNTS.items()):
        with open(folder / f"{split}.jsonl", "w") as file:
            for words in toy_tasks.sentences(2 * count, seed):
                kinds = sorted({KINDS[toy_tasks.kind(word)] for word in words if toy_tasks.kind(word)})
                row = {"text": " ".join(words), "kinds": kinds, "share": toy_tasks.names_in(words) / len(words)}
                file.write(json.dumps(row) + "\n")
    return folder


def run(folder: Path, output: Path, column: str, *more: str) -> int:
    files = [part for split in COUNTS for part in (f"--{split}_file", str(folder / f"{split}.jsonl"))]
    options = ["--model_name_or_path", str(folder / "encoder"), "--output_dir", str(output), "--label_column", column]
    options += ["--config_overrides", json.dumps(SMALL), "--learning_rate", "0.02", "--num_train_epochs", "12"]
    return classify.main([*options, *files, *QUIET, "--per_device_train_batch_size", "16", *more])


def predictions(output: Path) -> list[str]:
    with open(output / "test_predictions.tsv", newline="") as file:
        return [row["prediction"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def results(output: Path) -> dict:
    return json.loads((output / "all_results.json").read_text())["mean"]


@pytest.mark.slow
def test_any_number_of_labels(folder, tmp_path):
    assert run(folder, tmp_path, "kinds", "--problem_type", "multi_label") == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert list(config["id2label"].values()) == ["place", "person"]
    found = results(tmp_path)
    assert found["test_micro_f1"] > 0.9
    gold = [json.loads(line)["kinds"] for line in (folder / "test.jsonl").read_text().splitlines()]
    assert [] in gold
    predicted = [json.loads(line) for line in predictions(tmp_path)]
    for name, value in multi_label_scores(gold, predicted).items():
        assert found[f"test_{name}"] == pytest.approx(value)
    (scores,) = pipeline("text-classification", str(tmp_path), top_k=None)(["Ada met Max"])
    assert {one["label"]: one["score"] > 0.5 for one in scores} == {"person": True, "place": False}


@pytest.mark.slow
def test_values(folder, tmp_path):
    assert run(folder, tmp_path, "share", "--problem_type", "regression") == 0
    found = results(tmp_path)
    assert found["test_pearson"] > 0.8
    assert {"test_mse", "test_spearman"} <= found.keys()
    assert len([float(value) for value in predictions(tmp_path)]) == 2 * COUNTS["test"]


@pytest.mark.parametrize(
    ("column", "options", "message"),
    [
        ("kinds", [], "labels (person, place), where a text must have one: --first_label True keeps the first, and "),
        ("kinds", ["--problem_type", "regression"], "a label to regress on must be a number, but is"),
        ("kinds", ["--problem_type", "many"], "--problem_type must be one of single_label, multi_label, regression"),
        ("share", ["--problem_type", "regression", "--class_weights", "balanced"], "--class_weights is for"),
        (
            "share",
            ["--problem_type", "regression", "--threshold", "0.3"],
            "--threshold is for --problem_type multi_label",
        ),
        ("kinds", ["--problem_type", "multi_label", "--threshold", "1"], "--threshold must be above 0 and below 1"),
        ("share", ["--text_pair_column", "reply"], "there is no column 'reply', only text, kinds, share"),
    ],
)
def test_what_does_not_fit_the_problem_type(folder, tmp_path, capsys, column, options, message):
    assert run(folder, tmp_path / "model", column, *options) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "model").exists()


def test_balanced_classes_have_the_same_total_weight():
    labels = ["a"] * 6 + ["b"] * 2
    loss = balanced_loss(labels, {"a": 0, "b": 1})
    logits = torch.randn(8, 2, requires_grad=True)
    ids = torch.tensor([0] * 6 + [1] * 2)
    by_text = torch.nn.functional.cross_entropy(logits, ids, reduction="none")
    expected = (by_text[:6].mean() + by_text[6:].mean()) / 2
    torch.testing.assert_close(loss(SequenceClassifierOutput(logits=logits), ids), expected)
    torch.testing.assert_close(loss(SequenceClassifierOutput(logits=logits), ids, torch.tensor(16)), expected / 2)


def test_the_threshold_is_a_probability():
    logits = np.log([[0.25 / 0.75, 0.35 / 0.65], [0.31 / 0.69, 0.6 / 0.4]])
    found = [
        TextLabels(None, {0: "a", 1: "b"}, "multi_label", threshold).predicted(None, logits)
        for threshold in (0.3, 0.5, 0.7)
    ]
    assert found == [[["b"], ["a", "b"]], [[], ["b"]], [[], []]]


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["single_label", "multi_label"])
def test_pairs_of_texts(tmp_path, problem):
    """Whether both texts name a person."""
    write_encoder(tmp_path / "encoder")
    for seed, (split, count) in enumerate(COUNTS.items()):
        draw, rows = random.Random(seed), []
        for _ in range(4 * count):
            names = draw.choice([*toy_tasks.NAMES, *toy_tasks.PLACES]), draw.choice(toy_tasks.NAMES)
            alike = "alike" if toy_tasks.kind(names[0]) == 2 else "other"
            label = [alike] if problem == "multi_label" else alike
            rows.append({"text": f"{names[0]} left", "reply": f"{names[1]} again", "label": label})
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = ["--text_pair_column", "reply", "--problem_type", problem, "--num_train_epochs", "6"]
    assert run(tmp_path, tmp_path / "model", "label", *more) == 0
    assert results(tmp_path / "model")[f"test_{DEFAULT_METRICS[problem]}"] > 0.9
    examples = read_texts(
        TextLabelArguments(train_file=str(tmp_path / "train.jsonl"), text_pair_column="reply", problem_type=problem)
    ).train
    tokenizer = toy_tasks.tokenizer()
    dataset = TextLabels(tokenizer, {0: "alike", 1: "other"}, problem).encode(examples)
    expected = tokenizer(examples["text"][0], examples["text_pair"][0])["input_ids"]
    assert dataset.features[0]["input_ids"].tolist() == expected


@pytest.mark.slow
def test_class_weights_change_what_is_learned(folder, tmp_path):
    options = ["--first_label", "True", "--num_train_epochs", "1"]
    for name in ("none", "balanced"):
        assert run(folder, tmp_path / name, "kinds", *options, "--class_weights", name) == 0
    assert results(tmp_path / "none")["eval_loss"] != results(tmp_path / "balanced")["eval_loss"]


def test_scores_of_any_number_of_labels_by_hand():
    gold = [["a", "b"], ["a"], [], ["c"]]
    predicted = [["a"], ["b"], [], ["c", "a"]]
    scores = multi_label_scores(gold, predicted)
    assert scores["micro_f1"] == pytest.approx(2 * 2 / (4 + 4))
    assert scores["f1_a"] == pytest.approx(2 * 1 / (2 + 2))
    assert (scores["f1_b"], scores["f1_c"]) == (0.0, 1.0)
    assert scores["macro_f1"] == pytest.approx(0.5)
    assert scores["accuracy"] == 0.25
