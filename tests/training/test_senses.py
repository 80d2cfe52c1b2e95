"""The loss of senses: vectors of words and contexts, what is drawn, the formula, and runs that resume exactly."""

import math
import os
import random
import subprocess

import numpy as np
import pytest
import torch
from fresh_process import two_processes
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity, normalize
from toy_pretraining import command, pretrained

from hf_elmo import ElmoConfig, ElmoForPreTraining, ElmoTokenizer
from hf_elmo.training.language_model import senses
from hf_elmo.training.language_model.corpus import TextFiles
from hf_elmo.training.language_model.senses import NUM_OCCURRENCES, WINDOW, Occurrences, sense_loss, word_vectors
from hf_elmo.training.language_model.streams import WordTable

TOPICS = (["loan", "cash", "credit", "debt"], ["boat", "shore", "reeds", "water"])
SIZES = {"char_cnn_filters": [[1, 8], [3, 16]], "char_embedding_size": 8, "num_highway_layers": 1}
WEIGHT = ["--sense_weight", "4"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A text of 2,000 lines, of which 20 at a time are about money, then 20 about a river; and its words."""
    draw, lines = random.Random(0), []
    for section in range(100):
        for _ in range(20):
            words = ["bank", *draw.sample(TOPICS[section % 2], 3)]
            draw.shuffle(words)
            lines.append(" ".join(words))
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    words = ["<S>", "</S>", "<UNK>", "bank", *TOPICS[0], *TOPICS[1]]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return folder


@pytest.fixture
def small(monkeypatch):
    """A text of few words has no words that are too frequent."""
    monkeypatch.setattr(senses, "TOO_FREQUENT", 0)


def occurrences_of(folder) -> Occurrences:
    return Occurrences(TextFiles([str(folder / "text.txt")]), WordTable.from_tokenizer(tokenizer_of(folder)), 1)


def tokenizer_of(folder) -> ElmoTokenizer:
    return ElmoTokenizer(str(folder / "vocab.txt"))


def toy_run(text, output, *more: str) -> list[str]:
    files = ["--train_files", str(text / "text.txt"), "--vocab_file", str(text / "vocab.txt"), "--split", "whitespace"]
    steps = ["--per_device_train_batch_size", "16", "--unroll_steps", "3", "--num_negative_samples", "0"]
    adam = ["--optim", "adamw_torch", "--learning_rate", "3e-3"]
    return [*command(text, output, projection_size=16, cell_size=32, lstm_dropout=0.0), *files, *steps, *adam, *more]


# ---- Vectors of words and contexts


def test_word_vectors_are_those_of_the_definition(monkeypatch):
    """Each step in plain numbers, with numpy's singular value decomposition."""
    monkeypatch.setattr(senses, "NUM_DIMENSIONS", 12)
    monkeypatch.setattr(senses, "VECTOR_SIZE", 6)
    num_words = 15
    text = np.random.default_rng(0).zipf(1.3, 400) % num_words
    counts = np.zeros((num_words, 12))
    for place, word in enumerate(text):
        for other in (*text[max(0, place - WINDOW) : place], *text[place + 1 : place + 1 + WINDOW]):
            if other < 12:
                counts[word, other] += 1
    share = counts.sum(0) ** 0.75 / (counts.sum(0) ** 0.75).sum()
    with np.errstate(divide="ignore"):
        information = np.maximum(np.log(counts / (counts.sum(1, keepdims=True) * share)), 0)
    left, values, _ = np.linalg.svd(information)
    expected = left[:, :6] * values[:6] ** 0.5
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = word_vectors(text, num_words).double().numpy()
    assert np.abs(found @ found.T - expected @ expected.T).max() < 1e-3  # but for the signs and order of dimensions


def test_contexts_are_similar_where_their_words_occur_together(text, small):
    batch = occurrences_of(text).batch(range(20))
    lines = sentences_of(batch, tokenizer_of(text))
    same, other = [], []
    for draw, similarities in enumerate(batch["similarities"]):
        topics = [bool(set(line) & set(TOPICS[0])) for line in lines[draw]]
        for one in range(NUM_OCCURRENCES):
            for two in range(one):
                (same if topics[one] == topics[two] else other).append(float(similarities[one, two]))
    assert min(same) > max(other) + 0.5


def test_the_context_is_without_the_word_itself(text, small):
    occurrences = occurrences_of(text)
    word, (sentence, *_) = occurrences.draw(0)
    rows = [occurrences.row[one] for one in occurrences.sentences[sentence] if one != word]
    assert len(rows) == 3
    assert torch.equal(occurrences.context(sentence, word), occurrences.vectors[rows].sum(0))
    counts = np.bincount(np.concatenate(occurrences.sentences))
    lengths = [math.log(counts.sum() / counts[word]) for word in np.argsort(occurrences.row)]  # inverse frequencies
    assert torch.allclose(occurrences.vectors.norm(dim=1), torch.tensor(lengths, dtype=torch.float32), atol=1e-5)


# ---- What is drawn


def test_a_draw_is_a_word_and_different_sentences_with_it(text, small):
    occurrences = occurrences_of(text)
    drawn = [occurrences.draw(number) for number in range(20)]
    for number, (word, sentences) in enumerate(drawn):
        assert len(set(sentences)) == NUM_OCCURRENCES
        assert all(word in occurrences.sentences[sentence] for sentence in sentences)
        assert occurrences.draw(number) == (word, sentences)
    assert len({word for word, _ in drawn}) > 4


def test_a_batch_points_at_the_word(text, small):
    occurrences, tokenizer = occurrences_of(text), tokenizer_of(text)
    batch = occurrences.batch([3, 4])
    assert batch["input_ids"].shape[:2] == (2 * NUM_OCCURRENCES, 6)
    for number, lines in zip((3, 4), sentences_of(batch, tokenizer)):
        word = occurrences.words[occurrences.draw(number)[0]]
        positions = batch["positions"].view(2, NUM_OCCURRENCES)[number - 3].tolist()
        assert [line[position - 1] for line, position in zip(lines, positions)] == [word] * NUM_OCCURRENCES


def sentences_of(batch: dict, tokenizer: ElmoTokenizer) -> list[list[list[str]]]:
    """Return the words of each sentence of each draw, found again by their characters."""
    words = tokenizer.word_vocab[3:]
    encoded = torch.as_tensor(tokenizer([words], is_split_into_words=True)["input_ids"])[0, 1:-1]
    known = {tuple(row.tolist()): word for word, row in zip(words, encoded)}
    lines = [[known[tuple(word.tolist())] for word in row[1:-1]] for row in batch["input_ids"]]
    return [lines[start : start + NUM_OCCURRENCES] for start in range(0, len(lines), NUM_OCCURRENCES)]


def test_long_sentences_short_contexts_and_frequent_words_are_not_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(senses, "TOO_FREQUENT", 1)
    lines = ["often rare one two three", "often long one two three" + 40 * " often", "often often short two three"]
    (tmp_path / "text.txt").write_text(40 * ("\n".join(lines) + "\n"))
    (tmp_path / "vocab.txt").write_text("<S>\n</S>\n<UNK>\noften\nrare\nlong\nshort\none\ntwo\nthree\n")
    occurrences = occurrences_of(tmp_path)
    assert {occurrences.words[word] for word, _ in occurrences.drawn} == {"rare", "one", "two", "three"}
    assert all(len(sentences) == 40 for _, sentences in occurrences.drawn)


# ---- The loss


def test_the_loss_is_that_of_the_formula():
    torch.manual_seed(0)
    layers = [torch.randn(2 * NUM_OCCURRENCES, 5, 6) for _ in range(2)]
    positions, contexts = torch.randint(5, (2 * NUM_OCCURRENCES,)), torch.randn(2, NUM_OCCURRENCES, 4)
    losses = []
    for layer in layers:
        vectors = torch.stack([row[position] for row, position in zip(layer, positions)])
        for draw in range(2):
            states = vectors[draw * NUM_OCCURRENCES : (draw + 1) * NUM_OCCURRENCES]
            for one in range(NUM_OCCURRENCES):
                others = [other for other in range(NUM_OCCURRENCES) if other != one]
                p, q = (
                    [math.exp(cosine_similarity(rows[one], rows[other], dim=0) / temperature) for other in others]
                    for rows, temperature in ((contexts[draw], 0.1), (states, 0.2))
                )
                losses.append(sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q)))
    contexts = normalize(contexts, dim=-1)
    found = sense_loss(layers, positions, contexts @ contexts.transpose(1, 2))
    assert found.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_states_twice_as_far_apart_as_the_contexts_have_no_loss():
    """The temperature of states is twice that of contexts."""
    vectors = torch.randn(NUM_OCCURRENCES, 1, 8)
    unit = normalize(vectors[:, 0], dim=-1)
    positions = torch.zeros(NUM_OCCURRENCES, dtype=torch.long)
    assert sense_loss([vectors], positions, (unit @ unit.T)[None] / 2).item() == pytest.approx(0, abs=1e-5)


def test_senses_are_told_apart_wherever_the_word_stands(text, small):
    """At first the position alone makes the vectors of "bank"; by the loss, those of one sense become similar."""
    tokenizer, occurrences = tokenizer_of(text), occurrences_of(text)
    torch.manual_seed(0)
    sizes = SIZES | {"projection_size": 16, "cell_size": 32, "word_vocab_size": 12, "lstm_dropout": 0.0}
    model = ElmoForPreTraining(ElmoConfig(**sizes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    assert max(contrasts(model, tokenizer)) < 0
    for step in range(160):
        batch = occurrences.batch(range(3 * step, 3 * step + 3))
        targets = batch.pop("positions"), batch.pop("similarities")
        loss = sense_loss(model(**batch, output_hidden_states=True).hidden_states[1:], *targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert min(contrasts(model, tokenizer)) > 0.1


def contrasts(model: ElmoForPreTraining, tokenizer: ElmoTokenizer) -> list[float]:
    """Return of each layer by how much "bank" is more similar in one sense than in both."""
    pairs = [pair.split() for pair in ("bank loan", "cash bank", "bank boat", "reeds bank")]
    batch = tokenizer(pairs, is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        layers = model.eval()(**batch, output_hidden_states=True).hidden_states[1:]
    model.train()
    found = []
    for layer in layers:
        vectors = layer[torch.arange(4), [1 + pair.index("bank") for pair in pairs]]
        cosines = cosine_similarity(vectors[:, None], vectors[None], dim=-1)
        found.append(float((cosines[0, 1] + cosines[2, 3]) / 2 - cosines[:2, 2:].mean()))
    return found


# ---- Runs


@pytest.mark.slow
def test_it_resumes_exactly(text, small, tmp_path):
    run = ["--max_steps", "6", "--save_steps", "3", *WEIGHT]
    assert not pretrained(*toy_run(text, tmp_path / "whole", *run))
    half = ["--resume_from_checkpoint", str(tmp_path / "whole" / "checkpoint-3")]
    assert not pretrained(*toy_run(text, tmp_path / "resumed", *run, *half))
    weights, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("resumed", "whole"))
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(text, small, tmp_path):
    run = ["--max_steps", "4", "--logging_steps", "1", *WEIGHT]
    assert not pretrained(*toy_run(text, tmp_path / "one", *run))
    code = f"""\
import sys
from hf_elmo.training import pretrain
from hf_elmo.training.language_model import senses
senses.TOO_FREQUENT = 0
sys.exit(pretrain.main({toy_run(text, tmp_path / "two", *run, "--per_device_train_batch_size", "8")}))
"""
    script = tmp_path / "run.py"
    script.write_text(code)
    subprocess.run(two_processes(script), check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    expected = load_file(tmp_path / "one" / "model.safetensors")
    for name, tensor in load_file(tmp_path / "two" / "model.safetensors").items():
        assert (tensor - expected[name]).abs().max() < 1e-5, name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sense_weight", "-1"], "--sense_weight must be at least 0, but is -1"),
        ([*WEIGHT, "--freeze_encoder", "True"], "--sense_weight 4 cannot be combined with --freeze_encoder"),
        (WEIGHT, "no word occurs in 32 sentences of at most 32 words that have 3 other content words"),
    ],
)
def test_what_cannot_be_is_one_line(text, tmp_path, capsys, options, message):
    assert pretrained(*toy_run(text, tmp_path, *options)) == 2
    assert message in capsys.readouterr().err
