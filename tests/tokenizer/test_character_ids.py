"""Words to rows of ids and back: every string as the original software encodes it."""

import json

import numpy as np
import pytest
import torch
from encoded_words import original_row
from transformers.utils import logging

from hf_elmo import ElmoTokenizer

# What a word may be: accents, surrogates, controls, white space, the lengths around the cut, names of ids
WORDS = [
    *(
        "bank",
        "",
        "é",
        "日本語",
        "😊",
        "e\u0301",
        "\ud800",
        "a\udfffb",
        "\x00",
        "\x1c",
        " ",
        "New York",
        "a\nb",
        "\xa0",
    ),
    *("x" * 47, "x" * 48, "x" * 49, "é" * 24, "a" + "é" * 24, "日" * 17, "x" * 2000, "\u3000", "\U0010ffff", "\ufeff"),
    *("<PAD>", "<UNK>", "<0x41>", "<s>", "a<S>b", "<W>", "##a", "▁a", "don't"),
]


@pytest.fixture
def warnings(caplog):
    """The records of transformers' logger."""
    logger = logging.get_logger("transformers")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize("width", [50, 20, 3])
def test_words_are_encoded_as_the_original_does(width):
    tokenizer = ElmoTokenizer(max_characters_per_token=width)
    for words in (WORDS, WORDS):  # encoded first, then from the table
        rows = tokenizer(words, is_split_into_words=True)["input_ids"]
        assert rows == [original_row(word, width) for word in ["<S>", *words, "</S>"]]


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ("random/inputs.json", "random/s01_tiny_relu/expected.npz"),
        ("random/inputs.json", "random/s02_tiny_tanh_clip/expected.npz"),
        ("bilm_checkpoint/expected_layers_inputs.json", "bilm_checkpoint/expected_layers.npz"),
        ("bilm_small/lm_embeddings_sentences.json", "bilm_small/expected_layers.npz"),
        ("allennlp_small/sentences.json", "allennlp_small/expected_layers.npz"),
    ],
)
def test_ids_are_those_of_the_original_software(tokenizer, fixtures_dir, inputs, outputs):
    batches = json.loads((fixtures_dir / inputs).read_text())
    if isinstance(batches[0], dict):
        batches = {batch["name"]: batch["sentences"] for batch in batches}
    else:  # three lists of ten sentences, of which the originals saw the first of each, then the second of each, ...
        rows = zip(*batches)
        batches = {
            f"batch_{i}": [row.split() if isinstance(row, str) else row for row in batch]
            for i, batch in enumerate(rows)
        }
    compared = 0
    with np.load(fixtures_dir / outputs) as expected:
        for key in expected.files:
            software, _, name = key.partition("/")
            if software not in ("bilm_ids", "allennlp_ids"):
                continue
            ids = tokenizer(
                batches[name],
                is_split_into_words=True,
                add_special_tokens=software == "bilm_ids",  # AllenNLP adds the special tokens later
                padding=True,
                return_tensors="np",
            )["input_ids"]
            np.testing.assert_array_equal(ids, expected[key])
            compared += 1
    assert compared >= 3


def test_a_sentence_stands_between_special_tokens(tokenizer):
    begin, end = original_row("<S>"), original_row("</S>")
    assert begin[:4] == [259, 257, 260, 261]
    assert end[:4] == [259, 258, 260, 261]
    assert tokenizer(["bank"], is_split_into_words=True)["input_ids"] == [begin, original_row("bank"), end]
    assert tokenizer([], is_split_into_words=True)["input_ids"] == [begin, end]
    assert tokenizer("")["input_ids"] == [begin, end]
    assert tokenizer("", add_special_tokens=False)["input_ids"] == []
    pair = tokenizer(["a"], ["b"], is_split_into_words=True)["input_ids"]
    assert pair == [begin, original_row("a"), end, begin, original_row("b"), end]
    given = tokenizer(["<S>", "a", "</S>"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert given == [begin, original_row("a"), end]


def test_special_tokens_can_be_left_off_by_default():
    tokenizer = ElmoTokenizer(add_bos_token=False)
    assert tokenizer.tokenize("a", add_special_tokens=True) == ["a", "</S>"]
    tokenizer.add_eos_token = False
    assert tokenizer.tokenize("a", add_special_tokens=True) == ["a"]
    assert tokenizer.num_special_tokens_to_add() == 0


def test_tensors_are_int64_and_padding_is_zeros(tokenizer):
    batch = tokenizer([["a", "b", "c"], []], is_split_into_words=True, padding=True, return_tensors="pt")
    assert batch["input_ids"].dtype == batch["attention_mask"].dtype == torch.int64
    assert batch["input_ids"].shape == (2, 5, 50)
    assert not batch["input_ids"][1, 2:].any()
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    arrays = tokenizer([["a", "b", "c"], []], is_split_into_words=True, padding=True, return_tensors="np")
    assert arrays["input_ids"].dtype == np.int64
    np.testing.assert_array_equal(arrays["input_ids"], batch["input_ids"])


def test_rows_handed_out_are_the_callers_own(tokenizer):
    for return_tensors in (None, "np", "pt"):
        rows = tokenizer(["bank", "bank"], is_split_into_words=True, return_tensors=return_tensors)["input_ids"]
        rows = rows if return_tensors is None else rows[0]
        rows[1][3] = -1
        assert rows[2][3] != -1
        rows[0][1] = -1
        again = tokenizer(["bank"], is_split_into_words=True)["input_ids"]
        assert again == [original_row(word) for word in ("<S>", "bank", "</S>")]


def test_the_table_of_encoded_words_is_bounded():
    tokenizer = ElmoTokenizer()
    tokenizer.word_rows.limit = 10
    words = [f"word{number}" for number in range(35)] + ["<S>"]
    rows = tokenizer(words, is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert rows == [original_row(word) for word in words]
    assert len(tokenizer.word_rows) <= 10


def test_cut_words_are_counted_and_warned_about_once(warnings):
    tokenizer = ElmoTokenizer()
    tokenizer(["x" * 48, "é" * 24], is_split_into_words=True)
    assert tokenizer.num_cut_words == 0
    assert not warnings.records
    for _ in range(2):
        tokenizer(["x" * 49, "ok", "x" * 49, "é" * 25], is_split_into_words=True)
    assert tokenizer.num_cut_words == 6
    (record,) = warnings.records
    assert "A word of 49 bytes was cut to its first 48" in record.getMessage()
    with pytest.raises(AttributeError):
        tokenizer.num_cut_words = 0


def test_words_come_back_exactly(tokenizer):
    words = [word for word in WORDS if len(word.encode("utf-8", "surrogatepass")) <= 48 and word.isprintable()]
    ids = tokenizer(words, is_split_into_words=True)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<S>", *words, "</S>"]
    assert tokenizer.convert_ids_to_tokens(ids, skip_special_tokens=True) == words
    assert tokenizer.decode(ids, skip_special_tokens=True) == " ".join(words)
    for kind in (np.array, torch.tensor):
        assert tokenizer.decode(kind(ids)) == " ".join(["<S>", *words, "</S>"])
        assert tokenizer.convert_ids_to_tokens(kind(ids[1])) == words[0]


def test_what_is_left_of_a_cut_word_comes_back(tokenizer):
    ids = tokenizer(["日" * 20, "x" * 60, "a\ud800b"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["日" * 16, "x" * 48, "ab"]
    ids = tokenizer(["a" + "日" * 20], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == "a" + "日" * 15  # the 16th is cut in its middle


def test_batches_are_decoded(tokenizer):
    batch = tokenizer(["The bank.", "A"], padding=True, return_tensors="pt")
    assert tokenizer.decode(batch["input_ids"][1]) == "<S> A </S> <PAD> <PAD>"
    assert tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True) == ["The bank .", "A"]
    assert tokenizer.decode(batch["input_ids"].tolist(), skip_special_tokens=True) == ["The bank .", "A"]
    assert tokenizer.batch_decode(tokenizer(["The bank", "A"])["input_ids"]) == ["<S> The bank </S>", "<S> A </S>"]
    assert tokenizer.decode([]) == ""
    assert tokenizer.batch_decode([[], []]) == ["", ""]
    assert tokenizer.decode(batch["input_ids"][0], clean_up_tokenization_spaces=True) == "<S> The bank. </S>"


def test_every_id_has_a_name(tokenizer):
    vocabulary = tokenizer.get_vocab()
    assert len(vocabulary) == len(tokenizer) == tokenizer.vocab_size == 262
    assert sorted(vocabulary.values()) == list(range(262))
    for name, number in vocabulary.items():
        assert tokenizer.convert_ids_to_tokens(number) == name
        assert tokenizer.convert_tokens_to_ids(name) == number
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 257, 258)
    assert sorted(tokenizer.all_special_ids) == [0, 257, 258]
    assert tokenizer.convert_ids_to_tokens([66, 257]) == ["<0x41>", "<S>"]
    assert tokenizer.decode([66, 67]) == "AB"
    assert tokenizer.decode(66) == "A"


def test_a_list_of_words_becomes_rows_without_special_tokens(tokenizer):
    assert tokenizer.convert_tokens_to_ids(["bank", "<S>"]) == [original_row("bank"), original_row("<S>")]
    assert tokenizer.convert_tokens_to_ids("bank") == original_row("bank")
    assert tokenizer.convert_tokens_to_ids([]) == []
