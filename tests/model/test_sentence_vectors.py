"""One vector for a text: what is pooled, what is left out, and what an empty text is like."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from many_langs_weights import write_model
from shaken import shake
from toy_tasks import WORDS
from toy_tasks import config as toy_config

from hf_elmo import ElmoInt8Config, ElmoModel, ElmoTokenizer
from hf_elmo.conversion import convert

TEXTS = ["Ada met Eve in Rome .", "Tom", "", "Max left Oslo again and again"]


def model_of(pooling: str, **options) -> ElmoModel:
    torch.manual_seed(0)
    return shake(ElmoModel(toy_config(word_vocab_size=0, sentence_pooling=pooling, **options)))


def by_hand(model: ElmoModel, words: torch.Tensor) -> torch.Tensor:
    """Pool the vectors `(words, 2P)` of one text."""
    if not len(words):
        return torch.zeros(model.config.hidden_size)
    if model.config.sentence_pooling == "max":
        return words.amax(0)
    scores = torch.zeros(len(words))
    if model.config.sentence_pooling == "attention":
        scores = (words @ model.sentence_pooling.attention.score.weight.T).squeeze(1)
    return (scores.softmax(0)[:, None] * words).sum(0)


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_only_words_are_pooled(pooling, side):
    model, tokenizer = model_of(pooling), ElmoTokenizer(max_characters_per_token=12)
    batch = tokenizer(TEXTS, padding=True, padding_side=side, return_tensors="pt")
    vectors = model.sentence_vectors(**batch)
    for text, vector in zip(TEXTS, vectors):
        alone = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 1:-1]  # without <S> and </S>
        torch.testing.assert_close(vector, by_hand(model, alone), rtol=1e-5, atol=1e-6)
    assert not vectors[2].any()
    bare = tokenizer(TEXTS[:1], add_special_tokens=False, return_tensors="pt")
    expected = by_hand(model, model(**bare).last_hidden_state[0])
    torch.testing.assert_close(model.sentence_vectors(**bare)[0], expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_models_of_whole_words(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["<S>", "</S>", "<UNK>", *WORDS]) + "\n", encoding="utf-8")
    tokenizer = ElmoTokenizer(str(tmp_path / "vocab.txt"), max_characters_per_token=1)
    sizes = {"char_cnn_filters": [], "max_characters_per_token": 1, "vocab_size": len(WORDS) + 4}
    model = model_of("mean", **sizes, bos_token_id=1, eos_token_id=2)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    alone = model(**tokenizer(TEXTS[0], return_tensors="pt")).last_hidden_state[0, 1:-1]
    torch.testing.assert_close(model.sentence_vectors(**batch)[0], alone.mean(0), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_models_of_code_points(tmp_path):
    convert(write_model(tmp_path / "original"), tmp_path / "model")
    model, tokenizer = (kind.from_pretrained(tmp_path / "model") for kind in (ElmoModel, ElmoTokenizer))
    batch = tokenizer(["the bank .", ""], padding=True, return_tensors="pt")
    alone = model(**tokenizer("the bank .", return_tensors="pt")).last_hidden_state[0, 1:-1]
    torch.testing.assert_close(model.sentence_vectors(**batch), torch.stack([alone.mean(0), torch.zeros(12)]))


@torch.no_grad()
def test_untrained_attention_is_the_mean_and_it_learns(tmp_path):
    """Also beside a frozen encoder, and one of 8 bits."""
    model, tokenizer = model_of("mean"), ElmoTokenizer(max_characters_per_token=12)
    model.save_pretrained(tmp_path / "mean")
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    attentive = ElmoModel.from_pretrained(tmp_path / "mean", sentence_pooling="attention")
    torch.testing.assert_close(attentive.sentence_vectors(**batch), model.sentence_vectors(**batch))
    attentive.freeze_encoder()
    with torch.enable_grad():
        attentive.sentence_vectors(**batch)[:, 0].sum().backward()
    learns = {name for name, parameter in attentive.named_parameters() if parameter.grad is not None}
    assert "sentence_pooling.attention.score.weight" in learns
    assert not any(name.startswith(("char_encoder", "layers")) for name in learns)
    shake(attentive.sentence_pooling)
    attentive.save_pretrained(tmp_path / "attention")
    again = ElmoModel.from_pretrained(tmp_path / "attention")
    assert torch.equal(again.sentence_vectors(**batch), attentive.sentence_vectors(**batch))
    quantized = ElmoModel.from_pretrained(tmp_path / "attention", quantization_config=ElmoInt8Config())
    assert torch.equal(quantized.sentence_pooling.attention.score.weight, again.sentence_pooling.attention.score.weight)
    with pytest.raises(StrictDataclassError, match="`sentence_pooling` must be one of 'mean', 'max', 'attention'"):
        toy_config(sentence_pooling="cls")
