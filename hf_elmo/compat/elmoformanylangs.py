# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The calls of ELMoForManyLangs: `Embedder(folder).sents2elmo(sentences)`.

Letters in shapes: T words, P projection width, L biLSTM layers.
"""

from pathlib import Path

import numpy as np
import torch

from hf_elmo.conversion.loading import load_original

from ..model.modeling_elmo import State

MEAN, ALL = -1, -2  # values of `output_layer`


class Embedder:
    """ELMoForManyLangs' `Embedder`: the vectors of sentences, which are lists of words.

    Args:
        model_dir: Folder of a published model, as it was unpacked, or its zip file.
        batch_size: Number of sentences that are computed together.
        stateful: Whether the LSTM's state is carried from batch to batch and from call to call, by the sentences' place
            in the order of falling length, as the original does; not an argument of its. The original shuffles the
            batches of a call; here they are computed in order.

    Raises:
        `ValueError`: for files that cannot be read.
    """

    def __init__(self, model_dir: str | Path, batch_size: int = 64, *, stateful: bool = True):
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, but is {batch_size}")
        model, self.tokenizer = load_original(model_dir)
        self.model, self.batch_size, self.stateful = model.base_model, batch_size, stateful
        self.state: State | None = None

    def reset_states(self) -> None:
        """Start again from a state of zeros."""
        self.state = None

    @torch.no_grad()
    def sents2elmo(self, sents: list[list[str]], output_layer: int = MEAN) -> list[np.ndarray]:
        """Return the vectors of each sentence, `(T, 2P)`, or `(L + 1, T, 2P)` of all layers.

        Args:
            sents: Sentences, as lists of words.
            output_layer: Number of a layer, 0 for the context-free one, -1 for the mean of all, -2 for all.
        """
        last = self.model.config.num_hidden_layers
        if output_layer not in range(ALL, last + 1):
            raise ValueError(f"`output_layer` must be from -2 (all) to {last}, but is {output_layer}")
        for sentence in sents:
            if isinstance(sentence, str):
                raise ValueError(f"a sentence must be a list of words, but is a text: {sentence!r:.60}; split it first")
        order = sorted(range(len(sents)), key=lambda number: -len(sents[number]))
        vectors: list[np.ndarray] = [np.zeros(0)] * len(sents)
        for start in range(0, len(sents), self.batch_size):
            numbers = order[start : start + self.batch_size]
            batch = self.tokenizer(
                [sents[number] for number in numbers], is_split_into_words=True, padding=True, return_tensors="pt"
            ).to(self.model.device)
            state = self.state if self.stateful else None
            output = self.model(**batch, state=state, use_state=self.stateful, output_hidden_states=True)
            self.state = output.state
            layers = torch.stack(output.hidden_states, dim=1)[:, :, 1:-1].cpu().numpy()
            for number, own in zip(numbers, layers):
                own = own[:, : len(sents[number])]
                vectors[number] = own.mean(axis=0) if output_layer == MEAN else own
                if output_layer >= 0:
                    vectors[number] = own[output_layer]
        return vectors


__all__ = ["Embedder"]
