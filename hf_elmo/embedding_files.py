# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The files that `hf-elmo embed` writes: HDF5 as `allennlp elmo` has it, Parquet, safetensors.

N words, S sentences, L biLSTM layers, P projection width. A word has one vector `(2P,)`, or all layers `(L + 1, 2P)`.

    .h5, .hdf5    a dataset for each sentence, named by its number, `(words, 2P)` or `(L + 1, words, 2P)`; and
                  `sentence_to_index` `(1,)`, a JSON object from each sentence to its number, of several equal ones to
                  the last. Order, types and bytes are those of AllenNLP 0.9.
    .parquet      a row for each sentence: `line`, its number; `words`; `vectors`, a list of the words' vectors
    .safetensors  `vectors` `(N, 2P)` or `(N, L + 1, 2P)`; `offsets` `(S + 1,)`: the words of sentence s are
                  `vectors[offsets[s] : offsets[s + 1]]`; `lines` `(S,)`, its number

With vectors of sentences there is no axis of words: `(2P,)` or `(L + 1, 2P)` in HDF5, a column `vector` in Parquet, and
`vectors` `(S, ...)` and `lines` in safetensors.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from torch import Tensor

from .embedding_index import SentenceIndex
from .embedding_run import UNFINISHED, Sentence, StoredPart

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = {".h5": "hdf5", ".hdf5": "hdf5", ".parquet": "parquet", ".safetensors": "safetensors"}


def write_file(
    path: Path,
    kind: str,
    paths: Sequence[Path],
    *,
    of_sentences: bool = False,
    sentence_keys: bool = False,
    with_index: bool = True,
) -> None:
    """Write parts, in their order, as one file.

    Args:
        paths: Files of the parts.
        kind: A value of `KINDS`.
        of_sentences: Whether vectors are those of sentences.
        sentence_keys: Whether HDF5 datasets are named by their sentences, as in AllenNLP up to 0.5.0.
        with_index: Whether HDF5 has a `sentence_to_index`.
    """
    parts = map(StoredPart, paths)
    if kind == "hdf5":
        write_hdf5(path, parts, of_sentences, sentence_keys, with_index)
    elif kind == "parquet":
        write_parquet(path, parts, of_sentences)
    else:
        write_safetensors(path, paths, of_sentences)


def sentences_of(part: StoredPart, of_sentences: bool) -> Iterator[tuple[Sentence, Tensor]]:
    """Yield the sentences of a part, each with its vectors: `(words, ...)`, or without the axis of words."""
    vectors = part.vectors()
    lengths = [1 if of_sentences else len(sentence.words) for sentence in part.sentences]
    for sentence, own in zip(part.sentences, vectors.split(lengths)):
        yield sentence, own[0] if of_sentences else own


def write_hdf5(
    path: Path, parts: Iterable[StoredPart], of_sentences: bool, sentence_keys: bool, with_index: bool
) -> None:
    def arrays() -> Iterator[tuple[str, int, np.ndarray]]:
        for part in parts:
            for sentence, vectors in sentences_of(part, of_sentences):
                if not of_sentences and vectors.dim() == 3:
                    vectors = vectors.transpose(0, 1)  # layers first
                yield sentence.text, sentence.number, vectors.numpy()

    write_datasets(path, arrays(), sentence_keys, with_index)


def write_datasets(
    path: str | Path, arrays: Iterable[tuple[str, int, np.ndarray]], sentence_keys: bool, with_index: bool
) -> None:
    """Write HDF5 in the layout of `allennlp elmo`, from the text of each sentence, its number and its vectors."""
    path = Path(path)
    with SentenceIndex(path.with_name(f"{path.name}.sentences{UNFINISHED}")) as index:
        with h5py.File(path, "w") as file:
            for text, number, vectors in arrays:
                key = text if sentence_keys else str(number)
                array = np.ascontiguousarray(vectors)
                file.create_dataset(key, array.shape, dtype=array.dtype, data=array)
                if with_index:
                    index.add(text, key)
            if with_index:
                index.write(file)
        if with_index:
            index.complete(path)


def arrow_vectors(vectors: Tensor, lengths: Sequence[int] | None) -> pa.Array:
    """Return vectors of words `(N, ...)` as a list for each sentence of so many words, or as they are."""
    import pyarrow as pa

    column = pa.array(vectors.numpy().reshape(-1))
    for size in reversed(vectors.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    if lengths is None:
        return column
    return pa.ListArray.from_arrays(pa.array(list(accumulate(lengths, initial=0)), pa.int32()), column)


def write_parquet(path: Path, parts: Iterable[StoredPart], of_sentences: bool) -> None:
    """Write a group of rows for each part."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    try:
        for part in parts:
            sentences = part.sentences
            column = arrow_vectors(
                part.vectors(), None if of_sentences else [len(sentence.words) for sentence in sentences]
            )
            # Half characters, as JSON may have them, are no text for Parquet.
            words = [[word.encode("utf-8", "replace").decode() for word in sentence.words] for sentence in sentences]
            table = pa.table(
                {
                    "line": pa.array([sentence.number for sentence in sentences], pa.int64()),
                    "words": pa.array(words, pa.list_(pa.string())),
                    "vector" if of_sentences else "vectors": column,
                }
            )
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False)
            writer.write_table(table, max(1, len(table)))
    finally:
        if writer is not None:
            writer.close()


def write_safetensors(path: Path, paths: Sequence[Path], of_sentences: bool) -> None:
    """Write the format as it is specified: the length of a header, the header in JSON, the bytes of all tensors.

    The library itself would need all vectors in memory.
    """
    shapes, num_sentences = [], 0
    for part in map(StoredPart, paths):
        num_sentences += len(part.sentences)
        shape, dtype = part.shape()
        shapes.append(shape)
    shape = [sum(rows for rows, *_ in shapes), *shapes[0][1:]]
    sizes = {"I64": 8, "F32": 4, "F16": 2}
    tensors: dict[str, tuple[str, list[int]]] = {"lines": ("I64", [num_sentences])}
    if not of_sentences:
        tensors["offsets"] = "I64", [num_sentences + 1]
    tensors["vectors"] = dtype, shape
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    ends = {}  # position of each tensor, and then the end of what is written of it
    start = 0
    for name, (dtype, shape) in tensors.items():
        ends[name], start = start, start + math.prod(shape) * sizes[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [ends[name], start]}
    content = json.dumps(header).encode()
    content += b" " * (-len(content) % 8)  # tensors begin at multiples of 8 bytes
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(content)) + content)

        def add(name: str, array: np.ndarray) -> None:
            file.seek(8 + len(content) + ends[name])
            ends[name] += file.write(np.ascontiguousarray(array).data)

        words = 0
        for number, part in enumerate(map(StoredPart, paths)):
            add("lines", np.array([sentence.number for sentence in part.sentences], np.int64))
            if not of_sentences:
                offsets = words + np.cumsum([0, *(len(sentence.words) for sentence in part.sentences)], dtype=np.int64)
                add("offsets", offsets[min(number, 1) :])  # a part begins where the one before ends
                words = int(offsets[-1])
            add("vectors", part.vectors().numpy())
