"""Examples as a model reads them: encoded once, batched by length, padded when a batch is put together."""

import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

CHUNK = 1000  # texts encoded at a time: the tokenizer's lists take much more room than the arrays that are kept


def encode(tokenizer, texts: Sequence, pairs: Sequence | None = None, **options) -> list[dict]:
    """Features of texts or of pairs of texts: `input_ids` `(T, W)`, as small numbers as will do, and `attention_mask`.

    Args:
        tokenizer ([`ElmoTokenizer`]): Encodes them.
        texts, pairs: What it takes: texts, or with `is_split_into_words=True` lists of words.
        options: For the tokenizer.
    """
    features = []
    for start in range(0, len(texts), CHUNK):
        part = slice(start, start + CHUNK)
        batch = tokenizer(list(texts[part]), None if pairs is None else list(pairs[part]), **options)
        features += [
            {"input_ids": np.array(ids, dtype=np.int32 if tokenizer.vocab_size > 1 << 15 else np.int16)}
            | {"attention_mask": np.ones(len(ids), dtype=np.int8)}
            for ids in batch["input_ids"]
        ]
    return features


class Split(Dataset):
    """The examples of a split and their features, as a data set that gives the longest first.

    Args:
        examples: What the features were made of; a task scores and writes predictions by them.
        features: What the model takes, unpadded, one or more for each example.
    """

    def __init__(self, examples: Sequence, features: Sequence[dict]):
        self.examples, self.features = list(examples), list(features)
        self.order = np.argsort([-len(feature["input_ids"]) for feature in features], kind="stable")
        self.layers = None  # of each feature, `(T, L + 1, 2P)`, where they were computed before

    @property
    def num_words(self) -> int:
        return sum(len(feature["input_ids"]) for feature in self.features)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, place: int) -> dict:
        number = self.order[place]
        feature = self.features[number]
        return feature if self.layers is None else {**feature, "layers": self.layers[number]}

    def in_given_order(self, values):
        """What was predicted of this data set, an array or a tuple of them, in the order of `features`."""
        if isinstance(values, tuple):
            return tuple(map(self.in_given_order, values))
        return values[np.argsort(self.order, kind="stable")]


class BatchesByLength(Sampler):
    """Places of a [`Split`] in an order in which those of a batch are of like length and the batches are mixed.

    It depends on the seed and the epoch alone, so that a run that is resumed goes on in the same order.
    """

    POOL = 50  # batches drawn together before they are sorted

    def __init__(self, size: int, batch_size: int, seed: int):
        self.size, self.batch_size, self.seed, self.epoch = size, batch_size, seed, 0

    def set_epoch(self, epoch: int):
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        chance, pool = random.Random(f"{self.seed}/{self.epoch}"), self.POOL * self.batch_size
        places = list(range(self.size))
        chance.shuffle(places)
        batches = []
        for start in range(0, self.size, pool):
            pooled = sorted(places[start : start + pool])  # a split gives the longest first
            batches += [pooled[first : first + self.batch_size] for first in range(0, len(pooled), self.batch_size)]
        whole = [batch for batch in batches if len(batch) == self.batch_size]
        chance.shuffle(whole)
        rest = [batch for batch in batches if len(batch) < self.batch_size]
        return iter([place for batch in whole + rest for place in batch])


def collate(features: list[dict]) -> dict[str, Tensor]:
    """Pad features at their right: ids, mask and layers with 0, labels of words with -100."""
    length = max(len(feature["input_ids"]) for feature in features)
    return {name: padded([feature[name] for feature in features], length, name) for name in features[0]}


def padded(values: list, length: int, name: str) -> Tensor:
    """`B` arrays `(T, ...)` as one `(B, length, ...)`; values without an axis as `(B,)`."""
    if np.ndim(values[0]) == 0:
        return torch.tensor(values)
    values = [np.asarray(value) for value in values]
    dtype = values[0].dtype if values[0].dtype.kind == "f" else np.int64
    batch = np.full((len(values), length, *values[0].shape[1:]), -100 if name == "labels" else 0, dtype=dtype)
    for row, value in zip(batch, values):
        row[: len(value)] = value
    return torch.from_numpy(batch)
