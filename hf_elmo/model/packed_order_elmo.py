# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The order in which a packed backend computes the tokens of a batch: step by step, without padding.

Time step s computes the s-th token of every row that has one, longest rows first, as torch's `PackedSequence` does. A
row is a sentence, or several that follow each other.

N tokens in the batch   B batch   T time steps
"""

import heapq
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_TOKENS = 256  # enough for the full speed of a product, few enough that its (256, 4C) result lies in reused memory


class Block(NamedTuple):
    """Consecutive time steps, whose tokens are consecutive too: their place, and the active rows of each step."""

    start: int
    batch_sizes: list[int]

    @property
    def tokens(self) -> slice:
        return slice(self.start, self.start + sum(self.batch_sizes))

    def steps(self, *parts: Tensor | None) -> list[tuple[Tensor | None, ...]]:
        """Split tensors of this block's tokens into those of each step; None stays None."""
        sizes = self.batch_sizes
        return list(zip(*([None] * len(sizes) if part is None else part.split(sizes) for part in parts)))


class PackedOrder(NamedTuple):
    """The order in which the tokens of a batch are computed."""

    token_indices: Tensor  # (N,) places among the B * T
    sorted_indices: Tensor  # (B,) rows, longest first
    blocks: list[Block]
    reverse: bool
    begins: list[Tensor | None] | None = None  # for each step the rows that begin a sentence, with a state of zero


def pack(mask: Tensor, reverse: bool, block_tokens: int = BLOCK_TOKENS) -> PackedOrder:
    """Order the tokens of a `mask` `(B, T)` of any pattern, in blocks of at most so many tokens or of one step."""
    length = mask.shape[1]
    if len(mask) == 1:  # in a row there is nothing to sort
        tokens, row = mask[0].nonzero()[:, 0], torch.zeros(1, dtype=torch.long, device=mask.device)
        blocks = list(blocks_of([1] * len(tokens), block_tokens))
        return PackedOrder(tokens.flip(0) if reverse else tokens, row, blocks, reverse)
    counts, rows = mask.sum(dim=1).sort(descending=True, stable=True)
    mask = mask[rows].flip(1) if reverse else mask[rows]
    columns = mask.byte().argsort(dim=1, descending=True, stable=True)  # (B, T) a row's tokens in order, then its gaps
    if reverse:
        columns = length - 1 - columns
    active = torch.arange(length, device=mask.device)[:, None] < counts  # (T, B)
    token_indices = (columns + rows[:, None] * length).T[active]
    batch_sizes = [size for size in active.sum(dim=1).tolist() if size]
    return PackedOrder(token_indices, rows, list(blocks_of(batch_sizes, block_tokens)), reverse)


def blocks_of(batch_sizes: list[int], block_tokens: int) -> Iterator[Block]:
    """Group steps into blocks of at most so many tokens, or of one step."""
    block = Block(0, [])
    for size in batch_sizes:
        if block.batch_sizes and sum(block.batch_sizes) + size > block_tokens:
            yield block
            block = Block(block.tokens.stop, [])
        block.batch_sizes.append(size)
    if block.batch_sizes:
        yield block


# ---- sentences one after the other in a fixed number of rows


def pack_sentences(lengths: list[int], rows: int, reverse: bool, block_tokens: int = BLOCK_TOKENS) -> PackedOrder:
    """Order the tokens of sentences, which lie one after the other, so that each step computes one of every row.

    Where a sentence of a row ends, the next one begins, with a state of zero. Rows are nearly equally long, so that few
    steps compute fewer rows.

    Args:
        lengths, rows: Number of tokens of each sentence, and number of rows.
        reverse: Whether each sentence runs from its last token to its first.
    """
    sentences = share_out(lengths, rows)
    row_lengths = torch.tensor([sum(lengths[number] for number in row) for row in sentences], dtype=torch.long)
    numbers = torch.tensor([number for row in sentences for number in row], dtype=torch.long)  # row after row
    all_sizes = torch.tensor(lengths, dtype=torch.long)
    sizes, first = all_sizes[numbers], (all_sizes.cumsum(0) - all_sizes)[numbers]
    within = torch.arange(sum(lengths)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)  # place in its sentence
    offsets = sizes.repeat_interleave(sizes) - 1 - within if reverse else within
    tokens = first.repeat_interleave(sizes) + offsets  # of all rows, one row after the other
    active = torch.arange(max(row_lengths.tolist(), default=0)) < row_lengths[:, None]  # (rows, steps)
    table, begins = torch.zeros(active.shape, dtype=torch.long), torch.zeros(active.shape, dtype=torch.bool)
    table[active], begins[active] = tokens, within == 0
    steps = active.T
    batch_sizes = steps.sum(dim=1).tolist()
    rows_that_begin = [step.nonzero()[:, 0] for step in begins.T]
    return PackedOrder(
        table.T[steps],
        torch.arange(len(sentences)),
        list(blocks_of(batch_sizes, block_tokens)),
        reverse,
        [None, *(rows if len(rows) else None for rows in rows_that_begin[1:])],  # the first step starts from zeros
    )


def groups_of_like_length(lengths: list[int], tokens: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of sentences, which lie one after the other, with at most so many tokens, padding included.

    Yields:
        the tokens of each batch `(B, T)`, and the mask `(B, T)` of those that are no padding.
    """
    sizes = torch.tensor(lengths, dtype=torch.long)
    starts = sizes.cumsum(0) - sizes
    waiting = sorted(range(len(lengths)), key=lengths.__getitem__)
    while waiting:
        longest = lengths[waiting[-1]]
        rows = waiting[-max(1, tokens // max(1, longest)) :]
        del waiting[-len(rows) :]
        places = torch.arange(longest).expand(len(rows), -1)
        mask = places < sizes[rows][:, None]
        yield (places + starts[rows][:, None]) * mask, mask


def share_out(lengths: list[int], rows: int) -> list[list[int]]:
    """Return the sentences of each row, longest row first: the longest sentence left goes to the shortest row."""
    shares: list[list[int]] = [[] for _ in range(min(rows, len(lengths)))]
    heap = [(0, row) for row in range(len(shares))]
    for number in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        length, row = heapq.heappop(heap)
        shares[row].append(number)
        heapq.heappush(heap, (length + lengths[number], row))
    return sorted(shares, key=lambda share: -sum(lengths[number] for number in share))
