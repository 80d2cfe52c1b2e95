"""The loss of discourses: what is drawn, the formula, senses that are told apart, and runs that resume exactly."""

import math
import os
import random
import subprocess

import pytest
import torch
from fresh_process import two_processes
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity
from toy_pretraining import command, pretrained

from hf_elmo import ElmoConfig, ElmoForPreTraining, ElmoTokenizer
from hf_elmo.training.language_model import discourse
from hf_elmo.training.language_model.corpus import TextFiles
from hf_elmo.training.language_model.discourse import NUM_PLACES, REACH, Discourses, discourse_loss
from hf_elmo.training.language_model.streams import WordTable

SENSES = (["loan-", "cash-", "credit-"], ["boat-", "shore-", "reeds-"])  # no words of letters alone: never compared
SIZES = {"char_cnn_filters": [[1, 8], [3, 16]], "char_embedding_size": 8, "num_highway_layers": 1}
WEIGHT = ["--discourse_weight", "4"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A text of 2,000 lines, of which 20 at a time are about money, then 20 about a river; and its words."""
    draw, lines = random.Random(0), []
    for section in range(100):
        for _ in range(20):
            words = ["bank", draw.choice(SENSES[section % 2])]
            draw.shuffle(words)
            lines.append(" ".join(words))
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    words = ["<S>", "</S>", "<UNK>", "bank", *SENSES[0], *SENSES[1]]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return folder


@pytest.fixture
def small(monkeypatch):
    """Places of a short text of few words."""
    monkeypatch.setattr(discourse, "TOO_FREQUENT", 0)
    monkeypatch.setattr(discourse, "APART", 50)


def toy_run(text, output, *more: str) -> list[str]:
    files = ["--train_files", str(text / "text.txt"), "--vocab_file", str(text / "vocab.txt"), "--split", "whitespace"]
    steps = ["--per_device_train_batch_size", "16", "--unroll_steps", "3", "--num_negative_samples", "0"]
    adam = ["--optim", "adamw_torch", "--learning_rate", "3e-3"]
    return [*command(text, output, projection_size=16, cell_size=32, lstm_dropout=0.0), *files, *steps, *adam, *more]


# ---- What is drawn


def test_a_draw_is_a_word_at_places_far_from_each_other(text, small):
    discourses = Discourses(TextFiles([str(text / "text.txt")]), WordTable.from_tokenizer(tokenizer_of(text)), 1)
    lines = (text / "text.txt").read_text().splitlines()
    for number in range(20):
        word, sentences = discourses.draw(number)
        assert discourses.words[word] == "bank"  # the others are not of letters alone
        assert len(sentences) == 2 * NUM_PLACES
        pairs = list(zip(sentences[::2], sentences[1::2]))
        assert all(0 < second - first <= REACH for first, second in pairs)
        assert all(abs(one - other) >= 50 for one, _ in pairs for other, _ in pairs if one != other)
        assert len({first for first, _ in pairs}) == NUM_PLACES
        assert all("bank" in lines[sentence].split() for sentence in sentences)
        assert discourses.draw(number) == (word, sentences)
    assert discourses.draw(0) != discourses.draw(1)


def test_a_batch_points_at_the_word(text, small):
    tokenizer = tokenizer_of(text)
    discourses = Discourses(TextFiles([str(text / "text.txt")]), WordTable.from_tokenizer(tokenizer), 1)
    batch = discourses.batch([3, 4])
    assert batch["input_ids"].shape[:2] == (4 * NUM_PLACES, 4)
    expected = torch.as_tensor(tokenizer([["bank"]], is_split_into_words=True)["input_ids"])[0, 1]
    for row, position in zip(batch["input_ids"], batch["positions"]):
        assert torch.equal(row[position], expected)


def test_long_sentences_and_frequent_words_are_not_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(discourse, "APART", 10)
    monkeypatch.setattr(discourse, "TOO_FREQUENT", 1)
    lines = ["often often rare", "often long" + 40 * " often"]
    (tmp_path / "text.txt").write_text(400 * ("\n".join(lines) + "\n"))
    (tmp_path / "vocab.txt").write_text("<S>\n</S>\n<UNK>\noften\nrare\nlong\n")
    table = WordTable.from_tokenizer(ElmoTokenizer(str(tmp_path / "vocab.txt")))
    discourses = Discourses(TextFiles([str(tmp_path / "text.txt")]), table, 1)
    assert {discourses.words[word] for word in discourses.word_of} == {"rare"}


def test_a_word_of_two_stretches_of_text_is_not_drawn(tmp_path, monkeypatch):
    """Its pairs are many, and far from the first to the last, but of two places."""
    monkeypatch.setattr(discourse, "TOO_FREQUENT", 0)
    (tmp_path / "text.txt").write_text(50 * "bank a-\n" + 9000 * "b- a-\n" + 50 * "bank a-\n")
    (tmp_path / "vocab.txt").write_text("<S>\n</S>\n<UNK>\nbank\na-\nb-\n")
    with pytest.raises(ValueError, match="at 16 places of a file"):
        Discourses(TextFiles([str(tmp_path / "text.txt")]), WordTable.from_tokenizer(tokenizer_of(tmp_path)), 1)


# ---- The loss


def test_the_loss_is_that_of_the_formula():
    torch.manual_seed(0)
    layers, positions = [torch.randn(4 * NUM_PLACES, 5, 6) for _ in range(2)], torch.randint(5, (4 * NUM_PLACES,))
    losses = []
    for layer in layers:
        vectors = [row[position] for row, position in zip(layer, positions)]
        for draw in (vectors[: 2 * NUM_PLACES], vectors[2 * NUM_PLACES :]):
            for one, vector in enumerate(draw):
                scores = [math.exp(cosine_similarity(vector, other, dim=0) / 0.1) for other in draw]
                partner = one + 1 if one % 2 == 0 else one - 1
                losses.append(-math.log(scores[partner] / (sum(scores) - scores[one])))
    assert discourse_loss(layers, positions).item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_senses_are_told_apart_wherever_the_word_stands(text, small):
    """At first the position alone makes the vectors of "bank"; by the loss, those of one sense become similar."""
    tokenizer = tokenizer_of(text)
    discourses = Discourses(TextFiles([str(text / "text.txt")]), WordTable.from_tokenizer(tokenizer), 1)
    torch.manual_seed(0)
    sizes = SIZES | {"projection_size": 16, "cell_size": 32, "word_vocab_size": 10, "lstm_dropout": 0.0}
    model = ElmoForPreTraining(ElmoConfig(**sizes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    assert max(contrasts(model, tokenizer)) < 0
    for step in range(80):
        batch = discourses.batch(range(3 * step, 3 * step + 3))
        positions = batch.pop("positions")
        loss = discourse_loss(model(**batch, output_hidden_states=True).hidden_states[1:], positions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert min(contrasts(model, tokenizer)) > 0.1


def contrasts(model: ElmoForPreTraining, tokenizer: ElmoTokenizer) -> list[float]:
    """Return of each layer by how much "bank" is more similar in one sense than in both."""
    pairs = [pair.split() for pair in ("bank loan-", "cash- bank", "bank boat-", "reeds- bank")]
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
from hf_elmo.training.language_model import discourse
discourse.TOO_FREQUENT, discourse.APART = 0, 50
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
        (["--discourse_weight", "-1"], "--discourse_weight must be at least 0, but is -1"),
        ([*WEIGHT, "--freeze_encoder", "True"], "--discourse_weight 4 cannot be combined with --freeze_encoder"),
        (WEIGHT, "no word occurs twice within 30 sentences of at most 32 words at 16 places of a file"),
    ],
)
def test_what_cannot_be_is_one_line(text, tmp_path, capsys, options, message):
    assert pretrained(*toy_run(text, tmp_path, *options)) == 2
    assert message in capsys.readouterr().err


def tokenizer_of(text) -> ElmoTokenizer:
    return ElmoTokenizer(str(text / "vocab.txt"))
