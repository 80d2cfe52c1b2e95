# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""A corpus through the encoder: any number of sentences in, a tensor for each out, in order and in bounded memory.

    sentences   read one after the other, and never all at once
    windows     as many as some batches hold; what is in memory at a time
    batches     sentences of a window that are about equally long, by a budget of words instead of a number of sentences
    word types  through the character CNN once, and then kept for later batches

The next window is spelled in a thread while one is computed. Several processes take the windows in turns.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from reprlib import repr as short_repr
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .model.modeling_elmo import ElmoModel, ElmoModelOutput, ElmoPreTrainedModel
from .model.tokenization_elmo import ElmoTokenizer

if TYPE_CHECKING:
    from accelerate import Accelerator

Sentence = str | list[str]
CHARACTERS_PER_WORD = 5  # of raw text, about: a window is measured before its text is split


def embed_sentences(
    model: ElmoPreTrainedModel,
    tokenizer: ElmoTokenizer,
    sentences: Iterable[Sentence],
    *,
    layers: str | int = "mix",
    boundary_words: bool = False,
    words_per_batch: int = 4096,
    batches_per_window: int = 8,
    cached_words: int = 1 << 16,
    accelerator: Accelerator | None = None,
    main_process_only: bool = False,
) -> Iterator[Tensor]:
    """The vectors of every word of every sentence, on the CPU and in the type of the model.

    Computed in evaluation mode and without gradients, whatever the model's mode, which stays as it is. A sentence has
    the vectors that it has alone; only `mix_layer_norm`, as in the original, depends on what is in a batch.

    Args:
        model: An ELMo encoder, or any head on one, on any device.
        tokenizer: Splits and spells.
        sentences: Raw texts, lists of words, or both; a list, a column of a data set, a generator that never ends.
        layers (`str` or `int`, defaults to `"mix"`):
            `"mix"`: the scalar mix, `"mean"`: the mean of the layers, `"top"`: the last one, a number: this one
            (0 is the token embedding twice), each `(words, 2P)`; or `"all"`, `(words, L + 1, 2P)`.
        boundary_words (`bool`, defaults to `False`): Whether `<S>` and `</S>` are among the words.
        words_per_batch (`int`, defaults to 4096):
            Words computed at a time, boundary words and padding included; a longer sentence is a batch by itself.
        batches_per_window (`int`, defaults to 8):
            Batches that are read, sorted by length and held in memory at a time, along with their results.
        cached_words (`int`, defaults to 65,536):
            How many word types' context-free vectors are kept, those last used; 0 keeps none. Each takes P numbers, and
            some 300 bytes to be found by.
        accelerator ([`accelerate.Accelerator`], *optional*):
            Shares the work among its processes, each of which has to read the same sentences and all the results.
        main_process_only (`bool`, defaults to `False`): Whether the other processes get nothing.

    Returns:
        An iterator over tensors, one for each sentence, in the order of the sentences.

    Raises:
        `ValueError`: if an argument is none of these; and once all sentences before it are out, for one that is neither
            a text nor a list of words: it is named by its number.
    """
    for name, value, least in (
        ("words_per_batch", words_per_batch, 1),
        ("batches_per_window", batches_per_window, 1),
        ("cached_words", cached_words, 0),
    ):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"`{name}` must be a whole number of at least {least}, but is {value!r}")
    if isinstance(sentences, str):
        raise ValueError(f"`sentences` must be several, but is one text, {short_repr(sentences)}: put it into a list")
    process, num_processes = (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)
    model = model if accelerator is None else accelerator.unwrap_model(model)
    encoder = getattr(model, "elmo", model)
    select = layer_selection(layers, encoder.config.num_hidden_layers)

    def own_batches(windows: list[list[Sentence]]) -> list[Batch]:
        """Of the window of a round that is this process's; the last round may have none for it."""
        return make_batches(tokenizer, [*windows, *[[]] * num_processes][process], words_per_batch, boundary_words)

    def vectors() -> Iterator[Tensor]:
        word_vectors = KeptWordVectors(encoder, cached_words)
        rounds = read_rounds(sentences, words_per_batch * batches_per_window, num_processes)
        for batches in one_ahead(own_batches, rounds):
            window = embed_window(encoder, word_vectors, batches, select)
            if num_processes > 1:
                window = gather_windows(window, accelerator)
            if accelerator is None or accelerator.is_main_process or not main_process_only:
                yield from map(Tensor.clone, window)  # who keeps one sentence does not keep its batch
            del window  # before the next is computed

    return vectors()


def layer_selection(layers: str | int, count: int) -> Callable[[ElmoModelOutput, Tensor], Tensor]:
    """A function of a model's output, and of a mask `(B, T)` with N words, that returns `(N, ...)` of the layers."""
    if isinstance(layers, int) and not isinstance(layers, bool) and -count - 1 <= layers <= count:
        return lambda output, words: output.hidden_states[layers][words]
    if layers not in ("mix", "mean", "top", "all"):
        raise ValueError(
            f"`layers` must be 'mix', 'mean', 'top', 'all' or a layer's number from 0 to {count}, but is {layers!r}"
        )
    return {
        "mix": lambda output, words: output.last_hidden_state[words],
        "mean": lambda output, words: sum(layer[words] for layer in output.hidden_states) / (count + 1),
        "top": lambda output, words: output.hidden_states[-1][words],
        "all": lambda output, words: torch.stack([layer[words] for layer in output.hidden_states], dim=1),
    }[layers]


# ---- Reading


def read_rounds(sentences: Iterable[Sentence], window_words: int, num_windows: int) -> Iterator[list[list[Sentence]]]:
    """A window of about `window_words` words for each of `num_windows` processes; fewer and smaller ones at the end.

    An error, ours or of the sentences themselves, is raised when all that was read before it is out.
    """
    windows, words, error = [[]], 0, None
    try:
        for number, sentence in enumerate(sentences):
            sentence = checked(sentence, number)
            if words >= window_words:
                if len(windows) == num_windows:
                    yield windows
                    windows = []
                windows.append([])
                words = 0
            windows[-1].append(sentence)
            words += 2 + (len(sentence) // CHARACTERS_PER_WORD if isinstance(sentence, str) else len(sentence))
    except Exception as raised:
        error = raised
    if windows[0]:
        yield windows
    if error is not None:
        raise error


def checked(sentence, number: int) -> Sentence:
    if isinstance(sentence, np.ndarray):  # as data frames and formatted data sets hold lists
        sentence = sentence.tolist()
    if isinstance(sentence, str):
        return sentence
    if not isinstance(sentence, (list, tuple)):
        raise ValueError(
            f"sentence {number} (the first is 0) must be a text or a list of words, but is {short_repr(sentence)}"
        )
    for word in sentence:
        if not isinstance(word, str):
            raise ValueError(
                f"every word must be a string, but sentence {number} (the first is 0) has {short_repr(word)}"
            )
    return list(sentence)


def one_ahead(function: Callable, items: Iterable) -> Iterator:
    """`map(function, items)`, computed in a thread while the caller is at work with the result before.

    The items are read in the caller's thread. An error is raised when the results before it are out.
    """
    items, error = iter(items), None
    with ThreadPoolExecutor(1, "embed_sentences") as thread:
        waiting: list[Future] = []
        while error is None:
            try:
                waiting.append(thread.submit(function, next(items)))
            except Exception as raised:  # StopIteration among them
                error = raised
            if len(waiting) > 1:
                yield waiting.pop(0).result()
        for last in waiting:
            yield last.result()
    if not isinstance(error, StopIteration):
        raise error


# ---- Batches


class Batch(NamedTuple):
    """Sentences of like length.

    Args:
        places: Where the sentences stand in the window.
        lengths: How many vectors each of them gets.
        words (`(B, T)`): Where there are words, of which there are N.
        wanted (`(B, T)`): The words that get vectors: without the boundary words, perhaps.
        types (`(K, W)`): The different words among them, as small integers.
        type_of_word (`(N,)`): The type of each word.
    """

    places: list[int]
    lengths: list[int]
    words: Tensor
    wanted: Tensor
    types: Tensor
    type_of_word: Tensor


def make_batches(
    tokenizer: ElmoTokenizer, window: list[Sentence], words_per_batch: int, boundary_words: bool
) -> list[Batch]:
    """Batches of at most `words_per_batch` words, padding included; long sentences first."""
    window = [tokenizer.tokenize(sentence) if isinstance(sentence, str) else sentence for sentence in window]
    lengths = [len(sentence) + tokenizer.num_special_tokens_to_add() for sentence in window]
    waiting = sorted(range(len(window)), key=lengths.__getitem__)
    batches = []
    while waiting:
        rows = max(1, words_per_batch // max(1, lengths[waiting[-1]]))
        places = waiting[-rows:]
        del waiting[-rows:]
        batches.append(make_batch(tokenizer, places, [window[place] for place in places], boundary_words))
    return batches


def make_batch(tokenizer: ElmoTokenizer, places: list[int], sentences: list[list[str]], boundary_words: bool) -> Batch:
    """In numpy: with torch, this thread would have OpenMP threads of its own, more than there are cores, and then those
    of the model sleep between any two operations."""
    encoded = tokenizer(
        sentences, is_split_into_words=True, padding=True, return_tensors="np", return_special_tokens_mask=True
    )
    words = encoded["attention_mask"].astype(bool)
    wanted = words if boundary_words else words & (encoded["special_tokens_mask"] == 0)
    rows = encoded["input_ids"][words]
    rows = rows.astype(np.int32 if rows.shape[1] == 1 else np.int16)  # a word's id, or those of characters
    numbers: dict[bytes, int] = {}
    type_of_word = [numbers.setdefault(row.tobytes(), len(numbers)) for row in rows]
    types = np.frombuffer(bytearray().join(numbers), rows.dtype).reshape(len(numbers), rows.shape[1])
    tensors = map(torch.from_numpy, (words, wanted, types, np.array(type_of_word, np.int64)))
    return Batch(places, wanted.sum(1).tolist(), *tensors)


# ---- Computing


TABLE_AT_ONCE = 1 << 16  # rows


class KeptWordVectors:
    """The context-free vectors of word types: text repeats its words, and the last `limit` used are kept.

    The table is one from the start, for a table that grows has a smaller one beside it while it is copied; and on a CPU
    its rows take memory only when they are first written. A larger one than `TABLE_AT_ONCE` grows nevertheless, as a
    text may have far fewer types than the limit allows.
    """

    def __init__(self, encoder: ElmoModel, limit: int):
        self.encoder, self.limit = encoder, limit
        self.rows: OrderedDict[bytes, int] = OrderedDict()  # of the table, by a type's ids; the last one used is last
        self.table: Tensor | None = None  # (rows, P), on the device of the encoder

    def __call__(self, types: Tensor) -> Tensor:
        """From ids `(K, W)`, all different, to `(K, P)` in the type of the model."""
        if not self.limit:
            return self.compute(types)
        keys = [row.tobytes() for row in types.numpy()]
        known = [place for place, key in enumerate(keys) if key in self.rows]
        new = [place for place, key in enumerate(keys) if key not in self.rows]
        computed = self.compute(types[new])
        vectors = computed.new_empty(len(types), computed.shape[1])
        vectors[new] = computed
        if known:
            vectors[known] = self.table[[self.rows[keys[place]] for place in known]]
        for place in known:
            self.rows.move_to_end(keys[place])
        self.keep([keys[place] for place in new[: self.limit]], computed[: self.limit])
        return vectors

    def compute(self, types: Tensor) -> Tensor:
        ids = types[None].to(self.encoder.device)
        vectors, _ = self.encoder.embed_words(ids, ids.new_ones(ids.shape[:2], dtype=torch.bool))
        return vectors[0].to(self.encoder.dtype)  # autocast has another, and may be over at the next window

    def keep(self, keys: list[bytes], vectors: Tensor):
        """At most `limit` new ones, in the place of those that were not used for longest."""
        for key in keys:
            self.rows[key] = len(self.rows) if len(self.rows) < self.limit else self.rows.popitem(last=False)[1]
        if not keys:
            return
        if self.table is None:
            self.table = vectors.new_empty(min(self.limit, TABLE_AT_ONCE), vectors.shape[1])
        held = len(self.table)
        if held < len(self.rows):
            smaller, self.table = self.table, vectors.new_empty(min(self.limit, 2 * len(self.rows)), vectors.shape[1])
            self.table[:held] = smaller
        self.table[[self.rows[key] for key in keys]] = vectors


@torch.inference_mode(False)  # what is kept from one window to the next is written to in any mode
@torch.no_grad()
def embed_window(
    encoder: ElmoModel, word_vectors: KeptWordVectors, batches: list[Batch], select: Callable
) -> list[Tensor]:
    """The vectors of each sentence of a window, parts of its batches' results."""
    results = {}
    with evaluation_mode(encoder):
        for batch in batches:
            results |= zip(batch.places, embed_batch(encoder, word_vectors, batch, select).split(batch.lengths))
    return [results[place] for place in range(len(results))]


def embed_batch(encoder: ElmoModel, word_vectors: KeptWordVectors, batch: Batch, select: Callable) -> Tensor:
    """The vectors of the wanted words, one sentence after the other, on the CPU."""
    vectors = word_vectors(batch.types)
    device = vectors.device
    words = batch.words.to(device)
    token_embeddings = vectors.new_zeros(*words.shape, vectors.shape[1])
    token_embeddings[words] = vectors[batch.type_of_word.to(device)]
    output = encoder(
        token_embeddings=token_embeddings, attention_mask=words, output_hidden_states=True, return_dict=True
    )
    return select(output, batch.wanted.to(device)).to("cpu", vectors.dtype)


@contextlib.contextmanager
def evaluation_mode(model: torch.nn.Module):
    """Evaluation mode inside the `with`, and then each module's own as before."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def gather_windows(window: list[Tensor], accelerator: Accelerator) -> list[Tensor]:
    """The windows of all processes, one after the other, on each process."""
    from accelerate.utils import gather_object

    layout = [(list(map(len, window)), window[0].shape[1:], window[0].dtype) if window else ([], None, None)]
    lengths, shapes, dtypes = zip(*gather_object(layout))
    shape, dtype = next(filter(None, shapes)), next(filter(None, dtypes))  # a round has at least one window
    vectors = torch.cat(window) if window else torch.empty(0, *shape, dtype=dtype)
    padded = accelerator.pad_across_processes(vectors.to(accelerator.device))
    gathered = accelerator.gather(padded).cpu().unflatten(0, (len(lengths), len(padded)))
    return [part for vectors, parts in zip(gathered, lengths) for part in vectors[: sum(parts)].split(parts)]
