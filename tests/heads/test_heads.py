"""Promises of every task head, with every combination of layers that its options offer."""

import pytest
import torch
import toy_tasks
from lanes import first_fast
from shaken import shake
from torch.testing import assert_close
from toy_tasks import KINDS, WORD_FEATURES, Task, kind
from transformers import DataCollatorForTokenClassification, DataCollatorWithPadding

import hf_elmo

SENTENCES = [["Ada", "left", "Rome"], ["today"], ["Tom", "and", "Max", "saw", "Oslo", "again"], ["Eve", "met", "Ann"]]
EXACT = {"rtol": 1e-5, "atol": 2e-6}


def tagger(**options):
    labels = {"id2label": dict(enumerate(KINDS)), "label2id": {name: i for i, name in enumerate(KINDS)}}
    return Task(
        hf_elmo.ElmoForTokenClassification,
        {**labels, **options},
        lambda words: {"labels": [-100, *map(kind, words), -100]},
    )


def classifier(is_of_pairs=False, **options):
    def labels(words):
        if options.get("problem_type") == "multi_label_classification":
            return {"labels": [float(any(kind(word) == k for word in words)) for k in range(3)]}
        if options.get("problem_type") == "regression":
            return {"labels": toy_tasks.names_in(words) / len(words)}
        return {"labels": toy_tasks.names_in(words) % 3}

    return Task(hf_elmo.ElmoForSequenceClassification, {"num_labels": 3, **options}, labels, is_of_pairs)


def answers(**options):
    """A question-answering task: some rows have no answer, and some do not count."""

    def labels(words):
        first, last = {2: (0, 0), 3: (-100, -100)}.get(len(words), (4 + len(words) // 2, 3 + len(words)))
        return {"start_positions": first, "end_positions": last}

    return Task(hf_elmo.ElmoForQuestionAnswering, options, labels, is_of_pairs=True)


HEADS = {
    "tagger": tagger(),
    "tagger with word features": tagger(elmo_at_output=True, **WORD_FEATURES),
    "tagger without encoder": tagger(tagger_layers=0, **{**WORD_FEATURES, "word_vector_trainable": False}),
    "tagger word by word": tagger(tagger_crf=False, tagger_layers=1),
    "linear tagger": tagger(tagger_crf=False, tagger_layers=0),
    "tagger of described layers": tagger(
        word_features=[{"type": "elmo", "mix": 0, "projection": 12}],
        task_layers={
            "input_dropout": 0.0,
            "encoder": {"type": "lstm", "size": 16, "bidirectional": True},
            "feedforward": {"type": "feedforward", "sizes": [12], "activations": ["tanh"], "dropout": [0.0]},
        },
        task_special_tokens=False,
        tagger_crf=False,
        tagger_constraints="labels",
    ),
    "mean": classifier(),
    "maximum, of pairs": classifier(is_of_pairs=True, pooling="max", **WORD_FEATURES),
    "attentive pooling": classifier(pooling="attention"),
    "several labels": classifier(problem_type="multi_label_classification"),
    "values, of pairs": classifier(is_of_pairs=True, problem_type="regression", num_labels=1, pooling="attention"),
    "biattentive network": classifier(sequence_encoder="bcn", **WORD_FEATURES),
    "biattentive network, of pairs": classifier(is_of_pairs=True, sequence_encoder="bcn", elmo_at_output=False),
    "described pooling": classifier(
        task_layers={
            "encoder": {"type": "lstm", "size": 16},
            "pooler": {"type": "cnn", "filters": 16, "widths": [1, 2], "activation": "tanh"},
            "feedforward": {"type": "maxout", "sizes": [12], "pools": [2], "dropout": [0.0]},
        },
        task_special_tokens=False,
    ),
    "inference": classifier(is_of_pairs=True, sequence_encoder="esim"),
    "inference with word features": classifier(
        is_of_pairs=True, sequence_encoder="esim", elmo_at_output=False, **WORD_FEATURES
    ),
    "decomposable attention": classifier(
        is_of_pairs=True, sequence_encoder="decomposable_attention", sequence_size=8, **WORD_FEATURES
    ),
    "answers": answers(),
    "answers by the original flow": answers(qa_encoder="bidaf_original", qa_size=4),
    "answers with word features": answers(elmo_at_output=False, **WORD_FEATURES),
    "answers, with a learnt score of none": answers(qa_no_answer=True),
    "linear answers": answers(qa_encoder="linear"),
}
# One of each kind of layers; the others are their combinations.
FAST = {
    "tagger with word features",
    "linear tagger",
    "tagger of described layers",
    "mean",
    "maximum, of pairs",
    "values, of pairs",
    "biattentive network",
    "described pooling",
    "inference",
    "decomposable attention",
    "answers",
    "answers by the original flow",
}
# One of each class, for what takes its time and depends little on the layers.
FEW_FAST = {"tagger with word features", "inference", "answers"}


def heads_of(fast):
    """Run a test with all heads, of which these are in the fast lane."""
    tasks = [pytest.param(task, marks=[] if name in fast else pytest.mark.slow) for name, task in HEADS.items()]
    return pytest.mark.parametrize("task", tasks, ids=HEADS)


all_heads = heads_of(FAST)


def encode(task, sentences=SENTENCES, side="right"):
    """Make a batch with labels, padded on one side."""
    tokenizer = toy_tasks.tokenizer()
    tokenizer.padding_side = side
    per_word = task.head is hf_elmo.ElmoForTokenClassification
    collate = (DataCollatorForTokenClassification if per_word else DataCollatorWithPadding)(tokenizer)
    return dict(collate([task.encode(words) for words in sentences]))


def without_labels(batch):
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def outputs(model, **batch):
    """Return the logits of a head by name."""
    output = model(**batch)
    return {name: output[name] for name in ("logits", "start_logits", "end_logits") if name in output}


@heads_of(FEW_FAST)
def test_saved_and_loaded_it_gives_the_same_logits(task, tmp_path):
    model, batch = shake(task.model()), encode(task)
    model.save_pretrained(tmp_path)
    again = task.head.from_pretrained(tmp_path)
    assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    before, after = model(**batch), again(**batch)
    assert before.loss.ndim == 0
    assert_close(dict(after), dict(before), **EXACT)
    assert {name: weight.requires_grad for name, weight in again.named_parameters()} == {
        name: weight.requires_grad for name, weight in model.named_parameters()
    }


@all_heads
@pytest.mark.parametrize("frozen", first_fast([False, True]))
def test_every_trainable_parameter_receives_a_gradient(task, frozen):
    model = shake(task.model()).train()
    model.elmo.freeze_encoder(frozen)
    model(**encode(task)).loss.backward()
    received = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    expected = {
        name
        for name, _ in model.named_parameters()
        if not (frozen and name.startswith("elmo.")) or name.startswith("elmo.scalar_mixes")
    }
    assert received == expected


@all_heads
@pytest.mark.parametrize("side", first_fast(["right", "left"]))
def test_a_padded_batch_equals_its_sentences_one_by_one(task, side):
    model = shake(task.model())
    batch = encode(task, side=side)
    together = outputs(model, **without_labels(batch))
    for row, words in enumerate(SENTENCES):
        alone = outputs(model, **without_labels(encode(task, [words])))
        here = batch["attention_mask"][row].bool()
        for name, expected in alone.items():
            per_word = task.head is not hf_elmo.ElmoForSequenceClassification
            assert_close(together[name][row][here] if per_word else together[name][row], expected[0], **EXACT)


@all_heads
def test_layers_computed_earlier_give_the_same_logits(task):
    model, batch = shake(task.model(lstm_dropout=0.5)), without_labels(encode(task))
    expected = outputs(model, **batch)
    model.train()
    layers = model.compute_layers(**batch)
    assert model.training
    assert model.elmo.layers[0].training
    assert not layers.requires_grad
    layers[~batch["attention_mask"].bool()] = torch.nan  # as a cache may leave them
    assert_close(outputs(model.eval(), **batch, layers=layers), expected, **EXACT)
    with pytest.raises(ValueError, match="give the `input_ids` beside them"):
        model(attention_mask=batch["attention_mask"], layers=layers)


@all_heads
def test_character_embeddings_in_place_of_ids(task):
    model, batch = shake(task.model()), without_labels(encode(task))
    embeddings = {"inputs_embeds": model.get_input_embeddings()(batch["input_ids"])}
    embeddings["attention_mask"] = batch["attention_mask"]
    if model.config.word_vector_count:
        with pytest.raises(ValueError, match="give these, not `inputs_embeds`"):
            model(**embeddings)
    else:
        assert_close(outputs(model, **embeddings), outputs(model, **batch), **EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in HEADS if name in FAST and name != "answers"])
@torch.no_grad()
def test_compiled_it_gives_the_same_logits(name):
    """The graphs begin at given layers: that of the encoder is one and the same, and takes long. With a head above it,
    test_model_backends.py compiles it.

    So does tracing a graph once more for autograd, which heads do without whose layers are in the graphs of others. The
    head for answers is compiled with its gradients in test_trainer.py.
    """
    task = HEADS[name]
    model, batch = shake(task.model(num_hidden_layers=1)), encode(task, [["Ada", "left"], ["in"]])
    batch["layers"] = model.compute_layers(**without_labels(batch))
    torch._dynamo.reset()
    alike = "tagger of described layers", "tagger with word features", "inference", "answers by the original flow"
    compiled = torch.compile(model, backend="eager" if name in alike else "aot_eager", fullgraph=True)
    assert_close(dict(compiled(**batch)), dict(model(**batch)), rtol=0, atol=1e-5)


@heads_of(FEW_FAST)
@pytest.mark.parametrize("dtype", first_fast([torch.bfloat16, torch.float16]))
def test_half_precision(task, dtype):
    model, batch = shake(task.model()), encode(task)
    expected = model(**batch)
    actual = model.to(dtype)(**batch)
    assert actual.loss.isfinite()
    assert_close(actual.loss.float(), expected.loss, rtol=0.1, atol=0.05)


@pytest.mark.slow
@all_heads
def test_it_learns_ten_examples_by_heart(task):
    model = task.model().train()
    batch = encode(task, [words[:4] for words in toy_tasks.sentences(10)])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, fused=True)
    for _ in range(300):
        loss = model(**batch).loss
        if loss < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.01
