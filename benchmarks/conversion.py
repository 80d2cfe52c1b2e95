"""Memory and time of conversion, loading and the way back.

python benchmarks/conversion.py [--size 93.6M|5M] [--keep FOLDER]

Prints one JSON object a step: seconds, and the peak of resident memory above the interpreter with its imports as a
multiple of the weight file's size. Linux only.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hf_elmo import ElmoModel
from hf_elmo.conversion import convert
from hf_elmo.conversion.random_weights import random_weights, write_files

ORIGINAL_FILTERS = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]]
SIZES = {
    "93.6M": {"projection_dim": 512, "dim": 4096, "filters": ORIGINAL_FILTERS},
    "5M": {"projection_dim": 128, "dim": 1024, "filters": ORIGINAL_FILTERS[:-1]},
}


def write_original(folder: Path, size: str):
    """Random weights of a size in the original format."""
    sizes = SIZES[size]
    lstm = {"use_skip_connections": True, "cell_clip": 3, "proj_clip": 3, "n_layers": 2}
    characters = {"activation": "relu", "n_highway": 2, "n_characters": 262, "max_characters_per_token": 50}
    options = {
        "lstm": {**lstm, "projection_dim": sizes["projection_dim"], "dim": sizes["dim"]},
        "char_cnn": {**characters, "embedding": {"dim": 16}, "filters": sizes["filters"]},
    }
    write_files(folder, options, random_weights(options))


def measure(folder: Path, python: str = sys.executable) -> list[dict]:
    """Convert `folder`/original, load the result and convert it back, in a process that did nothing else before."""
    result = subprocess.run([python, __file__, "--in", folder], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


def run_steps(folder: Path):
    original, model, back = folder / "original", folder / "model", folder / "back"
    length = (original / "weights.hdf5").stat().st_size
    for step, run in {
        "convert": lambda: convert(original, model),
        "load": lambda: load(model),
        "back": lambda: convert(model, back, to="hdf5"),
    }.items():
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget the peak before
        before, start = memory("VmRSS"), time.perf_counter()
        run()
        seconds, peak = time.perf_counter() - start, memory("VmHWM") - before
        record = {"step": step, "file_mb": length >> 20, "seconds": round(seconds, 2)}
        print(json.dumps({**record, "peak_mb": peak >> 20, "peak_ratio": round(peak / length, 3)}))


def load(folder: Path):
    for parameter in ElmoModel.from_pretrained(folder).parameters():
        parameter.sum()  # a file that is only mapped into memory is not loaded yet


def memory(field: str) -> int:
    """A field of the process's status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="93.6M")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="where to leave the files")
    parser.add_argument("--in", dest="inside", metavar="FOLDER", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        run_steps(arguments.inside)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            folder = arguments.keep or Path(scratch)
            write_original(folder / "original", arguments.size)
            for record in measure(folder):
                print(json.dumps({"size": arguments.size, **record}))
