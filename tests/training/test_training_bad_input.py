"""What the scripts that train a task refuse, in one line and before anything is written, and what they only warn of."""

import json
import shutil

import pytest
import toy_tasks
from toy_finetuning import classified, command, tagged, write_texts, write_words

from hf_elmo import ElmoConfig, ElmoForTokenClassification
from hf_elmo.training import classify, ner, nli, qa


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return write_words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


def refused(capsys, script, *arguments: str) -> str:
    """The one line that is said of such arguments."""
    capsys.readouterr()
    assert script(*arguments) == 2
    name = {tagged: "ner", classified: "sentiment"}[script]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"{name}: error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer_config.json", b'"x"', "cannot be loaded: 'str' object "),
        ("tokenizer_config.json", b'{"split": "\xb5"}', "cannot be loaded: 'utf-8' codec can't decode byte 0xb5"),
        ("config.json", b"3", "cannot be loaded: "),
        (
            "config.json",
            b'{"model_type": "elmo", "tagger_size": ["O"]}',
            "cannot be loaded: Validation error for field",
        ),
        ("model.safetensors", b"x" * 100, "cannot be loaded: Error while deserializing header"),
    ],
    ids=["text", "encoding", "number", "field", "weights"],
)
def test_an_encoder_with_a_damaged_file_is_named(words, tmp_path, capsys, file, content, message):
    encoder = shutil.copytree(words / "encoder", tmp_path / "encoder")
    (encoder / file).write_bytes(content)
    line = refused(capsys, tagged, *command(words, tmp_path / "out", "--model_name_or_path", str(encoder)))
    assert f"{encoder}: {message}" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train_file", "nowhere.conll"], "nowhere.conll: no such file"),
        (["--word_column", "4"], "train.conll: --word_column 4, but its lines have 2 columns, 0 to 1"),
        (["--word_column", "tokens"], "--word_column must be a number in a file with a word per line"),
        (["--label_scheme", "iob1"], "--label_scheme must be one of bio, bioul, keep, plain, but is 'iob1'"),
        (["--dataset_name", "x"], "give the examples: either files (--train_file, ...) or --dataset_name"),
        (["--max_train_samples", "0"], "--max_train_samples must be at least 1, but is 0"),
        (["--train_fraction", "1.5"], "--train_fraction must be above 0 and at most 1, but is 1.5"),
        (["--model_name_or_path", "nowhere"], "nowhere"),
        (["--model_name_or_path", "/no/where"], "/no/where: there is no such folder"),
        (
            ["--model_name_or_path", "/proc/self/fd"],
            "/proc/self/fd: this folder has no config.json",
        ),
        (["--config_overrides", ""], "--config_overrides must be JSON"),
        (["--config_overrides", '{"id2label": {}}'], "--config_overrides: id2label follows from the data"),
        (["--label_names", "x"], "--label_names ['x']: these scripts have no use for it"),
        (["--batch_eval_metrics", "True"], "--batch_eval_metrics True: these scripts have no use for it"),
        (["--train_sampling_strategy", "x"], "--train_sampling_strategy must be one of group_by_length, random"),
        (["--split_column", "part"], "train.conll: it has no columns, of which --split_column part is one"),
        (["--word_column", "0", "--label_column", "0"], "train: words and labels are both read from column 0"),
        (["--cache_dir", "/dev/null"], "--cache_dir /dev/null: /dev/null is not a folder"),
        (["--config_overrides", "{"], "--config_overrides must be JSON"),
        (["--config_overrides", "[1]"], "--config_overrides must be an object"),
        (["--config_overrides", '{"cells": 3}'], "--config_overrides: the configuration has no cells"),
        (["--config_overrides", '{"tagger_size": 0}'], "`tagger_size` must be at least 1, but is 0"),
        (["--config_overrides", '{"cell_size": 30}'], "its weights do not fit the configuration (elmo.layers.0"),
        (["--mix", "4"], "--mix must be learnt, mean, top, or a layer from 0 to 2, but is '4'"),
        (["--mix_l2", "-1"], "--mix_l2 must not be negative, but is -1"),
        (["--seeds", "1", "1"], "--seeds must be different, but are 1 1"),
        (["--seeds", "1", "--resume_from_checkpoint", "x"], "--resume_from_checkpoint is for one run"),
        (["--num_train_epochs", "0"], "--num_train_epochs must be above 0, but is 0; or give --max_steps"),
        (["--per_device_train_batch_size", "0"], "--per_device_train_batch_size must be at least 1, but is 0"),
        (["--gradient_accumulation_steps", "-1"], "--gradient_accumulation_steps must be at least 1, but is -1"),
        (["--eval_accumulation_steps", "0"], "--eval_accumulation_steps must be at least 1, but is 0"),
        (["--max_grad_norm", "-1"], "--max_grad_norm must not be negative, but is -1"),
        (
            ["--lr_scheduler_type", "warmup_stable_decay"],
            "--lr_scheduler_type warmup_stable_decay, --lr_sched",
        ),
        (["--lr_scheduler_kwargs", "x"], "--lr_scheduler_type constant, --lr_scheduler_kwargs x: "),
        (["--save_steps", "inf"], "--save_steps must be a number, but is inf"),
        (["--learning_rate", "NaN"], "--learning_rate must be a number, but is NaN"),
        (["--do_train", "False"], "--do_train False: this script trains; hf-elmo apply and"),
        (["--do_eval=no"], "--do_eval no: leave out validation data"),
        (["--do_predict", "0"], "--do_predict 0: leave out test data"),
        (["--language", "en, de"], "--language 'en, de': give one language code, such as en or pt-BR"),
        (["--num_train_epochs=1e400"], "--num_train_epochs must be a number, but is 1e400"),
        (["--early_stopping_patience", "-1"], "--early_stopping_patience must not be negative"),
        (
            ["--metric_for_best_model", "bleu"],
            "--metric_for_best_model bleu: the metrics are loss, precision, recall, f1",
        ),
        (["--metric_for_best_model", "eval_acuracy"], "f1_PER; did you mean accuracy?"),
        (["--resume_from_checkpoint", "True"], "--resume_from_checkpoint: there is no checkpoint in "),
        (["--resume_from_checkpoint", "x"], "--resume_from_checkpoint x: not a checkpoint, as trainer_state.json is"),
        (["--report_to", "tensorbord"], "--report_to tensorbord: "),
        (["--report_to", "comet_ml"], "--report_to comet_ml: "),
        (["--optim", "adamw_bnb_8bit"], "--optim adamw_bnb_8bit: "),
        (["--optim", "adamw"], "argument --optim: invalid choice: 'adamw' (choose from "),
        (["--learning_rat", "1"], "no such argument: --learning_rat 1; did you mean --learning_rate?"),
        (["--lr", "1"], "no such argument: --lr 1; did you mean --learning_rate?"),
        (["--dev_file", "x"], "did you mean --validation_file?"),
        (["--q", "1"], "no such argument: --q 1; --help lists"),
        (["--train_file", "\udcff.conll"], "the argument \\udcff.conll is not UTF-8: rename the file"),
        (["--learning_rate", "fast"], "invalid float value: 'fast'"),
        (["--output_dir", ""], "--output_dir is missing"),
        (["--word_vectors", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--push_to_hub", "True", "--hub_strategy", "every_save"], "these scripts push once, at the end"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_settings(words, tmp_path, capsys, arguments, message):
    assert message in refused(capsys, tagged, *command(words, tmp_path / "model", *arguments))
    assert not list((tmp_path / "model").glob("*.safetensors")), "something was written"


def test_what_is_no_settings_file(words, tmp_path, capsys):
    path = tmp_path / "settings.json"
    for text, message in (("{", "not JSON"), ("[]", "must be an object"), ('{"rate": 1}', "no such argument: rate")):
        path.write_text(text)
        assert f"{path}: {message}" in refused(capsys, tagged, str(path), *command(words, tmp_path / "model"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is no example for train in it"),
        (b"\n\t\n", "there is no example for train in it"),
        (b"Ada\tB-PER\nmet\n", ", line 2: 1 columns where the file has 2"),
        (b"Ada\nmet\n", ", line 1: there is no label to learn"),
        (b"Ada\tB-PER\nM\xe9t\tO\n", ", line 2: not UTF-8"),
    ],
)
def test_examples_to_learn_from(words, tmp_path, capsys, content, message):
    path = tmp_path / "train.conll"
    path.write_bytes(content)
    said = refused(capsys, tagged, *command(words, tmp_path / "model", "--train_file", str(path)))
    assert f"{path}{message}" in said.replace(": there is no example", "there is no example") or message in said
    assert str(path) in said


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"tokens": ["Ada"], "ner_tags": ["O", "O"]},
            "line 2: 1 words need as many labels, in a list, but have ['O', 'O']",
        ),
        ({"tokens": 3, "ner_tags": ["O"]}, "line 2: the words must be a list of strings, but are 3"),
        ({"text": ["Ada"]}, "line 2: the words must be a list of strings, but are None"),
    ],
)
def test_rows_of_words(words, tmp_path, capsys, row, message):
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, [{"tokens": ["a"], "ner_tags": ["O"]}, row])) + "\n")
    said = refused(capsys, tagged, *command(words, tmp_path / "model", "--train_file", str(path)))
    assert f"{path}, {message}" in said


@pytest.mark.slow
def test_labels_that_only_some_splits_have(words, tmp_path, caplog):
    """They are named, with file and line, and count as not found."""
    lines = (words / "test.conll").read_text().splitlines()
    changed = next(number for number, line in enumerate(lines) if line.endswith("B-PER"))
    lines[changed] = lines[changed].replace("B-PER", "B-PRE")
    (tmp_path / "test.conll").write_text("\n".join(lines) + "\n")
    with caplog.at_level("INFO", logger="hf_elmo.training"):
        assert not tagged(*command(words, tmp_path / "model", "--test_file", str(tmp_path / "test.conll")))
    assert "test: 1 words have labels that the model does not know, which count as not found: B-PRE" in caplog.text
    assert f"test.conll, line {changed + 1}" in caplog.text
    results = json.loads((tmp_path / "model" / "all_results.json").read_text())["mean"]
    assert results["test_f1_PRE"] == 0
    assert results["test_recall"] < 1


@pytest.mark.slow
def test_labels_of_texts_that_the_model_does_not_know(texts, tmp_path, capsys, caplog):
    (tmp_path / "some.txt").write_text("0 Ada met Max\n7 Rome again\n")
    with caplog.at_level("INFO", logger="hf_elmo.training"):
        assert not classified(*command(texts, tmp_path / "model", "--test_file", str(tmp_path / "some.txt")))
    assert "test: 1 texts have labels that the model does not know, which count as wrong: 7; first in" in caplog.text
    assert "some.txt, line 2" in caplog.text
    rows = [{"text": "Ada met Max", "label": "bad"}, {"text": "Rome again", "label": "good"}]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = command(texts, tmp_path / "other", "--test_file", str(tmp_path / "all.jsonl"))
    assert f"{tmp_path / 'all.jsonl'}, line 1: labels are bad, good, but the model's are 0, 1" in refused(
        capsys, classified, *arguments
    )


@pytest.mark.slow
def test_texts_without_words(texts, tmp_path, caplog):
    """They teach nothing and are left out with a warning; but where there is a text, there is a prediction."""
    train = (texts / "train.txt").read_text()
    (tmp_path / "train.txt").write_text(f"{train}1\n")
    (tmp_path / "test.jsonl").write_text('{"text": "Ada"}\n{"text": ""}\n{"text": " "}\n{"text": []}\n')
    files = ["--train_file", str(tmp_path / "train.txt"), "--test_file", str(tmp_path / "test.jsonl")]
    with caplog.at_level("INFO", logger="hf_elmo.training"):
        assert not classified(*command(texts, tmp_path / "model", *files))
    assert f"left out:    1 of train: texts without words; the first: {tmp_path / 'train.txt'}, line 129" in caplog.text
    assert len((tmp_path / "model" / "test_predictions.tsv").read_text().splitlines()) == 5


def test_only_a_trained_model_labels_without_learning(words, tmp_path, capsys):
    said = refused(capsys, tagged, *command(words, tmp_path / "model", splits=("test",)))
    assert "is no ElmoForTokenClassification, which could label without training: give training examples" in said


def test_validation_examples_need_labels(words, tmp_path, capsys):
    (tmp_path / "bare.conll").write_text("Ada\nmet\n\nMax\n")
    arguments = command(words, tmp_path / "model", "--validation_file", str(tmp_path / "bare.conll"))
    assert "bare.conll, line 1: there is no label to learn" in refused(capsys, tagged, *arguments)


def test_a_model_of_another_kind(words, tmp_path, capsys):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    said = refused(capsys, tagged, *command(words, tmp_path / "model", "--model_name_or_path", str(tmp_path / "bert")))
    assert "is a model of type bert, not elmo" in said


@pytest.mark.slow
def test_a_model_with_other_labels_gets_new_ones(words, tmp_path):
    config = toy_tasks.config(tagger_layers=0, tagger_crf=False, id2label={0: "X", 1: "Y"}, word_vocab_size=0)
    ElmoForTokenClassification(ElmoConfig.from_dict(config.to_dict())).save_pretrained(tmp_path / "old")
    toy_tasks.tokenizer().save_pretrained(tmp_path / "old")
    arguments = command(words, tmp_path / "model", "--model_name_or_path", str(tmp_path / "old"))
    assert not tagged(*arguments)
    assert ElmoConfig.from_pretrained(tmp_path / "model").label2id == {
        "O": 0,
        "B-LOC": 1,
        "I-LOC": 2,
        "B-PER": 3,
        "I-PER": 4,
    }


@pytest.mark.parametrize("script", [ner, classify, nli, qa], ids=lambda script: script.__name__.split(".")[-1])
def test_help_has_the_script_s_own_options_first_in_groups(capsys, script):
    with pytest.raises(SystemExit):
        script.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    *groups, examples = [line for line in lines if line and not line.startswith((" ", "usage")) and line.endswith(":")]
    assert examples == "examples:"
    name = script.__name__.split(".")[-1]
    assert f"    python -m hf_elmo.training.{name} --model_name_or_path elmo" in "\n".join(
        lines[lines.index(examples) :]
    )
    assert "exit codes: 0 success" in "\n".join(lines[lines.index(examples) :])
    assert groups == ["help:", "data:", "model:", "training:", "output:", "options of transformers.TrainingArguments:"]
    assert lines.index(groups[-1]) < 90
    assert not [line for line in lines[: lines.index(groups[-1])] if len(line) > 118]
