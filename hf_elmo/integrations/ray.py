# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""`embed_dataset`: vectors of a column of a Ray dataset, by a pool of actors (`pip install hf-elmo[ray]`).

Every actor holds the model and runs [`~hf_elmo.embedding.embed_sentences`] on one batch of rows after the other. The
columns that it adds are those of the Parquet files of `hf-elmo embed`.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from transformers import AutoConfig

from ..embedding import check_sentence, embed_sentences, layer_selection
from ..embedding_files import arrow_vectors
from ..loading import best_device, load_encoder, load_tokenizer, loading

try:
    from ray.data import ActorPoolStrategy, Dataset
except ImportError as error:
    raise ImportError("embed_dataset needs Ray Data: pip install 'ray[data]'") from error

KINDS = ("words", "sentences")
TYPES = ("float32", "float16")


def embed_dataset(
    dataset: Dataset,
    model: str,
    *,
    column: str = "text",
    layers: str | int = "mix",
    vectors: str = "words",
    dtype: str = "float32",
    actors: int | tuple[int, int] = 1,
    rows_per_batch: int = 1024,
    words_per_batch: int = 4096,
    **options: Any,
) -> Dataset:
    """Return a dataset with two more columns: `words`, and `vectors` of the words or `vector` of the sentence.

    As everything in Ray Data it is lazy: rows are computed when they are written or iterated over. Rows with no words
    have no vectors, and as sentences a vector of zeros.

    Args:
        dataset: Rows of text: `ray.data.read_text`, `read_parquet`, and so on.
        model (`str`): Folder, to be found on all machines, or Hub name of a saved ELMo model.
        column (`str`, defaults to `"text"`): The column to embed, of texts or of lists of words.
        layers (`str` or `int`, defaults to `"mix"`): As in [`~hf_elmo.embedding.embed_sentences`].
        vectors (`str`, defaults to `"words"`):
            `"words"`: a vector of each word. `"sentences"`: one of each row, pooled as the model's `sentence_pooling`
            says.
        dtype (`str`, defaults to `"float32"`): Of the column's numbers, `"float32"` or `"float16"`.
        actors (`int` or a pair, defaults to 1): Size of the pool, or its least and its greatest.
        rows_per_batch (`int`, defaults to 1024): Rows that an actor computes at a time; their vectors are in memory.
        words_per_batch (`int`, defaults to 4096): As in [`~hf_elmo.embedding.embed_sentences`].
        options: Further ones of `map_batches`. `num_cpus` is the number of an actor's threads, by default 1;
            `num_gpus=1` gives it a GPU, which it then uses.

    Raises:
        `ValueError`: for arguments of other values, or if the model cannot be loaded. A row that is neither a text nor
            a list of words ends the computation.
    """
    for name, value, known in (("vectors", vectors, KINDS), ("dtype", dtype, TYPES)):
        if value not in known:
            raise ValueError(f"`{name}` must be {' or '.join(map(repr, known))}, but is {value!r}")
    if vectors == "sentences" and layers == "all":
        raise ValueError("`layers` must select one vector a word for vectors='sentences': 'mix', 'mean', 'top' or 0, 1")
    with loading(model):
        layer_selection(layers, AutoConfig.from_pretrained(model).num_hidden_layers)
    check_column(column, dataset.columns(fetch_if_missing=False))
    folder = Path(model)
    least, most = actors if isinstance(actors, tuple) else (actors, actors)
    return dataset.map_batches(
        RowEmbedder,
        fn_constructor_args=[str(folder.resolve()) if folder.is_dir() else model, column, layers, vectors, dtype],
        fn_kwargs={"words_per_batch": words_per_batch},
        batch_format="pyarrow",
        batch_size=rows_per_batch,
        compute=ActorPoolStrategy(min_size=least, max_size=most),
        **options,
    )


def check_column(column: str, columns: list[str] | None) -> None:
    """Refuse a column that is not there, where the columns are known."""
    if columns is not None and column not in columns:
        raise ValueError(f"there is no column {column!r}, but {', '.join(columns)}: give `column`")


class RowEmbedder:
    """The task of an actor: load the model once, and add columns to batches of rows."""

    def __init__(self, model: str, column: str, layers: str | int, vectors: str, dtype: str):
        self.encoder, self.tokenizer = load_encoder(model).to(best_device()), load_tokenizer(model)
        self.column, self.layers, self.of_sentences = column, layers, vectors == "sentences"
        self.dtype = getattr(torch, dtype)

    @torch.no_grad()
    def __call__(self, rows: pa.Table, words_per_batch: int) -> pa.Table:
        check_column(self.column, rows.column_names)
        sentences = [check_sentence(row, number) for number, row in enumerate(rows[self.column].to_pylist())]
        words = [self.tokenizer.tokenize(row) if isinstance(row, str) else row for row in sentences]
        found = list(
            embed_sentences(self.encoder, self.tokenizer, words, layers=self.layers, words_per_batch=words_per_batch)
        )
        lengths = None if self.of_sentences else list(map(len, words))
        if self.of_sentences:
            found = [self.pool(vectors) for vectors in found]
        column = arrow_vectors(torch.cat(found).to(self.dtype), lengths)
        rows = rows.append_column("words", pa.array(words, pa.list_(pa.string())))
        return rows.append_column("vector" if self.of_sentences else "vectors", column)

    def pool(self, vectors: torch.Tensor) -> torch.Tensor:
        """From the words of a sentence `(T, 2P)` to `(1, 2P)`."""
        words = vectors[None].to(self.encoder.device)
        mask = torch.ones(words.shape[:2], dtype=torch.bool, device=words.device)
        return self.encoder.sentence_pooling(words, mask).cpu()


__all__ = ["embed_dataset"]
