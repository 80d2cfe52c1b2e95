"""Pretraining refuses bad input in one line before anything is written, and survives a full disk."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from fresh_process import forking_python
from safetensors.torch import load_file
from toy_pretraining import command, pretrained, write_texts

pytestmark = pytest.mark.slow  # each test trains


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def finished(texts, tmp_path_factory):
    """A run of 12 steps with checkpoints at 8 and 12."""
    output = tmp_path_factory.mktemp("finished")
    assert not pretrained(*command(texts, output))
    return output


def refused(capsys, *arguments: str) -> str:
    """Return the one line with which the script refuses arguments."""
    capsys.readouterr()
    assert pretrained(*arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("pretrain: error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is no sentence in {path}"),
        (b"\n \n\t\n", "there is no sentence in {path}"),
        (b"the old dog barks .\n", "the text has 6 words, and one step needs 4 streams of 5: give more text"),
        (b"the old dog\nbarks .\nl'\xe9t\xe9 .\n", "{path}, line 3: not UTF-8"),
    ],
)
def test_texts_to_learn_from(tmp_path, capsys, content, message):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    arguments = command(tmp_path, tmp_path / "model", "--train_files", str(path))
    assert message.format(path=path) in refused(capsys, *arguments)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n", "there is no sentence in {path}"),
        (b"the\n\xff\n", "{path}, line 2: not UTF-8"),
    ],
)
def test_held_out_texts(texts, tmp_path, capsys, content, message):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    arguments = command(texts, tmp_path / "model", "--validation_files", str(path))
    assert message.format(path=path) in refused(capsys, *arguments)
    assert not (tmp_path / "model").exists()


def test_a_line_of_100000_words(tmp_path):
    (tmp_path / "long.txt").write_text(" ".join(["one", "two", "three", "four"] * 25_000) + "\n")
    arguments = command(tmp_path, tmp_path / "model", "--train_files", str(tmp_path / "long.txt"))
    assert not pretrained(*arguments, "--num_negative_samples", "0", "--max_steps", "2")
    saved = json.loads((tmp_path / "model" / "trainer_state.json").read_text())
    assert saved["global_step"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vocab_file", "VOCABULARY"], "line 4: 'the' again, which is also in line 3"),
        (["--vocab_file", "nowhere.txt"], "nowhere.txt"),
        (["--train_files", "nowhere*.txt"], "nowhere*.txt: no such file, and no file matches it as a pattern"),
        (["--min_count", "1000"], "no word occurs 1000 times in the text: lower --min_count"),
        (["--unroll_steps", "0"], "--unroll_steps must be at least 1, but is 0"),
        (["--torch_compile", "True"], "--torch_compile True: these scripts have no use for it: leave it out"),
        (["--config_overrides", "{"], "--config_overrides must be JSON"),
        (["--config_overrides", '{"cells": 3}'], "--config_overrides: the configuration has no cells"),
        (["--config_overrides", '{"projection_size": -3}'], "projection_size"),
        (["--model_name_or_path", "nowhere"], "nowhere"),
        (["--resume_from_checkpoint", "nowhere"], "--resume_from_checkpoint nowhere: not a checkpoint"),
    ],
)
def test_settings(texts, tmp_path, capsys, arguments, message):
    (tmp_path / "words.txt").write_text("<S>\n</S>\nthe\nthe\n<UNK>\n")
    arguments = [str(tmp_path / "words.txt") if value == "VOCABULARY" else value for value in arguments]
    assert message in refused(capsys, *command(texts, tmp_path / "model", *arguments))
    assert not list((tmp_path / "model").glob("*")), "something was written"


def test_a_folder_belongs_to_its_run(texts, finished, tmp_path, capsys):
    """Other settings, text, held-out text or words: refused with the difference, and everything is as it was."""
    output = tmp_path / "model"
    shutil.copytree(finished, output)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    (tmp_path / "words.txt").write_text("<S>\n</S>\n<UNK>\nthe\nold\nyoung\n.\nnow\n")
    (tmp_path / "text.txt").write_text((texts / "a.txt").read_text() + (texts / "b.txt").read_text() + "the end .\n")
    for changes, message in (
        (["--per_device_train_batch_size", "3"], "--per_device_train_batch_size was 4, and is 3"),
        (["--max_steps", "16"], "--max_steps was 12, and is 16"),
        (["--learning_rate", "0.1"], "--learning_rate was 0.2, and is 0.1"),
        (["--vocab_file", str(tmp_path / "words.txt")], "the vocabulary has other content"),
        (["--train_files", str(tmp_path / "text.txt")], "the text has other content"),
        (["--validation_files", str(texts / "held_out.txt")], "the held-out text was not given, and is given"),
        (["--config_overrides", "{}"], "--config_overrides was"),
        (["--split", "treebank"], "--split was not given, and is treebank"),
    ):
        assert message in refused(capsys, *command(texts, output, *changes))
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


def test_a_checkpoint_of_another_number_of_processes(texts, finished, tmp_path, capsys):
    shutil.copytree(finished / "checkpoint-8", tmp_path / "checkpoint-8")
    position = tmp_path / "checkpoint-8" / "text_position.json"
    saved = json.loads(position.read_text())
    saved["layout"]["processes"] = 2
    position.write_text(json.dumps(saved))
    (position.parent / "checksums.json").unlink()  # as in a checkpoint of an earlier version
    arguments = command(texts, tmp_path / "model", "--resume_from_checkpoint", str(position.parent))
    message = "made with processes 2, now 1: it can be resumed with the same settings only"
    assert message in refused(capsys, *arguments)


def test_a_best_checkpoint_that_is_not_as_it_was_written_is_named(texts, tmp_path, capsys):
    """Before training goes on, and where it has ended and only the best weights lack."""
    arguments = command(texts, tmp_path, "--validation_files", str(texts / "held_out.txt"), "--learning_rate", "0")
    arguments += ["--eval_strategy", "steps", "--eval_steps", "4", "--load_best_model_at_end", "True"]
    assert not pretrained(*arguments, "--keep_checkpoints", "True", "--save_total_limit", "9")
    record = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(record | {"ended": False, "results": None}))
    weights = tmp_path / "checkpoint-4" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    message = f"{weights} is not as it was written: remove {weights.parent} and all later checkpoints"
    assert message in refused(capsys, *arguments)
    shutil.rmtree(tmp_path / "checkpoint-12")
    assert message in refused(capsys, *arguments)
    assert not (tmp_path / "checkpoint-12").exists()


FULL = """
import resource, sys
from hf_elmo.training import pretrain
from hf_elmo.training.language_model import trainer

save = trainer.BiLMTrainer._save_checkpoint
def on_a_full_disk(self, *arguments):
    if self.state.global_step == 8:  # files end after so many bytes, as on a disk without room for more
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
    return save(self, *arguments)
trainer.BiLMTrainer._save_checkpoint = on_a_full_disk
sys.exit(pretrain.main(sys.argv[2:]))
"""


@pytest.mark.parametrize("room", [500, 6000])
def test_a_full_disk_leaves_the_last_checkpoint_complete(texts, finished, tmp_path, room):
    """Whichever file finds no room: one line, and the run resumes to the same weights."""
    arguments = command(texts, tmp_path)
    full = subprocess.run(
        [forking_python("everything"), "-c", FULL, str(room), *arguments], capture_output=True, text=True, timeout=300
    )
    assert full.returncode == 2, full.stderr
    last = full.stderr.strip().splitlines()[-1]
    assert last.startswith("pretrain: error: ")
    assert f"{tmp_path / 'checkpoint-8'} could not be written, {tmp_path / 'checkpoint-4'} is intact: " in last
    assert "Traceback" not in full.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-4", "run.json"}
    assert not pretrained(*arguments)
    weights = load_file(finished / "model.safetensors")
    for name, tensor in load_file(tmp_path / "model.safetensors").items():
        assert torch.equal(tensor, weights[name]), name


def test_what_is_no_settings_file(tmp_path, capsys):
    (tmp_path / "settings.json").write_text("{")
    assert "settings.json: not JSON" in refused(capsys, str(tmp_path / "settings.json"))
    for name, value in (("weight_decay", "null"), ("seed", "[1]"), ("train_files", "1")):
        (tmp_path / "settings.json").write_text(f'{{"{name}": {value}}}')
        assert f"settings.json: {name} must not be {value}; --help" in refused(capsys, str(tmp_path / "settings.json"))
    assert "--output_dir is missing" in refused(capsys, "--train_files", str(Path(__file__)), "--use_cpu", "True")


def test_what_training_needs_is_checked_before_it(texts, tmp_path, capsys):
    """A folder that cannot be written to, a package that is missing, a model that would be overwritten."""
    (tmp_path / "file").write_text("")
    for arguments, message in (
        (["--output_dir", str(tmp_path / "file" / "model")], "is not a folder"),
        (["--report_to", "tracker-of-tomorrow"], "--report_to tracker-of-tomorrow"),
        (["--optim", "adamw_bnb_8bit"], "--optim adamw_bnb_8bit: "),
        (["--resume_from_checkpoint", "True"], "there is no checkpoint in"),
    ):
        assert message in refused(capsys, *command(texts, tmp_path / "model", *arguments))
    assert not (tmp_path / "model").exists()


def test_streamed_text_of_other_content_is_another_run(texts, finished, tmp_path, capsys):
    copy = shutil.copytree(texts, tmp_path / "texts", ignore=shutil.ignore_patterns("*run*", "model*"))
    arguments = command(copy, tmp_path / "model", "--streaming", "True", "--vocab_file", str(finished / "vocab.txt"))
    assert pretrained(*arguments) == 0
    (copy / "a.txt").write_text((copy / "a.txt").read_text().replace("old", "odd", 1))
    assert "holds another run: the text has other content" in refused(capsys, *arguments)


def test_a_checkpoint_to_resume_from_is_not_removed(texts, finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "model")
    checkpoint = tmp_path / "model" / "checkpoint-12"
    arguments = command(texts, tmp_path / "model", "--max_steps", "16", "--resume_from_checkpoint", str(checkpoint))
    assert "holds another run" in refused(capsys, *arguments)
    message = f"--overwrite_output_dir would remove {checkpoint}: give another --output_dir"
    assert message in refused(capsys, *arguments, "--overwrite_output_dir", "True")
    assert checkpoint.is_dir()
