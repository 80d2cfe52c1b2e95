"""Kill pretraining runs at random moments, resume them, and compare each with the unbroken run.

    python tests/helpers/killed_pretraining.py FOLDER [--kills 100] [--seed 0]

Every run is a child of this process, which has imported everything already, so that most kills hit the run and not its
start. A run is killed up to three times before it may end. The moments are drawn over the whole length of a run, half
of them from its last third, where the last checkpoint, the evaluation, the final save and the card are written.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from toy_pretraining import command, pretrained, write_texts

COMPARED = ("model.safetensors", "config.json", "vocab.txt", "tokenizer_config.json", "README.md", "all_results.json")


def start(arguments: list[str], log: Path) -> int:
    """Start a run in a child process, and return the child's id."""
    child = os.fork()
    if child:
        return child
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os._exit(pretrained(*arguments))


def wait(child: int, seconds: float) -> int | None:
    """Return the exit code of a child that ends in time; kill it otherwise, and return None."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def products(folder: Path) -> dict[str, bytes]:
    """Return the files of a finished run that must not depend on how often it was killed."""
    files = {name: (folder / name).read_bytes() for name in COMPARED}
    files["README.md"] = files["README.md"].replace(folder.name.encode(), b"NAME")
    state = json.loads((folder / "trainer_state.json").read_text())
    timed = ("words_per_second", "eta_seconds", "eval_runtime")
    logs = [log for log in state["log_history"] if "train_runtime" not in log]
    files["logs"] = json.dumps([{name: log[name] for name in log if name not in timed} for log in logs]).encode()
    files["run.json"] = json.dumps(json.loads((folder / "run.json").read_text()), sort_keys=True).encode()
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    texts, rng = write_texts(options.folder), random.Random(options.seed)
    more = ["--validation_files", str(texts / "held_out.txt"), "--logging_steps", "1", "--save_steps", "3"]
    log = options.folder / "log.txt"
    began = time.monotonic()
    assert wait(start(command(texts, options.folder / "unbroken-run", *more), log), 300) == 0, log.read_text()[-2000:]
    length, expected = time.monotonic() - began, products(options.folder / "unbroken-run")

    kills = runs = moments = 0
    while kills < options.kills:
        folder = options.folder / f"run-{runs}"
        arguments = command(texts, folder, *more)
        for _ in range(3):
            first = 0.66 if rng.random() < 0.5 else 0.0
            code = wait(start(arguments, log), length * rng.uniform(first, 1.02))
            kills += code is None
            moments += code is None and (folder / "checkpoint-12").is_dir()
            if code is not None:
                break
        assert wait(start(arguments, log), 300) == 0, log.read_text()[-2000:]
        found = products(folder)
        for name, content in expected.items():
            assert found[name] == content, f"{folder}: {name} differs from that of the unbroken run"
        assert not list(folder.glob("_*")), "something unfinished is left"
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        assert wait(start(arguments, log), 300) == 0
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before, "an ended run was changed"
        runs += 1
    print(json.dumps({"kills": kills, "runs": runs, "kills_after_the_last_checkpoint": moments}))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
