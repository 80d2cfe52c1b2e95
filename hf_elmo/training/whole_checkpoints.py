"""Checkpoints that are whole: what stands under the name of one can be resumed, whenever the run was killed."""

import os
import shutil
from pathlib import Path

from safetensors import SafetensorError
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint, rotate_checkpoints

TRAINER_STATE_FILE = "trainer_state.json"


class WholeCheckpoints(Trainer):
    """A Trainer that writes a checkpoint under another name first, and no pickle of its arguments."""

    def _save_checkpoint(self, model, trial):
        """Write a checkpoint under another name, and rename it when it is complete: what has its name is whole."""
        output_dir = Path(self.args.output_dir)
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        staging = output_dir / "_unfinished"
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.args.output_dir, pushes = str(staging), self.args.push_to_hub
        self.args.push_to_hub = False  # not before it is complete
        try:
            super()._save_checkpoint(model, trial)
            self.save_more(staging / name)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(staging, ignore_errors=True)  # it may be what fills the disk
            raise OSError(
                f"{output_dir / name} could not be written, earlier checkpoints are whole: {error}"
            ) from error
        finally:
            self.args.output_dir, self.args.push_to_hub = str(output_dir), pushes
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            if self.state.best_model_checkpoint == str(staging / name):
                self.state.best_model_checkpoint = str(output_dir / name)
                self.state.save_to_json(str(staging / name / TRAINER_STATE_FILE))
            shutil.rmtree(output_dir / name, ignore_errors=True)
            os.replace(staging / name, output_dir / name)
            staging.rmdir()
            rotate_checkpoints(
                output_dir=str(output_dir),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )
        if pushes:
            self._push_from_checkpoint(str(output_dir / name))

    def save_more(self, folder: Path):
        """Add to a checkpoint that is being written, in all processes."""

    def _save(self, output_dir: str | None = None, state_dict=None):
        super()._save(output_dir, state_dict)
        # Nothing reads it again, and it is a pickle, which a model folder should be free of.
        Path(output_dir or self.args.output_dir, "training_args.bin").unlink(missing_ok=True)


def last_checkpoint(folder: str) -> str | None:
    """The one to go on from, if there is one."""
    return get_last_checkpoint(folder) if Path(folder).is_dir() else None
