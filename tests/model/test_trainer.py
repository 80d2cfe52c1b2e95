"""transformers' Trainer, unmodified, on every head: it computes what it says, whatever way it is told to compute it."""

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
import torch
import toy_tasks
from fresh_process import two_processes
from lanes import first_fast
from toy_tasks import CHECKPOINTING, TASKS
from toy_trainer import collator, make_trainer
from versions import exact_resumption

tasks = pytest.mark.parametrize("name", first_fast(TASKS))


def trained_weights(*arguments, **keywords):
    trainer = make_trainer(*arguments, **keywords)
    trainer.train()
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


@pytest.fixture(scope="module")
def plain_weights(tmp_path_factory):
    """The weights of a task after so many steps in one process, of whole batches and nothing else: trained once."""

    @cache
    def train(name, steps):
        return trained_weights(TASKS[name], tmp_path_factory.mktemp("plain"), max_steps=steps)

    return train


def assert_same_weights(actual, expected, atol=1e-6):
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def assert_all_moved(weights, task):
    """That a test compares weights says nothing of those that training left where they were."""
    for name, before in task.model().named_parameters():
        if before.requires_grad:
            assert not torch.equal(weights[name], before), f"training left {name} as it was"


@tasks
def test_accumulated_gradients_are_those_of_the_whole_batch(name, tmp_path, plain_weights):
    task, at_once = TASKS[name], plain_weights(name, 1)
    assert_all_moved(at_once, task)
    in_parts = trained_weights(task, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=3)
    assert_same_weights(in_parts, at_once)


@tasks
def test_evaluation_between_steps_changes_no_step(name, tmp_path, plain_weights):
    evaluating = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 2}
    trainer = make_trainer(TASKS[name], tmp_path, max_steps=2, **evaluating)
    trainer.train()
    assert_same_weights(dict(trainer.model.named_parameters()), plain_weights(name, 2), atol=0)
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(set(losses)) == 2, "every evaluation sees another model"


@tasks
@pytest.mark.parametrize("use_reentrant", first_fast([False, True]))
def test_activation_checkpointing_computes_the_same(name, tmp_path, use_reentrant, plain_weights):
    kwargs = {CHECKPOINTING: True, f"{CHECKPOINTING}_kwargs": {"use_reentrant": use_reentrant}}
    trainer = make_trainer(TASKS[name], tmp_path, **kwargs)
    trainer.train()
    assert getattr(trainer.model, f"is_{CHECKPOINTING}")
    assert_same_weights(dict(trainer.model.named_parameters()), plain_weights(name, 1))


@pytest.mark.slow
@tasks
def test_bfloat16_autocast_trains(name, tmp_path):
    task = TASKS[name]
    full, mixed = (make_trainer(task, tmp_path, max_steps=10, bf16=bf16) for bf16 in (False, True))
    before = full.evaluate(full.train_dataset)["eval_loss"]
    full.train()
    mixed.train()
    after, after_mixed = (trainer.evaluate(trainer.train_dataset)["eval_loss"] for trainer in (full, mixed))
    assert after < before
    assert after_mixed == pytest.approx(after, abs=0.1 * (before - after))
    assert all(weight.dtype == torch.float32 for weight in mixed.model.parameters())


@exact_resumption
def test_resuming_ends_where_the_uninterrupted_run_ends(tmp_path):
    task = TASKS["token-classification"]
    arguments = {
        "model": None,
        "max_steps": 4,
        "optim": "adamw_torch",
        "lr_scheduler_type": "linear",
        "train_sampling_strategy": "random",
    }

    def run(folder, resume_from_checkpoint=None, **more):
        model = task.model(lstm_dropout=0.3, classifier_dropout=0.3)
        trainer = make_trainer(task, folder, **{**arguments, "model": model}, **more)
        trainer.train(resume_from_checkpoint=resume_from_checkpoint)
        return dict(trainer.model.named_parameters())

    expected = run(tmp_path, save_strategy="steps", save_steps=3)
    resumed = run(tmp_path / "again", resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert_same_weights(resumed, expected, atol=0)


def test_grouping_by_length_counts_words(tmp_path):
    task = TASKS["token-classification"]
    arguments = {"count": 400, "per_device_train_batch_size": 4}
    trainer = make_trainer(task, tmp_path, train_sampling_strategy="group_by_length", **arguments)
    lengths = [batch["attention_mask"].sum(1) for batch in trainer.get_train_dataloader()]
    # The sampler sorts 100 sentences at a time, so lengths, which are from 4 to 10, fall from 10 to 4 four times.
    assert sum(int(batch.max() - batch.min()) for batch in lengths) <= 5 * (10 - 4)


@pytest.mark.parametrize("name", first_fast(["token-classification", "text-classification"]))
def test_label_smoothing_mixes_in_the_mean_over_labels(name, tmp_path):
    task, epsilon = TASKS[name], 0.3
    trainer = make_trainer(task, tmp_path, label_smoothing_factor=epsilon)
    model = trainer.model.eval()
    batch = next(iter(trainer.get_train_dataloader()))
    labels = batch["labels"]
    with torch.no_grad():
        actual = trainer.compute_loss(model, dict(batch))
        log_probabilities = model(**batch).logits.log_softmax(-1)[labels != -100]
    expected = (1 - epsilon) * -log_probabilities.gather(1, labels[labels != -100, None]).mean()
    expected -= epsilon * log_probabilities.mean()
    torch.testing.assert_close(actual, expected)
    trainer.train()
    assert_all_moved(dict(trainer.model.named_parameters()), task)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["pretraining", "masked-lm", "token-classification", "text-classification", "question-answering"]
)
def test_compiled_training_step_equals_the_plain_one(name):
    task = TASKS[name]
    sentences = [["Ada", "left"], ["in"]]
    encode = toy_tasks.tokenizer()
    batch = collator(task)([{**encode(words, is_split_into_words=True), **task.labels(words)} for words in sentences])
    outputs, gradients = [], []
    for compiled in (False, True):
        torch._dynamo.reset()
        model = task.model(num_hidden_layers=1, tagger_layers=1)
        if name not in ("pretraining", "masked-lm"):  # the part of the head, as the encoder's is the same in all
            batch["layers"] = model.compute_layers(**{key: batch[key] for key in ("input_ids", "attention_mask")})
        run = torch.compile(model, backend="aot_eager", fullgraph=name == "question-answering") if compiled else model
        outputs.append(dict(run(**batch)))
        outputs[-1]["loss"].backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    torch.testing.assert_close(outputs[1].pop("loss"), outputs[0].pop("loss"))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-5)
    assert_same_weights(gradients[1], gradients[0])


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(tmp_path, plain_weights):
    """Data-parallel training over gloo, for all heads in one go: as with one process and a batch twice as large."""
    script = Path(__file__).parents[1] / "helpers" / "two_processes.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(two_processes(script, tmp_path), capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    for name, task in TASKS.items():
        together = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        assert_all_moved(together, task)
        assert_same_weights(together, plain_weights(name, 2))
