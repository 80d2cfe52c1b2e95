# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""`ElmoVectorizer`: texts to vectors as a transformer of scikit-learn (`pip install hf-elmo[scikit-learn]`)."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from ..embedding import Sentence, embed_sentences
from ..loading import find_device, load_tokenizer, loading
from ..model.pooling_elmo import masked_max, masked_mean

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils import Tags
except ImportError as error:
    raise ImportError("ElmoVectorizer needs scikit-learn: pip install scikit-learn") from error

POOLINGS = ("mean", "max")


class ElmoVectorizer(TransformerMixin, BaseEstimator):
    """Turn each text into one vector: ELMo's vectors of its words, pooled.

    It can stand where `TfidfVectorizer` stands, in a `Pipeline`, `ColumnTransformer` or `GridSearchCV`. Nothing is
    learned from the texts, so `fit` only loads the model. A pickled vectorizer holds the name of the model, not its
    weights, which are loaded again at the first use.

    Args:
        model (`str`): Folder or Hub name of a saved ELMo model.
        pooling (`str`, defaults to `"mean"`):
            `"mean"` or `"max"` over the words of a text, without `<S>` and `</S>`. A text without words is all zeros.
        layers (`str` or `int`, defaults to `"mix"`): As in [`~hf_elmo.embedding.embed_sentences`], but for `"all"`.
        device (`str`, *optional*): As in torch; by default the CPU.
        words_per_batch (`int`, defaults to 4096): Maximum number of tokens in a batch, padding included.

    Attributes:
        n_features_out_ (`int`): Width of a vector, 2P.
    """

    def __init__(
        self,
        model: str,
        *,
        pooling: str = "mean",
        layers: str | int = "mix",
        device: str | None = None,
        words_per_batch: int = 4096,
    ):
        self.model = model
        self.pooling = pooling
        self.layers = layers
        self.device = device
        self.words_per_batch = words_per_batch

    def fit(self, X: Iterable[Sentence], y: Any = None) -> "ElmoVectorizer":
        """Load the model and check the parameters. `X` and `y` are not used.

        Raises:
            `ValueError`: if the model cannot be loaded, or for a parameter of another value.
        """
        if self.pooling not in POOLINGS:
            raise ValueError(f"`pooling` must be one of {', '.join(POOLINGS)}, but is {self.pooling!r}")
        if self.layers == "all":
            raise ValueError("`layers` must select one vector a word: 'mix', 'mean', 'top' or a layer's number")
        self.encoder()
        return self

    def transform(self, X: Iterable[Sentence]) -> NDArray[np.float32]:
        """Return the vectors of N texts, `(N, 2P)`.

        Args:
            X: Texts, each a string or a list of words: a list, a column of a table, a generator.
        """
        self.fit(X)
        model, tokenizer = self.encoder()
        words = embed_sentences(model, tokenizer, X, layers=self.layers, words_per_batch=self.words_per_batch)
        rows = [row.numpy() for row in self.pooled(words)]
        return np.stack(rows) if rows else np.empty((0, self.n_features_out_), np.float32)

    def pooled(self, sentences: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pool each sentence's vectors, `(words, 2P)` to `(2P,)`."""
        for vectors in sentences:
            words, mask = vectors.float()[None], torch.ones(1, len(vectors), dtype=torch.bool)
            pooled = masked_mean(words, mask) if self.pooling == "mean" else masked_max(words, mask[..., None])
            yield pooled[0]

    def encoder(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Return the model and its tokenizer, loading them again when `model` or `device` has changed."""
        key = (self.model, self.device)
        if getattr(self, "_loaded", (None,))[0] != key:
            device = find_device(self.device or "cpu")
            tokenizer = load_tokenizer(self.model)
            with loading(self.model):
                model = AutoModel.from_pretrained(self.model).eval()
            self._loaded = (key, model.to(device), tokenizer)
            self.n_features_out_ = model.config.hidden_size
        return self._loaded[1:]

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of the columns, `elmo0` to `elmo{2P - 1}`."""
        self.encoder()
        return np.asarray([f"elmo{number}" for number in range(self.n_features_out_)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_loaded"}


__all__ = ["ElmoVectorizer"]
