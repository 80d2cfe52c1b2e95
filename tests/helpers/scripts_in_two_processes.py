"""What each of two processes runs in tests/training/test_every_script.py: one script after the other."""

import sys
from pathlib import Path

from toy_scripts import SCRIPTS

EXACT = {"classifier_dropout": 0.0, "head_dropout": 0.0}
OPTIONS = {"seq2seq": ["--decoder_dropout", "0"]}


def train(name: str, data: Path, output: Path, batch_size: int, *more: str) -> None:
    """Run a script for an epoch without dropout, whose random numbers differ by process."""
    script, make_command = SCRIPTS[name]
    epoch = ["--num_train_epochs", "1", "--per_device_train_batch_size", str(batch_size), *OPTIONS.get(name, [])]
    assert script(make_command(data, output, *epoch, *more, **EXACT)) == 0


if __name__ == "__main__":
    data, output, *names = sys.argv[1:]
    for name in names:
        train(name, Path(data), Path(output) / name, 4, "--ddp_find_unused_parameters", "False")
