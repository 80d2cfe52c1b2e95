# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""AllenNLP's calls: `batch_to_ids` and `Elmo` of `allennlp.modules.elmo`, `ElmoEmbedder` of `allennlp.commands.elmo`.

Letters in shapes: B batch, T words, W characters per word, P projection width, L biLSTM layers.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor, nn

from hf_elmo.conversion.loading import load_encoder

from ..embedding_files import write_datasets
from ..loading import find_device
from ..model.character_ids_elmo import BOS_WORD, EOS_WORD, WordRows
from ..model.configuration_elmo import ElmoConfig
from ..model.modeling_elmo import ElmoModel, ElmoScalarMix, State

WIDTH = 50  # ids of a word, which AllenNLP fixes
DEFAULT_MODEL = "original"  # whose files `ElmoEmbedder()` fetches
OUTPUT_FORMATS = ("all", "top", "average")
ROWS = WordRows(WIDTH, BOS_WORD, EOS_WORD)


def batch_to_ids(batch: list[list[str]]) -> Tensor:
    """Return the character ids `(B, T, 50)` of sentences, given as lists of words; padding is 0.

    There are no special tokens: `Elmo` adds them. The words `<S>` and `</S>` are these special tokens.
    """
    longest = max(map(len, batch), default=0)
    ids = torch.zeros(len(batch), longest, WIDTH, dtype=torch.long)
    for row, words in zip(ids, batch):
        if words:
            row[: len(words)] = torch.from_numpy(ROWS.ids(ROWS.encode(list(words))).astype(np.int64))
    return ids


class StatefulEncoder(nn.Module):
    """An encoder that adds `<S>` and `</S>`, and carries its state from call to call.

    Args:
        encoder: The model.
        stateful: Whether the state is carried.
    """

    def __init__(self, encoder: ElmoModel, stateful: bool):
        super().__init__()
        self.encoder, self.stateful = encoder, stateful
        self.state: State | None = None

    def reset_states(self) -> None:
        """Start again from a state of zeros."""
        self.state = None

    def forward(self, inputs: Tensor, word_vectors: Tensor | None = None, mask: Tensor | None = None):
        """Return the output of the model for `(B, T + 2)` tokens, and the lengths `(B,)` without special tokens.

        Args:
            inputs (`(B, T, W)`): Character ids, padded on the right.
            word_vectors (`(B, T, P)`, *optional*): Context-free vectors in place of `inputs`.
            mask (`(B, T)`, *optional*): Where there is a word, with `word_vectors`.
        """
        mask = (inputs > 0).any(dim=-1) if mask is None else mask
        lengths = mask.sum(dim=1)
        if not torch.equal(mask, torch.arange(mask.shape[1], device=mask.device) < lengths[:, None]):
            raise ValueError("padding must be on the right, as `batch_to_ids` makes it, but a row has it elsewhere")
        begin, end = (torch.from_numpy(ROWS.ids([row])[0].astype(np.int64)) for row in (ROWS.bos_row, ROWS.eos_row))
        values = inputs if word_vectors is None else word_vectors
        if word_vectors is not None:
            both = torch.stack([begin, end])[None].to(values.device)
            begin, end = self.encoder.embed_words(both)[0][0]
        tokens = values.new_zeros(values.shape[0], values.shape[1] + 2, values.shape[2])
        tokens[:, 1:-1] = values
        tokens[:, 0] = begin.to(tokens)
        tokens[torch.arange(len(tokens)), lengths + 1] = end.to(tokens)
        attended = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None] + 2
        given = {"token_embeddings" if word_vectors is not None else "input_ids": tokens}
        output = self.encoder(
            **given,
            attention_mask=attended,
            state=self.state if self.stateful else None,
            use_state=self.stateful,
            output_hidden_states=True,
            return_dict=True,
        )
        if self.stateful:
            self.state = tuple(part.detach() for part in output.state)
        return output, lengths


class Elmo(nn.Module):
    """AllenNLP's `Elmo`: several scalar mixes of the layers, learnt by the task.

    Args:
        options_file, weight_file: Paths or URLs; the weights also as `hf-elmo convert` takes them.
        num_output_representations: Number of mixes. They are equal until they are trained.
        requires_grad: Whether the encoder is trained, too. The mixes always are.
        do_layer_norm: Whether layers are normalized before they are mixed.
        dropout: Rate of the dropout on the mixes.
        vocab_to_cache: Words whose context-free vectors are computed once; `word_inputs` are their numbers, 0 padding.
        keep_sentence_boundaries: Whether the vectors of `<S>` and `</S>` are returned.
        scalar_mix_parameters: Weights of the layers before the softmax, which are not trained then.
        module: A module in place of the files: it has `num_layers` and returns all layers, of `<S>` and `</S>` too, as
            `{"activations": [...], "mask": ...}`.
        stateful: Whether the LSTM's state is carried from call to call, as AllenNLP does; not an argument of its.

    Raises:
        `ValueError`: for files that cannot be read, and arguments that do not go together.
    """

    def __init__(
        self,
        options_file: str | Path | None,
        weight_file: str | Path | None,
        num_output_representations: int,
        requires_grad: bool = False,
        do_layer_norm: bool = False,
        dropout: float = 0.5,
        vocab_to_cache: list[str] | None = None,
        keep_sentence_boundaries: bool = False,
        scalar_mix_parameters: list[float] | None = None,
        module: nn.Module | None = None,
        *,
        stateful: bool = True,
    ):
        super().__init__()
        if module is None and weight_file is None:
            raise ValueError("`weight_file` is missing: give the weights, or a `module` that takes their place")
        if module is not None and (options_file is not None or weight_file is not None):
            raise ValueError("give either `options_file` and `weight_file`, or a `module`, not both")
        if num_output_representations < 1:
            raise ValueError(f"`num_output_representations` must be at least 1, but is {num_output_representations}")
        self.module, self.keep_sentence_boundaries = module, keep_sentence_boundaries
        self.dropout = nn.Dropout(dropout)
        if module is None:
            encoder = load_encoder(
                weight_file,
                options_file,
                num_mixes=num_output_representations,
                mix_layer_norm=do_layer_norm,
                lstm_dropout=0.0,
            )
            encoder.freeze_encoder(not requires_grad)
            self.elmo_lstm = StatefulEncoder(encoder, stateful)
        else:
            config = ElmoConfig(num_hidden_layers=module.num_layers - 1, mix_layer_norm=do_layer_norm)
            self.own_mixes = nn.ModuleList(ElmoScalarMix(config) for _ in range(num_output_representations))
        if scalar_mix_parameters is not None:
            self.fix_mixes(scalar_mix_parameters)
        self.register_buffer("word_vectors", self.context_free_vectors(vocab_to_cache), persistent=False)

    @property
    def scalar_mixes(self) -> nn.ModuleList:
        """Return the mixes, each with `weights` before the softmax and the scale `gamma`."""
        return self.elmo_lstm.encoder.scalar_mixes if self.module is None else self.own_mixes

    @torch.no_grad()
    def fix_mixes(self, weights: list[float]) -> None:
        """Set the weights of all mixes before the softmax, and exclude them from training."""
        for mix in self.scalar_mixes:
            if len(weights) != len(mix.weights):
                raise ValueError(
                    f"`scalar_mix_parameters` must have a number for each of the {len(mix.weights)} layers, token "
                    f"embeddings first, but has {len(weights)}"
                )
            mix.weights.copy_(torch.tensor(weights))
            mix.requires_grad_(False)

    @torch.no_grad()
    def context_free_vectors(self, words: list[str] | None) -> Tensor | None:
        """Return the vectors `(words, P)` of words, that of number 0, which stands for padding, 0."""
        if words is None:
            return None
        vectors = self.elmo_lstm.encoder.embed_words(batch_to_ids([words]))[0][0]
        return vectors.index_fill(0, torch.tensor([0]), 0.0)

    def get_output_dim(self) -> int:
        """Return the width of a vector, 2P."""
        return self.module.get_output_dim() if self.module is not None else self.elmo_lstm.encoder.config.hidden_size

    def reset_states(self) -> None:
        """Start again from a state of zeros."""
        self.elmo_lstm.reset_states()

    def forward(self, inputs: Tensor, word_inputs: Tensor | None = None) -> dict[str, list[Tensor] | Tensor]:
        """Return `elmo_representations`, a list of `(B, T, 2P)`, which are 0 at padding, and `mask` `(B, T)`.

        Args:
            inputs (`(B, T, 50)` or `(..., T, 50)`): Character ids of `batch_to_ids`.
            word_inputs (`(B, T)` or `(..., T)`, *optional*): Numbers of words in `vocab_to_cache`, used in their place.
        """
        given = inputs
        if (
            word_inputs is not None
            and self.word_vectors is not None
            and int(word_inputs.max()) < len(self.word_vectors)
        ):
            given = word_inputs  # other numbers are not in the cache, and the characters are read, as AllenNLP does
        outer = given.shape[:-2] if given is inputs else given.shape[:-1]
        inputs = inputs.reshape(-1, *inputs.shape[-2:]) if inputs is not None else None
        if self.module is not None:
            result = self.module(inputs)
            mask = result["mask"].bool()
            mixes = [mix(result["activations"], mask) for mix in self.scalar_mixes]
            lengths = mask.sum(dim=1) - 2
        elif given is word_inputs:
            word_inputs = word_inputs.reshape(-1, word_inputs.shape[-1])
            output, lengths = self.elmo_lstm(None, self.word_vectors[word_inputs], word_inputs > 0)
            mixes = output.mixes
        else:
            output, lengths = self.elmo_lstm(inputs)
            mixes = output.mixes
        mask = torch.arange(mixes[0].shape[1], device=lengths.device) < lengths[:, None] + 2
        if not self.keep_sentence_boundaries:
            mask = mask[:, 2:]
            mixes = [mix[:, 1:-1].masked_fill(~mask[..., None], 0) for mix in mixes]
        representations = [self.dropout(mix) for mix in mixes]
        return {
            "elmo_representations": [part.reshape(*outer, *part.shape[1:]) for part in representations],
            "mask": mask.reshape(*outer, mask.shape[1]),
        }


class ElmoEmbedder:
    """AllenNLP's `ElmoEmbedder`: all layers of sentences, as arrays `(L + 1, T, 2P)`.

    Args:
        options_file, weight_file: As in `Elmo`. By default those of the original 93.6 M model, which are downloaded.
        cuda_device: Number of a GPU, or -1 for the CPU.
        stateful: As in `Elmo`.
    """

    def __init__(
        self,
        options_file: str | Path | None = None,
        weight_file: str | Path = DEFAULT_MODEL,
        cuda_device: int = -1,
        *,
        stateful: bool = True,
    ):
        device = find_device("cpu" if cuda_device < 0 else f"cuda:{cuda_device}")
        self.elmo_bilm = StatefulEncoder(load_encoder(weight_file, options_file), stateful).to(device).eval()
        self.device = device

    def reset_states(self) -> None:
        """Start again from a state of zeros."""
        self.elmo_bilm.reset_states()

    @torch.no_grad()
    def batch_to_embeddings(self, batch: list[list[str]]) -> tuple[Tensor, Tensor]:
        """Return all layers `(B, L + 1, T, 2P)` of sentences, given as lists of words, and the mask `(B, T)`."""
        output, lengths = self.elmo_bilm(batch_to_ids(batch).to(self.device))
        mask = torch.arange(output.last_hidden_state.shape[1] - 2, device=self.device) < lengths[:, None]
        layers = torch.stack(output.hidden_states, dim=1)[:, :, 1:-1]
        return layers.masked_fill(~mask[:, None, :, None], 0), mask

    def embed_sentence(self, sentence: list[str]) -> np.ndarray:
        """Return all layers `(L + 1, T, 2P)` of a sentence, given as a list of words."""
        return self.embed_batch([sentence])[0]

    def embed_batch(self, batch: list[list[str]]) -> list[np.ndarray]:
        """Return all layers `(L + 1, T, 2P)` of each sentence."""
        for sentence in batch:
            if isinstance(sentence, str):
                raise ValueError(f"a sentence must be a list of words, but is a text: {sentence!r:.60}; split it first")
        if not any(batch):  # without words, nothing is computed, and the state stays as it is
            config = self.elmo_bilm.encoder.config
            shape = config.num_hidden_layers + 1, 0, config.hidden_size
            return [np.zeros(shape, np.float32) for _ in batch]
        layers, _ = self.batch_to_embeddings(batch)
        return [vectors[:, : len(sentence)].cpu().numpy() for vectors, sentence in zip(layers, batch)]

    def embed_sentences(self, sentences: Iterable[list[str]], batch_size: int = 64) -> Iterator[np.ndarray]:
        """Yield all layers `(L + 1, T, 2P)` of each sentence, in their order."""
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, but is {batch_size}")
        sentences = iter(sentences)
        while batch := list(islice(sentences, batch_size)):
            yield from self.embed_batch(batch)

    def embed_file(
        self,
        input_file: IO[str],
        output_file_path: str | Path,
        output_format: str = "all",
        batch_size: int = 64,
        forget_sentences: bool = False,
        use_sentence_keys: bool = False,
    ) -> None:
        """Write the vectors of a text to an HDF5 file, as `allennlp elmo` does; see `hf_elmo.embedding_files`.

        Args:
            input_file: Opened text with one sentence a line, words separated by white space.
            output_file_path: Where to write; an older file of this name is replaced once the new one is complete.
            output_format: `"all"` layers, the `"top"` one, or their `"average"`.
            batch_size: Number of sentences that are computed together.
            forget_sentences: Whether to leave out the `sentence_to_index`.
            use_sentence_keys: Whether datasets are named by their sentences, as up to AllenNLP 0.5.0.

        Raises:
            `ValueError`: for another format, empty lines and, with `use_sentence_keys`, sentences that repeat.
        """
        if output_format not in OUTPUT_FORMATS:
            raise ValueError(f"`output_format` must be one of {', '.join(OUTPUT_FORMATS)}, but is {output_format!r}")
        lines = [line.strip() for line in input_file]
        if blank := [number for number, line in enumerate(lines, start=1) if not line]:
            raise ValueError(f"the input has empty lines, the first of them line {blank[0]}: remove them")
        if use_sentence_keys and len(set(lines)) < len(lines):
            double = next(line for number, line in enumerate(lines) if line in lines[:number])
            raise ValueError(f"{double!r:.80} is there twice: leave out `use_sentence_keys`")
        select = {"all": lambda x: x, "top": lambda x: x[-1], "average": lambda x: x.mean(axis=0)}[output_format]
        vectors = map(select, self.embed_sentences((line.split() for line in lines), batch_size))
        partial = Path(f"{output_file_path}.partial")
        with_index = not forget_sentences and not use_sentence_keys
        write_datasets(partial, zip(lines, range(len(lines)), vectors), use_sentence_keys, with_index)
        os.replace(partial, output_file_path)


__all__ = ["Elmo", "ElmoEmbedder", "batch_to_ids"]
