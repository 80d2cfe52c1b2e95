# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The calls of simple_elmo, after its public documentation: `ElmoModel`, with arrays as results.

Letters in shapes: N sentences, T words of the longest, P projection width, L biLSTM layers.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_elmo.conversion.loading import load_original

from ..model.language_model_elmo import ElmoLanguageModel
from ..model.modeling_elmo import ElmoPreTrainedModel, State
from ..model.tokenization_elmo import ElmoTokenizer
from ..scoring.words import Candidate, substitutes

LAYERS = ("average", "top", "all")


class ElmoModel:
    """simple_elmo's `ElmoModel`: load a model, then ask for the vectors of sentences, which are lists of words.

    Within a call, the state is carried from batch to batch, as in the original; each call starts from zeros.

    Args:
        stateful: Whether the state is carried within a call; not an argument of simple_elmo's.
    """

    def __init__(self, *, stateful: bool = True):
        self.stateful, self.batch_size = stateful, 32
        self.model: ElmoPreTrainedModel | None = None
        self.tokenizer: ElmoTokenizer | None = None

    def load(self, directory: str | Path, max_batch_size: int = 32, limit: int = 100, full: bool = False) -> None:
        """Load a model.

        Args:
            directory: Folder or zip file with weights and options, folder of a TensorFlow checkpoint, or whatever else
                `hf-elmo convert` takes.
            max_batch_size: Number of sentences that are computed together.
            limit: Accepted and not used; the original read at most so many words of the vocabulary for a check.
            full: Whether the softmax is needed, for `get_elmo_substitutes`.

        Raises:
            `ValueError`: for files that cannot be read, and with `full` for a model without softmax or vocabulary.
        """
        if max_batch_size < 1:
            raise ValueError(f"`max_batch_size` must be at least 1, but is {max_batch_size}")
        model, tokenizer = load_original(directory)
        has_softmax = isinstance(model, ElmoLanguageModel) and tokenizer is not None and tokenizer.word_vocab
        if full and not has_softmax:
            raise ValueError(f"{directory}: has no softmax over words and vocabulary, which full=True asks for")
        self.model, self.tokenizer, self.batch_size = model, tokenizer, max_batch_size

    def get_elmo_vectors(
        self, texts: list[list[str]], warmup: bool = True, layers: str = "average", session: Any = None
    ) -> np.ndarray:
        """Return the vectors of words, `(N, T, 2P)`, or `(N, L + 1, T, 2P)` of all layers; 0 where there is no word.

        Args:
            texts: Sentences, as lists of words.
            warmup: Whether the first batch is computed once before, so that it does not start from a state of zeros.
            layers: `"average"`, `"top"` or `"all"`.
            session: Accepted and not used.
        """
        vectors = self.word_vectors(texts, warmup, layers)
        longest = max(map(len, texts), default=0)
        shape = vectors[0].shape if vectors else (0, self.config.hidden_size)
        result = np.zeros((len(texts), *shape[:-2], longest, shape[-1]))
        for row, own in zip(result, vectors):
            row[..., : own.shape[-2], :] = own
        return result

    def get_elmo_vector_average(
        self, texts: list[list[str]], warmup: bool = True, layers: str = "average", session: Any = None
    ) -> np.ndarray:
        """Return the mean of each sentence's words, of length 1, `(N, 2P)`, or `(N, L + 1, 2P)` of all layers.

        Arguments are those of `get_elmo_vectors`. Only words are averaged; the original counted padding as well, and
        mixed up layers and words with `"all"`. A sentence without words has a vector of zeros.
        """
        vectors = self.word_vectors(texts, warmup, layers)
        if not vectors:
            return np.zeros((0, self.config.hidden_size))
        result = np.stack([own.sum(axis=-2) for own in vectors])
        return result / np.maximum(np.linalg.norm(result, axis=-1, keepdims=True), np.finfo(np.float64).tiny)

    def get_elmo_substitutes(
        self, raw_sentences: list[str], topn: int = 3, nodelimiters: bool = True, session: Any = None
    ) -> list[list[dict[str, Any]]]:
        """Return for each word of each sentence the words that both language models expect in its place.

        Each is a dict of `word`, and of `forward` and `backward`, dicts of `candidates` (ids), `candidate_words` and
        `logp`, most probable first. Candidates are predicted from all words before, or after, the place, and `logp` is
        a log-probability; the original predicted from one word, and gave scores.

        Args:
            raw_sentences: Texts, whose words are separated by white space.
            topn: Number of candidates.
            nodelimiters: Whether `<S>`, `</S>` and `<UNK>` are left out.
            session: Accepted and not used.
        """
        model, tokenizer = self.loaded()
        if not (isinstance(model, ElmoLanguageModel) and tokenizer.word_vocab):
            raise ValueError("substitutes need the softmax of the model: load(directory, full=True), where it is")
        results = []
        for words in map(str.split, raw_sentences):
            found = {
                direction: substitutes(model, tokenizer, words, None, topn, direction, not nodelimiters)
                for direction in ("forward", "backward")
            }
            results.append(
                [
                    {"word": word, **{name: self.as_lists(places[number]) for name, places in found.items()}}
                    for number, word in enumerate(words)
                ]
            )
        return results

    def as_lists(self, candidates: list[Candidate]) -> dict[str, Any]:
        words = [candidate.word for candidate in candidates]
        ids = self.tokenizer.convert_words_to_labels(words) if words else []
        return {"candidates": ids, "candidate_words": words, "logp": [found.log_probability for found in candidates]}

    @property
    def config(self) -> Any:
        return self.loaded()[0].config

    def loaded(self) -> tuple[ElmoPreTrainedModel, ElmoTokenizer]:
        """Return model and tokenizer; `ValueError` before `load`."""
        if self.model is None:
            raise ValueError("there is no model yet: call load(directory) first")
        return self.model, self.tokenizer

    @torch.no_grad()
    def word_vectors(self, texts: list[list[str]], warmup: bool, layers: str) -> list[np.ndarray]:
        """Return the vectors of each sentence, `(words, 2P)`, or `(L + 1, words, 2P)` of all layers."""
        if layers not in LAYERS:
            raise ValueError(f"`layers` must be one of {', '.join(LAYERS)}, but is {layers!r}")
        for text in texts:
            if isinstance(text, str):
                raise ValueError(f"a sentence must be a list of words, but is a text: {text!r:.60}; split it first")
        model, tokenizer = self.loaded()
        batches = [texts[start : start + self.batch_size] for start in range(0, len(texts), self.batch_size)]
        state: State | None = None
        vectors: list[np.ndarray] = []
        for number, batch in enumerate([*(batches[:1] if warmup and self.stateful else []), *batches]):
            encoded = tokenizer(batch, is_split_into_words=True, padding=True, return_tensors="pt")
            output = model.base_model(**encoded, state=state, use_state=self.stateful, output_hidden_states=True)
            state = output.state
            if number == 0 and warmup and self.stateful:
                continue
            stacked = torch.stack(output.hidden_states, dim=1)[:, :, 1:-1].double()
            chosen = {"average": stacked.mean(dim=1), "top": stacked[:, -1], "all": stacked}[layers]
            vectors += [own[..., : len(words), :].numpy() for own, words in zip(chosen, batch)]
        return vectors


__all__ = ["ElmoModel"]
