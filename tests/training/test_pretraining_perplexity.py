"""`hf-elmo perplexity`: the original's numbers by its protocol, every word by our own, one-line errors."""

import json
import math
import random

import numpy as np
import pytest
import torch
from shaken import shake

from hf_elmo import ElmoConfig, ElmoForPreTraining, ElmoTokenizer, cli
from hf_elmo.conversion.bilm_checkpoint import bilm_variables
from hf_elmo.conversion.bilm_hdf5 import read_weights
from hf_elmo.conversion.tensorflow_checkpoint import read_checkpoint
from hf_elmo.perplexity import load_language_model
from hf_elmo.training.language_model.perplexity import BatchSizes, sentence_losses, stream_losses
from hf_elmo.training.language_model.streams import WordTable

pytestmark = pytest.mark.slow  # each test trains


@pytest.fixture(scope="module")
def original(fixtures_dir, tmp_path_factory):
    """The original's checkpoint as a saved model, its held-out text, and the original's results on it."""
    source, folder = fixtures_dir / "bilm_checkpoint", tmp_path_factory.mktemp("original")
    config = ElmoConfig(
        char_embedding_size=4,
        char_cnn_filters=[[1, 4], [2, 8], [3, 16], [4, 32], [5, 64]],
        projection_size=16,
        cell_size=64,
        word_vocab_size=5000,
    )
    state, _ = read_weights(bilm_variables(read_checkpoint(source / "checkpoint")), config)
    model = ElmoForPreTraining(config)
    names = {name: name if name.startswith("lm_head.") else f"elmo.{name}" for name in state}
    model.load_state_dict({names[name]: tensor for name, tensor in state.items()}, strict=False)
    model.save_pretrained(folder)
    ElmoTokenizer(str(source / "vocab.txt")).save_pretrained(folder)
    return folder, source / "heldout.txt", json.loads((source / "heldout_perplexity.json").read_text())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A random model whose state matters, and a text with sentences of 0 to 40 words and words it does not know."""
    folder, rng = tmp_path_factory.mktemp("small"), random.Random(0)
    words = ["<S>", "</S>", "<UNK>", *"abcdefgh"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    sizes = dict(char_cnn_filters=[[1, 4], [2, 4]], char_embedding_size=4, num_highway_layers=1)
    torch.manual_seed(0)
    model = shake(ElmoForPreTraining(ElmoConfig(**sizes, projection_size=6, cell_size=8, word_vocab_size=len(words))))
    model.save_pretrained(folder)
    ElmoTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    lines = [" ".join(rng.choices("abcdefghxyz", k=rng.randrange(1, 41))) for _ in range(23)]
    (folder / "text.txt").write_text("\n\n".join(lines) + "\n")
    return folder


def measured(capsys, *arguments) -> dict:
    assert cli.main(["perplexity", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("batch_size", [1, 4, 8])
def test_stream_protocol_gives_the_originals_perplexities(original, capsys, batch_size):
    folder, text, expected = original
    results = measured(capsys, text, "--model", folder, "--protocol", "stream", "--batch-size", batch_size)
    directions = expected[f"batch{batch_size}"]
    assert results["perplexity"] == pytest.approx(expected[f"bilm_test_batch{batch_size}"], rel=1e-5)
    assert results["forward_perplexity"] == pytest.approx(directions["perplexity_forward"], rel=1e-5)
    assert results["backward_perplexity"] == pytest.approx(directions["perplexity_backward"], rel=1e-5)
    assert results["tokens"] == directions["n_tokens_scored_per_direction"]


def test_sentence_protocol_gives_the_stateless_perplexities(original, capsys):
    folder, text, expected = original
    results, directions = measured(capsys, text, "--model", folder), expected["stateless_per_sentence"]
    assert results["forward_perplexity"] == pytest.approx(math.exp(directions["loss_forward"]), rel=1e-5)
    assert results["backward_perplexity"] == pytest.approx(math.exp(directions["loss_backward"]), rel=1e-5)
    assert results["perplexity"] == pytest.approx(directions["perplexity_average_of_losses"], rel=1e-5)
    assert results["tokens"] == directions["n_tokens_scored_per_direction"]
    assert results["sentences"] == 90
    assert results["unknown_words"] == pytest.approx(503 / 2394)


def word_by_word(folder, sentences, carried: bool) -> list[tuple[float, float]]:
    """Return the losses of one stream, one word at a time, by the definition."""
    model = ElmoForPreTraining.from_pretrained(folder).eval()
    tokenizer = ElmoTokenizer.from_pretrained(folder)
    losses, state = [], None
    for words in sentences:
        state = state if carried else None
        ahead, behind = ["<S>", *words, "</S>"], ["</S>", *reversed(words), "<S>"]
        for step in range(len(words) + 1):
            encode = lambda row: tokenizer([row[step : step + 1]], is_split_into_words=True, add_special_tokens=False)  # noqa: B023, E731
            rows = [torch.tensor(encode(row)["input_ids"]) for row in (ahead, behind)]
            with torch.no_grad():
                out = model(rows[0], backward_input_ids=rows[1], state=state, use_state=True, output_logits=True)
            state = out.state
            targets = tokenizer.convert_words_to_labels([ahead[step + 1], behind[step + 1]])
            logits = (out.forward_logits[0, 0], out.backward_logits[0, 0])
            losses.append(tuple(-scores.log_softmax(-1)[target].item() for scores, target in zip(logits, targets)))
    return losses


@pytest.mark.parametrize("protocol", ["sentences", "stream"])
def test_windows_and_batches_do_not_change_the_numbers(small, protocol):
    """Sentences longer than a window or not, batches of several sentences: the same as word by word."""
    sentences = [line.split() for line in (small / "text.txt").read_text().splitlines() if line][:9]
    assert min(map(len, sentences)) < 7 < 30 < max(map(len, sentences))
    model, tokenizer = load_language_model(str(small))
    table = WordTable.from_tokenizer(tokenizer)
    losses = np.array(word_by_word(small, sentences, carried=protocol == "stream"))
    forward, backward = losses.mean(0)
    for window in (7, 30):
        sizes = BatchSizes(window, tokens=40, pool=5)
        if protocol == "sentences":
            results = sentence_losses(model, table, sentences, sizes=sizes).metrics()
        else:
            results = stream_losses(model, table, sentences, 1, sizes=sizes).metrics()
        assert results["tokens"] == len(losses) == sum(len(words) + 1 for words in sentences)
        assert results["forward_perplexity"] == pytest.approx(math.exp(forward), rel=1e-5)
        assert results["backward_perplexity"] == pytest.approx(math.exp(backward), rel=1e-5)
        assert results["perplexity"] == pytest.approx(math.exp((forward + backward) / 2), rel=1e-5)


def test_unigram_perplexity_is_that_of_word_frequencies(small, tmp_path, capsys):
    """By hand: a vocabulary of 11 words, of which <S> is never predicted, and one added to each count."""
    (tmp_path / "train.txt").write_text("a a a b\na x y\n")  # a 4, b 1, <UNK> 2, </S> 2
    (tmp_path / "text.txt").write_text("a z\nc\n")  # scored: a, <UNK>, </S>, c, </S>
    total = 9 + 10
    expected = math.prod([5 / total, 3 / total, 3 / total, 1 / total, 3 / total]) ** (-1 / 5)
    results = measured(capsys, tmp_path / "text.txt", "--model", small, "--unigram", tmp_path / "train.txt")
    assert results["unigram_perplexity"] == pytest.approx(expected)
    assert results["tokens"] == 5
    assert cli.main(["perplexity", str(tmp_path / "text.txt"), "--model", str(small)]) == 0
    assert "unigram" not in capsys.readouterr().out


@pytest.mark.parametrize("protocol", ["sentences", "stream"])
def test_words_outside_a_smaller_vocabulary_count_as_one(small, tmp_path, capsys, protocol):
    """The probability of <UNK> is then the sum over all words that the file leaves out."""
    model, tokenizer = load_language_model(str(small))
    words = tokenizer.word_vocab
    kept = words[: len(words) // 2]
    (tmp_path / "vocab.txt").write_text("\n".join(kept) + "\n")
    (tmp_path / "text.txt").write_text(" ".join([*words[3:], "never-seen"]) + "\n")
    text = ["<S>", *words[3:], "never-seen", "</S>"]
    batch = tokenizer([text], is_split_into_words=True, add_special_tokens=False, return_tensors="pt")
    with torch.no_grad():
        out = model(**batch, output_logits=True)
    unknown = torch.tensor([word not in kept or word == "<UNK>" for word in words])
    losses = []
    for scores, targets in ((out.forward_logits[0, :-1], text[1:]), (out.backward_logits[0, 1:], text[:-1])):
        log = scores.log_softmax(-1)
        rows = [
            log[i, unknown].exp().sum().log() if w not in kept else log[i, words.index(w)]
            for i, w in enumerate(targets)
        ]
        losses.append(-torch.stack(rows).mean().item())
    options = ["--batch-size", 1] if protocol == "stream" else []
    results = measured(
        capsys,
        tmp_path / "text.txt",
        "--model",
        small,
        "--vocab",
        tmp_path / "vocab.txt",
        "--protocol",
        protocol,
        *options,
    )
    assert results["forward_perplexity"] == pytest.approx(math.exp(losses[0]), rel=1e-5)
    assert results["backward_perplexity"] == pytest.approx(math.exp(losses[1]), rel=1e-5)


def test_a_vocabulary_with_other_words_is_refused(small, tmp_path, capsys):
    (tmp_path / "vocab.txt").write_text("<S>\n</S>\n<UNK>\nxylophone\n")
    (tmp_path / "text.txt").write_text("a b\n")
    command = ["perplexity", tmp_path / "text.txt", "--model", small, "--vocab", tmp_path / "vocab.txt"]
    assert cli.main(list(map(str, command))) == 2
    assert "'xylophone' for one: give words that both have" in capsys.readouterr().err


def test_a_sentence_of_many_windows(small, tmp_path, capsys):
    (tmp_path / "long.txt").write_text("a b c d " * 1_000 + "\n")
    assert measured(capsys, tmp_path / "long.txt", "--model", small)["tokens"] == 4_001


def test_table_for_people(small, capsys):
    assert cli.main(["perplexity", str(small / "text.txt"), "--model", str(small)]) == 0
    out = capsys.readouterr().out
    assert "forward perplexity" in out
    assert "of 23 sentences" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.txt", "--model", "MODEL"], "nowhere.txt: no such file"),
        (["EMPTY", "--model", "MODEL"], "there is no sentence in it"),
        (["LATIN", "--model", "MODEL"], "line 2: not UTF-8"),
        (
            ["TEXT", "--model", "MODEL", "--protocol", "stream"],
            "256 streams need as many sentences, and the text has 23",
        ),
        (["TEXT", "--model", "MODEL", "--batch-size", "4"], "--protocol stream only"),
        (["TEXT", "--model", "MODEL", "--protocol", "stream", "--batch-size", "0"], "must be at least 1, but is 0"),
        (["TEXT", "--model", "ENCODER"], "has no softmax over words"),
        (["TEXT", "--model", "WORDLESS"], "the softmax is over 11 words, and vocab.txt is missing"),
        (["TEXT", "--model", "nowhere"], "nowhere: there is no such folder, and the Hub gave none: "),
        (["TEXT", "--model", "MODEL", "--unigram", "EMPTY"], "there is no sentence in"),
        (["TEXT", "--model", "OTHER"], "the softmax is over 11 words, and vocab.txt has 4"),
    ],
)
def test_what_cannot_be_measured(small, tmp_path, capsys, arguments, message):
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes(b"a b\n\xe9t\xe9\n")
    model = ElmoForPreTraining.from_pretrained(small)
    (tmp_path / "vocab.txt").write_text("<S>\n</S>\n<UNK>\na\n")
    for name, saved, vocabulary in (
        ("encoder", model.elmo, small / "vocab.txt"),
        ("wordless", model, None),
        ("other", model, tmp_path / "vocab.txt"),
    ):
        if name == "encoder":
            saved.config.word_vocab_size = 0
        saved.save_pretrained(tmp_path / name)
        ElmoTokenizer(vocabulary and str(vocabulary)).save_pretrained(tmp_path / name)
        saved.config.word_vocab_size = 11
    places = {
        "MODEL": small,
        "TEXT": small / "text.txt",
        "EMPTY": tmp_path / "empty.txt",
        "LATIN": tmp_path / "latin.txt",
        "ENCODER": tmp_path / "encoder",
        "WORDLESS": tmp_path / "wordless",
        "OTHER": tmp_path / "other",
    }
    capsys.readouterr()  # progress of the loading and saving above
    assert cli.main(["perplexity", *(str(places.get(argument, argument)) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
