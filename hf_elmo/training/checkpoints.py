"""Checkpoints that are complete or absent: whatever has the name of one can be resumed, however the run was killed."""

import json
import os
import shutil
import zlib
from pathlib import Path

from safetensors import SafetensorError
from torch import nn
from transformers import Trainer, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput, get_last_checkpoint, rotate_checkpoints

from ..hub import remove_code_and_card, saved_without_code

TRAINER_STATE_FILE = "trainer_state.json"
CHECKSUMS_FILE = "checksums.json"
WEIGHTS = "safetensors"  # in the names of the files that the best checkpoint's weights are loaded from
UNFINISHED = ".unfinished"
STAGING_FOLDER = "_unfinished"  # subfolder of the output folder for files that are not complete


class AtomicCheckpointTrainer(Trainer):
    """A Trainer that gives a checkpoint its name when it is complete, and saves no pickle of its arguments."""

    def train(self, resume_from_checkpoint: str | None = None, **kwargs: object) -> TrainOutput:
        """Train, from a checkpoint if one is given, whose folder may have been moved since it was written."""
        if resume_from_checkpoint is not None:
            with self.args.main_process_first(desc="the place of the best checkpoint"):
                best = correct_best_checkpoint(Path(resume_from_checkpoint))
            if best and self.args.load_best_model_at_end:
                check_checkpoint(best, WEIGHTS)
        return super().train(resume_from_checkpoint, **kwargs)

    def _load_best_model(self) -> None:
        check_checkpoint(self.state.best_model_checkpoint, WEIGHTS)
        super()._load_best_model()

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        """Write a checkpoint to a staging folder and rename it when it is complete."""
        output_dir = Path(self.args.output_dir)
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        staging = output_dir / STAGING_FOLDER
        if self.args.should_save:
            empty(staging)
        self.accelerator.wait_for_everyone()
        self.args.output_dir, pushes = str(staging), self.args.push_to_hub
        self.args.push_to_hub = False  # not before the checkpoint is complete
        try:
            with saved_without_code(self.accelerator.unwrap_model(self.model)):
                super()._save_checkpoint(model, trial)
            self.save_more(staging / name)
            if self.args.should_save:
                remove_code_and_card(staging / name)  # the code of the tokenizer
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(staging, ignore_errors=True)  # its files may be what fills the disk
            reason = f"{intact_checkpoint(output_dir)}: {error}"
            raise OSError(f"{output_dir / name} could not be written, {reason}") from error
        finally:
            self.args.output_dir, self.args.push_to_hub = str(output_dir), pushes
        self.accelerator.wait_for_everyone()
        if self.state.best_global_step == self.state.global_step:  # every process loads it at the end
            self.state.best_model_checkpoint = str(output_dir / name)
        if self.args.should_save:
            self.state.save_to_json(str(staging / name / TRAINER_STATE_FILE))
            write_checksums(staging / name)
            shutil.rmtree(output_dir / name, ignore_errors=True)
            os.replace(staging / name, output_dir / name)
            staging.rmdir()
            rotate_checkpoints(
                output_dir=str(output_dir),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=False,
            )
        self.accelerator.wait_for_everyone()
        if pushes:
            self._push_from_checkpoint(str(output_dir / name))

    def save_more(self, folder: Path) -> None:
        """Add files to a checkpoint that is being written. Called in all processes."""

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None):
        super()._save(output_dir, state_dict)
        # Nothing reads this file again, and a model folder should be free of pickles.
        Path(output_dir or self.args.output_dir, "training_args.bin").unlink(missing_ok=True)


def correct_best_checkpoint(checkpoint: Path) -> str | None:
    """Return the best checkpoint by another one's state, corrected there: the output folder may have been moved."""
    path = checkpoint / TRAINER_STATE_FILE
    state = TrainerState.load_from_json(str(path))
    best = state.best_model_checkpoint and checkpoint.parent / Path(state.best_model_checkpoint).name
    if best and best.is_dir() and str(best) != state.best_model_checkpoint:
        state.best_model_checkpoint = str(best)
        state.save_to_json(f"{path}{UNFINISHED}")
        os.replace(f"{path}{UNFINISHED}", path)
    return state.best_model_checkpoint


def last_checkpoint(folder: str | Path) -> str | None:
    """Return the checkpoint that an interrupted run resumes from, or None if there is none."""
    return get_last_checkpoint(str(folder)) if Path(folder).is_dir() else None


def checkpoint_to_resume(asked: str | None, folder: str | Path) -> str | None:
    """Return the checkpoint that a run resumes from, sound: the one asked for, or the last of its folder, if any."""
    checkpoint = asked or last_checkpoint(folder)
    if checkpoint:
        check_checkpoint(checkpoint)
    return checkpoint


def check_checkpoint(checkpoint: str, part: str = "") -> None:
    """Raise a `ValueError` of one line if a file of a checkpoint with `part` in its name is not as it was written."""
    sums = Path(checkpoint, CHECKSUMS_FILE)
    if not sums.is_file():  # earlier versions wrote none
        return
    try:
        expected = {str(name): int(value) for name, value in json.loads(sums.read_text(encoding="utf-8")).items()}
        damaged = next((n for n in expected if part in n and checksum(sums.parent / n) != expected[n]), None)
    except (ValueError, TypeError, AttributeError):
        damaged = CHECKSUMS_FILE
    if damaged:
        raise ValueError(
            f"{sums.parent / damaged} is not as it was written: remove {checkpoint} and all later checkpoints. "
            "The same command then resumes from an earlier one, or trains from the start."
        )


def write_checksums(checkpoint: Path) -> None:
    """Write the CRC-32 of each file of a checkpoint, by which a damaged one is found before a run resumes from it."""
    sums = {str(path.relative_to(checkpoint)): checksum(path) for path in checkpoint.rglob("*") if path.is_file()}
    write_json(checkpoint / CHECKSUMS_FILE, sums)


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file; of a Trainer's state without the path of the best checkpoint, which may move.

    Returns:
        -1 for a file that cannot be read as what it is.
    """
    value = 0
    try:
        if path.name == TRAINER_STATE_FILE:
            state = {**json.loads(path.read_text(encoding="utf-8")), "best_model_checkpoint": None}
            return zlib.crc32(json.dumps(state, sort_keys=True).encode())
        with open(path, "rb") as file:
            while part := file.read(1 << 20):
                value = zlib.crc32(part, value)
    except (OSError, ValueError, TypeError):
        return -1
    return value


def intact_checkpoint(folder: str | Path) -> str:
    """Say, for a message, which checkpoint a run that failed leaves."""
    checkpoint = last_checkpoint(folder)
    return f"{checkpoint} is intact" if checkpoint else "there is no checkpoint yet"


def move_into_place(staging: Path, folder: Path, stale: list[str] | tuple[str, ...] = ()) -> None:
    """Move the files of a complete staging folder to their final names, after removing what they replace.

    Args:
        stale: Patterns of files in `folder` that belong to an earlier result. They are removed before the first file is
            moved, so that old predictions never lie beside new weights.
    """
    for path in [path for pattern in stale for path in folder.glob(pattern)]:
        path.unlink()
    for path in sorted(staging.iterdir()):
        if path.is_dir():
            shutil.rmtree(folder / path.name, ignore_errors=True)
        os.replace(path, folder / path.name)
    staging.rmdir()


def remove_checkpoints(folder: str | Path) -> None:
    """Remove all checkpoints of a folder, and what an interrupted save left."""
    for path in [*Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*"), Path(folder, STAGING_FOLDER)]:
        shutil.rmtree(path, ignore_errors=True)


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def empty(folder: Path) -> None:
    """Make a folder, or remove what an interrupted run left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
