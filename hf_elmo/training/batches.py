"""Examples as a model reads them: encoded once, grouped by length, padded when a batch is put together."""

import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedTokenizerBase

CHUNK = 1000  # texts encoded at a time: the tokenizer's lists take much more memory than the arrays that are kept
POOL = 50  # batches drawn together before they are sorted by length


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence, pairs: Sequence | None = None, **options: object
) -> list[dict]:
    """Encode texts or pairs of texts as features: `input_ids` `(T, W)` of a small integer type, and `attention_mask`.

    Args:
        texts, pairs: Texts, or with the option `is_split_into_words=True` of the tokenizer, lists of words.
    """
    features = []
    for start in range(0, len(texts), CHUNK):
        part = slice(start, start + CHUNK)
        batch = tokenizer(list(texts[part]), None if pairs is None else list(pairs[part]), **options)
        features += [
            {"input_ids": np.array(ids, dtype=id_type(tokenizer))}
            | {"attention_mask": np.ones(len(ids), dtype=np.int8)}
            for ids in batch["input_ids"]
        ]
    return features


def id_type(tokenizer: PreTrainedTokenizerBase) -> type[np.integer]:
    """Return the smallest type that holds the ids of a tokenizer."""
    return np.int32 if tokenizer.vocab_size > 1 << 15 else np.int16


class EncodedDataset(Dataset):
    """The examples of a split with their features, as a dataset that returns the longest features first.

    Args:
        examples: What the features were made of; predictions are scored and written by them.
        features: What the model takes, unpadded, one or more for each example.
        places: Where each feature is in its example, as the task needs it.
    """

    def __init__(self, examples: Sequence, features: Sequence[dict], places: Sequence = ()):
        self.examples, self.features, self.places = examples, list(features), places
        self.order = np.argsort([-len(feature["input_ids"]) for feature in features], kind="stable")
        self.layers: Sequence | None = None  # encoder layers of each feature, `(T, L + 1, 2P)`, if they are cached

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> dict:
        number = self.order[index]
        feature = self.features[number]
        return feature if self.layers is None else {**feature, "layers": self.layers[number]}

    def in_given_order(self, values: np.ndarray | tuple) -> np.ndarray | tuple:
        """Bring predictions, an array or a tuple of arrays, from the order of this dataset to that of `features`."""
        if isinstance(values, tuple):
            return tuple(map(self.in_given_order, values))
        return values[np.argsort(self.order, kind="stable")]


class LengthGroupedSampler(Sampler):
    """Indices of an [`EncodedDataset`], ordered so that a batch has similar lengths and batches are shuffled.

    The order depends on nothing but seed and epoch, so that a resumed run continues in the same order. (The sampler of
    transformers draws from the global random state, which is another one after resuming in the middle of an epoch.)
    """

    def __init__(self, size: int, batch_size: int, seed: int):
        self.size, self.batch_size, self.seed, self.epoch = size, batch_size, seed, 0

    def set_epoch(self, epoch: int):
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator, pool = random.Random(f"{self.seed}/{self.epoch}"), POOL * self.batch_size
        indices = list(range(self.size))
        generator.shuffle(indices)
        batches = []
        for start in range(0, self.size, pool):
            pooled = sorted(indices[start : start + pool])  # the dataset returns the longest first
            batches += [pooled[first : first + self.batch_size] for first in range(0, len(pooled), self.batch_size)]
        whole = [batch for batch in batches if len(batch) == self.batch_size]
        generator.shuffle(whole)
        rest = [batch for batch in batches if len(batch) < self.batch_size]
        return iter([index for batch in whole + rest for index in batch])


def collate(features: list[dict]) -> dict[str, Tensor]:
    """Pad features on the right: ids, mask and layers with 0, labels of words or of mentions with -100."""
    return {name: padded([feature[name] for feature in features], name) for name in features[0]}


def padded(values: list, name: str) -> Tensor:
    """Stack arrays `(N, ...)`, padded to the longest, or scalars, in front `B`. A text's labels are not padded."""
    if np.ndim(values[0]) == 0:
        return torch.tensor(values)
    values = [np.asarray(value) for value in values]
    if name == "labels" and values[0].dtype.kind == "f" and values[0].ndim == 1:
        return torch.from_numpy(np.stack(values))
    dtype = values[0].dtype if values[0].dtype.kind == "f" else np.int64
    batch = np.full(
        (len(values), max(map(len, values)), *values[0].shape[1:]), -100 if name == "labels" else 0, dtype=dtype
    )
    for row, value in zip(batch, values):
        row[: len(value)] = value
    return torch.from_numpy(batch)
