# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Vectors for a corpus: any number of sentences in, one tensor for each out, in order and in bounded memory.

Sentences are read one after the other. A *window* is what is in memory at a time: as many sentences as a few batches
hold. Its sentences are sorted by length and grouped into *batches* with a limit on their words; on a CPU, the sentences
of four batches follow each other in a fixed number of rows, without padding. The character CNN computes each *word
type* once; a cache keeps the vectors of recent ones. While one window is computed, a thread encodes the next. Several
processes take windows in turn.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from reprlib import repr as short_repr
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from .model.modeling_elmo import ElmoModel, ElmoModelOutput, ElmoPreTrainedModel
from .model.tokenization_elmo import ElmoTokenizer

if TYPE_CHECKING:
    from accelerate import Accelerator

Sentence = str | list[str]
JOINED_BATCHES = 4  # whose sentences follow each other in rows that are always busy
CHARACTERS_PER_WORD = 5  # estimate for raw text, because a window is measured before its text is split


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
    """Compute the vectors of all words of all sentences, on the CPU and in the dtype of the model.

    Evaluation mode is used without gradients; the model's own mode is restored. Every sentence gets the vectors that it
    has alone, except with `mix_layer_norm`, which depends on the batch as in the original.

    Args:
        model: An ELMo encoder, or any head on one, on any device.
        tokenizer: Splits raw text and encodes words.
        sentences: Raw texts, lists of words, or both: a list, a column of a dataset, a generator of any length.
        layers (`str` or `int`, defaults to `"mix"`):
            `"mix"`: the scalar mix, `"mean"`: the mean of the layers, `"top"`: the last layer, a number: that layer
            (0 is the token embedding twice), each `(words, 2P)`; or `"all"`, `(words, L + 1, 2P)`.
        boundary_words (`bool`, defaults to `False`): Whether to include the vectors of `<S>` and `</S>`.
        words_per_batch (`int`, defaults to 4096):
            Maximum number of tokens in a batch, padding included; a CPU computes four batches at a time. A longer
            sentence is a batch of its own.
        batches_per_window (`int`, defaults to 8): Number of batches that are in memory at a time, with their results.
        cached_words (`int`, defaults to 65,536):
            Maximum number of word types whose context-free vectors are cached; 0 turns the cache off. Each needs P
            numbers and about 300 bytes.
        accelerator ([`accelerate.Accelerator`], *optional*):
            Distributes the work over its processes, each of which must read the same sentences and all results.
        main_process_only (`bool`, defaults to `False`): Whether the other processes get no results.

    Returns:
        An iterator over tensors, one for each sentence, in the order of the sentences.

    Raises:
        `ValueError`: for arguments of other kinds or values. A sentence that is neither a text nor a list of words is
            refused with its number, after the results of all sentences before it.
    """
    for name, value, least in (
        ("words_per_batch", words_per_batch, 1),
        ("batches_per_window", batches_per_window, 1),
        ("cached_words", cached_words, 0),
    ):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"`{name}` must be a whole number of at least {least}, but is {value!r}")
    check_sentences(sentences)
    process, num_processes = (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)
    model = model if accelerator is None else accelerator.unwrap_model(model)
    encoder = cast(ElmoModel, getattr(model, "elmo", model))
    select = layer_selection(layers, encoder.config.num_hidden_layers)

    def own_batches(windows: list[list[Sentence]]) -> list[Batch]:
        """Return the batches of this process's window; in the last round it may have none."""
        window = [*windows, *[[]] * num_processes][process]
        return join_batches(encoder, make_batches(tokenizer, window, words_per_batch, boundary_words))

    def vectors() -> Iterator[Tensor]:
        cache = WordVectorCache(encoder, cached_words)
        rounds = read_rounds(sentences, words_per_batch * batches_per_window, num_processes)
        for batches in map_in_thread(own_batches, rounds):
            window = embed_window(encoder, cache, batches, select)
            if num_processes > 1:
                window = gather_windows(window, accelerator)
            if accelerator is None or accelerator.is_main_process or not main_process_only:
                yield from map(Tensor.clone, window)  # a sentence that is kept must not keep its batch in memory
            del window  # frees its memory before the next one is computed

    return vectors()


def check_sentences(sentences: Any) -> None:
    """Refuse what is no sequence of sentences, although Python would iterate over it.

    Raises:
        `ValueError`: for one text, for mappings, datasets and tables, naming what to pass instead.
    """
    kind, columns = type(sentences).__name__, getattr(sentences, "column_names", None)
    if isinstance(sentences, str | bytes | bytearray):
        problem = f"must be several, but is one text, {short_repr(sentences)}: put it into a list"
    elif isinstance(sentences, Mapping) and columns is not None:
        split, names = next(iter(columns.items()), ("train", ["text"]))
        problem = f"is a {kind}: pass one column of one split, as in dataset[{split!r}][{names[0]!r}]"
    elif isinstance(sentences, Mapping):
        problem = f"is a {kind}: pass its values or one of them, not its keys, as in list(sentences.values())"
    elif columns is not None or (hasattr(sentences, "iloc") and hasattr(sentences, "columns")):
        names = list(columns if columns is not None else sentences.columns)
        example = f", as in data[{names[0]!r}]" if names else ""
        problem = f"is a {kind} with the columns {', '.join(map(str, names))}: pass one column{example}"
    elif not isinstance(sentences, Iterable):
        problem = f"must be a list or another iterable of sentences, but is a {kind}"
    else:
        return
    raise ValueError(f"`sentences` {problem}")


def layer_selection(layers: str | int, count: int) -> Callable[[ElmoModelOutput, Tensor], Tensor]:
    """Return a function of a model's output and a mask `(B, T)` of N words, which returns `(N, ...)` of the layers."""
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
    """Return rounds of one window of about `window_words` words per process; at the end, fewer and smaller windows.

    An error of a sentence, or of the iterator itself, is raised after everything that was read before it.
    """
    windows, words, error = [[]], 0, None
    try:
        for number, sentence in enumerate(sentences):
            sentence = check_sentence(sentence, number)
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


def check_sentence(sentence: object, number: int) -> Sentence:
    """Return a sentence as a text or a list of words.

    Raises:
        `ValueError`: naming its number, if it is neither.
    """
    if isinstance(sentence, np.ndarray):  # data frames and formatted datasets hold lists as arrays
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


def map_in_thread(function: Callable, items: Iterable) -> Iterator:
    """Return `map(function, items)`; a thread computes the next result while the caller uses the current one.

    The items are read in the caller's thread. An error is raised after the results before it.
    """
    items, error = iter(items), None
    with ThreadPoolExecutor(1, "embed_sentences") as thread:
        waiting: list[Future] = []
        while error is None:
            try:
                waiting.append(thread.submit(function, next(items)))
            except Exception as raised:  # StopIteration, too
                error = raised
            if len(waiting) > 1:
                yield waiting.pop(0).result()
        for last in waiting:
            yield last.result()
    if not isinstance(error, StopIteration):
        raise error


# ---- Batches


class Batch(NamedTuple):
    """Sentences of similar length.

    Args:
        positions: Position of each sentence in the window.
        lengths: Number of vectors that each sentence gets.
        words (`(B, T)`): Mask of all N tokens.
        wanted (`(B, T)`): Mask of the tokens that get vectors: with or without special tokens.
        types (`(K, W)`): Ids of the different word types, as small integers.
        type_of_word (`(N,)`): Row of each token in `types`.
        sentences: Number of tokens of each sentence, where sentences follow each other in one row, `(1, N)`.
    """

    positions: list[int]
    lengths: list[int]
    words: Tensor
    wanted: Tensor
    types: Tensor
    type_of_word: Tensor
    sentences: list[int] | None = None


def make_batches(
    tokenizer: ElmoTokenizer, window: Sequence[Sentence], words_per_batch: int, boundary_words: bool
) -> list[Batch]:
    """Group a window into batches of at most `words_per_batch` tokens, padding included; long sentences first."""
    words = [tokenizer.tokenize(sentence) if isinstance(sentence, str) else sentence for sentence in window]
    lengths = [len(sentence) + tokenizer.num_special_tokens_to_add() for sentence in words]
    waiting = sorted(range(len(words)), key=lengths.__getitem__)
    batches = []
    while waiting:
        rows = max(1, words_per_batch // max(1, lengths[waiting[-1]]))
        positions = waiting[-rows:]
        del waiting[-rows:]
        batches.append(make_batch(tokenizer, positions, [words[position] for position in positions], boundary_words))
    return batches


def make_batch(
    tokenizer: ElmoTokenizer, positions: list[int], sentences: list[list[str]], boundary_words: bool
) -> Batch:
    """Encode the sentences of a batch.

    This runs in a thread and uses numpy, because torch would start OpenMP threads for it: with more of them than cores,
    those of the model sleep between operations.
    """
    encoded = tokenizer(
        sentences, is_split_into_words=True, padding=True, return_tensors="np", return_special_tokens_mask=True
    )
    words = encoded["attention_mask"].astype(bool)
    wanted = words if boundary_words else words & (encoded["special_tokens_mask"] == 0)
    rows = encoded["input_ids"][words]
    rows = rows.astype(np.int32 if rows.shape[1] == 1 else np.int16)  # word ids need more bits than character ids
    numbers: dict[bytes, int] = {}
    type_of_word = [numbers.setdefault(row.tobytes(), len(numbers)) for row in rows]
    types = np.frombuffer(bytearray().join(numbers), rows.dtype).reshape(len(numbers), rows.shape[1])
    tensors = map(torch.from_numpy, (words, wanted, types, np.array(type_of_word, np.int64)))
    return Batch(positions, wanted.sum(1).tolist(), *tensors)


def join_batches(encoder: ElmoModel, batches: list[Batch]) -> list[Batch]:
    """Join batches where their sentences are computed faster one after the other: on a CPU, without padding.

    Batches of long and of short sentences are joined, so that short ones fill the rows that end early. A mix with layer
    norm depends on its batch, which stays as it is.
    """
    if encoder.device.type != "cpu" or encoder.config.mix_layer_norm:
        return batches
    count = -(-len(batches) // JOINED_BATCHES)
    return [joined(batches[first::count]) for first in range(count)]


def joined(batches: list[Batch]) -> Batch:
    """Return batches as one, whose sentences follow each other in one row."""
    numbers: dict[bytes, int] = {}
    type_of_word = []
    for batch in batches:
        places = [numbers.setdefault(row.tobytes(), len(numbers)) for row in batch.types.numpy()]
        type_of_word.append(np.array(places, np.int64)[batch.type_of_word.numpy()])
    rows = batches[0].types.numpy()
    types = np.frombuffer(bytearray().join(numbers), rows.dtype).reshape(len(numbers), rows.shape[1])
    wanted = torch.cat([batch.wanted[batch.words] for batch in batches])[None]
    return Batch(
        [position for batch in batches for position in batch.positions],
        [length for batch in batches for length in batch.lengths],
        torch.ones_like(wanted),
        wanted,
        torch.from_numpy(types),
        torch.from_numpy(np.concatenate(type_of_word)),
        [length for batch in batches for length in batch.words.sum(1).tolist()],
    )


# ---- Computing


class WordVectorCache:
    """Context-free vectors of the word types that were used last, in a table on the encoder's device.

    Up to `initial_rows`, the table has its final size from the start: to grow it, a copy must be in memory beside it,
    and on a CPU unwritten rows need no memory. A larger limit lets the table grow when it is needed.

    Args:
        encoder: Computes the vectors.
        limit: Maximum number of word types; 0 turns the cache off.
        initial_rows: Maximum number of rows of the first table.
    """

    def __init__(self, encoder: ElmoModel, limit: int, initial_rows: int = 1 << 16):
        self.encoder, self.limit, self.initial_rows = encoder, limit, initial_rows
        self.rows: OrderedDict[bytes, int] = OrderedDict()  # row of each type, by its ids, least recently used first
        self.table: Tensor | None = None  # (rows, P)

    def __call__(self, types: Tensor) -> Tensor:
        """Return vectors `(K, P)` in the dtype of the model, for ids `(K, W)` of different word types."""
        if not self.limit:
            return self.compute(types)
        keys = [row.tobytes() for row in types.numpy()]
        known = [number for number, key in enumerate(keys) if key in self.rows]
        new = [number for number, key in enumerate(keys) if key not in self.rows]
        computed = self.compute(types[new])
        vectors = computed.new_empty(len(types), computed.shape[1])
        vectors[new] = computed
        if known:
            vectors[known] = self.table[[self.rows[keys[number]] for number in known]]
        for number in known:
            self.rows.move_to_end(keys[number])
        self.store([keys[number] for number in new[: self.limit]], computed[: self.limit])
        return vectors

    def compute(self, types: Tensor) -> Tensor:
        ids = types[None].to(self.encoder.device)
        vectors, _ = self.encoder.embed_words(ids, ids.new_ones(ids.shape[:2], dtype=torch.bool))
        return vectors[0].to(self.encoder.dtype)  # the dtype of autocast, which may have ended at the next window

    def store(self, keys: list[bytes], vectors: Tensor) -> None:
        """Store at most `limit` new vectors in place of the least recently used ones."""
        for key in keys:
            self.rows[key] = len(self.rows) if len(self.rows) < self.limit else self.rows.popitem(last=False)[1]
        if not keys:
            return
        if self.table is None:
            self.table = vectors.new_empty(min(self.limit, self.initial_rows), vectors.shape[1])
        held = len(self.table)
        if held < len(self.rows):
            smaller, self.table = self.table, vectors.new_empty(min(self.limit, 2 * len(self.rows)), vectors.shape[1])
            self.table[:held] = smaller
        self.table[[self.rows[key] for key in keys]] = vectors


@torch.inference_mode(False)  # the cache is used by later windows, which may run in another mode
@torch.no_grad()
def embed_window(
    encoder: ElmoModel,
    cache: WordVectorCache,
    batches: list[Batch],
    select: Callable,
    progress: Callable[[Batch], None] | None = None,
) -> list[Tensor]:
    """Return the vectors of each sentence of a window, as views of its batches' results.

    `progress` is called with each batch that is computed.
    """
    results = {}
    with evaluation_mode(encoder):
        for batch in batches:
            results |= zip(batch.positions, embed_batch(encoder, cache, batch, select).split(batch.lengths))
            if progress is not None:
                progress(batch)
    return [results[position] for position in range(len(results))]


def embed_batch(encoder: ElmoModel, cache: WordVectorCache, batch: Batch, select: Callable) -> Tensor:
    """Return the vectors of the wanted tokens, one sentence after the other, on the CPU."""
    vectors = cache(batch.types)
    device = vectors.device
    words = batch.words.to(device)
    token_embeddings = vectors.new_zeros(*words.shape, vectors.shape[1])
    token_embeddings[words] = vectors[batch.type_of_word.to(device)]
    output = encoder(
        token_embeddings=token_embeddings,
        attention_mask=words,
        sentence_lengths=batch.sentences,
        output_hidden_states=True,
        return_dict=True,
    )
    return select(output, batch.wanted.to(device)).to("cpu", vectors.dtype)


@contextlib.contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Set evaluation mode inside a `with` block, and restore the mode of each module after it."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def gather_windows(window: list[Tensor], accelerator: Accelerator) -> list[Tensor]:
    """Return the windows of all processes, one after the other, on each process."""
    from accelerate.utils import gather_object

    layout = [(list(map(len, window)), window[0].shape[1:], window[0].dtype) if window else ([], None, None)]
    lengths, shapes, dtypes = zip(*gather_object(layout))
    shape, dtype = next(filter(None, shapes)), next(filter(None, dtypes))  # a round has at least one window
    vectors = torch.cat(window) if window else torch.empty(0, *shape, dtype=dtype)
    padded = accelerator.pad_across_processes(vectors.to(accelerator.device))
    gathered = accelerator.gather(padded).cpu().unflatten(0, (len(lengths), len(padded)))
    return [part for vectors, parts in zip(gathered, lengths) for part in vectors[: sum(parts)].split(parts)]
