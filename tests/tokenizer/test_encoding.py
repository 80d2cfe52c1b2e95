"""Positions, words and characters of a batch's rows, truncation and windows: Rust's answers are the reference."""

import numpy as np
import pytest
from lanes import first_fast
from tokenizers import Tokenizer

from hf_elmo import ElmoTokenizer

TEXT = "I don't  know the bank."
WORDS = ["I", "do", "n't", "know", "the", "bank", "."]


def test_positions_words_and_characters_lead_to_each_other(tokenizer):
    encoding = tokenizer(TEXT, "A  bank", return_offsets_mapping=True)
    assert encoding.is_fast
    assert encoding.tokens() == ["<S>", *WORDS, "</S>", "<S>", "A", "bank", "</S>"]
    assert encoding.word_ids() == [None, *range(7), None, None, 0, 1, None]
    assert encoding.sequence_ids() == [None, *[0] * 7, None, None, 1, 1, None]
    assert encoding["offset_mapping"][1:8] == [(0, 1), (2, 4), (4, 7), (9, 13), (14, 17), (18, 22), (22, 23)]
    assert encoding["offset_mapping"][8:] == [(0, 0), (0, 0), (0, 1), (3, 7), (0, 0)]
    assert encoding.char_to_token(5) == 3
    assert encoding.char_to_token(7) is None  # a blank
    assert encoding.char_to_token(4, sequence_index=1) == 11
    assert encoding.char_to_word(9) == 3
    assert encoding.token_to_chars(3) == (4, 7)
    assert encoding.token_to_chars(0) is None
    assert encoding.token_to_word(11) == 1
    assert encoding.token_to_sequence(11) == 1
    assert encoding.word_to_tokens(3) == (4, 5)
    assert encoding.word_to_tokens(1, sequence_index=1) == (11, 12)
    assert encoding.word_to_tokens(7) is None
    assert encoding.word_to_chars(3) == (9, 13)
    assert encoding[0].n_sequences == encoding.n_sequences == 2


def test_given_words_are_never_split_again(tokenizer):
    words = ["New York", "", "don't", "a\nb", " ", "\ud800", "<S>", "ab<S>"]
    encoding = tokenizer(words, is_split_into_words=True, return_offsets_mapping=True)
    assert encoding.tokens() == ["<S>", *words, "</S>"]
    assert encoding.word_ids() == [None, *range(8), None]
    assert encoding["offset_mapping"] == [(0, 0), *((0, len(word)) for word in words), (0, 0)]
    assert encoding.word_to_tokens(1) == (2, 3)
    assert encoding.token_to_chars(2) == (0, 0)


RANDOM_WORDS = ["\u3000\xa0", "\ttab", *"the don't sat. (a) mat, New York bim <S> </S> é😊 1,000 Mr. 'x' …".split()]


@pytest.mark.parametrize("strategy", first_fast(["only_first", "longest_first", "do_not_truncate", "only_second"]))
@pytest.mark.parametrize("truncation_side", first_fast(["right", "left"]))
def test_everything_said_of_a_row_is_what_rust_says(strategy, truncation_side):
    tokenizer = ElmoTokenizer(truncation_side=truncation_side)
    tokenizer.add_tokens(["New York", "bim"])
    random = np.random.default_rng(0)
    compared, rust = 0, Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    for _ in range(200):
        texts = [" ".join(random.choice(RANDOM_WORDS, random.integers(12))) for _ in range(random.integers(1, 3))]
        if strategy == "only_second" and len(texts) < 2:
            continue
        add_special_tokens = bool(random.integers(2))
        max_length, stride = int(random.integers(2, 14)), int(random.integers(3))
        rust.no_truncation()
        if strategy != "do_not_truncate":
            room = max_length - 2 * len(texts) * add_special_tokens
            lengths = [len(tokenizer.tokenize(text)) for text in texts]
            if strategy != "longest_first":
                lengths[strategy == "only_second"] = 0
                room -= sum(lengths)
            if min(room // len(texts), max_length - 2) <= stride:  # no window to speak of: Rust refuses
                continue
            rust.enable_truncation(max_length, stride=stride, strategy=strategy, direction=truncation_side)
        expected = rust.encode(*texts, add_special_tokens=add_special_tokens)
        expected = [expected, *expected.overflowing]
        rows = tokenizer(
            *([text] for text in texts),
            add_special_tokens=add_special_tokens,
            truncation=strategy,
            max_length=max_length,
            stride=stride,
            return_overflowing_tokens=True,
        )
        assert rows["overflow_to_sample_mapping"] == [0] * len(expected)
        for row, reference in zip(rows.encodings, expected, strict=True):
            compared += 1
            left, right = random.integers(3, size=2).tolist()
            reference.pad(len(row) + left, direction="left", pad_token="<PAD>")
            reference.pad(len(row) + left + right, direction="right", pad_token="<PAD>")
            row.padding = (left, right)
            assert_same_answers(row, reference, len(texts))
    assert compared > 30


def assert_same_answers(row, reference, num_sequences):
    """Everything that can be asked of a row has the same answer."""
    assert len(row) == len(reference)
    for name in (
        "tokens",
        "word_ids",
        "sequence_ids",
        "type_ids",
        "offsets",
        "special_tokens_mask",
        "attention_mask",
    ):
        assert getattr(row, name) == getattr(reference, name), name
    for token in range(len(row)):
        assert row.token_to_word(token) == reference.token_to_word(token)
        assert row.token_to_sequence(token) == reference.token_to_sequence(token)
        assert row.token_to_chars(token) == reference.token_to_chars(token)
    for number in range(30):
        for sequence in range(num_sequences):
            assert row.char_to_token(number, sequence) == reference.char_to_token(number, sequence)
            assert row.char_to_word(number, sequence) == reference.char_to_word(number, sequence)
            assert row.word_to_tokens(number, sequence) == reference.word_to_tokens(number, sequence)
            assert row.word_to_chars(number, sequence) == reference.word_to_chars(number, sequence)


def test_ids_are_those_of_the_words_in_the_row(tokenizer):
    batch = tokenizer(
        [TEXT, "bank"], ["the river", "a b c d e f"], truncation=True, max_length=9, stride=1, padding="max_length",
        return_overflowing_tokens=True, padding_side="left",
    )  # fmt: skip
    assert len(batch["input_ids"]) > 2
    for number, ids in enumerate(batch["input_ids"]):
        words = [word for word in batch.tokens(number) if word != "<PAD>"]
        padding = len(ids) - len(words)
        assert ids == [[0] * 50] * padding + tokenizer.convert_tokens_to_ids(words)
        assert batch["attention_mask"][number] == [0] * padding + [1] * len(words)


def test_truncation_counts_words(tokenizer):
    words = tokenizer(TEXT, truncation=True, max_length=5).tokens()
    assert words == ["<S>", "I", "do", "n't", "</S>"]
    pair = tokenizer(TEXT, "a b c", truncation="only_first", max_length=9).tokens()
    assert pair == ["<S>", "I", "do", "</S>", "<S>", "a", "b", "c", "</S>"]
    pair = tokenizer("a b c", TEXT, truncation="only_second", max_length=9).tokens()
    assert pair == ["<S>", "a", "b", "c", "</S>", "<S>", "I", "do", "</S>"]
    pair = tokenizer(TEXT, "a b c", truncation="longest_first", max_length=9).tokens()
    assert pair == ["<S>", "I", "do", "n't", "</S>", "<S>", "a", "b", "</S>"]
    assert tokenizer(TEXT, truncation=True, max_length=2).tokens() == ["<S>", "</S>"]


def test_windows_overlap_by_the_stride(tokenizer):
    batch = tokenizer(
        [TEXT, "bank"], truncation=True, max_length=5, stride=1, return_overflowing_tokens=True, padding=True,
        return_tensors="pt", return_length=True,
    )  # fmt: skip
    windows = [["I", "do", "n't"], ["n't", "know", "the"], ["the", "bank", "."], ["bank"]]
    assert [[w for w in batch.tokens(i) if w[0] != "<"] for i in range(4)] == windows
    assert batch["overflow_to_sample_mapping"].tolist() == [0, 0, 0, 1]
    assert batch["input_ids"].shape == (4, 5, 50)
    assert batch["length"].tolist() == [5, 5, 5, 5]
    alone = tokenizer(TEXT, truncation=True, max_length=5, stride=1, return_overflowing_tokens=True)
    assert alone["input_ids"] == batch["input_ids"][:3].tolist()  # windows are a batch, though the text was none


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 3}, "max_length=3 is less than the 4 special tokens of a row"),
        ({"max_length": 8, "truncation": "only_second"}, "only_second' cannot shorten 7 . 2 words to 4"),
        ({"max_length": 8, "stride": 2}, "stride=2 must be smaller than the 2 words"),
    ],
)
def test_truncation_that_cannot_be_is_refused(tokenizer, options, message):
    with pytest.raises(ValueError, match=message):
        tokenizer(TEXT, "a b", **{"truncation": True, **options})
    with pytest.raises(ValueError, match="needs a second sequence"):
        tokenizer(TEXT, truncation="only_second", max_length=5)
