"""The forward language model: what it predicts, and what `generate` makes of it by each strategy of transformers."""

import itertools

import pytest
import torch
from lanes import first_fast
from shaken import shake
from toy_tasks import WORDS
from toy_tasks import config as toy_config
from transformers import AutoModelForCausalLM, GenerationConfig, TextIteratorStreamer
from versions import beams

from hf_elmo import ElmoForCausalLM, ElmoForPreTraining, ElmoTokenizer

VOCABULARY = ["<S>", "</S>", "<UNK>", *WORDS]
PROMPTS = ["Ada met Zürich in", "Tom", "", "Eve left"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A language model as pretraining leaves it, with its vocabulary."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "words.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    shake(ElmoForPreTraining(toy_config(word_vocab_size=len(VOCABULARY))), scale=0.6).save_pretrained(folder)
    ElmoTokenizer(str(folder / "words.txt"), max_characters_per_token=12).save_pretrained(folder)
    return folder


@pytest.fixture
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture
def tokenizer(folder):
    return ElmoTokenizer.from_pretrained(folder)


def texts_of(model, tokenizer, prompts, side="right", **options) -> list[str]:
    batch = tokenizer(prompts, padding=True, padding_side=side, return_tensors="pt")
    output = model.generate(**batch, **options)
    width = batch["input_ids"].shape[1]
    assert output.shape[1] <= width + options["max_new_tokens"]
    for prompt, rows in zip(prompts, output):  # what the tokenizer reads of the first words is the prompt
        assert tokenizer.decode(rows[:width], skip_special_tokens=True) == prompt
    return tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)


@torch.no_grad()
def test_it_is_the_forward_half(folder, model, tokenizer):
    whole = ElmoForPreTraining.from_pretrained(folder).eval()
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    labels = torch.randint(len(VOCABULARY), batch["attention_mask"].shape)
    labels = labels.masked_fill(batch["attention_mask"] == 0, -100)
    output, expected = model(**batch, labels=labels), whole(**batch, labels=labels, output_logits=True)
    torch.testing.assert_close(output.logits, expected.forward_logits)
    torch.testing.assert_close(output.loss, expected.forward_loss)
    last = model(**batch, logits_to_keep=1).logits
    torch.testing.assert_close(last, output.logits[:, -1:])


@pytest.mark.slow
def test_it_learns_the_forward_direction(model, tokenizer):
    ids = tokenizer("Ada met Eve in Rome", return_tensors="pt")["input_ids"]
    labels = torch.tensor([tokenizer.convert_words_to_labels("<S> Ada met Eve in Rome </S>".split())])
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.03), []
    for _ in range(35):
        losses.append(model(ids, labels=labels).loss)
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.5 * losses[0]
    output = model.generate(**tokenizer("Ada met", return_tensors="pt"), max_new_tokens=8)
    assert tokenizer.decode(output[0], skip_special_tokens=True) == "Ada met Eve in Rome"
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[3] for name in frozen if "layers" in name} == {"backward_lstm"}
    states = model(ids, output_hidden_states=True).hidden_states
    assert [tuple(layer.shape) for layer in states] == [(1, 7, 12)] * 3


@torch.no_grad()
def test_a_text_in_pieces(model, tokenizer):
    ids = tokenizer("Ada met Eve in Rome", return_tensors="pt")["input_ids"]
    first = model(ids[:, :3], use_cache=True)
    second = model(ids[:, 3:], state=first.state)
    assert first.state[0].shape == (1, 2, 1, 12)
    pieces = torch.cat([first.logits, second.logits], dim=1)
    torch.testing.assert_close(pieces, model(ids).logits, rtol=1e-4, atol=1e-4)
    assert second.state is not None
    assert model(ids).state is None


@torch.no_grad()
def greedy_by_hand(model, tokenizer, prompt: str, count: int) -> str:
    words = ["<S>", *tokenizer.tokenize(prompt)]
    while len(words) - 1 - len(tokenizer.tokenize(prompt)) < count:
        encoded = tokenizer([words], is_split_into_words=True, add_special_tokens=False, return_tensors="pt")
        scores = model(**encoded).logits[0, -1]
        scores[[0, 2]] = -torch.inf  # <S> and <UNK>
        words.append(VOCABULARY[scores.argmax()])
        if words[-1] == "</S>":
            break
    return " ".join(word for word in words[1 + len(tokenizer.tokenize(prompt)) :] if word != "</S>")


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("side", first_fast(["left", "right"]))
def test_greedy_is_the_best_word_each_time(model, tokenizer, side, use_cache):
    """In any batch, with any padding, whether the state is kept or not."""
    expected = [greedy_by_hand(model, tokenizer, prompt, 4) for prompt in PROMPTS]
    options = {"max_new_tokens": 4, "use_cache": use_cache, "do_sample": False}
    assert texts_of(model, tokenizer, PROMPTS, side, **options) == expected
    assert [texts_of(model, tokenizer, [prompt], **options)[0] for prompt in PROMPTS] == expected


@beams
@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": True},
        {"do_sample": True, "top_k": 3, "num_return_sequences": 2},
        {"num_beams": 3, "num_return_sequences": 2},
        {"num_beams": 2, "do_sample": True},
        {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    ],
    ids=str,
)
def test_strategies_give_the_same_with_and_without_state(model, tokenizer, options):
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    results = []
    for use_cache in (True, False):
        torch.manual_seed(1)
        results.append(model.generate(**batch, max_new_tokens=5, use_cache=use_cache, **options))
    assert torch.equal(*results)
    assert len(results[0]) == len(PROMPTS) * options.get("num_return_sequences", 1)


@beams
@torch.no_grad()
def test_wide_beams_find_the_most_probable_text(model, tokenizer):
    """As many beams as words are all texts of two words, or of one and the end."""
    ends = len(VOCABULARY) - 2
    text = texts_of(model, tokenizer, ["Tom saw"], num_beams=ends, max_new_tokens=2, length_penalty=0.0)[0]
    chances = {}
    for words in itertools.product(range(len(VOCABULARY)), repeat=2):
        if not {0, 2} & {*words} and words[0] != 1:
            chances[words] = 0.0
    for first in {words[0] for words in chances} | {1}:
        given = tokenizer(
            [["<S>", "Tom", "saw", VOCABULARY[first]]], is_split_into_words=True, add_special_tokens=False
        )
        logits = model(torch.tensor(given["input_ids"])).logits[0].log_softmax(-1)
        for words in [words for words in chances if words[0] == first]:
            chances[words] = float(logits[2, first] + logits[3, words[1]])
        if first == 1:
            chances[(1,)] = float(logits[2, 1])
    best = max(chances, key=chances.get)
    assert text == " ".join(VOCABULARY[word] for word in best if word != 1)


def test_unknown_words_of_a_prompt_are_read(model, tokenizer):
    """They are not all one word: the scores after them differ."""
    options = {"max_new_tokens": 1, "output_logits": True, "return_dict_in_generate": True}
    first, second = (
        model.generate(**tokenizer(f"Ada met {word}", return_tensors="pt"), **options) for word in ("Zürich", "Basel")
    )
    assert first.logits[0].shape == (1, len(VOCABULARY))
    assert not torch.allclose(first.logits[0], second.logits[0])
    assert tokenizer.decode(first.sequences[0], skip_special_tokens=True).startswith("Ada met Zürich ")


def test_ends(model, tokenizer):
    """A text ends at `</S>` or at the words that were named, and is padded to the longest after it."""
    end = tokenizer.convert_words_to_labels(["today", "</S>"])
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    torch.manual_seed(0)
    output = model.generate(**batch, do_sample=True, max_new_tokens=30, eos_token_id=end)[:, 6:]
    for rows in output:
        words = tokenizer.convert_ids_to_tokens(rows)
        ended = [place for place, word in enumerate(words) if word in ("today", "</S>")]
        assert words[(ended or [len(words)])[0] + 1 :] == ["<PAD>"] * (len(words) - (ended or [len(words)])[0] - 1)
    assert "<S>" not in tokenizer.batch_decode(output)
    as_object = GenerationConfig(max_new_tokens=4, do_sample=False)
    assert torch.equal(model.generate(**batch, generation_config=as_object), model.generate(**batch, max_new_tokens=4))
    model.generation_config.suppress_tokens = [*range(len(VOCABULARY) - 1)]
    assert texts_of(model, tokenizer, ["Ada"], max_new_tokens=2) == ["today today"]


@beams
def test_a_text_goes_on_from_a_state(model, tokenizer):
    first = tokenizer("Ada met", add_special_tokens=False, return_tensors="pt")
    second = tokenizer("Eve in", add_special_tokens=False, return_tensors="pt")
    whole = tokenizer("Ada met Eve in", add_special_tokens=False, return_tensors="pt")
    with torch.no_grad():
        state = model(**first, use_cache=True).state
    for options in ({}, {"num_beams": 2}, {"use_cache": False}):
        continued = model.generate(**second, state=state, max_new_tokens=4, **options)
        assert torch.equal(continued[:, 2:], model.generate(**whole, max_new_tokens=4, **options)[:, 4:])


def test_without_prompt_and_as_a_stream(model, tokenizer):
    begun = model.generate(max_new_tokens=3)
    assert torch.equal(begun, model.generate(**tokenizer("", return_tensors="pt"), max_new_tokens=3)[:, 1:])
    streamer = TextIteratorStreamer(tokenizer, skip_special_tokens=True)
    output = model.generate(**tokenizer("Ada met", return_tensors="pt"), max_new_tokens=4, streamer=streamer)
    assert "".join(streamer) == tokenizer.decode(output[0], skip_special_tokens=True)


def test_models_of_whole_words(tmp_path, tokenizer):
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    sizes = {"char_cnn_filters": [], "max_characters_per_token": 1, "vocab_size": len(VOCABULARY) + 1}
    config = toy_config(**sizes, word_vocab_size=len(VOCABULARY), bos_token_id=1, eos_token_id=2)
    words = ElmoTokenizer(str(tmp_path / "vocab.txt"), max_characters_per_token=1)
    torch.manual_seed(0)
    model = shake(ElmoForCausalLM(config), scale=0.6)
    model.set_vocabulary(words.word_vocab)
    expected = [greedy_by_hand(model, words, prompt, 4) for prompt in ("Ada met", "Tom")]
    assert texts_of(model, words, ["Ada met", "Tom"], max_new_tokens=4) == expected


def test_what_cannot_be_done_is_said(tmp_path, model, tokenizer):
    batch = tokenizer("Ada met", return_tensors="pt")
    with pytest.raises(ValueError, match="`stop_strings` are looked for in pieces of words"):
        model.generate(**batch, stop_strings=["."], tokenizer=tokenizer)
    model.save_pretrained(tmp_path)
    alone = ElmoForCausalLM.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"generate needs the 21 words .*: put the vocab.txt"):
        alone.generate(**batch)
    expected = model.generate(**batch, max_new_tokens=3)
    assert torch.equal(alone.generate(**batch, max_new_tokens=3, tokenizer=tokenizer), expected)
    with pytest.raises(ValueError, match="softmax has 21 words, but the vocabulary 2"):
        alone.set_vocabulary(["a", "b"])
