"""The life of a run: which folder it may use, how it resumes, and that it ends alike however often it was killed."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from fresh_process import REPOSITORY, forking_python
from safetensors.torch import load_file
from toy_finetuning import classified, command, tagged, write_texts, write_words
from toy_scripts import SCRIPTS

from hf_elmo.training.checkpoints import AtomicCheckpointTrainer, checkpoint_to_resume

pytestmark = pytest.mark.slow  # each test trains

SHORT = ["--max_steps", "2", "--eval_strategy", "steps", "--save_strategy", "steps", "--eval_steps", "1"]
SHORT += ["--save_steps", "1", "--max_train_samples", "32"]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return write_words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def finished(words, tmp_path_factory):
    """The data and the folder of a short run that has ended."""
    folder = tmp_path_factory.mktemp("finished")
    assert not tagged(*command(words, folder / "model", *SHORT))
    return folder / "model"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def results_of(folder: Path) -> dict:
    return json.loads((folder / "all_results.json").read_text())


def interrupt(folder: Path, *kept: str) -> None:
    """Make a finished run one that was interrupted, with nothing but its record and the files of these names."""
    for path in folder.iterdir():
        if path.name not in ("run.json", *kept):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"ended": False, "results": None}))


def assert_same_weights(one: Path, other: Path) -> None:
    weights, others = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, others[name]), name


# ---- Whose folder it is


def edited(words: Path, folder: Path, change) -> list[str]:
    """The option for a training file that is a changed copy."""
    path = folder / "train.conll"
    path.write_text(change((words / "train.conll").read_text()))
    return ["--train_file", str(path)]


def other_types(text: str) -> str:
    return text.replace("PER", "ORG")


def one_word_changed(text: str) -> str:
    return text.replace("Ada", "Eda", 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--learning_rate", "0.03"], "--learning_rate was 0.02, and is 0.03; give another --output_dir, or"),
        (["--seed", "7"], "--seed was 42, and is 7; give"),
        (["--seeds", "1", "2"], "--seed was 42, and is not given; give"),
        (["--label_scheme", "bioul"], "--label_scheme was bio, and is bioul (and labels, data, starting model differ)"),
        (["--mix", "top"], "--mix was learnt, and is top"),
        ([other_types], "labels was O B-LOC I-LOC B-PER I-PER, and is O B-LOC I-LOC B-ORG I-ORG"),
        ([one_word_changed], "the data has other content; give another --output_dir"),
    ],
    ids=["rate", "seed", "seeds", "scheme", "mix", "labels", "data"],
)
def test_another_run_is_refused_and_the_folder_is_not_touched(words, finished, tmp_path, capsys, options, message):
    if callable(options[0]):
        options = edited(words, tmp_path, options[0])
    before = contents(finished)
    assert tagged(*command(words, finished, *SHORT, *options)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ner: error:")]
    assert f"{finished} holds another run: {message}" in line
    assert "--overwrite_output_dir True to replace it" in line
    assert contents(finished) == before


@pytest.mark.parametrize(
    ("file", "change", "differs"),
    [
        ("tokenizer_config.json", {"split": "whitespace"}, "tokenizer"),
        ("tokenizer_config.json", {"added_words": ["New York"]}, "tokenizer"),
        ("config.json", {"cell_clip": 0.01}, "configuration"),
        ("config.json", {"lstm_dropout": 0.3}, "configuration"),
    ],
    ids=["split", "words", "clip", "dropout"],
)
def test_an_encoder_that_was_edited_in_place_is_another_run(words, finished, capsys, file, change, differs):
    path, before = words / "encoder" / file, contents(finished)
    saved = path.read_text()
    path.write_text(json.dumps(json.loads(saved) | change))
    try:
        assert tagged(*command(words, finished, *SHORT)) == 2
    finally:
        path.write_text(saved)
    assert f"{finished} holds another run: the {differs} has other content; give" in capsys.readouterr().err
    assert contents(finished) == before


def test_the_test_data_are_part_of_a_run(words, finished, capsys):
    assert tagged(*command(words, finished, *SHORT, splits=("train", "validation"))) == 2
    assert "the data has other content" in capsys.readouterr().err


def test_the_layout_of_json_is_no_part_of_a_run(words, finished):
    arguments, before = command(words, finished, *SHORT), contents(finished)
    place = arguments.index("--config_overrides") + 1
    arguments[place] = arguments[place].replace(": ", ":").replace(", ", ",\n")
    assert tagged(*arguments) == 0
    assert contents(finished) == before


def test_a_run_that_has_ended_is_not_touched(words, finished, tmp_path, caplog):
    """Neither by the same command nor by one that differs in what has no effect, or in where the same data lies."""
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    for path in words.glob("*.conll"):
        shutil.copy(path, tmp_path)
    (tmp_path / "encoder").symlink_to(words / "encoder")
    with caplog.at_level("INFO"):
        assert not tagged(*command(words, finished, *SHORT), "--resume_from_checkpoint", "True")
        assert not tagged(*command(tmp_path, finished, *SHORT, "--logging_steps", "3", "--run_name", "again"))
    assert caplog.text.count("this run has ended before, and its results are kept; --overwrite_output_dir True") == 2
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_overwriting_leaves_nothing_of_the_run_before(words, finished, tmp_path):
    """No old prediction lies beside new weights; what is not a run's stays."""
    shutil.copytree(finished, tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    other = command(words, tmp_path / "model", *SHORT, "--learning_rate", "0.5", splits=("train", "validation"))
    assert not tagged(*other, "--overwrite_output_dir", "True")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert "notes.txt" in names
    assert "test_predictions.conll" not in names
    assert "test_f1" not in results_of(tmp_path / "model")["mean"]


def test_a_model_of_unknown_origin_is_not_overwritten(words, tmp_path, capsys):
    shutil.copytree(words / "encoder", tmp_path / "model")
    before = contents(tmp_path / "model")
    assert tagged(*command(words, tmp_path / "model", *SHORT)) == 2
    assert f"{tmp_path / 'model'} holds model.safetensors of an unknown run" in capsys.readouterr().err
    assert tagged(*command(words, words / "encoder", *SHORT)) == 2
    assert "is the folder of the model to start from: give another one" in capsys.readouterr().err
    assert contents(tmp_path / "model") == before


def test_texts_with_other_labels_are_another_run(tmp_path, capsys):
    (tmp_path / "texts").mkdir()
    texts = write_texts(tmp_path / "texts")
    assert not classified(*command(texts, tmp_path / "model", *SHORT))
    before = contents(tmp_path / "model")
    for split in ("train", "validation", "test"):
        text = (texts / f"{split}.txt").read_text()
        (texts / f"{split}.txt").write_text(text.replace("1 ", "good ").replace("0 ", "bad "))
    assert classified(*command(texts, tmp_path / "model", *SHORT)) == 2
    assert "holds another run: labels was 0 1, and is bad good" in capsys.readouterr().err
    assert contents(tmp_path / "model") == before


@pytest.mark.parametrize(("place", "message"), [("file", "is not a folder"), ("file/deeper", "is not a folder")])
def test_an_output_folder_that_cannot_be_written(words, tmp_path, capsys, place, message):
    (tmp_path / "file").touch()
    assert tagged(*command(words, tmp_path / place, *SHORT)) == 2
    assert f"--output_dir {tmp_path / place}: {tmp_path / 'file'} {message}" in capsys.readouterr().err


# ---- Resuming


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(words, tmp_path):
    """From a checkpoint in the middle of an epoch, with dropout and accumulated gradients, in a folder that moved."""
    more = ["--save_total_limit", "9", "--save_strategy", "steps", "--eval_strategy", "steps", "--save_steps", "3"]
    more += [
        "--eval_steps",
        "3",
        "--gradient_accumulation_steps",
        "2",
        "--mix_l2",
        "0.01",
        "--keep_checkpoints",
        "True",
    ]
    assert not tagged(*command(words, tmp_path / "whole", *more))
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    interrupt(tmp_path / "cut", "checkpoint-3", "checkpoint-6")
    torch.rand(100)
    assert not tagged(*command(words, tmp_path / "cut", *more, "--resume_from_checkpoint", "True"))
    last = sorted(path.name for path in (tmp_path / "whole").glob("checkpoint-*"))[-1]
    assert_same_weights(tmp_path / "whole" / last, tmp_path / "cut" / last)
    assert_same_weights(tmp_path / "whole", tmp_path / "cut")
    runs = [results_of(tmp_path / name)["runs"][0] for name in ("whole", "cut")]
    assert runs[0]["train_loss"] == runs[1]["train_loss"]
    assert runs[0]["best_step"] == runs[1]["best_step"]


def test_a_checkpoint_that_is_not_as_it_was_written_is_named(words, tmp_path, capsys):
    """A bit, some bytes less, a missing file, another kind of JSON: nothing is resumed, and nothing is touched.

    The command asks `checkpoint_to_resume`, as two of the damages show.
    """
    arguments = command(words, tmp_path, *SHORT)
    assert not tagged(*arguments, "--keep_checkpoints", "True")
    expected = (tmp_path / "model.safetensors").read_bytes()
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    interrupt(tmp_path, checkpoint.name)
    for path in sorted(checkpoint.iterdir()):
        sound = path.read_bytes()
        changes = [sound[:-9], b"[]", bytes([*sound[:-3], sound[-3] ^ 1, *sound[-2:]])]
        for change in changes if path.name in ("trainer_state.json", "optimizer.pt", "checksums.json") else changes[2:]:
            path.write_bytes(change)
            with pytest.raises(ValueError, match="is not as it was written: remove") as raised:
                checkpoint_to_resume(None, tmp_path)
            assert str(path) in str(raised.value) or path.name == "checksums.json"
            if change is changes[0] and path.name == "optimizer.pt":
                assert tagged(*arguments) == 2
                assert capsys.readouterr().err.splitlines()[-1] == f"ner: error: {raised.value}"
            path.write_bytes(sound)
    (checkpoint / "scheduler.pt").rename(tmp_path / "elsewhere")
    assert tagged(*arguments) == 2
    assert f"{checkpoint / 'scheduler.pt'} is not as it was written: remove {checkpoint}" in capsys.readouterr().err
    (tmp_path / "elsewhere").rename(checkpoint / "scheduler.pt")
    assert not tagged(*arguments)
    assert (tmp_path / "model.safetensors").read_bytes() == expected


def test_the_best_checkpoint_is_checked_before_training_goes_on_and_before_it_is_loaded(
    words, tmp_path, capsys, monkeypatch
):
    """At a learning rate of 0 it is the first one. Without it and those after it, the same command ends."""
    arguments = command(words, tmp_path, *SHORT, "--max_steps", "3", "--save_total_limit", "9", "--learning_rate", "0")
    assert not tagged(*arguments, "--keep_checkpoints", "True")
    interrupt(tmp_path, "checkpoint-1", "checkpoint-2")
    weights = tmp_path / "checkpoint-1" / "model.safetensors"
    sound = weights.read_bytes()
    damaged = bytes([*sound[:-3], sound[-3] ^ 1, *sound[-2:]])
    message = f"ner: error: {weights} is not as it was written: remove {weights.parent} and all later checkpoints. The"
    weights.write_bytes(damaged)
    assert tagged(*arguments) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "checkpoint-3").exists()

    save = AtomicCheckpointTrainer._save_checkpoint

    def save_and_damage(self, *arguments):
        save(self, *arguments)
        weights.write_bytes(damaged)

    weights.write_bytes(sound)
    (weights.parent / "optimizer.pt").write_bytes(b"")  # nothing reads it again
    with monkeypatch.context() as patched:
        patched.setattr(AtomicCheckpointTrainer, "_save_checkpoint", save_and_damage)
        assert tagged(*arguments) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    for step in (1, 2, 3):
        shutil.rmtree(tmp_path / f"checkpoint-{step}")
    assert not tagged(*arguments)


def test_a_run_that_stopped_early_is_not_trained_further(words, tmp_path, caplog):
    """Killed before its files were in place, say; nothing gets better at a learning rate of 0."""
    arguments = command(words, tmp_path, "--early_stopping_patience", "2", "--num_train_epochs", "9", "--seed", "1")
    arguments[arguments.index("--learning_rate") + 1] = "0"
    with caplog.at_level("INFO"):
        assert not tagged(*arguments, "--keep_checkpoints", "True", "--save_total_limit", "9")
    assert "stopped:     after 24 of 72 steps, as 2 evaluations brought no better result" in caplog.text
    assert "weights:     those of step 8, the best by validation" in caplog.text
    assert f"saved in:    {tmp_path}" in caplog.text
    assert "untrained parts" not in caplog.text
    results = results_of(tmp_path)["runs"][0]
    assert (results["steps"], results["best_step"]) == (3 * 8, 8)
    expected = contents(tmp_path)
    interrupt(tmp_path, "checkpoint-8", "checkpoint-24")
    assert not tagged(*arguments)
    assert results_of(tmp_path)["runs"][0]["steps"] == 3 * 8
    found = contents(tmp_path)
    for name in ("test_predictions.conll", "model.safetensors"):
        assert found[name] == expected[name]


def test_a_checkpoint_is_small_and_a_finished_folder_is_what_a_user_uploads(words, finished, tmp_path):
    assert not tagged(*command(words, tmp_path / "kept", *SHORT, "--keep_checkpoints", "True", "--seeds", "1", "2"))
    checkpoint = {path.name for path in next((tmp_path / "kept" / "seed-1").glob("checkpoint-*")).iterdir()}
    assert not [name for name in checkpoint if name.endswith((".py", ".md", ".bin"))]
    assert {"model.safetensors", "config.json", "trainer_state.json", "optimizer.pt"} <= checkpoint
    seed = {path.name for path in (tmp_path / "kept" / "seed-1").iterdir() if path.is_file()}
    predictions = {"test_predictions.conll", "validation_predictions.conll"}
    assert seed == {"config.json", "model.safetensors", "run.json", "trainer_state.json", *predictions}
    names = {path.name for path in finished.iterdir() if path.suffix != ".py"}
    assert names == {
        *("config.json", "model.safetensors", "tokenizer_config.json", "README.md", "trainer_state.json"),
        *("all_results.json", "run.json", *predictions),
    }
    assert (finished / "modeling_elmo.py").is_file()


def test_what_was_understood_is_said_before_training(words, tmp_path, caplog):
    with caplog.at_level("INFO", logger="hf_elmo.training"):
        assert not tagged(*command(words, tmp_path, *SHORT))
    text = caplog.text
    for line in (
        "train:       32 sentences",
        "labels:  ",
        "parameters:  ",
        " of them trained",
        "time:        about ",
    ):
        assert line in text
    assert text.index("parameters: ") < text.index("Computing the encoder's layers") < text.index("\nf1 ")


def test_results_of_data_without_labels_are_json(words, tmp_path):
    lines = (words / "test.conll").read_text().splitlines()
    (tmp_path / "test.conll").write_text("\n".join(line.split("\t")[0] for line in lines) + "\n")
    arguments = command(words, tmp_path / "model", *SHORT, "--test_file", str(tmp_path / "test.conll"))
    assert not tagged(*arguments)
    for path in (tmp_path / "model").glob("*.json"):
        json.loads(path.read_text(), parse_constant=pytest.fail)
    assert "test_f1" not in results_of(tmp_path / "model")["mean"]


def test_a_run_that_diverges_stops_with_its_last_good_checkpoint(words, tmp_path, capsys):
    arguments = command(words, tmp_path, "--eval_strategy", "no", "--max_grad_norm", "0", "--optim", "sgd")
    arguments[arguments.index("--learning_rate") + 1] = "1e20"
    assert tagged(*arguments, "--save_strategy", "steps", "--save_steps", "1", "--load_best_model_at_end", "False") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "give a lower --learning_rate or --max_grad_norm; " in line
    assert line.endswith(f"{tmp_path / 'checkpoint-1'} is intact")
    assert not (tmp_path / "model.safetensors").exists()
    assert not (tmp_path / "all_results.json").exists()


def test_an_interrupt_is_one_line(words, tmp_path, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("hf_elmo.training.runs.Run.train", interrupted)
    assert tagged(*command(words, tmp_path, *SHORT)) == 130
    # after the line of a progress bar
    assert capsys.readouterr().err == "\nner: interrupted; the same command resumes from the last checkpoint\n"


# ---- Kills


# In processes of their own that import everything once. Runs with several labels, and with a value, are written to the
# disk as that of pairs, by the same script.
KILLED = [name for name in SCRIPTS if name not in ("multi-label", "regression")]
GROUPS = [KILLED[:4], KILLED[4:]]


@pytest.mark.parametrize("scripts", GROUPS, ids=" ".join)
def test_a_run_that_is_killed_ends_as_one_that_is_not(scripts):
    """At its last moment, and then at random ones; `kills.py 100` does it more often."""
    arguments = [
        forking_python("everything"),
        str(REPOSITORY / "tests" / "helpers" / "kills.py"),
        "1",
        "--scripts",
        *scripts,
    ]
    subprocess.run(arguments, check=True, timeout=1200, cwd=REPOSITORY)
