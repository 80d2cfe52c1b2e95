"""Copies, pickles and threads."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hf_elmo import ElmoTokenizer

TEXT = "I don't  know the bank."
WORDS = ["I", "do", "n't", "know", "the", "bank", "."]


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
