"""One bidirectional layer, as `speed.py` times it: words of float vectors in, words of float vectors out."""

import warnings
from collections.abc import Callable
from itertools import product

import torch
from measuring import (
    SIZES,
    Rounds,
    Settings,
    count,
    large_products,
    megabytes_of,
    print_header,
    print_row,
    ragged_lengths,
    times,
)
from torch import nn

from hf_elmo.model.int8_elmo import Int8Weight, pack_for_kernel, quantize_weight
from hf_elmo.model.lstm_elmo import last_lstm_path, lstm, lstm_path
from hf_elmo.model.lstm_packed_elmo import Direction

CLIPS = {"cell_clip": 3.0, "projection_clip": 3.0}
TRAINING_WINDOW = 20  # words, as pretraining cuts text
COLUMNS = ["size", "pass", "numbers", "batch", "words", "words/s", "the loop", "nn.LSTM", "our float32"]
COLUMNS += ["of peak, GFLOP/s", "backend", "MB", "MB of nn.LSTM"]

warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")


class Layer:
    """A layer on random weights and sentences, forward, or forward and backward, by each of the contestants."""

    def __init__(self, size: str, batch: int, training: bool, device: str, numbers: str):
        torch.manual_seed(0)
        self.training, self.device, self.backend = training, device, None
        cell, width = SIZES[size]
        # Gains this small keep the recurrence tame, so that no contestant has other numbers to compute with.
        shapes = [(4 * cell, width), (4 * cell,), (4 * cell, width), (width, cell)]
        kind = {"device": device, "dtype": getattr(torch, numbers)}
        self.weights = [[(torch.rand(shape) * 0.04 - 0.02).to(**kind) for shape in shapes] for _ in range(2)]
        lengths = torch.tensor([TRAINING_WINDOW] * batch if training else ragged_lengths(batch))
        self.words = int(lengths.sum())
        self.x = torch.randn(batch, int(lengths.max()), width).to(**kind)
        self.mask = (torch.arange(self.x.shape[1]) < lengths[:, None]).to(device)
        for tensor in (self.x, *self.weights[0], *self.weights[1]):
            tensor.requires_grad_(training)
        pack = nn.utils.rnn.pack_padded_sequence
        packed = pack(self.x.detach(), lengths, batch_first=True, enforce_sorted=False)
        self.packed = nn.utils.rnn.PackedSequence(packed.data.requires_grad_(training), *packed[1:])
        self.torch_lstm = nn.LSTM(width, cell, proj_size=width, bidirectional=True, **kind)
        # multiplications and additions of both directions; the backward makes two products of each one
        self.operations = 2 * 2 * self.words * 9 * cell * width * (3 if training else 1)

    def run(self, weights: list) -> list[torch.Tensor]:
        forward, backward = weights
        directions = Direction(self.x, *forward), Direction(self.x, *backward, reverse=True)
        return [outputs for outputs, _ in lstm(directions, self.mask, **CLIPS)]

    def ours(self):
        self.finish(self.run(self.weights))
        self.backend = last_lstm_path().name

    def loop(self):
        with lstm_path("reference"):
            self.finish(self.run(self.weights))

    def nn_lstm(self):
        self.finish([self.torch_lstm(self.packed)[0].data])

    def int8(self):
        self.run(self.int8_weights)

    def finish(self, outputs: list[torch.Tensor]):
        if self.training:
            torch.autograd.backward(outputs, [torch.ones_like(part) for part in outputs])

    def contestants(self) -> dict[str, Callable[[], object]]:
        actions = {"ours": self.ours, "loop": self.loop, "nn.LSTM": self.nn_lstm}
        if self.device == "cpu" and not self.training:
            self.int8_weights = [[w if w.dim() == 1 else int8_weight(w) for w in way] for way in self.weights]
            actions["int8"] = self.int8
        return {name: torch.set_grad_enabled(self.training)(action) for name, action in actions.items()}


def int8_weight(weight: torch.Tensor) -> Int8Weight:
    codes, scales = quantize_weight(weight)
    return Int8Weight(codes, scales, pack_for_kernel(codes))


def print_table(settings: Settings):
    print_header(f"One layer, both directions, on {settings.device}", COLUMNS)
    numbers = ("float32",) if settings.device == "cpu" else ("float32", "bfloat16")
    for size, training, batch, kind in product(settings.sizes, (False, True), settings.batches, numbers):
        print_rows(settings, size, batch, training, settings.device, kind)


def print_rows(settings: Settings, size: str, batch: int, training: bool, device: str, numbers: str):
    case = size, batch, training, device, numbers
    layer = Layer(*case)
    products, work = large_products(device, getattr(torch, numbers), settings.peak_size)
    contestants = layer.contestants()
    taken = Rounds(contestants | products, settings, rivals=("nn.LSTM",))

    def first_cells(contestant: str, numbers: str) -> list:
        pass_name = "forward, backward" if training else "forward"
        words = count(layer.words), count(taken.rate(contestant, layer.words))
        ratios = (times(taken.faster(contestant, than)) for than in ("loop", "nn.LSTM"))
        return [size, pass_name, numbers, batch, *words, *ratios]

    peak = taken.of_peak("ours", layer.operations, work)
    able = [name for name in ("ours", "nn.LSTM") if name in taken.times[0]]
    memory = [count(settings.megabytes("layer", name, *case)) for name in able]
    print_row(*first_cells("ours", numbers), None, peak, layer.backend, *memory)
    if "int8" in contestants:
        memory = count(settings.megabytes("layer", "int8", *case))
        print_row(*first_cells("int8", "int8"), times(taken.faster("int8", "ours")), None, "int8", memory, None)


def memory_of(contestant: str, size: str, batch: int, training: bool, device: str, numbers: str) -> float:
    return megabytes_of(Layer(size, batch, training, device, numbers).contestants()[contestant], device)
