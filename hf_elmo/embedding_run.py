# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The computation behind `hf-elmo embed`, in parts that may be computed at any time, in any process, and only once.

A part is some 30,000 words of the input. Its vectors are those of its own sentences whatever was computed before, so
that a run that was killed and continued gives the same bytes. Each part is a file, which has its name when it is
complete, in a folder beside the output with the record of the run.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection, get_all_start_methods, get_context, parent_process
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers.utils import logging

from .embedding import (
    Batch,
    WordVectorCache,
    embed_window,
    evaluation_mode,
    join_batches,
    layer_selection,
    make_batches,
    map_in_thread,
)
from .loading import best_device, load_encoder, load_tokenizer
from .model.modeling_elmo import ElmoModel, ElmoModelOutput, State
from .sentences import Entry
from .training.run_record import RunRecord

UNFINISHED = ".unfinished"
SENTENCE = "sentences"  # the kind of vectors of which a sentence has one


@dataclass(frozen=True)
class Settings:
    """How sentences are embedded.

    Args:
        model: Folder or Hub name.
        layers: As in `embed_sentences`.
        vectors: `"words"`, or `"sentences"`: the words of each sentence as one vector.
        pooling: How words become one: `"mean"`, `"max"`, or `"attention"`, with the weights of the model.
        dtype: Type of the vectors that are written, `"float32"` or `"float16"`.
        split: Rule that splits texts into words.
        device: Where to compute; by default the best device, or in turn the GPUs for several processes.
        words_per_batch, words_per_part: Words that are computed at a time, and that a part has, about.
        max_words: Longest sentence that is computed.
        carried_rows: Number of sentences of a batch whose state the next batch continues, as the originals do; `None`
            for sentences that do not depend on one another.
    """

    model: str
    layers: str | int = "mix"
    vectors: str = "words"
    pooling: str = "mean"
    dtype: str = "float32"
    split: str | None = None
    device: str | None = None
    words_per_batch: int = 4096
    words_per_part: int = 1 << 15
    max_words: int = 100_000
    carried_rows: int | None = None


class Sentence(NamedTuple):
    """A sentence to embed: its number in the input, its words, and its text as the input has it."""

    number: int
    words: list[str]
    text: str


class Part(NamedTuple):
    number: int
    sentences: list[Sentence]


class Problem(NamedTuple):
    """A sentence that is left out, and why."""

    entry: Entry
    reason: str


# ---- Reading


def read_sentences(
    entries: Iterable[Entry], tokenize: Callable[[str], list[str]], max_words: int
) -> Iterator[Sentence | Problem]:
    """Yield each entry of an input as a sentence of words, or as a problem.

    Args:
        tokenize: Splits a text into words.
        max_words: Longest sentence that is none.
    """
    for entry in entries:
        if entry.sentence is None:
            yield Problem(entry, entry.problem)
            continue
        if isinstance(entry.sentence, str):
            sentence = Sentence(entry.number, tokenize(entry.sentence), entry.sentence)
        else:
            sentence = Sentence(entry.number, entry.sentence, " ".join(entry.sentence))
        if len(sentence.words) > max_words:
            yield Problem(entry, f"{len(sentence.words):,} words, and --max-words is {max_words:,}")
        else:
            yield sentence


def read_parts(sentences: Iterable[Sentence | Problem], words: int, multiple: int = 1) -> Iterator[Part]:
    """Group sentences into parts of at least so many words, special tokens included, but for the last.

    Args:
        multiple: What the number of sentences of a part is a multiple of.
    """
    part, size = Part(0, []), 0
    for sentence in sentences:
        if isinstance(sentence, Problem):
            continue
        if size >= words and len(part.sentences) % multiple == 0:
            yield part
            part, size = Part(part.number + 1, []), 0
        part.sentences.append(sentence)
        size += len(sentence.words) + 2
    if part.sentences:
        yield part


# ---- Computing


class Embedder:
    """Computes parts, and writes each to its file.

    Args:
        settings: How to embed.
        folder: Folder of the parts.
        model: The encoder, if it is loaded already.
    """

    def __init__(self, settings: Settings, folder: Path, model: ElmoModel | None = None):
        self.settings, self.folder = settings, folder
        self.model = (load_encoder(settings.model) if model is None else model).to(settings.device or best_device())
        self.tokenizer = load_tokenizer(settings.model, split=settings.split)
        self.select = layer_selection(settings.layers, self.model.config.num_hidden_layers)
        self.state: State | None = None  # of carried rows, after the part that was computed last

    def encode(self, part: Part) -> tuple[Part, list[Batch]]:
        """Return a part with its batches."""
        words = [sentence.words for sentence in part.sentences]
        if self.settings.carried_rows is not None:
            return part, []
        batches = make_batches(self.tokenizer, words, self.settings.words_per_batch, False)
        return part, join_batches(self.model, batches)

    def compute(self, encoded: tuple[Part, list[Batch]], progress: Callable[[int], None]) -> None:
        """Compute a part and write it.

        Args:
            progress: Called with the number of words that were computed.
        """
        part, batches = encoded
        try:
            if self.settings.carried_rows is not None:
                vectors = self.compute_carried(part, progress)
            else:
                # A new cache, because a vector's last bits depend on the words that are computed together with it.
                cache = WordVectorCache(self.model, 1 << 16)
                vectors = embed_window(
                    self.model, cache, batches, self.select, lambda batch: progress(sum(batch.lengths))
                )
            vectors = self.pooled(vectors, part)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "alloc" not in str(error):
                raise
            longest = max(part.sentences, key=lambda sentence: len(sentence.words))
            raise ValueError(
                f"there is not enough memory: give less than --words-per-batch {self.settings.words_per_batch}, or "
                f"--max-words to leave out sentence {longest.number}, which has {len(longest.words):,}"
            ) from error
        write_part(self.folder, part, vectors, self.state)

    @torch.no_grad()
    def compute_carried(self, part: Part, progress: Callable[[int], None]) -> list[Tensor]:
        """Return the vectors of a part whose batches of consecutive sentences continue each other's state."""
        vectors, size = [], self.settings.carried_rows
        with evaluation_mode(self.model):
            for start in range(0, len(part.sentences), size):
                words = [sentence.words for sentence in part.sentences[start : start + size]]
                encoded = self.tokenizer(
                    words,
                    is_split_into_words=True,
                    padding=True,
                    return_tensors="pt",
                    return_special_tokens_mask=True,
                ).to(self.model.device)
                wanted = encoded["attention_mask"].bool() & (encoded.pop("special_tokens_mask") == 0)
                output: ElmoModelOutput = self.model(
                    **encoded, state=self.state, use_state=True, output_hidden_states=True
                )
                self.state = output.state
                vectors += self.select(output, wanted).cpu().split(list(map(len, words)))
                progress(sum(map(len, words)))
        return vectors

    def pooled(self, vectors: list[Tensor], part: Part) -> Tensor:
        """Return the vectors of all words `(N, ...)` or sentences `(S, ...)` of a part, in the type to write."""
        dtype = getattr(torch, self.settings.dtype)
        if self.settings.vectors == SENTENCE:
            result = torch.stack([self.pool(one) for one in vectors]).to(dtype)
        else:
            result = torch.cat([one.to(dtype) for one in vectors])
        if not result.isfinite().all():
            row = int((~result.flatten(1).isfinite().all(1)).nonzero()[0])
            ends = torch.tensor([len(sentence.words) for sentence in part.sentences]).cumsum(0)
            where = row if self.settings.vectors == SENTENCE else int(torch.searchsorted(ends, row, right=True))
            raise ValueError(
                f"sentence {part.sentences[where].number} has a vector that is not finite in {self.settings.dtype}; "
                "float16 ends at 65,504: give --dtype float32, or check the weights"
            )
        return result

    @torch.no_grad()
    def pool(self, words: Tensor) -> Tensor:
        """Return the words of a sentence `(T, ...)` as one vector, 0 if there are none."""
        if not len(words):
            return words.new_zeros(words.shape[1:], dtype=torch.float32)
        if self.settings.pooling == "attention":
            attention = self.model.sentence_pooling.attention
            batch = words[None].to(self.model.device)
            return attention(batch, torch.ones_like(batch[..., 0], dtype=torch.bool))[0].float().cpu()
        return words.float().amax(0) if self.settings.pooling == "max" else words.float().mean(0)


# ---- Parts on the disk


class PartialRecord(RunRecord):
    """The record of an unfinished run, beside its parts."""

    elsewhere = "give another OUTPUT"
    way_out = f"{elsewhere}, or --overwrite to replace what is unfinished"


def part_path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:06}.safetensors"


def write_part(folder: Path, part: Part, vectors: Tensor, state: State | None) -> None:
    """Write the vectors of a part, its sentences, and the state after it where one is carried."""
    sentences = [
        [sentence.number, sentence.words, None if sentence.text == " ".join(sentence.words) else sentence.text]
        for sentence in part.sentences
    ]
    tensors = {"vectors": vectors.contiguous()}
    if state is not None:
        tensors |= {"h": state[0].cpu().contiguous(), "c": state[1].cpu().contiguous()}
    path = part_path(folder, part.number)
    unfinished = path.with_suffix(f".{os.getpid()}{UNFINISHED}")
    try:
        save_file(tensors, unfinished, metadata={"sentences": json.dumps(sentences)})
    except SafetensorError as error:
        raise OSError(f"{path}: cannot be written ({error})") from error
    os.replace(unfinished, path)


class StoredPart:
    """A part that was computed.

    Args:
        path: Its file.

    Raises:
        `SafetensorError`: if the file is damaged.
    """

    def __init__(self, path: Path):
        self.path = path
        with safe_open(path, "pt") as file:
            self.sentences = [
                Sentence(number, words, " ".join(words) if text is None else text)
                for number, words, text in json.loads(file.metadata()["sentences"])
            ]

    @property
    def num_words(self) -> int:
        return sum(len(sentence.words) for sentence in self.sentences)

    def vectors(self) -> Tensor:
        """Return the vectors of all words `(N, ...)` or sentences `(S, ...)`."""
        with safe_open(self.path, "pt") as file:
            return file.get_tensor("vectors")

    def shape(self) -> tuple[list[int], str]:
        """Return shape and type of the vectors, as safetensors has them."""
        with safe_open(self.path, "pt") as file:
            stored = file.get_slice("vectors")
            return stored.get_shape(), stored.get_dtype()

    def state(self) -> State:
        with safe_open(self.path, "pt") as file:
            return file.get_tensor("h"), file.get_tensor("c")


def stored_part(folder: Path, number: int) -> StoredPart | None:
    """Return a part that is there, and whole."""
    path = part_path(folder, number)
    try:
        return StoredPart(path) if path.is_file() else None
    except SafetensorError:  # after a failure of the machine, a file may lack its end
        return None


def words_stored(folder: Path) -> int:
    """Return the number of words of all parts that are there."""
    numbers = range(len(list(folder.glob("part-*.safetensors"))))
    return sum(stored.num_words for number in numbers if (stored := stored_part(folder, number)) is not None)


# ---- All parts


def embed_parts(
    settings: Settings,
    folder: Path,
    model: ElmoModel,
    parts: Iterable[Part],
    progress: Callable[[int], None],
    num_processes: int = 1,
) -> int:
    """Compute all parts that are not there yet.

    Args:
        model: The encoder.
        progress: Called with numbers of words that were computed.
        num_processes: Number of processes that compute parts, each on a GPU of its own where there are several.

    Returns:
        the number of parts.

    Raises:
        `ValueError`, `OSError`: in one line, for whatever ends the computation; finished parts stay.
    """
    if num_processes > 1:
        model = None
    embedder = None if model is None else Embedder(settings, folder, model)
    is_continued = settings.carried_rows is not None  # then a part needs all parts before it
    count = 0

    def missing() -> Iterator[Part]:
        nonlocal count
        is_whole = True
        for part in parts:
            count = part.number + 1
            stored = stored_part(folder, part.number) if is_whole or not is_continued else None
            if stored is None:
                is_whole = False
                yield part
                continue
            if is_continued:
                embedder.state = stored.state()

    if embedder is None:
        compute_in_processes(settings, folder, missing(), progress, num_processes)
        return count
    for encoded in map_in_thread(embedder.encode, missing()):
        embedder.compute(encoded, progress)
    return count


def compute_in_processes(
    settings: Settings, folder: Path, parts: Iterator[Part], progress: Callable[[int], None], num_processes: int
) -> None:
    """Compute parts in processes of their own, at most two a process at a time in memory."""
    context = get_context("spawn")
    if "forkserver" in get_all_start_methods():  # where this module is imported once for all processes
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__])
    threads = max(1, torch.get_num_threads() // num_processes)
    initial = settings, folder, context.Value("i", 0), threads
    with ProcessPoolExecutor(num_processes, context, start_process, initial) as pool:
        running = set()
        try:
            for part in parts:
                running.add(pool.submit(compute_in_process, part))
                if len(running) == 2 * num_processes:
                    running = report(running, progress)
            while running:
                running = report(running, progress)
        except BrokenProcessPool:
            raise OSError(
                "a process ended before its work was done, as where memory is short; the same command continues"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def report(running: set, progress: Callable[[int], None]) -> set:
    """Wait until one of the futures is done, report those that are, and return the others."""
    done, running = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        progress(future.result())
    return running


_process: dict[str, Embedder] = {}  # the embedder of a process that computes parts


def start_process(settings: Settings, folder: Path, counter: Any, threads: int) -> None:
    """Make the embedder of this process; end with the process that started it."""
    threading.Thread(target=end_with, args=(parent_process().sentinel,), daemon=True).start()
    torch.set_num_threads(threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with counter.get_lock():
        rank, counter.value = counter.value, counter.value + 1
    if settings.device is None and torch.cuda.device_count() > 1:
        settings = Settings(**{**vars(settings), "device": f"cuda:{rank % torch.cuda.device_count()}"})
    _process["embedder"] = Embedder(settings, folder)


def end_with(sentinel: Any) -> None:
    """End this process when the one of a sentinel has ended, however it did."""
    connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def compute_in_process(part: Part) -> int:
    """Compute a part; return how many words it has."""
    embedder = _process["embedder"]
    embedder.compute(embedder.encode(part), lambda words: None)
    return sum(len(sentence.words) for sentence in part.sentences)
