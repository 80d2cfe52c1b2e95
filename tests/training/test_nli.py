"""`python -m hf_elmo.training.nli`, from files to a model that other programs use."""

import csv
import json
import random

import pytest
import torch
import toy_tasks
from shaken import shake
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import hf_elmo
from hf_elmo.training import nli

pytestmark = pytest.mark.slow  # each test trains

ANSWERS = {"true": "entailment", "false": "contradiction", "unsure": "neutral"}
QUIET = ["--plots", "False", "--use_cpu", "True", "--report_to", "none", "--disable_tqdm", "True"]
SMALL = {"sequence_size": 32, "classifier_dropout": 0.0, "head_dropout": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of an encoder, and sentences with others that say in one word whether they are true."""
    folder = tmp_path_factory.mktemp("nli")
    torch.manual_seed(0)
    shake(hf_elmo.ElmoModel(toy_tasks.config(word_vocab_size=0))).save_pretrained(folder / "elmo")
    toy_tasks.tokenizer().save_pretrained(folder / "elmo")
    for seed, (split, count) in enumerate({"train": 120, "dev": 30, "test": 30}.items()):
        chance, rows = random.Random(seed), []
        for number, words in enumerate(toy_tasks.sentences(count, seed)):
            answer = chance.choice([*ANSWERS])
            label = "-" if number % 10 == 9 else ANSWERS[answer]
            rows.append(
                {
                    "pairID": f"{split}{number}",
                    "sentence1": " ".join(words),
                    "sentence2": f"this is {answer}",
                    "gold_label": label,
                    "agreement": {"true": 5.0, "unsure": 3.0, "false": 1.0}[answer],
                }
            )
        write_lines(folder / f"{split}.jsonl", rows)
    return folder


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def command(folder, output, *more: str, overrides=SMALL, **files) -> list[str]:
    files = {"train": "train.jsonl", "validation": "dev.jsonl", "test": "test.jsonl", **files}
    return [
        *("--model_name_or_path", str(folder / "elmo"), "--output_dir", str(output), *QUIET),
        *(part for split, name in files.items() if name for part in (f"--{split}_file", str(folder / name))),
        *("--config_overrides", json.dumps(overrides), "--num_train_epochs", "6", "--learning_rate", "5e-3"),
        *("--per_device_train_batch_size", "16", "--load_best_model_at_end", "False", *more),
    ]


def trained(*arguments: str) -> int:
    return nli.main(list(arguments))


@pytest.fixture(scope="module")
def model(folder):
    assert trained(*command(folder, folder / "model")) == 0
    return folder / "model"


def results(output):
    return json.loads((output / "all_results.json").read_text())


def test_it_learns_and_says_what_it_measured(model):
    found = results(model)
    assert found["mean"]["eval_accuracy"] == found["mean"]["test_accuracy"] == 1.0
    assert found["runs"][0]["train_examples"] == 108  # those with a label
    assert {name for name in found["mean"] if name.startswith("test_f1")} == {
        *("test_f1_contradiction", "test_f1_entailment", "test_f1_neutral")
    }
    card = (model / "README.md").read_text()
    assert "accuracy" in card
    assert "hf_elmo.training.nli" in card


def test_predictions_go_by_the_ids_of_the_corpus(model, folder):
    with open(model / "test_predictions.tsv", newline="") as file:
        predicted = {row["id"]: row["prediction"] for row in csv.DictReader(file, delimiter="\t")}
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    assert {*predicted} == {row["pairID"] for row in rows}, "pairs without a gold label are predicted too"
    assert {id: predicted[id] for id in (row["pairID"] for row in rows if row["gold_label"] != "-")} == {
        row["pairID"]: row["gold_label"] for row in rows if row["gold_label"] != "-"
    }


def test_pipelines(model):
    labels = [*ANSWERS]
    zero_shot = pipeline("zero-shot-classification", model=str(model))
    found = zero_shot("Ada met Max", candidate_labels=labels, hypothesis_template="this is {}")
    assert found["labels"][0] == "true"
    assert found["scores"][0] > 0.5
    alone = zero_shot("Ada met Max", candidate_labels=labels, hypothesis_template="this is {}", multi_label=True)
    says = dict(zip(alone["labels"], alone["scores"]))
    assert says["true"] > 0.5 > says["false"]  # entailment against contradiction
    classify = pipeline("text-classification", model=str(model))
    pairs = [{"text": "Ada met Max", "text_pair": f"this is {answer}"} for answer in ANSWERS]
    assert [answer["label"] for answer in classify(pairs)] == [*ANSWERS.values()]


def test_the_model_and_its_labels_load_again(model):
    loaded = AutoModelForSequenceClassification.from_pretrained(model)
    assert loaded.config.id2label == {0: "contradiction", 1: "entailment", 2: "neutral"}
    assert loaded.config.problem_type == "single_label_classification"
    assert loaded.config.sequence_encoder == "esim"
    batch = AutoTokenizer.from_pretrained(model)("Ada met Max", "this is unsure", return_tensors="pt")
    assert loaded.eval()(**batch).logits.argmax() == 2


def test_a_trained_model_labels_files_without_labels(model, folder, tmp_path):
    rows = [{"premise": "Ada met Max", "hypothesis": f"this is {answer}"} for answer in ANSWERS]
    write_lines(tmp_path / "new.jsonl", rows)
    arguments = ["--model_name_or_path", str(model), "--test_file", str(tmp_path / "new.jsonl"), *QUIET]
    assert trained(*arguments, "--output_dir", str(tmp_path / "out")) == 0
    expected = ["id\tprediction", *(f"{number}\t{label}" for number, label in enumerate(ANSWERS.values(), start=1))]
    assert (tmp_path / "out" / "test_predictions.tsv").read_text().splitlines() == expected
    assert results(tmp_path / "out")["mean"] == {}


def test_relatedness(folder, tmp_path):
    arguments = command(folder, tmp_path, "--regression", "True", "--label_column", "agreement")
    assert trained(*arguments, "--num_train_epochs", "15", "--save_strategy", "no") == 0
    found = results(tmp_path)
    assert found["mean"]["test_pearson"] > 0.95
    assert {"test_spearman", "test_mse"} <= found["mean"].keys()
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["problem_type"] == "regression"
    lines = (tmp_path / "test_predictions.tsv").read_text().splitlines()[1:]
    assert all(0 < float(line.split("\t")[1]) < 6 for line in lines)
    assert len(lines) == 30


@pytest.mark.parametrize("options", [["--freeze_encoder", "False"], ["--cache_encoder_outputs", "False"]])
def test_smoke(folder, tmp_path, options):
    limits = [part for split in ("train", "eval", "predict") for part in (f"--max_{split}_samples", "6")]
    assert trained(*command(folder, tmp_path, *limits, *options, "--num_train_epochs", "1")) == 0
    assert results(tmp_path)["runs"][0]["train_examples"] == 6


def row(label="neutral", **more):
    return {"sentence1": "Ada met Max", "sentence2": "this is unsure", "gold_label": label, **more}


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, "bad.jsonl: there is no example for train in it"),
        ([row(), row(sentence2=3)], {}, "bad.jsonl, line 2: sentence2 must be a sentence, but is 3"),
        ([row("-")], {}, "bad.jsonl: there is no example for train in it; 1 left out: pairs without a label"),
        ([row(), row()], {}, "bad.jsonl: all 2 labels are 'neutral', read from column gold_label: name the column"),
        (
            [row("Neutral"), row("Contradiction")],
            {},
            "dev.jsonl, line 1: labels are contradiction, entailment, neutral, but the model's are Neutral, ",
        ),
        ([row()], {"--first_column": "premises"}, "bad.jsonl, line 1: there is no column 'premises', only sentence1"),
        (
            [row("3"), row("much")],
            {"--regression": "True"},
            "bad.jsonl, line 2: a label to regress on must be a number, but is 'much'",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, capsys, rows, options, message):
    write_lines(folder / "bad.jsonl", rows)
    more = [part for option in options.items() for part in option]
    assert trained(*command(folder, folder / "refused", *more, train="bad.jsonl")) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("nli: error: ")
    assert message in error
    assert not (folder / "refused").exists()


def test_labels_that_training_never_saw_count_as_wrong(model, tmp_path, caplog):
    write_lines(tmp_path / "test.jsonl", [row(), row("paradox")])
    arguments = ["--model_name_or_path", str(model), "--test_file", str(tmp_path / "test.jsonl"), *QUIET]
    with caplog.at_level("INFO"):
        assert trained(*arguments, "--output_dir", str(tmp_path / "out")) == 0
    assert "test: 1 pairs have labels that the model does not know, which count as wrong: paradox" in caplog.text
    assert results(tmp_path / "out")["mean"]["test_accuracy"] == 0.5


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--metric_for_best_model", "bleu", "--metric_for_best_model bleu: the metrics are loss, accuracy"),
        ("--train_fraction", "0.5", "--train_fraction 0.5: there is no training data to draw from"),
    ],
)
def test_options_are_checked_without_training_too(model, tmp_path, capsys, option, value, message):
    write_lines(tmp_path / "test.jsonl", [row(), row()])
    arguments = ["--model_name_or_path", str(model), "--test_file", str(tmp_path / "test.jsonl"), *QUIET]
    assert trained(*arguments, option, value, "--output_dir", str(tmp_path / "out")) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
