"""Runs that are killed at every kind of moment, and the same command after it: `python tests/helpers/kills.py 100`.

A run changes its folder in a countable number of events (a file opened for writing, renamed, removed; a folder made or
removed), which an audit hook sees. A run that is killed at a random one of them has stopped at a moment as good as any,
since nothing changes on the disk in between. Each run is a fork of this process, which has imported everything before.
"""

import argparse
import gc
import json
import os
import random
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "shutil.copyfile", "os.truncate"}


class Kill:
    """An audit hook that counts the changes below a folder, and kills the process at one of them."""

    def __init__(self, folder: Path, at: int | None):
        self.folder, self.at, self.count = str(folder), at, 0

    def __call__(self, event: str, arguments: tuple):
        is_change = event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if is_change and str(arguments[0]).startswith(self.folder):
            self.count += 1
            if self.count == self.at:
                os.kill(os.getpid(), signal.SIGKILL)


def run(main: Callable, command: list[str], folder: Path, kill_at: int | None = None) -> int:
    """Run a script in a fork, with a log beside the folder. Return the number of changes, or -1 if it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 3
        try:
            log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            hook = Kill(folder, kill_at)
            sys.addaudithook(hook)
            code = main(command)
            os.write(writing, str(hook.count).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        count = pipe.read()
    if os.WIFSIGNALED(status) and kill_at is not None:
        return -1
    assert status == 0, Path(f"{folder}.log").read_text()[-3000:]
    return int(count)


def outcome(folder: Path) -> dict[str, object]:
    """Everything a run leaves, but the time it took."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name, content in found.items():
        if name.endswith(("all_results.json", "run.json", "trainer_state.json", "train_results.json")):
            found[name] = without_times(json.loads(content))
        elif name.endswith("README.md"):
            found[name] = content.replace(str(folder).encode(), b"").replace(folder.name.encode(), b"")
    return found


def without_times(value: object) -> object:
    if isinstance(value, dict):
        timed = ("seconds", "runtime", "per_second", "best_model_checkpoint", "total_flos")
        return {name: without_times(one) for name, one in value.items() if not any(part in name for part in timed)}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def differences(one: dict, other: dict) -> list[str]:
    return sorted(name for name in {**one, **other} if one.get(name) != other.get(name))


def check(name: str, main: Callable, make_command: Callable, folder: Path, kills: int, seed: int) -> None:
    """Kill runs of a script at random changes, up to three times each, and compare what the same command makes of them.

    Raises:
        `AssertionError`: if a run fails, or ends in another way than the one that was not killed.
    """
    whole = folder / f"{name}-whole"
    changes = run(main, make_command(whole), whole)
    expected, draw = outcome(whole), random.Random(seed)
    moments = [*range(changes - min(3, kills // 2) + 1, changes + 1)]  # the last ones, always
    moments += [draw.randint(1, changes) for _ in range(kills - len(moments))]
    for number, moment in enumerate(moments):
        cut = folder / f"{name}-{number}"
        trail, left = [moment], draw.randint(0, 2)
        while run(main, make_command(cut), cut, kill_at=trail[-1]) == -1 and left:
            trail.append(draw.randint(1, changes))
            left -= 1
        run(main, make_command(cut), cut)
        found = outcome(cut)
        for file in differences(expected, found):
            print(f"{cut}: killed at {trail}: {file}\n  {expected.get(file)!r:.2000}\n  {found.get(file)!r:.2000}")
        assert not differences(expected, found)
        before = {path: path.stat().st_mtime_ns for path in cut.rglob("*")}
        run(main, make_command(cut), cut)
        assert before == {path: path.stat().st_mtime_ns for path in cut.rglob("*")}, f"{cut}: touched after its end"
        print(f"{name}: killed at {trail} of {changes} changes, and ended alike", flush=True)


def two_epochs(make_command: Callable, data: Path, output: Path) -> list[str]:
    """Return a command of few steps whose first checkpoint is not its last."""
    few = ["--max_train_samples", "24", "--save_steps", "2", "--eval_steps", "2"]
    return make_command(data, output, "--num_train_epochs", "2", *few)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int, help="Runs of each script that are killed.")
    parser.add_argument("--scripts", nargs="+", default=None, help="By default all.")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    from toy_scripts import SCRIPTS, write_data

    with tempfile.TemporaryDirectory() as folder:
        data = write_data(Path(folder) / "data")
        gc.freeze()  # a training collects garbage, and would look at all that was imported
        for name in arguments.scripts or SCRIPTS:
            script, make_command = SCRIPTS[name]
            check(name, script, partial(two_epochs, make_command, data), Path(folder), arguments.kills, arguments.seed)


if __name__ == "__main__":
    main()
