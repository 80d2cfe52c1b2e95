"""Sentences that follow each other in a fixed number of rows: their order, and the results of each sentence alone."""

import pytest
import torch
from torch.testing import assert_close

from hf_elmo.model import lstm_elmo
from hf_elmo.model.int8_elmo import Int8Weight, quantize_weight
from hf_elmo.model.lstm_elmo import CellOptions, lstm, lstm_path, run_reference
from hf_elmo.model.lstm_packed_elmo import Direction
from hf_elmo.model.packed_order_elmo import groups_of_like_length, pack_sentences

LENGTHS = [3, 0, 7, 1, 1, 12, 2, 5, 4, 4, 1]
CLIPS = {"cell_clip": 0.4, "projection_clip": 0.2}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_each_row_runs_whole_sentences_one_after_the_other(rows, reverse):
    order = pack_sentences(LENGTHS, rows, reverse, block_tokens=4)
    assert sorted(order.token_indices.tolist()) == list(range(sum(LENGTHS)))
    sizes = [size for block in order.blocks for size in block.batch_sizes]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == len(order.begins)
    steps = order.token_indices.split(sizes)
    ends = torch.tensor(LENGTHS).cumsum(0).tolist()
    sentences = {tuple(range(end - length, end)) for length, end in zip(LENGTHS, ends) if length}
    found = set()
    for row in range(sizes[0]):
        tokens = [int(step[row]) for step in steps if len(step) > row]
        begins = [
            number for number, rows in enumerate(order.begins) if number == 0 or (rows is not None and row in rows)
        ]
        begins = [number for number in begins if number < len(tokens)]
        for start, end in zip(begins, [*begins[1:], len(tokens)]):
            found.add(tuple(sorted(tokens[start:end])))
            assert tokens[start:end] == sorted(tokens[start:end], reverse=reverse)
    assert found == sentences


def test_rows_are_nearly_equally_long():
    sizes = [
        size for block in pack_sentences([5, 9, 3, 4, 8, 6, 2, 7] * 4, 8, False).blocks for size in block.batch_sizes
    ]
    assert sum(sizes) / (len(sizes) * 8) > 0.9


@pytest.mark.parametrize("tokens", [1, 10, 1000])
def test_groups_hold_each_sentence_once_with_a_budget(tokens):
    groups = list(groups_of_like_length(LENGTHS, tokens))
    assert sorted(torch.cat([places[mask] for places, mask in groups]).tolist()) == list(range(sum(LENGTHS)))
    assert all(mask.numel() <= max(tokens, max(LENGTHS)) for _, mask in groups)


def directions(dtype=torch.float32, has_projection: bool = True, is_int8: bool = False) -> list[Direction]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    P, C = (6, 10) if has_projection else (10, 10)
    if is_int8:
        P, C = 16, 32
    made = []
    for reverse in (False, True):
        weights = [draw(4 * C, P), draw(4 * C, P), draw(P, C) if has_projection else None]
        if is_int8:
            weights = [Int8Weight(*quantize_weight(weight)) for weight in weights]
        made.append(Direction(draw(1, sum(LENGTHS), P), weights[0], draw(4 * C), weights[1], weights[2], None, reverse))
    return made


def alone(direction: Direction) -> torch.Tensor:
    """Return the outputs of each sentence by the reference, one after the other."""
    parts = []
    for x in direction.x.split(LENGTHS, dim=1):
        one = Direction(x, *direction.tensors()[1:5], None, direction.reverse)
        parts.append(run_reference(one, None, CellOptions(1.0, *CLIPS.values()))[0])
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("has_projection", [True, False])
@pytest.mark.parametrize("backend", ["packed", "reference"])
def test_sentences_have_the_results_that_they_have_alone(backend, has_projection, rows, monkeypatch):
    monkeypatch.setattr(lstm_elmo, "SENTENCE_ROWS", rows)
    made = directions(has_projection=has_projection)
    with torch.no_grad(), lstm_path(backend):
        results = lstm(made, lengths=LENGTHS, **CLIPS)
    for direction, (outputs, state) in zip(made, results):
        assert state is None
        assert_close(outputs, alone(direction), rtol=0, atol=1e-6)
    assert not has_projection or outputs.abs().max() == CLIPS["projection_clip"], "the clip does not bind"


def test_half_precision(monkeypatch):
    monkeypatch.setattr(lstm_elmo, "SENTENCE_ROWS", 3)
    made = directions(torch.bfloat16)
    with torch.no_grad():
        results = lstm(made, lengths=LENGTHS, **CLIPS)
    for direction, (outputs, _) in zip(made, results):
        assert outputs.dtype == torch.bfloat16
        assert_close(outputs, alone(direction), rtol=0, atol=0.02)


def test_int8():
    """Rounding may move single values to a neighboring code."""
    made = directions(is_int8=True)
    with torch.no_grad():
        results = lstm(made, lengths=LENGTHS, **CLIPS)
    assert lstm_elmo.last_lstm_path().name == "int8"
    for direction, (outputs, _) in zip(made, results):
        difference = (outputs - alone(direction)).abs()
        assert (difference < 1e-5).float().mean() > 0.9
        assert difference.max() < 0.02


def test_gradients_are_those_of_the_sentences_alone():
    made = directions()
    for direction in made:
        direction.x.requires_grad_()
    outputs = torch.cat([outputs for outputs, _ in lstm(made, lengths=LENGTHS, **CLIPS)], dim=-1)
    expected = torch.cat(list(map(alone, made)), dim=-1)
    inputs = [direction.x for direction in made]
    for mine, other in zip(*(torch.autograd.grad(one.sin().sum(), inputs) for one in (outputs, expected))):
        assert_close(mine, other, rtol=0, atol=1e-5)


def test_no_sentence_at_all():
    made = [
        Direction(direction.x[:, :0], *direction.tensors()[1:5], None, direction.reverse) for direction in directions()
    ]
    for lengths in ([], [0, 0]):
        with torch.no_grad():
            assert [outputs.shape for outputs, _ in lstm(made, lengths=lengths, **CLIPS)] == [(1, 0, 6)] * 2
