"""A folder belongs to one run: resumed by it, refused to others, left alone when the run has ended."""

import json
import signal
import subprocess

import numpy as np
import pytest
import torch
from fresh_process import forking_python

from hf_elmo.training.arguments import FineTuningArguments
from hf_elmo.training.run_record import LOCK_FILE, RunRecord, digest, settings_of

IDENTITY = {"--learning_rate": 0.1, "--seed": 1, "labels": ["O", "B-PER"], "training data": digest(["a"])}


def left_by_another_run(folder, **differences):
    RunRecord(folder, IDENTITY | differences).claim()
    (folder / "model.safetensors").touch()
    (folder / "checkpoint-3").mkdir()
    return RunRecord(folder, IDENTITY)


def test_the_same_run_resumes_until_it_has_ended(tmp_path):
    record = RunRecord(tmp_path, IDENTITY)
    assert not record.has_ended()
    record.claim()
    (tmp_path / "checkpoint-3").mkdir()
    record.claim()
    assert not record.has_ended()
    record.finish({"f1": 0.5})
    assert RunRecord(tmp_path, dict(reversed(IDENTITY.items()))).has_ended()
    assert record.read()["results"] == {"f1": 0.5}
    assert (tmp_path / "checkpoint-3").is_dir()


@pytest.mark.parametrize(
    ("differences", "message"),
    [
        ({"--learning_rate": 0.2}, "--learning_rate was 0.2, and is 0.1; give another --output_dir"),
        ({"labels": ["O"]}, "labels was O, and is O B-PER; give"),
        ({"training data": digest(["b"])}, "the training data has other content; give"),
        ({"test data": digest(["b"])}, "the test data was given, and is not given; give"),
        ({"--seed": 2, "labels": []}, "--seed was 2, and is 1 (and labels differ); give"),
    ],
)
def test_another_run_is_refused_in_one_line_that_names_the_difference(tmp_path, differences, message):
    record = left_by_another_run(tmp_path, **differences)
    with pytest.raises(ValueError, match="holds another run") as refused:
        record.claim()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "--overwrite_output_dir True" in str(refused.value)
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint-7", "test_predictions.tsv", "seed-1"])
def test_results_of_an_unknown_run_are_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match=f"holds {name} of an unknown run; give another --output_dir"):
        RunRecord(tmp_path, IDENTITY).claim()


def test_overwriting_removes_what_a_run_wrote_and_nothing_else(tmp_path):
    record = left_by_another_run(tmp_path, labels=[])
    (tmp_path / "notes.txt").touch()
    record.claim(overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "run.json", LOCK_FILE}
    (tmp_path / "checkpoint-3").mkdir()
    record.claim(overwrite=True)
    assert (tmp_path / "checkpoint-3").is_dir(), "the same command resumes its own run"
    record.finish()
    record.claim(overwrite=True)
    assert not (tmp_path / "checkpoint-3").exists(), "a run that has ended is made again if that is asked for"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"identity": 3, "ended": true}', '{"ended": true'])
def test_a_damaged_record_is_one_line(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    record = RunRecord(tmp_path, IDENTITY)
    with pytest.raises(ValueError, match=r"run.json: not the record of a run; give another"):
        record.claim()
    record.claim(overwrite=True)
    assert json.loads((tmp_path / "run.json").read_text())["identity"] == IDENTITY


def test_an_option_that_is_not_given_is_one_that_an_earlier_version_did_not_have(tmp_path):
    RunRecord(tmp_path, {**IDENTITY, "--former": None}).claim()
    record = RunRecord(tmp_path, {**IDENTITY, "--later": None})
    (tmp_path / "checkpoint-3").mkdir()
    record.claim()
    record.finish()
    record.close()
    assert record.has_ended()
    with pytest.raises(ValueError, match="holds another run: --later was not given, and is 3; give another"):
        RunRecord(tmp_path, {**IDENTITY, "--later": 3}).claim()


def test_one_process_writes_to_a_folder(tmp_path):
    first, second = RunRecord(tmp_path, IDENTITY), RunRecord(tmp_path, IDENTITY)
    first.claim()
    with pytest.raises(ValueError, match="another process writes there; wait for its end, or give another"):
        second.claim()
    with pytest.raises(ValueError, match="another process writes there"):
        RunRecord(tmp_path, {**IDENTITY, "--seed": 2}).claim(overwrite=True)
    RunRecord(tmp_path, IDENTITY, is_main=False).claim()  # another process of the same run
    first.close()
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    second.claim()


CLAIM_AND_DIE = """
import os, signal, sys
from hf_elmo.training.run_record import RunRecord

record = RunRecord(sys.argv[1], {"--learning_rate": 0.1})
record.claim()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_its_folder_to_others(tmp_path):
    command = [forking_python("everything"), "-c", CLAIM_AND_DIE, str(tmp_path)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / LOCK_FILE).exists()
    RunRecord(tmp_path, {"--learning_rate": 0.1}).claim()


def test_settings_without_effect_are_not_part_of_the_identity():
    options = {"output_dir": "x", "use_cpu": True}
    settings = settings_of(FineTuningArguments(**options, learning_rate=0.5))
    others = FineTuningArguments(**options, learning_rate=0.5, disable_tqdm=True, hub_token="hf_x", logging_steps=3)
    assert settings_of(others) == settings
    assert "hf_x" not in json.dumps(settings, default=str)
    assert settings["--learning_rate"] == 0.5
    assert {"--seed", "--optim", "--max_grad_norm", "processes"} <= settings.keys()


def test_digests_tell_values_types_and_shapes_apart():
    arrays = [np.zeros(4, np.int16), np.zeros((2, 2), np.int16), np.zeros(2, np.int32), np.arange(4, dtype=np.int16)]
    parts = [*arrays, torch.zeros(2, dtype=torch.bfloat16), torch.tensor(1.0), "a", b"a", ["a"], "a\udcff"]
    assert len({digest([part]) for part in parts}) == len(parts)
    assert digest([torch.arange(4, dtype=torch.int16)]) != digest([])
    assert digest(["a", "b"]) != digest(["ab"])
