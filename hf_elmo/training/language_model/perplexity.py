# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Perplexity of a text: exp of the mean loss of a word, in each direction, and of the mean of both directions.

    sentences  the state is zero at the start of each sentence, and every word is scored
    stream     the protocol of bilm-tf's `run_test.py`: the text is distributed over B streams, the state is carried
               from sentence to sentence, and what is left when a stream finds no further sentence is not scored

In both, `</S>` is predicted forward and `<S>` backward, words that are not in the vocabulary count as `<UNK>`, and the
softmax is over all words.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ...model.character_ids_elmo import BOS_WORD, EOS_WORD, UNKNOWN_WORD
from ...model.language_model_elmo import ElmoForPreTraining
from .corpus import TextStatistics
from .streams import Streams, Window, WordTable


@dataclass
class BatchSizes:
    """Sizes of batches, on which the results do not depend."""

    window: int = 256  # tokens of a row that are computed at once, with the state carried on
    tokens: int = 4096  # those of all rows; on a CPU, where sentences follow each other, twice as many
    pool: int = 4096  # sentences that are sorted by length at once


DEFAULT_SIZES = BatchSizes()
MAX_LOSS = 700.0  # a double holds exp of it


class Losses:
    """Sums of both directions' losses in double precision, to which windows of text are added one after the other.

    Args:
        model: Language model in evaluation mode.
        table: Encodes words, and knows the ids of the model's softmax.
        unknown (`(V,)` bool, *optional*): Words that count as one, whose probability is the sum of theirs.

    `sums` (`(2,)`) are those of the forward and the backward direction, natural logarithm, and `tokens` is the number
    of words that each direction predicted.
    """

    def __init__(self, model: ElmoForPreTraining, table: WordTable, unknown: Tensor | None = None):
        self.model, self.table, self.unknown = model, table, unknown
        self.sums, self.tokens = torch.zeros(2, dtype=torch.float64), 0

    def score(
        self,
        forward: Window,
        backward: Window,
        state: tuple[Tensor, Tensor] | None = None,
        lengths: list[int] | None = None,
    ) -> tuple[Tensor, Tensor] | None:
        """Score a window, and return the state after it; or sentences of these lengths in one row."""
        batch = {name: tensor.to(self.model.device) for name, tensor in self.table.batch(forward, backward).items()}
        outputs = self.model(
            **batch,
            state=state,
            use_state=lengths is None,
            output_logits=self.unknown is not None,
            sentence_lengths=lengths,
        )
        if self.unknown is None:
            losses = outputs.word_losses.double().sum(dim=(0, 2))
        else:
            logits = outputs.forward_logits, outputs.backward_logits
            self.unknown = self.unknown.to(self.model.device)
            losses = torch.stack([self.joined_loss(*pair) for pair in zip(logits, batch["labels"].unbind(1))])
        self.sums += losses.cpu()
        self.tokens += sum(map(len, forward.targets))
        return outputs.state

    def joined_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of one direction's losses, where all `unknown` words count as one."""
        counted = targets != -100
        scores, targets = logits[counted].log_softmax(dim=-1), targets[counted]
        unknown = scores[:, self.unknown].logsumexp(dim=-1)
        known = scores.gather(1, targets[:, None])[:, 0]
        return -torch.where(self.unknown[targets], unknown, known).double().sum()

    def score_sentences(self, sentences: list[list[str]], window: int) -> None:
        """Score sentences, each from a zero state: as the rows of a batch, or one after the other where a CPU computes
        whole sentences."""
        forward = [[BOS_WORD, *words, EOS_WORD] for words in sentences]
        backward = [[EOS_WORD, *reversed(words), BOS_WORD] for words in sentences]
        lengths = [len(row) - 1 for row in forward]
        if self.model.device.type == "cpu" and max(lengths) <= window:
            forward_window = concatenate(cut([row], 0, len(row)) for row in forward)
            # The batch has the whole backward row in its natural order.
            backward_window = concatenate(cut([row], 0, len(row)) for row in reversed(backward))
            self.score(forward_window, backward_window, lengths=lengths)
            return
        state = None
        for start in range(0, max(map(len, forward)) - 1, window):
            state = self.score(cut(forward, start, window), cut(backward, start, window), state)

    def metrics(self) -> dict[str, float]:
        forward, backward = (self.sums / self.tokens).tolist()
        if not max(forward, backward) < MAX_LOSS:  # also where one of them is not a number
            raise ValueError(
                f"the loss of a word is {forward:.4g} forward and {backward:.4g} backward, which no trained model has: "
                "are these weights damaged, or did their training diverge?"
            )
        return {
            "forward_perplexity": math.exp(forward),
            "backward_perplexity": math.exp(backward),
            "perplexity": math.exp((forward + backward) / 2),
            "tokens": self.tokens,
        }


def cut(rows: list[list[str]], start: int, window: int) -> Window:
    """Return the window that begins at token `start` of each row; rows that end in it are shorter."""
    end = start + window
    return Window([row[start : min(end, len(row) - 1)] for row in rows], [row[start + 1 : end + 1] for row in rows])


def concatenate(windows: Iterable[Window]) -> Window:
    """Concatenate consecutive windows of the same rows."""
    inputs, targets = zip(*windows)
    return Window(*([[word for part in parts for word in part] for parts in zip(*rows)] for rows in (inputs, targets)))


def consecutive_batches(sentences: Iterable[list[str]], sizes: BatchSizes, tokens: int) -> Iterator[list[list[str]]]:
    """Group consecutive sentences into batches of about `tokens` tokens; a longer one than a window comes alone."""
    batch, count = [], 0
    for words in sentences:
        if len(words) + 1 > sizes.window:
            yield [words]
            continue
        batch.append(words)
        count += len(words) + 1
        if count >= tokens:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def length_grouped_batches(sentences: Iterable[list[str]], sizes: BatchSizes) -> Iterator[list[list[str]]]:
    """Group sentences of similar length into batches of at most `sizes.tokens` tokens, padding included."""
    sentences = iter(sentences)
    while pool := sorted(islice(sentences, sizes.pool), key=len):
        while pool:
            width = min(len(pool[-1]) + 1, sizes.window)
            rows = max(1, sizes.tokens // width)
            yield pool[-rows:]
            del pool[-rows:]


@torch.no_grad()
def sentence_losses(
    model: ElmoForPreTraining,
    table: WordTable,
    sentences: Iterable[list[str]],
    process: int = 0,
    num_processes: int = 1,
    progress: tqdm | None = None,
    sizes: BatchSizes = DEFAULT_SIZES,
    unknown: Tensor | None = None,
) -> Losses:
    """Score a text by the protocol `sentences`; of several processes, each scores its share of the batches. Arguments
    as of [`Losses`]."""
    losses = Losses(model, table, unknown)
    batches = length_grouped_batches(sentences, sizes)
    if model.device.type == "cpu":
        # The scores of all words, which `unknown` needs, are many: so these have no larger batches.
        batches = consecutive_batches(sentences, sizes, sizes.tokens * (2 if unknown is None else 1))
    for number, batch in enumerate(batches):
        if number % num_processes == process:
            losses.score_sentences(batch, sizes.window)
            if progress is not None:
                progress.update(sum(map(len, batch)) + len(batch))
    return losses


@torch.no_grad()
def stream_losses(
    model: ElmoForPreTraining,
    table: WordTable,
    sentences: list[list[str]],
    batch_size: int,
    progress: tqdm | None = None,
    sizes: BatchSizes = DEFAULT_SIZES,
    unknown: Tensor | None = None,
) -> Losses:
    """Score a text by the protocol `stream` with `batch_size` streams. Other arguments as in `sentence_losses`.

    `ValueError` if there are fewer sentences than streams, so that nothing is scored.
    """
    if batch_size > len(sentences):
        raise ValueError(
            f"{batch_size} streams need as many sentences, and the text has {len(sentences)}: lower the batch size"
        )
    losses, state = Losses(model, table, unknown), None
    steps = steps_of(*(Streams(iter(sentences), batch_size, backward) for backward in (False, True)))
    while part := list(islice(steps, max(1, min(sizes.window, sizes.tokens // batch_size)))):
        forward, backward = map(concatenate, zip(*part))
        state = losses.score(forward, backward, state)
        if progress is not None:
            progress.update(len(part) * batch_size)
    return losses


def steps_of(forward: Streams, backward: Streams) -> Iterator[tuple[Window, Window]]:
    """Yield the steps of streams until one finds no further sentence. As in bilm-tf, rows get theirs step by step."""
    with contextlib.suppress(StopIteration):
        while True:
            yield forward.window(1), backward.window(1)


def unigram_perplexity(training: TextStatistics, vocabulary: Iterable[str], sentences: Iterable[list[str]]) -> float:
    """Return the perplexity of a text under the word frequencies of a training text, as a baseline.

    The same words are scored over the same vocabulary as by the language model: unknown words as `<UNK>`, and each
    sentence's `</S>`. One is added to each count (Laplace); `<S>`, which is never predicted forward, has no count.

    Args:
        vocabulary: Words of the softmax.
        sentences: Words of each sentence of the text.
    """
    known = set(vocabulary)

    def over_vocabulary(counts: Counter[str], num_sentences: int) -> Counter[str]:
        inside = Counter({EOS_WORD: num_sentences})
        for word, count in counts.items():
            inside[word if word in known else UNKNOWN_WORD] += count
        return inside

    trained = over_vocabulary(training.counts, training.num_sentences)
    total = sum(trained.values()) + len(known) - 1
    sentences = list(sentences)
    scored = over_vocabulary(Counter(word for words in sentences for word in words), len(sentences))
    loss = sum(-count * math.log((trained[word] + 1) / total) for word, count in scored.items())
    return math.exp(loss / sum(scored.values()))
