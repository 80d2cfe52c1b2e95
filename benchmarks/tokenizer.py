"""How fast the tokenizer is: words a second from lists of words to padded tensors, and raw text against Rust alone.

    python benchmarks/tokenizer.py [TEXT]

TEXT is a file of lines with blanks between the words; without it, lines of made-up words that recur as words of a
language do (Zipf's law). Times are processor time: set OMP_NUM_THREADS=1 and RAYON_NUM_THREADS=1 to measure one core.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from hf_elmo.model.tokenization_elmo import ElmoTokenizer

BATCH, ROUNDS = 32, 5


def made_up_lines(count: int = 20_000, words: int = 23, types: int = 60_000) -> list[str]:
    """Sentences of `words` words, lengths Poisson, frequencies by rank^-1, a period at the end."""
    random, vocabulary = np.random.default_rng(0), made_up_vocabulary(types)
    frequencies = 1 / np.arange(1, types + 1)
    chosen = random.choice(types, (count, words), p=frequencies / frequencies.sum())
    return [" ".join([*(vocabulary[word] for word in row), "."]) for row in chosen]


@lru_cache
def made_up_vocabulary(types: int) -> list[str]:
    random = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    return ["".join(random.choice(letters[: 8 + length], length)) for length in 1 + random.poisson(5, types)]


def batches(items: list) -> list[list]:
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]


def seconds(action: Callable[[list], object], items: list) -> float:
    start = time.process_time()  # of the processor, so that other processes do not count
    for batch in batches(items):
        action(batch)
    return time.process_time() - start


def main():
    if len(sys.argv) > 1:
        with open(sys.argv[1], encoding="utf-8") as file:
            lines = [line.strip() for line in file if line.strip()]
    else:
        lines = made_up_lines()
    words = [line.split() for line in lines]
    tokenizer = ElmoTokenizer()
    rust = tokenizer.backend_tokenizer
    ways = {
        "words_to_tensors": (
            lambda b: tokenizer(b, is_split_into_words=True, padding=True, return_tensors="pt"),
            words,
        ),
        "words_to_lists": (lambda b: tokenizer(b, is_split_into_words=True), words),
        "text_to_tensors": (lambda b: tokenizer(b, padding=True, return_tensors="pt"), lines),
        "rust_splitter_alone": (rust.encode_batch, lines),
    }
    # every word is new in the first round; the ways alternate, so that a busy machine slows all of them
    rounds = [{name: seconds(*way) for name, way in ways.items()} for _ in range(1 + ROUNDS)]
    times = {name: min(taken[name] for taken in rounds) for name in ways}
    times["words_to_tensors_first_round"] = rounds[0]["words_to_tensors"]
    count = sum(map(len, words))
    report = {f"{name}_words_per_second": round(count / taken) for name, taken in times.items()}
    report["text_to_tensors_over_rust"] = round(times["text_to_tensors"] / times["rust_splitter_alone"], 2)
    print(json.dumps({"words": count, "batch": BATCH, **report}, indent=2))


if __name__ == "__main__":
    main()
