"""Static word vectors from text files, for the table that a task model has beside ELMo.

A file of GloVe has a word and its numbers in each line, separated by single blanks; a file of fastText begins with a
line that gives the number of words and the size of a vector. A word may contain blanks: the numbers come last.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..model.word_features_elmo import word_hashes
from ..text_files import Place, numbered_lines
from .batches import EncodedDataset

logger = logging.getLogger("hf_elmo.training")

CHUNK = 10_000  # words hashed at a time


class VectorTable(NamedTuple):
    """Static vectors and the hashes of their words, the arguments of [`WordVectors.fill`]."""

    hashes: Tensor  # (N,)
    vectors: Tensor  # (N, size)


def read_word_vectors(
    path: str, tokenizer: PreTrainedTokenizerBase, lowercase: bool, wanted: set[int] | None = None
) -> VectorTable:
    """Read the vectors of a file. Among words that are the same to the model (`The` and `the`), the first counts.

    Args:
        lowercase: Whether the model looks words up with A to Z as a to z.
        wanted: Hashes of the words to keep; `None` for all.

    Raises:
        `ValueError`: with file and line, if a line has another number of columns, or a column is not a number; or if
            no word that is wanted has a vector.
    """
    rows: dict[int, np.ndarray] = {}
    lines = words_and_numbers(path)
    while chunk := list(islice(lines, CHUNK)):
        hashes = hashes_of([word for _, word, _ in chunk], tokenizer, lowercase)
        for (place, word, numbers), key in zip(chunk, hashes):
            if key not in rows and (wanted is None or key in wanted):
                if wrong := [number for number in numbers if not is_number(number)]:
                    raise ValueError(f"{place}: {wrong[0]!r:.40} after {word!r:.40} is no number")
                rows[key] = np.array(numbers, dtype=np.float32)
    if not rows:
        raise ValueError(f"{path}: no word of the data has a vector in it")
    if wanted is not None:
        logger.info("%d of %d words of the data have a vector in %s", len(rows), len(wanted), path)
    return VectorTable(torch.tensor(list(rows)), torch.from_numpy(np.stack(list(rows.values()))))


def words_and_numbers(path: str) -> Iterator[tuple[Place, str, list[str]]]:
    """Yield each word of a file with its place and its numbers, the latter as texts."""
    lines = ((Place(path, number), line.rstrip(" ").split(" ")) for number, line in numbered_lines(path))
    first = list(islice(lines, 100))
    if first and len(first[0][1]) == 2 and all(part.isdecimal() for part in first[0][1]):
        size = int(first[0][1][1])
        first = first[1:]
    elif first:
        size = Counter(len(parts) for _, parts in first).most_common(1)[0][0] - 1
    for place, parts in chain(first, lines):
        if parts == [""]:
            continue
        more = parts[1:-size]  # pieces of a word with blanks, unless they are numbers
        if len(parts) <= size or size < 1 or (more and all("." in part and is_number(part) for part in more)):
            numbers = sum(map(is_number, parts[1:]))
            raise ValueError(f"{place}: {numbers} numbers after {parts[0]!r:.40}, where there should be {size}")
        yield place, " ".join(parts[:-size]), parts[-size:]


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def hashes_of(words: list[str], tokenizer: PreTrainedTokenizerBase, lowercase: bool) -> list[int]:
    """Return the hash by which the model finds the vector of each word."""
    rows = tokenizer([words], is_split_into_words=True, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
    return word_hashes(rows, lowercase).tolist()


def words_of(datasets: Iterable[EncodedDataset], lowercase: bool) -> set[int]:
    """Return the hashes of all words of datasets."""
    found: set[int] = set()
    for dataset in datasets:
        for start in range(0, len(dataset.features), CHUNK):
            rows = np.concatenate([feature["input_ids"] for feature in dataset.features[start : start + CHUNK]])
            found.update(word_hashes(torch.from_numpy(rows), lowercase).unique().tolist())
    return found
