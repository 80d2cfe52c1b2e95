"""What a fast tokenizer says of a batch: positions, truncation, windows, padding. Rust's answers are the reference."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from hf_elmo import ElmoTokenizer

TEXT = "I don't  know the bank."
WORDS = ["I", "do", "n't", "know", "the", "bank", "."]


@pytest.fixture(scope="module")
def tokenizer():
    return ElmoTokenizer()


# ---- positions ----


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


@pytest.mark.parametrize("strategy", ["do_not_truncate", "longest_first", "only_first", "only_second"])
@pytest.mark.parametrize("truncation_side", ["right", "left"])
def test_everything_said_of_a_row_is_what_rust_says(strategy, truncation_side):
    tokenizer = ElmoTokenizer(truncation_side=truncation_side)
    tokenizer.add_tokens(["New York", "bim"])
    random = np.random.default_rng(0)
    compared = 0
    for _ in range(200):
        texts = [" ".join(random.choice(RANDOM_WORDS, random.integers(12))) for _ in range(random.integers(1, 3))]
        if strategy == "only_second" and len(texts) < 2:
            continue
        add_special_tokens = bool(random.integers(2))
        max_length, stride = int(random.integers(2, 14)), int(random.integers(3))
        rust = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
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
                for sequence in range(len(texts)):
                    assert row.char_to_token(number, sequence) == reference.char_to_token(number, sequence)
                    assert row.char_to_word(number, sequence) == reference.char_to_word(number, sequence)
                    assert row.word_to_tokens(number, sequence) == reference.word_to_tokens(number, sequence)
                    assert row.word_to_chars(number, sequence) == reference.word_to_chars(number, sequence)
    assert compared > 30


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


# ---- truncation and windows ----


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


# ---- padding ----


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({"padding": True}, 9),
        ({"padding": "max_length", "max_length": 12}, 12),
        ({"padding": True, "pad_to_multiple_of": 8}, 16),
        ({"padding": "max_length", "max_length": 12, "pad_to_multiple_of": 8}, 16),
    ],
)
def test_calls_and_pad_fill_up_alike(side, options, length):
    tokenizer = ElmoTokenizer(padding_side=side)
    wanted = {"return_special_tokens_mask": True, "return_token_type_ids": True, "return_offsets_mapping": True}
    plain = tokenizer([TEXT, "a bank"], **wanted)
    called = tokenizer([TEXT, "a bank"], **wanted, **options, return_tensors="pt")
    assert called["input_ids"].shape == (2, length, 50)
    mask = called["attention_mask"].bool()
    assert called["input_ids"][mask].tolist() == [row for rows in plain["input_ids"] for row in rows]
    assert not called["input_ids"][~mask].any()
    assert called["special_tokens_mask"][~mask].all()
    assert mask[1].tolist() == ([True] * 4 + [False] * (length - 4))[:: 1 if side == "right" else -1]
    plain.pop("offset_mapping")
    examples = [{name: values[i] for name, values in plain.items()} for i in range(2)]
    for encoded in (dict(plain), examples, plain):
        padded = tokenizer.pad(encoded, **options, return_tensors="pt")
        for name in padded:
            assert torch.equal(padded[name], called[name]), name
        assert tokenizer.pad(encoded, **options)["input_ids"] == called["input_ids"].tolist()


def test_pad_takes_one_example_and_arrays_and_tensors(tokenizer):
    one = tokenizer("a bank")
    padded = tokenizer.pad(one, padding="max_length", max_length=6)
    assert padded["input_ids"] == one["input_ids"] + [[0] * 50] * 2
    assert padded["attention_mask"] == [1, 1, 1, 1, 0, 0]
    assert tokenizer.pad(one)["input_ids"] == one["input_ids"]
    for kind, library in ((np.array, np.ndarray), (torch.tensor, torch.Tensor)):
        examples = [
            {"input_ids": kind(tokenizer(text)["input_ids"]), "labels": kind([1, 2])} for text in ("a bank", "a")
        ]
        batch = tokenizer.pad(examples)
        assert isinstance(batch["input_ids"], library)
        assert isinstance(batch["labels"], library)
        assert batch["input_ids"].shape == (2, 4, 50)
        assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
        single = tokenizer.pad({"input_ids": kind(one["input_ids"])}, padding="max_length", max_length=6)
        assert single["input_ids"].tolist() == padded["input_ids"]


def test_pad_leaves_labels_and_its_input_alone(tokenizer):
    examples = [{**tokenizer("a bank"), "labels": [0, 1, 2, 0]}, {**tokenizer("a"), "labels": [0, 1, 0]}]
    before = copy.deepcopy(examples)
    batch = tokenizer.pad(examples)
    assert batch["labels"] == [[0, 1, 2, 0], [0, 1, 0]]
    assert examples == before
    assert [len(rows) for rows in tokenizer.pad(examples, padding=False)["input_ids"]] == [4, 3]
    without = [{"input_ids": example["input_ids"]} for example in examples]
    assert "attention_mask" not in tokenizer.pad(without, return_attention_mask=False)


def test_pad_refuses_rows_of_another_width(tokenizer):
    narrow = ElmoTokenizer(max_characters_per_token=20)(["a", "a bank"])
    with pytest.raises(ValueError, match="input_ids must hold rows of 50 ids, but an example's rows hold 20"):
        tokenizer.pad(dict(narrow))
    with pytest.raises(ValueError, match="attention_mask has 1 examples, but input_ids has 2"):
        tokenizer.pad({"input_ids": tokenizer(["a", "b"])["input_ids"], "attention_mask": [[1, 1, 1]]})


def test_a_tensor_of_unequal_rows_is_refused(tokenizer):
    with pytest.raises(ValueError, match="rows of 3 to 4 words make no tensor: pass padding=True"):
        tokenizer(["a", "a bank"], return_tensors="pt")
    with pytest.raises(ValueError, match="rows of 3 to 4 words make no tensor"):
        tokenizer.pad(tokenizer(["a", "a bank"]), padding=False, return_tensors="pt")
    with pytest.raises(ValueError, match="padding_side must be 'left' or 'right', but is 'top'"):
        tokenizer(["a", "a bank"], padding=True, padding_side="top")


def test_special_tokens_mask(tokenizer):
    batch = tokenizer(["<S> a", "bank"], padding=True, return_special_tokens_mask=True)
    assert batch["special_tokens_mask"] == [[1, 0, 0, 1], [1, 0, 1, 1]]  # a boundary word of the text is the text's
    assert tokenizer.get_special_tokens_mask(batch["input_ids"][1], already_has_special_tokens=True) == [1, 0, 1, 1]
    assert tokenizer.get_special_tokens_mask([[1] * 50] * 2, [[1] * 50]) == [1, 0, 0, 1, 1, 0, 1]


# ---- copies and threads ----


def test_copies_are_equal(tokenizer):
    for twin in (pickle.loads(pickle.dumps(tokenizer)), copy.deepcopy(tokenizer)):
        assert twin(TEXT, return_tensors="pt")["input_ids"].equal(tokenizer(TEXT, return_tensors="pt")["input_ids"])
        assert twin.get_vocab() == tokenizer.get_vocab()
        encoding = pickle.loads(pickle.dumps(twin(TEXT)))
        assert encoding.tokens() == ["<S>", *WORDS, "</S>"]


def test_calls_do_not_disturb_each_other():
    """Threads split text, take given words, truncate and pad, on one tokenizer whose table keeps restarting."""
    tokenizer = ElmoTokenizer()
    tokenizer.word_rows.limit = 20
    random = np.random.default_rng(0)

    def call(number: int):
        words = [f"it's{n}" for n in (number * np.arange(1, 40)) % 97]
        if number % 2:
            return tokenizer([words, ["a"]], is_split_into_words=True, padding=True, return_tensors="np")["input_ids"]
        return tokenizer([" ".join(words)], truncation=True, max_length=9 + number % 3, return_tensors="np")[
            "input_ids"
        ]

    numbers = random.integers(1, 30, 400).tolist()
    expected = {number: call(number) for number in set(numbers)}
    with ThreadPoolExecutor(8) as pool:
        for number, ids in zip(numbers, pool.map(call, numbers)):
            np.testing.assert_array_equal(ids, expected[number])
