"""The pretraining script: it trains like the original and resumes exactly, with any number of processes."""

import json
import logging
import math
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from fresh_process import forking_python, two_processes
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from torch.testing import assert_close
from toy_pretraining import command, pretrained, write_texts
from transformers import AutoModelForPreTraining, AutoTokenizer

from hf_elmo import ElmoConfig, ElmoForPreTraining, ElmoTokenizer
from hf_elmo.conversion.bilm_checkpoint import adagrad_accumulators, bilm_variables
from hf_elmo.conversion.bilm_hdf5 import read_weights
from hf_elmo.conversion.original import StoredTensor
from hf_elmo.conversion.tensorflow_checkpoint import read_checkpoint
from hf_elmo.training.language_model.arguments import PretrainingArguments
from hf_elmo.training.language_model.corpus import SentenceQueue, TextFiles
from hf_elmo.training.language_model.streams import Streams, TrainingWindows, WordTable
from hf_elmo.training.language_model.trainer import BiLMTrainer

pytestmark = pytest.mark.slow  # each test trains


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


def history(folder: Path) -> list[dict]:
    """Return the logged losses and norms, step by step."""
    kept = (
        "step",
        "loss",
        "grad_norm",
        "sampled_perplexity",
        "sampled_forward_perplexity",
        "eval_loss",
        "learning_rate",
    )
    logs = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [{name: log[name] for name in kept if name in log} for log in logs if "train_runtime" not in log]


def assert_same_run(one: Path, other: Path):
    assert history(one) == history(other)
    tensors, others = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, others[name]), name


# ---- Against the original


def original_state(stored, config: ElmoConfig) -> dict[str, torch.Tensor]:
    """Return the tensors of a bilm-tf checkpoint under our names."""
    state, _ = read_weights(stored, config)
    return {name if name.startswith("lm_head.") else f"elmo.{name}": tensor for name, tensor in state.items()}


def test_training_follows_the_trace_of_the_original(fixtures_dir, tmp_path):
    """20 steps from the original's checkpoint and its accumulators, in its data order, without dropout."""
    folder = fixtures_dir / "bilm_checkpoint"
    trace = json.loads((folder / "training_trace" / "trace.json").read_text())
    config = ElmoConfig(
        char_embedding_size=4,
        char_cnn_filters=[[1, 4], [2, 8], [3, 16], [4, 32], [5, 64]],
        projection_size=16,
        cell_size=64,
        word_vocab_size=5000,
        lstm_dropout=0.0,
    )
    checkpoint = read_checkpoint(folder / "checkpoint")
    model = ElmoForPreTraining(config)
    model.load_state_dict(original_state(bilm_variables(checkpoint), config), strict=False)
    args = PretrainingArguments(
        output_dir=str(tmp_path),
        max_steps=len(trace["steps"]),
        per_device_train_batch_size=8,
        num_negative_samples=0,
        max_grad_norm=trace["options"]["all_clip_norm_val"],
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    table = WordTable.from_tokenizer(ElmoTokenizer(str(folder / "vocab.txt")))
    queues = (SentenceQueue(TextFiles([str(folder / "training_trace" / "text.txt")])) for _ in range(2))
    forward, backward = (Streams(queue, 8, backward) for backward, queue in enumerate(queues))
    trainer = BiLMTrainer(
        model,
        args,
        table=table,
        train_dataset=TrainingWindows(table, forward, backward, 20, 8),
        accumulators=original_state(adagrad_accumulators(checkpoint), config),
    )
    trainer.train()

    for log, expected in zip(trainer.state.log_history, trace["steps"]):
        assert log["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert log["grad_norm"] == pytest.approx(expected["global_norm_before_clipping"], rel=1e-5)
        assert log["perplexity"] == pytest.approx(expected["train_perplexity"], rel=1e-5)
    with np.load(folder / "training_trace" / "final_variables.npz") as variables:
        final = {
            name: StoredTensor(Path(name), array.shape, lambda array=array: array) for name, array in variables.items()
        }
    weights, sums = (original_state(names(final), config) for names in (bilm_variables, adagrad_accumulators))
    for name, parameter in model.named_parameters():
        if "scalar_mixes" not in name:
            assert_close(
                parameter.data, weights[name], rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
            )
            words = slice(1 if name.endswith("embeddings.weight") else 0, None)  # the original has no padding row
            assert_close(trainer.optimizer.state[parameter]["sum"][words], sums[name][words], rtol=1e-5, atol=1e-5)


# ---- Learning


def test_it_learns_and_what_it_saves_can_be_used(texts, tmp_path):
    assert not pretrained(
        *command(texts, tmp_path / "model", "--max_steps", "400", "--save_steps", "200", lstm_dropout=0.0),
        *("--validation_files", str(texts / "held_out.txt"), "--license", "cc0-1.0", "--language", "en"),
    )
    evaluations = [log["eval_loss"] for log in history(tmp_path / "model") if "eval_loss" in log]
    assert len(evaluations) == 2
    # Of 12 words, only the adjective, the noun and the number of "now" are a matter of chance.
    assert math.exp(evaluations[1]) < 3 < 1.2 * math.exp(evaluations[0])

    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json", "README.md"} <= names
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pth")) or name.startswith("_")}
    measured = json.loads((tmp_path / "model" / "all_results.json").read_text())
    assert measured["eval_perplexity"] < 0.5 * measured["eval_unigram_perplexity"]
    card = ModelCard.load(tmp_path / "model" / "README.md")
    results = {result.metric_name.split(" of ")[0]: result for result in card.data.eval_results}
    assert list(results) == ["perplexity", "forward perplexity", "backward perplexity"]
    for name, result in results.items():
        assert result.metric_value == pytest.approx(measured[f"eval_{name.replace(' ', '_')}"])
        assert f"of {measured['eval_tokens']} words" in result.metric_name
        assert (result.dataset_name, result.metric_type) == ("held_out.txt", "perplexity")
    assert (card.data.license, card.data.language) == ("cc0-1.0", "en")
    for fact in (
        "a.txt",
        "python -m hf_elmo.training.pretrain --train_files",
        "400 steps of 4 streams",
        "adagrad with",
        "unigrams",
    ):
        assert fact in card.text
    model = AutoModelForPreTraining.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    batch = tokenizer("the old cat", return_tensors="pt")
    next_word = model(**batch, output_logits=True).forward_logits[0, -2].argmax()
    assert tokenizer.convert_labels_to_words(next_word) == "purrs"


# ---- Resuming


@pytest.fixture(scope="module")
def uninterrupted(texts, tmp_path_factory):
    """A run of 12 steps with dropout, sampled softmax, two batches per step, and a schedule."""
    output = tmp_path_factory.mktemp("uninterrupted")
    assert not pretrained(*command(texts, output, *SCHEDULED))
    return output


SCHEDULED = [
    "--gradient_accumulation_steps",
    "2",
    "--per_device_train_batch_size",
    "2",
    "--lr_scheduler_type",
    "linear",
]


def go_back(folder: Path, step: int):
    """Make an ended run one that was interrupted after the checkpoint of a step."""
    for path in folder.iterdir():
        if path.name not in (f"checkpoint-{step}", "run.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "ended": False}))


@pytest.mark.parametrize("step", [4, 8, 12])
def test_resumed_run_is_the_uninterrupted_one_bit_for_bit(texts, uninterrupted, tmp_path, step):
    assert not pretrained(*command(texts, tmp_path, *SCHEDULED, "--save_total_limit", "5"))
    assert_same_run(tmp_path, uninterrupted)
    go_back(tmp_path, step)
    torch.rand(100), random.random(), np.random.rand(7)
    assert not pretrained(*command(texts, tmp_path, *SCHEDULED))
    assert_same_run(tmp_path, uninterrupted)


KILLED = """
import os, signal, sys
from hf_elmo.training import pretrain
from hf_elmo.training.language_model import trainer

def kill(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

place, *arguments = sys.argv[1:]
if place == "step":  # after the gradient, before the weights
    clip = trainer.BiLMTrainer._clip_grad_norm
    trainer.BiLMTrainer._clip_grad_norm = (
        lambda self, model: kill() if self.state.global_step == 6 else clip(self, model)
    )
else:  # the weights of the second checkpoint are written, the rest is not
    save = trainer.BiLMTrainer._save_rng_state
    trainer.BiLMTrainer._save_rng_state = (
        lambda self, folder: kill() if self.state.global_step == 8 else save(self, folder)
    )
sys.exit(pretrain.main(arguments))
"""


@pytest.mark.parametrize("place", ["step", "checkpoint"])
def test_a_killed_run_resumes_exactly(texts, uninterrupted, tmp_path, place):
    arguments = command(texts, tmp_path, *SCHEDULED)
    killed = subprocess.run(
        [forking_python("everything"), "-c", KILLED, place, *arguments], capture_output=True, timeout=300
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-4"]
    assert (place == "checkpoint") == (tmp_path / "_unfinished").exists()
    assert not pretrained(*arguments)
    assert_same_run(tmp_path, uninterrupted)
    assert not (tmp_path / "_unfinished").exists()


def test_only_the_same_run_can_be_resumed(texts, uninterrupted, tmp_path, capsys):
    """Each setting that changes the rows of text is named; nothing is written."""
    checkpoint = str(uninterrupted / "checkpoint-8")
    for changes, message in (
        (["--gradient_accumulation_steps", "1"], "gradient accumulation steps 2, now 1"),
        (["--unroll_steps", "6"], "unroll steps 5, now 6"),
        (["--seed", "3"], "seed 42, now 3"),
        (["--train_files", str(texts / "a.txt")], "number of files 2, now 1"),
    ):
        arguments = command(texts, tmp_path, *SCHEDULED, *changes, "--resume_from_checkpoint", checkpoint)
        assert pretrained(*arguments) == 2
        assert message in capsys.readouterr().err
    assert pretrained(*command(texts, tmp_path, *SCHEDULED, "--resume_from_checkpoint", str(texts))) == 2
    assert "not a checkpoint" in capsys.readouterr().err


# ---- Several processes, several batches


def test_two_processes_are_one_with_twice_the_rows(texts, tmp_path):
    """Losses and norms of each step, evaluations and final weights agree to rounding; also two batches per step.

    So does the evaluation of the best checkpoint at the end: the first one, as the highest loss counts as the best. The
    two processes resume exactly.
    """
    held_out = tmp_path / "held_out.txt"
    held_out.write_text(60 * (texts / "held_out.txt").read_text())  # more than a batch: some for each process
    more = ["--logging_steps", "1", "--validation_files", str(held_out), "--save_steps", "6"]
    more += ["--load_best_model_at_end", "True", "--greater_is_better", "True", "--eval_strategy", "steps"]
    more += ["--eval_steps", "6"]
    assert not pretrained(*command(texts, tmp_path / "one", *more, lstm_dropout=0.0))
    halves = [*more, "--per_device_train_batch_size", "2"]
    arguments = command(texts, tmp_path / "two", *halves, lstm_dropout=0.0)
    place = arguments.index("--use_cpu")
    del arguments[place : place + 2]  # which nobody types where there is no GPU
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    run = two_processes("-m", "hf_elmo.training.pretrain", *arguments)
    subprocess.run(run, check=True, env=environment, timeout=300)
    resume = [
        "--resume_from_checkpoint",
        str(tmp_path / "two" / "checkpoint-6"),
        "--output_dir",
        str(tmp_path / "rest"),
    ]
    subprocess.run([*run, *resume], check=True, env=environment, timeout=300)
    unbroken, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("two", "rest"))
    assert all(torch.equal(resumed[name], tensor) for name, tensor in unbroken.items())
    halves += ["--gradient_accumulation_steps", "2"]
    assert not pretrained(*command(texts, tmp_path / "accumulated", *halves, lstm_dropout=0.0))

    expected, weights = history(tmp_path / "one"), load_file(tmp_path / "one" / "model.safetensors")
    for other in ("two", "accumulated"):
        logs = history(tmp_path / other)
        assert len(logs) == len(expected) == 12 + 3  # two evaluations on the way, and the last one
        for log, reference in zip(logs, expected):
            assert log == pytest.approx(reference, rel=2e-5)
        for name, tensor in load_file(tmp_path / other / "model.safetensors").items():
            assert (tensor - weights[name]).abs().max() < 2e-6, (other, name)
    # A checkpoint of two processes is not for one.
    halves += ["--resume_from_checkpoint", str(tmp_path / "two" / "checkpoint-6")]
    assert pretrained(*command(texts, tmp_path / "other", *halves, lstm_dropout=0.0)) == 2


# ---- Killed at any moment


def test_runs_killed_at_random_moments_end_as_the_unbroken_run(tmp_path):
    """A few kills here, and a run that has ended stays as it is; the script kills any number of times."""
    script = Path(__file__).parents[1] / "helpers" / "killed_pretraining.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    arguments = [forking_python("everything"), str(script), str(tmp_path), "--kills", "5"]
    run = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    assert json.loads(run.stdout.splitlines()[-1])["kills"] >= 5


def test_an_ended_run_is_left_alone(texts, tmp_path, caplog):
    arguments = command(texts, tmp_path, "--validation_files", str(texts / "held_out.txt"))
    assert not pretrained(*arguments)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()}
    caplog.set_level(logging.INFO)
    assert not pretrained(*arguments)
    assert f"{tmp_path}: this run has ended before, and nothing is changed" in caplog.text
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_a_longer_run_from_the_last_checkpoint(texts, tmp_path):
    """`--resume_from_checkpoint` and another folder: the run that was longer from the start."""
    more = ["--save_steps", "6", "--logging_steps", "1"]
    assert not pretrained(*command(texts, tmp_path / "whole", *more))
    assert not pretrained(*command(texts, tmp_path / "half", *more, "--max_steps", "6"))
    checkpoint = ["--resume_from_checkpoint", str(tmp_path / "half" / "checkpoint-6")]
    assert not pretrained(*command(texts, tmp_path / "on", *more, *checkpoint))
    assert_same_run(tmp_path / "on", tmp_path / "whole")


def test_another_run_replaces_what_is_there_on_request(texts, tmp_path):
    assert not pretrained(*command(texts, tmp_path / "other", "--seed", "5"))
    assert not pretrained(*command(texts, tmp_path / "model"))
    assert not pretrained(*command(texts, tmp_path / "model", "--seed", "5", "--overwrite_output_dir", "True"))
    assert_same_run(tmp_path / "model", tmp_path / "other")


def test_a_folder_holds_what_a_user_uploads(texts, tmp_path):
    """Model, tokenizer, code and results once; checkpoints are kept on request, without code and card."""
    assert not pretrained(*command(texts, tmp_path / "kept"))
    assert not pretrained(*command(texts, tmp_path / "alone", "--keep_checkpoints", "False"))
    alone = {path.name for path in (tmp_path / "alone").iterdir()}
    assert not [path for path in (tmp_path / "alone").iterdir() if path.is_dir()]
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {*alone, "checkpoint-8", "checkpoint-12"}
    others = {name for name in alone if not name.endswith("_elmo.py") and not name.endswith("_elmo_triton.py")}
    assert others == {
        *("config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt", "README.md"),
        *("all_results.json", "trainer_state.json", "run.json"),
    }
    in_checkpoint = {path.name for path in (tmp_path / "kept" / "checkpoint-12").iterdir()}
    assert not {name for name in in_checkpoint if name.endswith((".py", ".md", ".bin"))}
