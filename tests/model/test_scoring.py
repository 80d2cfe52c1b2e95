"""Log-probabilities of sentences and the words expected in a place, against sums over the model's own scores."""

import math

import numpy as np
import pytest
import torch
from shaken import shake
from toy_tasks import WORDS
from toy_tasks import config as toy_config

from hf_elmo import ElmoForMaskedLM, ElmoForPreTraining, ElmoTokenizer
from hf_elmo.conversion import convert
from hf_elmo.scoring import next_words, previous_words, score_sentences, substitutes
from hf_elmo.training.language_model.perplexity import sentence_losses
from hf_elmo.training.language_model.streams import WordTable

VOCABULARY = ["<S>", "</S>", "<UNK>", *WORDS]
SENTENCES = [["Ada", "met", "Zürich"], [], ["Tom"], "Eve left Rome and Oslo again", ["Ann", "<UNK>"]]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    vocabulary = tmp_path_factory.mktemp("words") / "vocab.txt"
    vocabulary.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    model = shake(ElmoForPreTraining(toy_config(word_vocab_size=len(VOCABULARY))), scale=0.6)
    return model, ElmoTokenizer(str(vocabulary), max_characters_per_token=12)


@torch.no_grad()
def log_probabilities(parts, words: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every word of the vocabulary, after and before each of `<S>`, the words, and `</S>`."""
    model, tokenizer = parts
    output = model(**tokenizer([words], is_split_into_words=True, return_tensors="pt"), output_logits=True)
    return output.forward_logits[0].log_softmax(-1), output.backward_logits[0].log_softmax(-1)


def label(word: str) -> int:
    return VOCABULARY.index(word) if word in VOCABULARY else 2


@pytest.mark.parametrize("words_per_batch", [1, 12, 4096])
def test_scores_are_sums_over_words(parts, words_per_batch):
    model, tokenizer = parts
    model.train()
    scores = [*score_sentences(model, tokenizer, iter(SENTENCES), words_per_batch)]
    assert model.training
    model.eval()
    assert len(scores) == len(SENTENCES)
    for score, sentence in zip(scores, SENTENCES):
        words = sentence.split() if isinstance(sentence, str) else sentence
        forward, backward = log_probabilities(parts, words)
        assert score.words == words
        assert score.forward == pytest.approx(
            [forward[place, label(word)].item() for place, word in enumerate([*words, "</S>"])], rel=1e-4
        )
        assert score.backward == pytest.approx(
            [backward[place + 1, label(word)].item() for place, word in enumerate(["<S>", *words])], rel=1e-4
        )
        both = (sum(score.forward) + sum(score.backward)) / 2
        assert score.log_probability == pytest.approx(both)
        assert score.perplexity == pytest.approx(math.exp(-both / (len(words) + 1)))
    assert [score.unknown for score in scores] == [1, 0, 0, 0, 1]


def test_scores_add_up_to_the_perplexity(parts):
    model, tokenizer = parts
    sentences = [sentence if isinstance(sentence, list) else sentence.split() for sentence in SENTENCES]
    metrics = sentence_losses(model, WordTable.from_tokenizer(tokenizer), sentences).metrics()
    scores = [*score_sentences(model, tokenizer, sentences)]
    total = sum(score.log_probability for score in scores)
    assert metrics["tokens"] == sum(len(score.forward) for score in scores)
    assert math.exp(-total / metrics["tokens"]) == pytest.approx(metrics["perplexity"], rel=1e-5)


def test_next_and_previous_words(parts):
    forward, backward = log_probabilities(parts, ["Ada", "met"])
    for found, scores in (
        (next_words(*parts, "Ada met", top_k=4), forward[2]),
        (previous_words(*parts, ["Ada", "met"], top_k=4), backward[1]),
    ):
        best = scores[3:].topk(4)
        assert [word for word, _ in found] == [VOCABULARY[place + 3] for place in best.indices]
        assert [chance for _, chance in found] == pytest.approx(best.values.tolist(), rel=1e-4)
    everything = next_words(*parts, "Ada met", top_k=1000, specials=True)
    assert len(everything) == len(VOCABULARY)
    assert math.fsum(math.exp(chance) for _, chance in everything) == pytest.approx(1)
    assert len(next_words(*parts, "", top_k=1000)) == len(VOCABULARY) - 3


@torch.no_grad()
def test_substitutes_of_each_direction(parts):
    model, tokenizer = parts
    words = ["Ada", "met", "anything", "in", "Rome"]
    forward, backward = log_probabilities(parts, words)
    masked = ElmoForMaskedLM(model.config).eval()
    masked.load_state_dict(model.state_dict())
    both = masked(**tokenizer([words], is_split_into_words=True, return_tensors="pt")).logits[0].log_softmax(-1)
    expected = {"forward": forward[:-2], "backward": backward[2:], "both": both[1:-1]}
    for direction, scores in expected.items():
        found = substitutes(*parts, words, top_k=3, direction=direction)
        assert len(found) == len(words)
        for candidates, row in zip(found, scores):
            best = row[3:].topk(3)
            assert [word for word, _ in candidates] == [VOCABULARY[place + 3] for place in best.indices]
            assert [chance for _, chance in candidates] == pytest.approx(best.values.tolist(), rel=1e-4)
        assert substitutes(*parts, words, [3, 0], top_k=3, direction=direction) == [found[3], found[0]]


def test_wrong_arguments(parts, tmp_path):
    model, tokenizer = parts
    with pytest.raises(ValueError, match="must be several, but is one text"):
        score_sentences(model, tokenizer, "Ada met")
    with pytest.raises(ValueError, match=r"every word must be a string, but sentence 1 \(the first is 0\)"):
        [*score_sentences(model, tokenizer, [["Ada"], [1]])]
    with pytest.raises(ValueError, match="there is no word 2: the sentence has 2, and the first is 0"):
        substitutes(model, tokenizer, "Ada met", [2])
    with pytest.raises(ValueError, match="must be one of 'both', 'forward', 'backward', but is 'left'"):
        substitutes(model, tokenizer, "Ada met", direction="left")
    with pytest.raises(ValueError, match="`top_k` must be at least 1, but is 0"):
        next_words(model, tokenizer, "Ada", top_k=0)
    with pytest.raises(ValueError, match=r"softmax is over 21 words, and vocab.txt is missing"):
        next_words(model, ElmoTokenizer(max_characters_per_token=12), "Ada")


# ---- bilm-tf's numbers


@pytest.fixture(scope="module")
def trained(fixtures_dir, tmp_path_factory):
    """The model that bilm-tf trained, and its tokenizer."""
    source, folder = fixtures_dir / "bilm_checkpoint", tmp_path_factory.mktemp("trained") / "model"
    convert(source / "checkpoint", folder, vocab=source / "vocab.txt")
    return ElmoForPreTraining.from_pretrained(folder).eval(), ElmoTokenizer.from_pretrained(folder)


@pytest.mark.slow
def test_losses_of_bilm_tf(trained, fixtures_dir):
    folder = fixtures_dir / "bilm_checkpoint"
    losses = np.load(folder / "heldout_losses.npz")["token_losses_stateless"]
    lines = (folder / "heldout.txt").read_text(encoding="utf-8").splitlines()
    scores = [*score_sentences(*trained, map(str.split, lines))]
    forward = [-chance for score in scores for chance in score.forward]
    backward = [-chance for score in scores for chance in reversed(score.backward)]
    np.testing.assert_allclose(np.stack([forward, backward], axis=1), losses, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_predictions_of_bilm_tf(trained, fixtures_dir):
    folder = fixtures_dir / "bilm_checkpoint"
    expected = np.load(folder / "lm_predictions.npz")
    lines = (folder / "lm_sentences.txt").read_text(encoding="utf-8").splitlines()
    for number, words in enumerate(map(str.split, lines)):
        for direction, function in (("fw", next_words), ("bw", previous_words)):
            found = function(*trained, words, top_k=10, specials=True)
            ids = trained[1].convert_words_to_labels([word for word, _ in found])
            assert ids == expected[f"sent{number}/{direction}/top10_ids"][len(words)].tolist()
            wanted = expected[f"sent{number}/{direction}/top10_logprob"][len(words)]
            np.testing.assert_allclose([chance for _, chance in found], wanted, rtol=0, atol=1e-5)
