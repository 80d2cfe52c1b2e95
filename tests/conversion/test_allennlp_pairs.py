# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""AllenNLP's models of two texts as working heads: the same scores, labels and answers as a plain computation."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from allennlp_weights import state_dict, write_archive
from lanes import first_fast
from numpy_bilm import all_layers
from pair_archives import bidaf, decomposable_attention, esim, layers, rnn
from pair_witness import bidaf as witness_bidaf
from pair_witness import decomposable_attention as witness_decomposable_attention
from pair_witness import esim as witness_esim
from small_original import OPTIONS
from transformers import AutoConfig, pipeline

from hf_elmo import ElmoForQuestionAnswering, ElmoForSequenceClassification, ElmoTokenizer
from hf_elmo.conversion import convert
from hf_elmo.conversion.random_weights import random_weights

TENSORS = random_weights(OPTIONS, seed=3)
MIX = (0.3, -0.5, 1.0, 1.25)
LABELS = ["neutral", "entailment", "contradiction"]
WORDS = ["the", "bank", "closed", "river", "Who", "@@NULL@@"]
PREFIX = "_text_field_embedder.token_embedder_"
WIDTH = 2 * 6 + 5  # ELMo and words
NEW, OLD = "matrix_attention", "similarity_function"
LINEAR = {"type": "linear", "tensor_1_dim": 8, "tensor_2_dim": 8, "combination": "x,y,x*y"}
BILINEAR = {"type": "bilinear", "matrix_1_dim": 5, "matrix_2_dim": 5}
BILSTM = rnn("lstm", WIDTH, 4, bidirectional=True)
TEXTS = [
    ("the river bank closed".split(), "Who closed the naïve bank ?".split()),
    (["Who"], "the bank".split()),
    ("a b c".split(), ["river"]),
]


def archive(folder, model, state, reader, words=True, twin=None, is_sharded=False, **elmo):
    """Write an archive of a model that reads ELMo, and words if asked to, and a second ELMo if one is given."""
    embedders = {"elmo": {"type": "elmo_token_embedder", "options_file": "elmo/options.json", "dropout": 0.0, **elmo}}
    if words:
        embedders["tokens"] = {"type": "embedding", "embedding_dim": 5, "trainable": True}
        state[f"{PREFIX}tokens.weight"] = torch.randn(len(WORDS) + 2, 5)
    state |= state_dict(TENSORS, f"{PREFIX}elmo._elmo.", [MIX])
    embedders |= twin or {}
    indexers = {name: {"type": "elmo_characters"} for name in embedders} | {"tokens": {"type": "single_id"}}
    reader = {"token_indexers": {name: indexers[name] for name in embedders}, **reader}
    config = {
        "dataset_reader": {"type": "sharded", "base_reader": reader} if is_sharded else reader,
        "model": {**model, "text_field_embedder": {"token_embedders": embedders}},
    }
    members = {
        "vocabulary/tokens.txt": "\n".join(["@@UNKNOWN@@", *WORDS]).encode(),
        "vocabulary/labels.txt": "\n".join(LABELS).encode(),
        "vocabulary/non_padded_namespaces.txt": b"*tags\n*labels",
    }
    (folder / "elmo").mkdir()
    (folder / "elmo" / "options.json").write_text(json.dumps(OPTIONS))
    return write_archive(folder / "model.tar.gz", state, config, members)


@cache
def layers_of(*words):
    """ELMo's layers of a text, `<S>` and `</S>` included."""
    return all_layers(TENSORS, OPTIONS, np.array(ElmoTokenizer()(words, is_split_into_words=True)["input_ids"]))


def mixed(layers, mix=MIX):
    """A scalar mix of ELMo's layers, without `<S>` and `</S>`."""
    *weights, gamma = mix
    shares = np.exp(weights) / np.exp(weights).sum()
    return torch.from_numpy(gamma * np.einsum("l,ltd->td", shares, layers[:, 1:-1])).float()


def embedded(state, words, found=None):
    """The vectors of a text's words as AllenNLP concatenates them, out of ELMo's layers."""
    vectors = [mixed(layers_of(*words) if found is None else found)]
    if f"{PREFIX}tokens.weight" in state:
        rows = [WORDS.index(word) + 2 if word in WORDS else 1 for word in words]
        vectors.append(state[f"{PREFIX}tokens.weight"][rows])
    return torch.cat(vectors, dim=1)


def pair_cases():
    deep = layers(32, [6, 5], ["tanh", "leaky_relu"], dropout=[0.1, 0.0])
    two = rnn("lstm", WIDTH, 8, num_layers=2, dropout=0.5)
    through, forward = {"type": "pass_through", "input_dim": WIDTH}, layers(WIDTH, 8, "elu")
    fed = {"type": "feedforward", "feedforward": forward}
    yield "esim, as published", lambda: esim(WIDTH, 3, BILSTM, {NEW: {"type": "dot_product"}})
    yield (
        "esim of 0.9",
        lambda: esim(
            WIDTH, 3, rnn("gru", WIDTH, 4, bidirectional=True), {OLD: {**LINEAR, "activation": "tanh"}}, projection=deep
        ),
    )
    yield (
        "esim, one direction",
        lambda: esim(
            WIDTH,
            3,
            two,
            {
                NEW: {
                    **BILINEAR,
                    "matrix_1_dim": 8,
                    "matrix_2_dim": 8,
                    "use_input_biases": True,
                    "activation": "sigmoid",
                }
            },
            inference=rnn("gru", 5, 4, num_layers=2),
            logit=layers(6, [4, 3], ["softplus", "linear"]),
        ),
    )
    yield (
        "esim, without recurrence",
        lambda: esim(WIDTH, 3, fed, {NEW: {"type": "cosine"}}, inference={"type": "pass_through", "input_dim": 5}),
    )
    yield "esim of words as they are", lambda: esim(WIDTH, 3, through, {NEW: {"type": "scaled_dot_product"}})
    attention = {NEW: {"type": "dot_product"}}
    yield "decomposable, as published", lambda: decomposable_attention(WIDTH, 3, attention)
    yield (
        "decomposable of 0.9",
        lambda: decomposable_attention(
            WIDTH, 3, {OLD: {"type": "dot_product", "scale_output": True}}, premise_encoder=BILSTM
        ),
    )
    yield (
        "decomposable, two encoders",
        lambda: decomposable_attention(
            WIDTH,
            3,
            {NEW: {**BILINEAR, "activation": "swish"}},
            premise_encoder=BILSTM,
            hypothesis_encoder=rnn("gru", WIDTH, 8),
            aggregate=layers(12, 3, "linear"),
        ),
    )
    combination = {"type": "linear", "tensor_1_dim": 5, "tensor_2_dim": 5, "combination": "x,x-y,y*x,x+y"}
    yield "decomposable, linear", lambda: decomposable_attention(WIDTH, 3, {NEW: combination})


PAIRS = dict(pair_cases())


@pytest.mark.parametrize("name", first_fast(PAIRS))
@torch.no_grad()
def test_pairs_have_the_scores_of_a_plain_computation(tmp_path, name):
    torch.manual_seed(0)
    model, state = PAIRS[name]()
    end = ["@@NULL@@"] if "published" in name else []
    reader = {"type": "snli", "tokenizer": {"type": "spacy", "end_tokens": end}}
    path = archive(tmp_path, model, state, reader)
    conversion = convert(path, tmp_path / "model")
    assert conversion.config.architectures == ["ElmoForSequenceClassification"]
    assert AutoConfig.from_pretrained(tmp_path / "model").id2label == dict(enumerate(LABELS))
    loaded = ElmoForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    tokenizer = ElmoTokenizer.from_pretrained(tmp_path / "model")
    batch = tokenizer(
        [first for first, _ in TEXTS],
        [second for _, second in TEXTS],
        is_split_into_words=True,
        padding=True,
        return_tensors="pt",
    )
    found = loaded(**batch).logits
    witness = witness_esim if model["type"] == "esim" else witness_decomposable_attention
    for texts, logits in zip(TEXTS, found):
        expected = witness(state, model, *(embedded(state, [*words, *end]) for words in texts))
        torch.testing.assert_close(logits, expected, rtol=2e-5, atol=2e-5)


@torch.no_grad()
def test_layers_of_first_and_second_texts_are_normalized_apart(tmp_path):
    torch.manual_seed(2)
    model, state = esim(WIDTH - 5, 3, rnn("lstm", WIDTH - 5, 4), {NEW: {"type": "dot_product"}})
    path = archive(tmp_path, model, state, {"type": "snli"}, words=False, do_layer_norm=True)
    convert(path, tmp_path / "model")
    loaded = ElmoForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    batch = ElmoTokenizer()(TEXTS, is_split_into_words=True, padding=True, return_tensors="pt")
    sides = []
    for texts in zip(*TEXTS):
        found = [layers_of(*words) for words in texts]
        whole = np.concatenate(found, axis=1)
        mean, deviation = whole.mean(axis=(1, 2)), whole.std(axis=(1, 2))
        normalized = [(layers - mean[:, None, None]) / deviation[:, None, None] for layers in found]
        sides.append([embedded(state, words, layers) for words, layers in zip(texts, normalized)])
    for logits, *vectors in zip(loaded(**batch).logits, *sides):
        torch.testing.assert_close(logits, witness_esim(state, model, *vectors), rtol=2e-5, atol=2e-5)


@torch.no_grad()
def test_two_mixes_of_one_encoder(tmp_path):
    """Embedders with the same frozen biLM and mixes of their own; and sections that are a type alone."""
    torch.manual_seed(4)
    model, state = esim(WIDTH - 5 + 12, 3, rnn("gru", WIDTH - 5 + 12, 4), {NEW: "dot_product"})
    other_mix = (1.0, 2.0, -1.0, 0.5)
    twin = {"second": {"type": "elmo_token_embedder", "options_file": "elmo/options.json"}}
    state |= state_dict(TENSORS, f"{PREFIX}second._elmo.", [other_mix])
    path = archive(tmp_path, model, state, {"type": "snli"}, words=False, twin=twin)
    conversion = convert(path, tmp_path / "model")
    assert any("have the same weights and become one" in note for note in conversion.notes)
    loaded = ElmoForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    batch = ElmoTokenizer()(TEXTS, is_split_into_words=True, padding=True, return_tensors="pt")
    model[NEW] = {"type": "dot_product"}
    for logits, texts in zip(loaded(**batch).logits, TEXTS):
        vectors = [torch.cat([mixed(layers_of(*w), mix) for mix in (MIX, other_mix)], dim=1) for w in texts]
        torch.testing.assert_close(logits, witness_esim(state, model, *vectors), rtol=2e-5, atol=2e-5)


DOT = {"type": "dot_product"}
NESTED = BILSTM
for _ in range(200):
    NESTED = {"type": "compose", "encoders": [NESTED]}
REFUSED = [
    ({NEW: {"type": "multiheaded"}}, "model.matrix_attention.type is 'multiheaded', which has no counterpart"),
    ({NEW: {**LINEAR, "combination": "x,x*x"}}, "matrix_attention.combination 'x,x*x' has no counterpart"),
    ({NEW: {**LINEAR, "tensor_2_dim": 7}}, "tensor_2_dim is 7, but the vectors before it are 8 wide"),
    ({NEW: {**LINEAR, "activation": {}}}, "model.matrix_attention.activation is {}, which has no counterpart"),
    (
        {NEW: {**BILINEAR, "matrix_1_dim": 8, "matrix_2_dim": 8, "label_dim": 2}},
        "label_dim is 2, where one score for a pair is needed",
    ),
    ({NEW: None}, "model lacks matrix_attention, or similarity_function"),
    ({NEW: DOT, "mode": "x"}, "model has settings that have no counterpart: mode"),
    ({NEW: DOT, "encoder": {**BILSTM, "type": "qanet_encoder"}}, "model.encoder.type is 'qanet_encoder'"),
    ({NEW: DOT, "encoder": NESTED}, "nests more than 20 encoders"),
]


@pytest.mark.parametrize(("sections", "complaint"), REFUSED)
def test_what_has_no_counterpart_is_refused_by_name(tmp_path, sections, complaint):
    model, state = esim(WIDTH, 3, BILSTM, {NEW: LINEAR})
    path = archive(tmp_path, model | sections, state, {"type": "snli"})
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        convert(path, tmp_path / "model")
    assert complaint in str(caught.value)
    assert str(caught.value).endswith("--encoder-only converts its ELMo alone")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_tensors_that_contradict_config_json_are_refused(tmp_path):
    model, state = decomposable_attention(WIDTH, 3, {NEW: DOT}, premise_encoder=BILSTM)
    state["_hypothesis_encoder._module.weight_hh_l0"] = state["_hypothesis_encoder._module.weight_hh_l0"] + 1
    with pytest.raises(ValueError, match=r"premise_encoder\.weight_hh_l0 are one tensor by config\.json, but differ"):
        convert(archive(tmp_path, model, state, {"type": "snli"}), tmp_path / "model")
    (tmp_path / "few").mkdir()
    model, state = decomposable_attention(WIDTH, 2, {NEW: DOT})
    with pytest.raises(ValueError, match=r"gives 2 scores for the 3 labels of vocabulary/labels\.txt"):
        convert(archive(tmp_path / "few", model, state, {"type": "snli"}), tmp_path / "model")


def reader_cases():
    yield "as published", lambda: bidaf(WIDTH, BILSTM, {NEW: LINEAR})
    yield (
        "of 0.9",
        lambda: bidaf(WIDTH, rnn("gru", WIDTH, 4, bidirectional=True), {OLD: {"type": "dot_product"}}, highways=1),
    )
    yield (
        "without highways",
        lambda: bidaf(
            WIDTH,
            rnn("lstm", WIDTH, 8),
            {NEW: {**BILINEAR, "matrix_1_dim": 8, "matrix_2_dim": 8}},
            highways=0,
            modeling=rnn("gru", 32, 3, bidirectional=True),
            span_end=rnn("gru", 32 + 18, 5),
            rest={"mask_lstms": False, "dropout": 0.0},
        ),
    )
    yield (
        "by cosine",
        lambda: bidaf(
            WIDTH,
            {"type": "feedforward", "feedforward": layers(WIDTH, 8, "tanh")},
            {NEW: {"type": "cosine"}},
            modeling={"type": "pass_through", "input_dim": 32},
        ),
    )


READERS = dict(reader_cases())


@pytest.mark.parametrize("name", first_fast(READERS))
@torch.no_grad()
def test_answers_are_those_of_a_plain_computation(tmp_path, name):
    torch.manual_seed(1)
    model, state = READERS[name]()
    reader = {"type": "squad", "tokenizer": {"type": "letters_digits"}, "passage_length_limit": 9}
    convert(archive(tmp_path, model, state, reader, is_sharded="published" in name), tmp_path / "model")
    loaded = ElmoForQuestionAnswering.from_pretrained(tmp_path / "model").eval()
    tokenizer = ElmoTokenizer.from_pretrained(tmp_path / "model")
    assert (tokenizer.split, loaded.config.qa_length_limits) == ("letters_digits", [None, 9])
    questions, passages = [second for _, second in TEXTS], [first for first, _ in TEXTS]
    batch = tokenizer(questions, passages, is_split_into_words=True, padding=True, return_tensors="pt")
    output = loaded(**batch)
    best = loaded.best_spans(output.start_logits, output.end_logits)
    for row, (question, passage) in enumerate(zip(questions, passages)):
        start, end, span = witness_bidaf(state, model, embedded(state, question), embedded(state, passage))
        first = len(question) + 3
        words = slice(first, first + len(passage))
        torch.testing.assert_close(output.start_logits[row, words], start, rtol=2e-5, atol=2e-5)
        torch.testing.assert_close(output.end_logits[row, words], end, rtol=2e-5, atol=2e-5)
        assert (best[row] - first).tolist() == span


@pytest.mark.slow
def test_a_limit_of_the_passage_counts_the_word_for_no_answer(tmp_path):
    """As the readers of AllenNLP cut it: to one word less, and then that word."""
    torch.manual_seed(1)
    model, state = bidaf(WIDTH, BILSTM, {NEW: {"type": "dot_product"}})
    reader = {"type": "squad2", "tokenizer": "letters_digits", "question_length_limit": 3, "passage_length_limit": 6}
    convert(archive(tmp_path, model, state, reader), tmp_path / "model")
    assert AutoConfig.from_pretrained(tmp_path / "model").qa_length_limits == [3, 5]
    answer = pipeline("question-answering", str(tmp_path / "model"), trust_remote_code=True, device="cpu")
    (window,) = answer.preprocess({"question": "Who closed the bank?", "context": "the river bank closed, so who?"})
    assert window["attention_mask"].sum() == 3 + 6 + 4
    for changes, least in (({"passage_length_limit": 1}, 2), ({"question_length_limit": 0}, 1)):
        folder = tmp_path / f"least{least}"
        folder.mkdir()
        with pytest.raises(ValueError, match=rf"{next(iter(changes))} must be at least {least}, but is {least - 1}"):
            convert(archive(folder, model, state, reader | changes), tmp_path / "refused")


@pytest.fixture(scope="module")
def squad(fixtures_dir, tmp_path_factory):
    """The archive of a bidaf that AllenNLP trained, converted, and the outputs that it recorded."""
    source, folder = fixtures_dir / "allennlp_archives" / "squad_bidaf", tmp_path_factory.mktemp("squad") / "model"
    convert(source / "model.tar.gz", folder)
    inputs = json.loads((source / "inputs.json").read_text(encoding="utf-8"))["batches"]
    results = json.loads((source / "expected.json").read_text(encoding="utf-8"))["results"]["stateless"]
    with np.load(source / "expected.npz") as arrays:
        return folder, inputs, results, dict(arrays)


@torch.no_grad()
def test_recorded_scores_and_spans(squad):
    folder, inputs, results, arrays = squad
    model = ElmoForQuestionAnswering.from_pretrained(folder).eval()
    tokenizer = ElmoTokenizer.from_pretrained(folder)
    for number, instances in enumerate(inputs):
        texts = ([instance[f"{name}_tokens"] for instance in instances] for name in ("question", "passage"))
        batch = tokenizer(*texts, is_split_into_words=True, padding=True, return_tensors="pt")
        output = model(**batch)
        best = model.best_spans(output.start_logits, output.end_logits)
        for row, (instance, result) in enumerate(zip(instances, results[number], strict=True)):
            first, count = len(instance["question_tokens"]) + 3, len(instance["passage_tokens"])
            for side in ("start", "end"):
                logits, key = output[f"{side}_logits"][row], f"stateless/batch{number}/span_{side}"
                expected = torch.from_numpy(arrays[f"{key}_logits"][row, :count])
                torch.testing.assert_close(logits[first : first + count], expected, rtol=0, atol=2e-5)
                expected = torch.from_numpy(arrays[f"{key}_probs"][row, :count])
                torch.testing.assert_close(logits.softmax(0)[first : first + count], expected, rtol=0, atol=2e-5)
            assert (best[row] - first).tolist() == result["best_span"]


@pytest.mark.slow
def test_recorded_answers_to_raw_questions(squad):
    folder, inputs, results, arrays = squad
    answer = pipeline("question-answering", str(folder), trust_remote_code=True, device="cpu")
    for number, instances in enumerate(inputs):
        asked = [{"question": instance["question"], "context": instance["passage"]} for instance in instances]
        for row, (found, result, instance) in enumerate(zip(answer(asked), results[number], instances, strict=True)):
            assert found["answer"] == result["best_span_str"]
            first, last = result["best_span"]
            offsets = instance["passage_token_offsets"]
            assert (found["start"], found["end"]) == (offsets[first][0], offsets[last][1])
            key = f"stateless/batch{number}/span_"
            score = arrays[f"{key}start_probs"][row, first] * arrays[f"{key}end_probs"][row, last]
            assert found["score"] == pytest.approx(score, abs=2e-5)
