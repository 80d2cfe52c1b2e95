"""What each of two processes runs in tests/model/test_trainer.py: every toy task for two steps."""

import sys
from pathlib import Path

import torch
from toy_tasks import CHECKPOINTING, TASKS
from toy_trainer import make_trainer


def main(folder: Path):
    for name, task in TASKS.items():
        # With activation checkpointing, the Trainer does not let a process leave a parameter without a gradient.
        distributed = {"ddp_backend": "gloo", CHECKPOINTING: True}
        trainer = make_trainer(task, folder, per_device_train_batch_size=3, max_steps=2, **distributed)
        assert trainer.args.world_size == 2
        trainer.train()
        if trainer.is_world_process_zero():
            torch.save(dict(trainer.model.named_parameters()), folder / f"{name}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
