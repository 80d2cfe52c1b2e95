"""Kill `hf-elmo embed` at random moments, continue it, and compare the file with that of an unbroken run.

    python tests/helpers/killed_embedding.py FOLDER [--kills 50] [--seed 0] [--num_processes 2] [--sentences 2000]

Every run is a child of this process, which has imported everything already, so that most kills hit the run and not its
start. A run is killed up to three times before it may end.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from hf_elmo import ElmoConfig, ElmoModel, ElmoTokenizer
from hf_elmo.cli import main as hf_elmo

SIZES = {"char_embedding_size": 4, "char_cnn_filters": [[1, 8], [2, 8]], "projection_size": 8, "cell_size": 16}
KINDS = "h5", "parquet", "safetensors"


def write_inputs(folder: Path, sentences: int) -> None:
    torch.manual_seed(0)
    ElmoModel(ElmoConfig(num_highway_layers=1, **SIZES)).save_pretrained(folder / "model")
    ElmoTokenizer().save_pretrained(folder / "model")
    draw = random.Random(0)
    lines = [" ".join(f"word{draw.randint(0, 99)}" for _ in range(draw.randint(0, 20))) for _ in range(sentences)]
    (folder / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def start(folder: Path, output: Path, *options: str) -> int:
    """Start a run in a child process, and return the child's id."""
    child = os.fork()
    if child:
        return child
    with (folder / "log.txt").open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    code = 1
    try:
        sizes = ["--words-per-part", "150", "--words-per-batch", "100", "--layers", "all"]
        code = hf_elmo(
            ["embed", str(folder / "text.txt"), str(output), "--model", str(folder / "model"), *sizes, *options]
        )
    finally:
        os._exit(code)


def end(child: int, seconds: float) -> int | None:
    """Return the exit code of a child that ends in time; kill it otherwise, and return None."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check(folder: Path, kills: int, seed: int, sentences: int = 200, processes: int = 1) -> dict[str, int]:
    """Kill runs so many times, and assert that each ends as an unbroken run; return counts."""
    write_inputs(folder, sentences)
    draw, unbroken, lengths = random.Random(seed), {}, {}
    options = ["--num_processes", str(processes)]
    for kind in KINDS:
        began, path = time.monotonic(), folder / f"whole.{kind}"
        assert end(start(folder, path, *options), 300) == 0, (folder / "log.txt").read_text()[-2000:]
        unbroken[kind], lengths[kind] = digest(path), time.monotonic() - began
    killed = runs = with_parts = 0
    while killed < kills:
        kind = KINDS[runs % len(KINDS)]
        path = folder / f"cut-{runs}.{kind}"
        for _ in range(3):
            code = end(start(folder, path, *options), lengths[kind] * draw.uniform(0.1, 1.1))
            if code is not None:
                break
            killed += 1
            partial = Path(f"{path}.partial")
            with_parts += any(partial.glob("part-*.safetensors"))
            if path.exists():  # complete, whatever else was still to be done
                assert digest(path) == unbroken[kind]
                if not partial.exists():
                    code = 0
                    break
        if code is None:
            assert end(start(folder, path, *options), 300) == 0, (folder / "log.txt").read_text()[-2000:]
        assert digest(path) == unbroken[kind], f"{path} differs from the file of the unbroken run"
        assert not Path(f"{path}.partial").exists()
        runs += 1
    return {"kills": killed, "runs": runs, "kills_with_parts": with_parts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num_processes", type=int, default=1)
    parser.add_argument("--sentences", type=int, default=200)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(json.dumps(check(options.folder, options.kills, options.seed, options.sentences, options.num_processes)))


if __name__ == "__main__":
    sys.exit(main())
