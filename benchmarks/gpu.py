"""Everything that needs a GPU, in one command of at most eight minutes: are the kernels right, and how fast are they?

    python benchmarks/gpu.py [--output gpu.json] [--batches 1 32 128 512] [--rounds 5] [--skip tests pretraining]

Random weights, made-up text, no network; needs torch with Triton and pytest. Three parts, each written to the JSON file
as soon as it is known:

tests        the tests of the Triton kernels against the reference, every result and gradient, on this GPU
layer        one biLSTM layer of the original size (4096 cells, 512 numbers out): forward on ragged sentences of about
             25 words, forward and backward on windows of 20. Exact float32, float32 with TF32 products, and bfloat16,
             against cuDNN's `nn.LSTM(proj_size)` in the same precision, and against the floor: the time of the
             arithmetic at the rate of a large product, or that of reading the recurrent weights once a step at the
             bandwidth of a large copy, whichever is longer
pretraining  words per second of the pretraining script, of the small size (1024 cells, 128 numbers, 640 words a step)
             and of the original one (2560 words a step)
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import torch
from measuring import (
    SIZES,
    Rounds,
    Settings,
    count,
    large_products,
    machine,
    print_header,
    print_row,
    ragged_lengths,
    times,
)
from recurrence import TRAINING_WINDOW, Layer
from tokenizer import made_up_lines  # the benchmark beside this one

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = {"float32": "float32", "tf32": "float32", "bfloat16": "bfloat16"}  # and the type of the tensors
COLUMNS = ["pass", "numbers", "sentences", "words/s", "cuDNN", "the loop", "of the floor", "backend"]
SCRIPTS = {  # options of the pretraining script, and the steps that are timed
    "small": (["--size", "small", "--per_device_train_batch_size", "32", "--num_negative_samples", "2048"], 200),
    "original": (["--size", "original", "--per_device_train_batch_size", "128", "--num_negative_samples", "8192"], 50),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="gpu.json", help="JSON file of all numbers")
    parser.add_argument("--size", default="original", choices=SIZES, help="of the layer")
    parser.add_argument("--batches", nargs="+", default=[1, 32, 128, 512], type=int, help="sentences at a time")
    parser.add_argument("--rounds", default=5, type=int, help="rounds, in each of which all contestants run")
    parser.add_argument("--skip", nargs="+", default=[], choices=["tests", "layer", "pretraining"], help="parts")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: a look at whether it runs")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("gpu.py: torch sees no GPU here; --device cpu shows that the layer's part runs", file=sys.stderr)
        return 1
    report: dict = {"machine": machine(arguments.device), "started": time.strftime("%Y-%m-%d")}
    print(report["machine"], flush=True)
    parts = {"tests": test_kernels, "layer": time_layer, "pretraining": time_pretraining}
    for name, part in parts.items():
        if name not in arguments.skip:
            started = time.perf_counter()
            report[name] = part(arguments)
            report[name]["seconds"] = round(time.perf_counter() - started, 1)
            Path(arguments.output).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int("tests" in report and report["tests"]["exit_code"] != 0)


def test_kernels(arguments: argparse.Namespace) -> dict:
    """Run the tests of the kernels on the GPU, in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore::RuntimeWarning"]
    command += ["-n", str(min(os.cpu_count() or 1, 12)), "tests/helpers/triton_cases.py"]
    run = subprocess.run(command, cwd=ROOT, env={**os.environ, "TRITON_INTERPRET": "0"}, capture_output=True, text=True)
    lines = run.stdout.strip().splitlines()
    print(f"\nkernels against the reference: {lines[-1] if lines else run.stderr[-500:]}", flush=True)
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR", "E  "))]
    print("\n".join(failures[:40]), flush=True)
    return {"exit_code": run.returncode, "summary": lines[-1:], "failures": failures}


def set_precision(numbers: str) -> None:
    """Let float32 products be exact, or of TF32, in our kernels and in cuDNN's alike."""
    precision = "tf32" if numbers == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.rnn.fp32_precision = precision


def compile_kernels(case: tuple) -> None:
    """Run a layer twice, so that its kernels are in Triton's cache on disk."""
    numbers, training, batch, size, device = case
    set_precision(numbers)
    layer = Layer(size, batch, training, device, NUMBERS[numbers])
    ours = layer.contestants()["ours"]
    ours(), ours()


def time_layer(arguments: argparse.Namespace) -> dict:
    device, size = arguments.device, arguments.size
    cases = list(product(NUMBERS, (False, True), arguments.batches))
    if device == "cuda":  # a compilation keeps one core busy, so several processes compile
        with ProcessPoolExecutor(min(os.cpu_count() or 1, 8), get_context("spawn")) as pool:
            list(pool.map(compile_kernels, [(*case, size, device) for case in cases]))
    bandwidth = copy_bandwidth(device)
    title = f"One biLSTM layer of the {size} size; a copy moves {bandwidth / 1e9:,.0f} GB/s, read and written"
    print_header(title, COLUMNS)
    rows = [time_case(arguments, bandwidth, *case) for case in cases]
    return {"size": size, "copy_bytes_per_second": bandwidth, "rows": rows}


def copy_bandwidth(device: str) -> float:
    """Return the bytes per second of a large copy, those read and those written."""
    source = torch.ones(2**28 if device == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    settings = Settings([], [], 0, [], 5, device, 0, lambda *what: None)
    return Rounds({"copy": lambda: target.copy_(source)}, settings).rate("copy", 2 * source.nbytes)


def time_case(arguments: argparse.Namespace, bandwidth: float, numbers: str, training: bool, batch: int) -> dict:
    set_precision(numbers)
    dtype = getattr(torch, NUMBERS[numbers])
    peak_size = 8192 if arguments.device == "cuda" else 256
    settings = Settings([], [], 0, [], arguments.rounds, arguments.device, peak_size, lambda *what: None)
    layer = Layer(arguments.size, batch, training, arguments.device, NUMBERS[numbers])
    products, work = large_products(arguments.device, dtype, peak_size)
    contestants = {name: action for name, action in layer.contestants().items() if name != "int8"}
    taken = Rounds(contestants | products, settings, rivals=("nn.LSTM",))
    cell, width = SIZES[arguments.size]
    steps = TRAINING_WINDOW if training else max(ragged_lengths(batch))
    weights = 2 * 5 * cell * width * dtype.itemsize  # W_hh and W_hr of both directions, read in each step
    reading = steps * weights * (2 if training else 1) / bandwidth
    arithmetic = taken.median(lambda seconds: layer.operations * max(seconds[name] / work[name] for name in work))
    row = {
        "pass": "forward, backward" if training else "forward",
        "numbers": numbers,
        "sentences": batch,
        "words_per_second": round(taken.rate("ours", layer.words)),
        "over_cudnn": taken.faster("ours", "nn.LSTM"),
        "over_loop": taken.faster("ours", "loop"),
        "of_the_floor": max(reading, arithmetic) / taken.median(lambda seconds: seconds["ours"]),
        "floor": "reading" if reading > arithmetic else "arithmetic",
        "backend": layer.backend,
        "seconds": {name: taken.median(lambda seconds, name=name: seconds[name]) for name in taken.times[0]},
    }
    cells = [row["pass"], numbers, batch, count(row["words_per_second"]), times(row["over_cudnn"])]
    print_row(*cells, times(row["over_loop"]), f"{row['of_the_floor']:.0%} ({row['floor']})", layer.backend)
    return row


def time_pretraining(arguments: argparse.Namespace) -> dict:
    """Run the pretraining script on made-up text, and read its words per second from the logs."""
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text("\n".join(made_up_lines()) + "\n", encoding="utf-8")
        for (size, (options, steps)), precision in product(SCRIPTS.items(), ("tf32", "bf16")):
            name = f"{size}, {precision}"
            output = Path(folder) / name.replace(", ", "-")
            command = [sys.executable, "-m", "hf_elmo.training.pretrain", "--train_files", str(text)]
            command += ["--max_vocab_size", "10000" if size == "small" else "800000", "--min_count", "1", *options]
            command += [f"--{precision}", "True", "--max_steps", str(2 * steps), "--logging_steps", str(steps)]
            command += ["--save_strategy", "no", "--output_dir", str(output), "--plots", "False", "--report_to", "none"]
            run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if run.returncode:
                print(f"pretraining, {name}: {run.stderr.strip().splitlines()[-1:]}", flush=True)
                rates[name] = None
                continue
            logs = json.loads((output / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
            rates[name] = [log for log in logs if "words_per_second" in log][-1]["words_per_second"]
            print(f"pretraining, {name}: {rates[name]:,.0f} words/s", flush=True)
    return {"words_per_second": rates}


if __name__ == "__main__":
    sys.exit(main())
