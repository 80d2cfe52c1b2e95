"""The scripts that train a task, as users run them: they learn, report, cache, repeat, go on where they stopped."""

import json
import os
import shutil
import statistics
import subprocess
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Sequence, Value
from fresh_process import REPOSITORY, forking_python, run_python
from huggingface_hub import ModelCard
from loopback_hub import card_errors, running_hub
from safetensors.torch import load_file
from torch.testing import assert_close
from toy_finetuning import command, tagged, write_texts, write_words
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from hf_elmo import ElmoForTokenClassification
from hf_elmo.model.modeling_elmo import ElmoModel
from hf_elmo.training.metrics import entity_scores

pytestmark = pytest.mark.slow  # each test trains


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return write_words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def tagger(words, tmp_path_factory):
    """A run of 12 epochs, so that the task is learnt."""
    output = tmp_path_factory.mktemp("tagger")
    assert not tagged(*command(words, output, "--num_train_epochs", "12", "--seed", "3"))
    return output


def results_of(folder: Path) -> dict:
    return json.loads((folder / "all_results.json").read_text())


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same_weights(one: Path, other: Path):
    weights, others = weights_of(one), weights_of(other)
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, others[name]), name


# ---- What a run leaves


def test_it_learns_and_reports_what_it_measured(words, tagger):
    results = results_of(tagger)
    (run,) = results["runs"]
    assert run["eval_f1"] > 0.9
    assert run["test_f1"] > 0.9
    assert results["mean"]["test_f1"] == run["test_f1"]
    assert results["std"] == {}
    assert (run["seed"], results["best_seed"]) == (3, 3)
    assert [run[f"{split}_examples"] for split in ("train", "validation", "test")] == [128, 20, 20]
    (shares,) = run["mix_weights"]
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert len(set(shares)) == 3, "the mix has not learnt"
    assert run["seconds"] > 0


def test_predictions_are_those_of_the_saved_model_in_the_order_of_the_file(words, tagger):
    """Read back, they have the words and labels of the file, and the scores that were reported."""
    sentences = [block.split("\n") for block in (tagger / "test_predictions.conll").read_text().strip().split("\n\n")]
    columns = [list(zip(*(line.split(" ") for line in lines))) for lines in sentences]
    expected = [block.split("\n") for block in (words / "test.conll").read_text().strip().split("\n\n")]
    assert [["\t".join(row) for row in zip(*rows[:2])] for rows in columns] == expected
    scores = entity_scores([rows[1] for rows in columns], [rows[2] for rows in columns])
    run = results_of(tagger)["runs"][0]
    assert {name: run[f"test_{name}"] for name in scores} == pytest.approx(scores)

    model = AutoModelForTokenClassification.from_pretrained(tagger).eval()
    tokenizer = AutoTokenizer.from_pretrained(tagger)
    for rows in columns:
        batch = tokenizer([list(rows[0])], is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            labels = model(**batch).logits[0, 1:-1].argmax(-1).tolist()
        assert [model.config.id2label[label] for label in labels] == list(rows[2])


def test_the_folder_is_a_model_that_the_pipeline_takes(tagger):
    names = {path.name for path in tagger.iterdir()}
    assert {"config.json", "model.safetensors", "README.md", "all_results.json", "trainer_state.json"} <= names
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pth"))}
    found = pipeline("token-classification", str(tagger), aggregation_strategy="simple")("Ada met Max in Rome today")
    assert {(one["entity_group"], one["word"]) for one in found} == {("PER", "Ada"), ("PER", "Max"), ("LOC", "Rome")}


def test_the_card_says_what_was_done_and_measured(tagger):
    card, run = ModelCard.load(tagger / "README.md"), results_of(tagger)["runs"][0]
    measured = {(result.dataset_split, result.metric_type): result for result in card.data.eval_results}
    assert measured["test", "f1"].metric_value == pytest.approx(run["test_f1"])
    assert measured["validation", "f1"].dataset_name == "validation.conll"
    assert measured["test", "f1"].task_type == card.data.pipeline_tag == "token-classification"
    for fact in (
        "python -m hf_elmo.training.ner --model_name",
        "128 examples",
        "frozen",
        "learning rate 0.02",
        "layer 2",
    ):
        assert fact in card.text
    assert "language-model head" not in card.text


def test_texts_are_classified_from_the_command_line(texts, tmp_path):
    """As a process of its own, by a file of arguments; what the command line says goes before the file."""
    settings = command(texts, tmp_path / "model", "--num_train_epochs", "12", splits=("train", "validation"))
    settings = dict(zip((name.removeprefix("--") for name in settings[::2]), settings[1::2]))
    settings = {name: json.loads(value) if value[0].isdigit() else value for name, value in settings.items()}
    settings |= {
        "config_overrides": json.loads(settings["config_overrides"]),
        "_source": "a note",
        "num_train_epochs": 1,
    }
    settings |= {"use_cpu": True, "disable_tqdm": True}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    more = ["--test_file", str(texts / "test.txt"), "--num_train_epochs", "12", "--early_stopping_patience", "0"]
    arguments = [
        forking_python("everything"),
        "-m",
        "hf_elmo.training.sentiment",
        str(tmp_path / "settings.json"),
        *more,
    ]
    subprocess.run(arguments, check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    results = results_of(tmp_path / "model")
    assert results["runs"][0]["steps"] == 12 * 8
    assert results["mean"]["eval_accuracy"] > 0.7  # 0.65 have the label 0
    lines = (tmp_path / "model" / "test_predictions.tsv").read_text().splitlines()
    gold = [line[0] for line in (texts / "test.txt").read_text().splitlines()]
    assert lines[0] == "index\tprediction"
    assert [line.split("\t")[0] for line in lines[1:]] == [str(number) for number in range(20)]
    right = sum(line.split("\t")[1] == label for line, label in zip(lines[1:], gold))
    assert results["mean"]["test_accuracy"] == pytest.approx(right / 20)


# ---- Several runs


def test_several_runs_have_a_mean_and_a_deviation_and_the_best_is_kept(words, tmp_path, capsys):
    several = command(words, tmp_path / "several", "--seeds", "5", "6", "--cache_dir", str(tmp_path / "cache"))
    assert not tagged(*several)
    results, output = results_of(tmp_path / "several"), tmp_path / "several"
    for measure in ("eval_f1", "test_f1", "test_accuracy"):
        values = [run[measure] for run in results["runs"]]
        assert results["mean"][measure] == pytest.approx(statistics.mean(values))
        assert results["std"][measure] == pytest.approx(statistics.stdev(values))
    best = max(results["runs"], key=lambda run: run["eval_f1"])["seed"]
    assert results["best_seed"] == best
    assert_same_weights(output, output / f"seed-{best}")
    assert f"| seed {best} |" in (output / "README.md").read_text()
    assert len(list((tmp_path / "cache").iterdir())) == 3, "an encoder's layers are computed once for all seeds"
    # A run by itself is the same as among others, and one that came to its end is not repeated.
    assert not tagged(*command(words, tmp_path / "six", "--seed", "6"))
    assert_same_weights(tmp_path / "six", output / "seed-6")
    before = (output / "seed-6" / "model.safetensors").stat().st_mtime_ns
    shutil.rmtree(output / "seed-5")
    for seeds in (["6"], ["5", "6"]):  # other seeds of the same settings are another selection, not another run
        assert not tagged(*command(words, output, "--seeds", *seeds))
        assert [str(run["seed"]) for run in results_of(output)["runs"]] == seeds
    assert (output / "seed-6" / "model.safetensors").stat().st_mtime_ns == before
    assert results_of(output)["mean"] == results["mean"]


# ---- Encoder


class Counter:
    def __init__(self):
        self.calls = 0

    def __call__(self, *args, **kwargs):
        self.calls += 1


def test_a_cached_encoder_is_not_run_in_training_and_the_result_is_the_same(words, tmp_path, monkeypatch):
    counter, run_layers = Counter(), ElmoModel.run_layers

    def counted(self, *args, **kwargs):
        counter()
        return run_layers(self, *args, **kwargs)

    monkeypatch.setattr(ElmoModel, "run_layers", counted)
    cached = command(words, tmp_path / "cached", "--cache_dir", str(tmp_path / "cache"), lstm_dropout=0.3)
    assert not tagged(*cached)
    assert counter.calls == 3, "one batch of each split"
    assert not tagged(*command(words, tmp_path / "again", "--cache_dir", str(tmp_path / "cache"), lstm_dropout=0.3))
    assert counter.calls == 3, "the files of an earlier run are used"
    plain = command(words, tmp_path / "plain", "--cache_encoder_outputs", "False", lstm_dropout=0.3)
    assert not tagged(*plain)
    assert counter.calls > 3 + 3 * 8
    weights = weights_of(tmp_path / "plain")
    assert_same_weights(tmp_path / "cached", tmp_path / "again")
    for name, weight in weights_of(tmp_path / "cached").items():
        assert_close(weight, weights[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_a_frozen_encoder_stays_as_it_was_and_a_tuned_one_does_not(words, tmp_path):
    encoder = {f"elmo.{name}": weight for name, weight in weights_of(words / "encoder").items()}
    assert not tagged(*command(words, tmp_path / "frozen"))
    assert not tagged(*command(words, tmp_path / "tuned", "--freeze_encoder", "False"))
    frozen, tuned = weights_of(tmp_path / "frozen"), weights_of(tmp_path / "tuned")
    for name, weight in encoder.items():
        if "scalar_mixes" in name:
            assert not torch.equal(frozen[name], weight), name
        else:
            assert torch.equal(frozen[name], weight), name
            assert "embeddings" in name or not torch.equal(tuned[name], weight), name


def test_random_encoders_differ_by_seed_and_are_kept_frozen(words, tmp_path):
    options = ["--random_encoder", "True", "--seeds", "1", "2", "--max_steps", "2", "--save_strategy", "no"]
    options += ["--eval_strategy", "no", "--load_best_model_at_end", "False"]
    assert not tagged(*command(words, tmp_path, *options))
    name = "elmo.layers.0.forward_lstm.input_gates.weight"
    first, second = (weights_of(tmp_path / f"seed-{seed}")[name] for seed in (1, 2))
    given = weights_of(words / "encoder")[name.removeprefix("elmo.")]
    assert not torch.equal(first, second)
    assert not torch.equal(first, given)
    assert "random and never trained" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("choice", "shares"), [("mean", [1 / 3] * 3), ("top", [0, 0, 1]), ("0", [1, 0, 0]), ("1", [0, 1, 0])]
)
def test_fixed_mixes(words, tmp_path, choice, shares):
    assert not tagged(*command(words, tmp_path, "--mix", choice, "--max_train_samples", "16"))
    run = results_of(tmp_path)["runs"][0]
    assert run["mix_weights"][0] == pytest.approx(shares, abs=1e-6)
    assert run["mix_scales"] == [1.0]
    assert run["train_examples"] == 16
    model = ElmoForTokenClassification.from_pretrained(tmp_path)
    assert not any(parameter.requires_grad for parameter in model.elmo.scalar_mixes.parameters())


def test_the_penalty_is_of_the_mixes_weights_alone_and_once_a_step(words, tmp_path):
    """One step of plain gradient descent in two parts, without and with it: by hand, what the difference must be."""
    options = ["--optim", "sgd", "--max_steps", "1", "--max_grad_norm", "0", "--gradient_accumulation_steps", "2"]
    options += ["--save_strategy", "no", "--eval_strategy", "no", "--load_best_model_at_end", "False"]
    initial, rate, strength = weights_of(words / "encoder")["scalar_mixes.0.weights"], 0.02, 0.5
    for name in ("without", "with"):
        penalty = ["--mix_l2", str(strength)] if name == "with" else []
        arguments = command(words, tmp_path / name, *options, *penalty)
        assert not tagged(*arguments)
    plain, penalized = weights_of(tmp_path / "without"), weights_of(tmp_path / "with")
    for name, weight in plain.items():
        if name == "elmo.scalar_mixes.0.weights":
            expected = weight - rate * 2 * strength * initial
            assert_close(penalized[name], expected, rtol=0, atol=1e-6)
        else:
            assert torch.equal(penalized[name], weight), name


# ---- Data sets, and the Hub


def test_a_data_set_with_classes_and_splits_of_other_names(words, tagger, tmp_path):
    """Names stand in place of the numbers of its classes; the result is that of the files with the same sentences."""
    classes = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    features = Features(
        {"id": Value("string"), "tokens": Sequence(Value("string")), "tags": Sequence(ClassLabel(names=classes))}
    )
    for name, split in (("train", "train"), ("dev", "validation"), ("eval", "test")):
        blocks = (words / f"{split}.conll").read_text().strip().split("\n\n")
        rows = [[line.split("\t") for line in block.split("\n")] for block in blocks]
        columns = {
            "id": [str(number) for number in range(len(rows))],
            "tokens": [[word for word, _ in row] for row in rows],
            "tags": [[classes.index(label) for _, label in row] for row in rows],
        }
        (tmp_path / "data").mkdir(exist_ok=True)
        Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "data" / f"{name}.parquet")
    (tmp_path / "data" / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        + "".join(f"  - split: {name}\n    path: {name}.parquet\n" for name in ("train", "dev", "eval"))
        + "---\n"
    )
    arguments = command(words, tmp_path / "model", "--num_train_epochs", "12", "--seed", "3", splits=())
    arguments += ["--dataset_name", str(tmp_path / "data"), "--validation_split", "dev", "--test_split", "eval"]
    assert not tagged(*arguments)
    assert_same_weights(tmp_path / "model", tagger)
    assert (tmp_path / "model" / "test_predictions.conll").read_text() == (
        tagger / "test_predictions.conll"
    ).read_text()


SEVERAL = """
import json, sys
from hf_elmo.training import ner

def run(name, arguments):
    print(f"--- {name}", file=sys.stderr)
    return ner.main(arguments)

print(json.dumps({name: run(name, arguments) for name, arguments in json.loads(sys.argv[1]).items()}))
"""


@pytest.fixture(scope="module")
def pushed(words, tmp_path_factory):
    """What came of pushing with each of three tokens, in one process: exit codes and errors, folder and repository."""
    home = tmp_path_factory.mktemp("pushed")
    with running_hub() as hub:
        commands = {}
        for token in ("hf_reads", "hf_no", "hf_writes"):
            options = ["--push_to_hub", "True", "--hub_model_id", "ada/tagger", "--hub_token", token]
            options += ["--seeds", "1", "2", "--license", "mit", "--language", "en", "--num_train_epochs", "1"]
            commands[token] = command(words, home / token[3:], *options)
        environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(REPOSITORY)}
        run = run_python("-c", SEVERAL, json.dumps(commands), home=home, **environment)
        files = hub.repositories["ada/tagger"].files
    errors = {part.split()[0]: part.strip().splitlines()[-1] for part in run.stderr.split("--- ")[1:]}
    return json.loads(run.stdout.splitlines()[-1]), errors, home, files


def test_what_is_pushed_is_the_best_model_its_code_and_its_card(pushed):
    codes, _, home, files = pushed
    assert codes["hf_writes"] == 0
    assert {"model.safetensors", "config.json", "token_classification_elmo.py", "all_results.json"} <= {*files}
    assert not [
        name for name in files if name.startswith(("checkpoint-", "seed-", "_", "run_")) or name.endswith(".bin")
    ]
    assert files["model.safetensors"] == (home / "writes" / "model.safetensors").read_bytes()
    card = ModelCard(files["README.md"].decode())
    assert card_errors(card.content) == []
    assert (card.data.license, card.data.language) == ("mit", "en")
    assert "of 2 runs" in card.text
    assert "hf_writes" not in "".join(content.decode(errors="replace") for content in files.values())


def test_a_token_that_may_not_write_is_refused_before_training(pushed):
    """As is no token at all; and nothing has been written."""
    codes, errors, home, _ = pushed
    for token, message in (("hf_reads", "the token may not write there"), ("hf_no", "wants a token that it knows")):
        assert codes[token] == 2
        assert message in errors[token]
        assert not (home / token[3:]).exists()


# ---- Labels


@pytest.mark.parametrize(
    ("scheme", "labels"),
    [("bioul", "O B-LOC I-LOC L-LOC U-LOC B-PER I-PER L-PER U-PER".split()), ("keep", "O B-LOC B-PER".split())],
)
def test_labels_that_the_model_learns(words, tagger, tmp_path, scheme, labels):
    """Whatever it learns, predictions are written, and scored, as B- and I-; `keep` says what is strict too."""
    assert not tagged(*command(words, tmp_path, "--label_scheme", scheme, "--num_train_epochs", "12"))
    config = json.loads((tmp_path / "config.json").read_text())
    assert list(config["id2label"].values()) == labels
    lines = [line.split() for line in (tmp_path / "test_predictions.conll").read_text().splitlines() if line]
    expected = [line.split() for line in (tagger / "test_predictions.conll").read_text().splitlines() if line]
    assert [line[:2] for line in lines] == [line[:2] for line in expected]
    assert {line[2] for line in lines} <= {"O", "B-LOC", "I-LOC", "B-PER", "I-PER"}
    measures = results_of(tmp_path)["mean"]
    assert measures["test_f1"] > 0.9
    assert measures.get("test_strict_f1") == (measures["test_f1"] if scheme == "keep" else None)


def test_labels_that_mark_no_entities(words, tmp_path):
    """As of parts of speech: the best is what has the highest accuracy."""
    for split in ("train", "validation", "test"):
        text = (words / f"{split}.conll").read_text()
        for label, name in (("B-PER", "NAME"), ("B-LOC", "PLACE"), ("\tO", "\tX")):
            text = text.replace(label, name)
        (tmp_path / f"{split}.conll").write_text(text)
    shutil.copytree(words / "encoder", tmp_path / "encoder")
    assert not tagged(*command(tmp_path, tmp_path / "model", tagger_crf=False, tagger_layers=0))
    results = results_of(tmp_path / "model")
    assert {name for name in results["mean"] if name.startswith("test_")} == {"test_loss", "test_accuracy"}
    best = results["runs"][0]["best_step"]
    logs = json.loads((tmp_path / "model" / "trainer_state.json").read_text())["log_history"]
    accuracies = {log["step"]: log["eval_accuracy"] for log in logs if "eval_accuracy" in log}
    assert accuracies[best] == max(accuracies.values())


# ---- Parts of the data


def test_a_fraction_of_the_examples_is_drawn_anew_for_each_seed(words, tmp_path):
    assert not tagged(*command(words, tmp_path, "--train_fraction", "0.1", "--seeds", "1", "2", "--max_steps", "1"))
    assert [run["train_examples"] for run in results_of(tmp_path)["runs"]] == [13, 13]


def test_a_trained_model_labels_new_text_without_learning(words, tagger, tmp_path):
    """With labels it is scored, without it is not; what it says is what it said when it was trained."""
    arguments = command(words, tmp_path / "out", splits=("test",))
    arguments[1] = str(tagger)
    assert not tagged(*arguments)
    assert results_of(tmp_path / "out")["mean"]["test_f1"] == results_of(tagger)["mean"]["test_f1"]
    assert not (tmp_path / "out" / "model.safetensors").exists()
    lines = (words / "test.conll").read_text().splitlines()
    (tmp_path / "test.conll").write_text("\n".join(line.split("\t")[0] for line in lines) + "\n")
    arguments[arguments.index("--test_file") + 1] = str(tmp_path / "test.conll")
    arguments[arguments.index("--output_dir") + 1] = str(tmp_path / "bare")
    assert not tagged(*arguments)
    assert results_of(tmp_path / "bare")["mean"].keys() <= {"test_loss"}
    expected = (tagger / "test_predictions.conll").read_text().splitlines()
    expected = [line and f"{line.split()[0]} {line.split()[2]}" for line in expected]
    assert (tmp_path / "bare" / "test_predictions.conll").read_text().splitlines() == expected
