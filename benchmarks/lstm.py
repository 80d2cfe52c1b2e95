"""How fast the recurrence is: ours against the plain loop, torch's own LSTM, and what the cores can multiply at all.

    python benchmarks/lstm.py [--sizes small original] [--batches 1 8 32 128] [--rounds 5] [--threads N]

One bidirectional layer on random weights, float32, no network. Forward runs on ragged rows of about 25 words, as
sentences are; forward+backward on rows of 20, as pretraining cuts them. The contestants take turns in every round,
and each ratio is a median over rounds of two neighboring times: a busy machine slows both, and the ratio stays.

    vs loop      time of the reference, word by word over padded rows, divided by ours
    vs nn.LSTM   time of torch.nn.LSTM(proj_size), which cannot clip, on the same rows packed before, divided by ours
    of peak      our multiplications a second, of those of one large square product in the same round
    peak MB      memory that one pass needs beyond the weights, ours and nn.LSTM's, each in a process of its own
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch
from torch import nn

from hf_elmo.lstm_elmo import Direction, bilstm, lstm_path
from hf_elmo.lstm_packed_elmo import linear

SIZES = {"small": (1024, 128), "medium": (2048, 256), "original": (4096, 512)}  # C, P of the published models
CLIPS = {"cell_clip": 3.0, "projection_clip": 3.0}
PEAK = 2048  # rows and columns of the large product


class Case:
    """The contestants on one size, batch and pass."""

    def __init__(self, size: str, batch: int, training: bool):
        torch.manual_seed(0)
        self.C, self.P = SIZES[size]
        self.training = training
        # Gains this small keep the recurrence tame, so that all contestants compute the same numbers.
        self.weights = [
            [
                (torch.rand(shape) * 0.04 - 0.02).requires_grad_(training)
                for shape in [(4 * self.C, self.P), (4 * self.C,), (4 * self.C, self.P), (self.P, self.C)]
            ]
            for _ in range(2)
        ]
        if training:
            lengths = torch.full((batch,), 20)
        else:
            lengths = (torch.randn(batch).exp() * 12 + 10).clamp(max=60).long() if batch > 1 else torch.tensor([25])
        self.words = int(lengths.sum())
        self.x = torch.randn(batch, int(lengths.max()), self.P, requires_grad=training)
        self.mask = torch.arange(self.x.shape[1]) < lengths[:, None]
        self.packed = nn.utils.rnn.pack_padded_sequence(self.x, lengths, batch_first=True, enforce_sorted=False)
        self.torch_lstm = nn.LSTM(self.P, self.C, proj_size=self.P, bidirectional=True)
        self.square = torch.randn(PEAK, PEAK)
        # multiplications and additions: both directions; the backward makes two products of each one
        self.operations = 2 * 2 * self.words * 9 * self.C * self.P * (3 if training else 1)

    def finish(self, outputs):
        if self.training:
            torch.autograd.backward(outputs, [torch.ones_like(part) for part in outputs], retain_graph=True)

    def ours(self):
        ahead, behind = self.weights
        directions = Direction(self.x, *ahead), Direction(self.x, *behind, reverse=True)
        self.finish([outputs for outputs, _ in bilstm(*directions, self.mask, **CLIPS)])

    def loop(self):
        with lstm_path("reference"):
            self.ours()

    def nn_lstm(self):
        self.finish([self.torch_lstm(self.packed)[0].data])

    def peak(self):
        linear(self.square, self.square)  # by the fastest product there is: torch.mm is not on every processor

    def seconds(self, contestant: str) -> float:
        with torch.set_grad_enabled(self.training):
            start = time.perf_counter()
            getattr(self, contestant)()
            return time.perf_counter() - start


def measure(case: Case, rounds: int) -> dict:
    contestants = ("ours", "loop", "nn_lstm", "peak")
    for contestant in contestants:
        case.seconds(contestant)
    times = [{contestant: case.seconds(contestant) for contestant in contestants} for _ in range(rounds)]

    def median(value):
        return statistics.median(value(each) for each in times)

    return {
        "words": case.words,
        "words/s": median(lambda t: case.words / t["ours"]),
        "vs loop": median(lambda t: t["loop"] / t["ours"]),
        "vs nn.LSTM": median(lambda t: t["nn_lstm"] / t["ours"]),
        "of peak": median(lambda t: case.operations / t["ours"] / (2 * PEAK**3 / t["peak"])),
    }


def resident_bytes() -> tuple[int, int]:
    """Resident memory of this process now, and its highest mark (Linux)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(status[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))


def peak_megabytes(contestant: str, size: str, batch: int, training: bool) -> float | None:
    """Of one pass, measured in a fresh process."""
    if not Path("/proc/self/status").exists():
        return None
    command = [sys.executable, __file__, "--peak-of", json.dumps([contestant, size, batch, training])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak(contestant: str, size: str, batch: int, training: bool) -> None:
    case = Case(size, batch, training)
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))  # what the first product loads belongs to no contestant
    before, _ = resident_bytes()
    case.seconds(contestant)
    print((resident_bytes()[1] - before) / 2**20)


def machine() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else 'CPU'}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["small", "original"], choices=SIZES)
    parser.add_argument("--batches", nargs="+", default=[1, 8, 32, 128], type=int)
    parser.add_argument("--passes", nargs="+", default=["forward", "forward+backward"])
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--peak-of", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.peak_of:
        print_peak(*arguments.peak_of)
        return
    print(machine(), end="\n\n")
    columns = "size", "pass", "batch", "words", "words/s", "vs loop", "vs nn.LSTM", "of peak", "peak MB", "nn.LSTM MB"
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for size in arguments.sizes:
        for which in arguments.passes:
            for batch in arguments.batches:
                training = which == "forward+backward"
                row = measure(Case(size, batch, training), arguments.rounds)
                memory = [peak_megabytes(name, size, batch, training) for name in ("ours", "nn_lstm")]
                cells = [size, which, batch, row["words"], f"{row['words/s']:.0f}"]
                cells += [f"{row['vs loop']:.1f}x", f"{row['vs nn.LSTM']:.2f}x", f"{row['of peak']:.0%}"]
                cells += ["-" if value is None else f"{value:.0f}" for value in memory]
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
