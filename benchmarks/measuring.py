"""What the parts of the speed benchmark share: contestants in turns, memory of a pass, the cores' own speed, tables."""

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hf_elmo.env import instructions, processor

SIZES = {  # cell and projection of the published models, and one for a look at whether everything runs
    "tiny": (32, 8),
    "small": (1024, 128),
    "medium": (2048, 256),
    "original": (4096, 512),
}
STATUS = Path("/proc/self/status")


@dataclass
class Settings:
    """What is timed, and how."""

    sizes: list[str]
    batches: list[int]
    sentences: int  # of the corpus whose time is taken
    memory_sentences: list[int]  # of those whose memory is
    rounds: int
    device: str
    peak_size: int  # rows of the large product
    megabytes: Callable[..., float | None]  # of a pass


def machine(device: str) -> str:
    """The machine in words: what its ratios hold for."""
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    clock = "; times are of the processor" if torch.get_num_threads() == 1 else ""
    return f"{processor()} ({instructions()}), {torch.get_num_threads()} threads, torch {torch.__version__}{clock}"


def seconds(action: Callable[[], object], device: str = "cpu") -> float:
    """The seconds of an action: of the processor where one thread computes, so that other processes do not count."""
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


class Rounds:
    """The seconds of several contestants, run in alternation so that a busy machine slows all of them alike.

    Two rounds warm up and do not count: a GPU captures its graphs in the second. Every number is a median over rounds,
    and a ratio is one of two neighboring times.

    Args:
        contestants: What each of them does.
        rivals: Those that are left out with a note where they cannot run; ratios to them are None.
    """

    def __init__(self, contestants: dict[str, Callable[[], object]], settings: Settings, rivals: tuple[str, ...] = ()):
        able = {}
        for name, action in contestants.items():
            try:
                for _ in range(2):
                    seconds(action, settings.device)
                able[name] = action
            except RuntimeError as error:
                if name not in rivals:
                    raise
                print(f"{name} cannot run here: {str(error).splitlines()[0]}", file=sys.stderr)
        self.times = [
            {name: seconds(action, settings.device) for name, action in able.items()} for _ in range(settings.rounds)
        ]

    def median(self, of_one_round: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(map(of_one_round, self.times))

    def faster(self, contestant: str, than: str) -> float | None:
        """How many times as fast a contestant is."""
        return self.median(lambda times: times[than] / times[contestant]) if than in self.times[0] else None

    def rate(self, contestant: str, count: int) -> float:
        """How many of something a contestant does in a second."""
        return self.median(lambda times: count / times[contestant])

    def of_peak(self, contestant: str, operations: float, peaks: dict[str, float]) -> str:
        """The contestant's operations a second, of those of the fastest product of the same round, in GFLOP/s."""

        def peak(times: dict[str, float]) -> float:
            return max(work / times[name] for name, work in peaks.items())

        share = self.median(lambda times: operations / times[contestant] / peak(times))
        return f"{share:.0%} of {self.median(peak) / 1e9:,.0f}"


def large_products(device: str, dtype: torch.dtype, size: int) -> tuple[dict[str, Callable], dict[str, float]]:
    """Products of two square matrices, by each library that is here, and the operations of each: what the machine can
    multiply at all."""
    square = torch.randn(size, size, device=device, dtype=dtype)
    products = {"torch.mm": lambda: torch.mm(square, square)}
    if device == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available():
        linear = torch.ops.mkldnn._linear_pointwise.default
        products["oneDNN"] = lambda: linear(square, square, None, "none", [], "")
    return products, dict.fromkeys(products, 2 * size**3)


def memory(field: str) -> int:
    """A field of this process's status, in bytes (Linux)."""
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


def forget_peak() -> int:
    """Reset the peak of resident memory to the current value, and return that value in bytes."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return memory("VmRSS")


def megabytes_of(action: Callable[[], object], device: str) -> float:
    """Return the peak memory of an action beyond what is held before it, in MB."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        seconds(action, device)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))  # what the first product loads belongs to no contestant
    before = forget_peak()
    action()
    return (memory("VmHWM") - before) / 2**20


def in_a_fresh_process(*what) -> float | None:
    """The megabytes that `speed.py --memory-of` prints for `what`, or None where the system does not report memory."""
    if not STATUS.exists():
        return None
    threads = str(torch.get_num_threads())
    command = [sys.executable, str(Path(__file__).with_name("speed.py")), "--threads", threads, "--memory-of"]
    run = subprocess.run([*command, json.dumps(what)], check=True, capture_output=True, text=True)
    return float(run.stdout)


def ragged_lengths(count: int, seed: int = 0) -> list[int]:
    """Words of sentences: 10 to 60, about 25 in the mean, more short ones than long ones."""
    if count == 1:
        return [25]
    random = np.random.default_rng(seed)
    return np.minimum(10 + 12 * random.lognormal(size=count), 60).astype(int).tolist()


def print_header(title: str, columns: list[str]):
    print(f"\n{title}\n\n| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns), flush=True)


def print_row(*cells):
    print("| " + " | ".join("" if cell is None else str(cell) for cell in cells) + " |", flush=True)


def times(ratio: float | None) -> str | None:
    return None if ratio is None else f"{ratio:.2f}x"


def count(number: float | None) -> str | None:
    return None if number is None else f"{number:,.0f}"
