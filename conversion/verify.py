# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Outputs of the original software against those of the converted model, layer by layer.

Accepted:

- `.npz`: `bilm_ids/<batch>` `(B, T, W)`, character ids with `<S>` and `</S>`, one array a batch, in order; `lengths`,
  words of each sentence, boundaries included; and vectors `*_stateless` (state zero before each batch) or `*_stateful`
  (carried from batch to batch) `(L + 1, N, 2P)`, the words of all sentences one after the other.
- `.hdf5` as `allennlp elmo --all` and bilm-tf's `dump_bilm_embeddings` write it: datasets "0", "1", ...
  `(L + 1, words, 2P)`, one a line of the text, without boundaries; sentences in `sentence_to_index`, a JSON object from
  sentence to dataset, or from the text itself. Or datasets named by their sentences, which needs the text for their
  order. Both programs carry the state from batch to batch, so the batch size matters: unless given it is 64, AllenNLP's
  default, or 1 where there is no `sentence_to_index`, as in bilm-tf.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import h5py
import numpy as np
import torch
from torch import Tensor

from hf_elmo.model.modeling_elmo import ElmoModel, State
from hf_elmo.model.tokenization_elmo import ElmoTokenizer

from .file_kinds import HDF5, file_kind, one_line
from .hdf5_file import open_hdf5

TOLERANCE = 5e-6  # two originals, TensorFlow and torch, are about 1e-6 apart
ALLENNLP_BATCH_SIZE = 64


class Verification(NamedTuple):
    what: str  # was compared
    differences: list[float]  # the largest of each layer, token embeddings first
    tolerance: float

    @property
    def passed(self) -> bool:
        return all(difference <= self.tolerance for difference in self.differences)  # NaN is no pass


class Batch(NamedTuple):
    """Sentences the original embedded together, and what it made of each."""

    input_ids: Tensor  # (B, T, W)
    expected: list[Tensor]  # of each sentence, (L + 1, words, 2P)
    boundaries: bool  # whether `<S>` and `</S>` are among these words


def verify(
    folder: str | Path,
    expected: str | Path,
    *,
    text: str | Path | None = None,
    batch_size: int | None = None,
    tolerance: float = TOLERANCE,
) -> Verification:
    """Compute what the original computed.

    Args:
        folder: A converted model.
        expected: Outputs of the original software.
        text: The sentences of an hdf5 file, one a line, words apart.
        batch_size: Sentences a batch of an hdf5 file had.
        tolerance: The largest difference that passes.
    Raises:
        ValueError: `expected` is of no known layout, or of a model of another size.
    """
    expected = Path(expected)
    if not expected.is_file():
        raise ValueError(f"{expected}: no such file; expected outputs of the original software, .npz or .hdf5")
    model = ElmoModel.from_pretrained(folder, dtype=torch.float32).eval()
    if file_kind(expected) == HDF5:
        runs = [("outputs, state carried over batches", True, hdf5_batches(expected, folder, text, batch_size))]
    else:
        runs = list(npz_runs(expected))
    layers = model.config.num_hidden_layers + 1
    differences, words = [0.0] * layers, 0
    for _, stateful, batches in runs:
        for batch, actual in run(model, batches, stateful):
            for wanted, found in zip(batch.expected, actual):
                if wanted.shape != found.shape:
                    raise ValueError(
                        f"{expected}: a sentence has vectors {tuple(wanted.shape)}, but the model makes "
                        f"{tuple(found.shape)} of it (layers, words, width); expected all layers, from these weights"
                    )
                largest = (wanted - found).abs().flatten(1).amax(1).tolist() if wanted.numel() else [0.0] * layers
                differences = [float(np.maximum(a, b)) for a, b in zip(differences, largest)]  # keeps NaN
                words += wanted.shape[1]
    if not words:
        raise ValueError(f"{expected}: there is nothing to compare; expected vectors of at least one word")
    return Verification(f"{words:,} words, {' and '.join(what for what, _, _ in runs)}", differences, tolerance)


@torch.no_grad()
def run(model: ElmoModel, batches: Iterable[Batch], stateful: bool) -> Iterator[tuple[Batch, list[Tensor]]]:
    """The layers of each sentence, batch by batch."""
    state: State | None = None
    for batch in batches:
        output = model(batch.input_ids, state=state, use_state=stateful, output_hidden_states=True)
        state = output.state if stateful else None
        layers = torch.stack(output.hidden_states, 1)  # (B, L + 1, T, 2P)
        lengths = (batch.input_ids > 0).any(-1).sum(1).tolist()
        cut = 0 if batch.boundaries else 1
        yield batch, [row[:, cut : length - cut] for row, length in zip(layers, lengths)]


def npz_runs(path: Path) -> Iterator[tuple[str, bool, list[Batch]]]:
    try:
        arrays = np.load(path, allow_pickle=False)
        names = list(arrays)
    except (ValueError, OSError, BadZipFile, EOFError, TypeError) as error:
        raise ValueError(
            f"{path}: neither .npz nor .hdf5 ({one_line(error)}); expected outputs of the original software"
        ) from error
    ids = [name for name in names if name.startswith("bilm_ids/")]
    outputs = [name for name in names if name.endswith(("_stateless", "_stateful"))]
    if not ids or not outputs or "lengths" not in names:
        raise ValueError(
            f"{path}: expected bilm_ids/<batch>, lengths, and *_stateless or *_stateful, "
            f"but it holds {', '.join(names[:6])}"
        )
    lengths, sentences = arrays["lengths"].tolist(), sum(len(arrays[batch]) for batch in ids)
    for name in outputs:
        if arrays[name].ndim != 3 or arrays[name].shape[1] != sum(lengths) or sentences != len(lengths):
            raise ValueError(
                f"{path}: {name} {arrays[name].shape} must be (layers, words, width), with as many words as all "
                f"lengths together, {sum(lengths)}, and bilm_ids as many sentences as there are lengths, "
                f"{len(lengths)}, but these have {sentences}"
            )
        vectors = iter(torch.from_numpy(arrays[name]).split(lengths, dim=1))
        batches = []
        for batch in ids:
            input_ids = torch.from_numpy(arrays[batch].astype(np.int64))
            batches.append(Batch(input_ids, [next(vectors) for _ in input_ids], boundaries=True))
        yield name, name.endswith("_stateful"), batches


def hdf5_batches(path: Path, folder: str | Path, text: str | Path | None, batch_size: int | None) -> Iterator[Batch]:
    tokenizer = ElmoTokenizer.from_pretrained(folder)
    with open_hdf5(path) as stored, h5py.File(path) as file:
        index = json.loads(file["sentence_to_index"][0]) if "sentence_to_index" in file else None
        sentences = list(named_sentences(path, [name for name in stored if name != "sentence_to_index"], index, text))
        size = (1 if index is None else ALLENNLP_BATCH_SIZE) if batch_size is None else batch_size
        for start in range(0, len(sentences), size):
            names, lines = zip(*sentences[start : start + size])
            batch = tokenizer(
                [line.split() for line in lines], is_split_into_words=True, padding=True, return_tensors="pt"
            )
            expected = [torch.from_numpy(stored[name].read()) for name in names]
            if any(vectors.dim() != 3 for vectors in expected):
                raise ValueError(
                    f"{path}: {names[0]} is {tuple(expected[0].shape)}; expected (layers, words, width), from --all"
                )
            yield Batch(batch["input_ids"], expected, boundaries=False)


def named_sentences(
    path: Path, names: list[str], index: dict | None, text: str | Path | None
) -> Iterator[tuple[str, str]]:
    """Each dataset's name and sentence, in the order of the text."""
    numbered = all(name.isdigit() for name in names)
    if text is not None:
        with open(text, encoding="utf-8") as file:  # not splitlines(), which splits at more than line ends
            lines = [line.strip() for line in file]
        keys = [str(number) for number in range(len(lines))] if numbered else lines
        if absent := [key for key in keys if key not in names]:
            raise ValueError(f"{path}: has no dataset {absent[0]!r}, which {text} asks for; is this its text?")
        yield from zip(keys, lines)
        return
    if index is None or not numbered:
        raise ValueError(
            f"{path}: does not tell its sentences in order; give the text it was made from with --verify-text"
        )
    of = {key: sentence for sentence, key in index.items()}
    for name in sorted(names, key=int):
        if name not in of:
            raise ValueError(
                f"{path}: sentence_to_index lacks the sentence of {name!r} (a repeated one keeps its last place "
                "only); give the text it was made from with --verify-text"
            )
        yield name, of[name]
