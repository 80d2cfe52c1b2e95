"""The identity of a run: a folder is resumed by the run that it belongs to, and by no other.

A run writes `run.json` into its output folder before its first step: everything on which its result depends, by name.
The same file says, written last, that the run has ended. So the same command resumes an interrupted run, leaves an
ended one alone, and is refused where a folder belongs to another run, or where the same run is going on.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..model.tokenization_elmo import ElmoTokenizer

RUN_FILE = "run.json"
LOCK_FILE = "_run.lock"  # locked while a process trains, and unlocked by the system if it is killed
# Files and folders that a run writes. Without a run file beside them nobody knows which run they are of.
PRODUCTS = ("*.safetensors", f"{PREFIX_CHECKPOINT_DIR}-*", "seed-*", "*_predictions*", "*_results.json", "_unfinished")
# Its plots, by their exact names: other pictures may lie beside them.
PLOTS = ("training_curves.png", "layer_weights.png", "errors.png")
# Arguments on which no result depends. The data is identified by its content, so that its path may change.
WITHOUT_EFFECT = {
    *("output_dir", "overwrite_output_dir", "resume_from_checkpoint", "save_total_limit", "keep_checkpoints"),
    *("plots", "seeds", "cache_dir", "license", "language", "do_train", "do_eval", "do_predict", "local_rank"),
    *("log_level", "log_level_replica", "log_on_each_node", "logging_strategy", "logging_steps", "logging_first_step"),
    *("disable_tqdm", "report_to", "run_name", "project", "trackio_space_id", "trackio_bucket_id", "logging_dir"),
    *("trackio_static_space_id", "push_to_hub", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy"),
    *("hub_always_push", "hub_revision", "dataloader_num_workers", "dataloader_pin_memory", "ddp_timeout"),
    *("dataloader_persistent_workers", "dataloader_prefetch_factor", "skip_memory_metrics", "debug"),
    *("train_file", "validation_file", "test_file", "train_files", "validation_files", "word_vectors"),
    *("model_name_or_path", "vocab_file", "config_name"),
}
# Fields of a configuration that say where and how it was saved, and the labels, which a record lists by themselves
NOT_OF_A_MODEL = {"auto_map", "_name_or_path", "transformers_version", "id2label", "label2id"}


class RunRecord:
    """The record of one run in its folder.

    Args:
        folder: The run's output folder.
        identity: Everything on which the result depends, by name: `--option` names for settings, others as messages
            should call them ("labels", "training data"). Values as JSON has them; content is given by its `digest`.
        is_main: Whether this is the process, of several that train together, that keeps others out of the folder.
    """

    elsewhere = "give another --output_dir"
    way_out = f"{elsewhere}, or --overwrite_output_dir True to replace it"

    def __init__(self, folder: str | Path, identity: Mapping, is_main: bool = True):
        self.folder, self.path = Path(folder), Path(folder) / RUN_FILE
        self.lock = FileLock(self.folder / LOCK_FILE, timeout=0) if is_main else None
        self.identity = given(json.loads(json.dumps(identity, default=str)))

    def read(self) -> dict:
        """Return what the folder's run file holds: `identity`, `ended`, `results`; {} without such a file."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return {**content, "identity": given(dict(content["identity"])), "ended": bool(content["ended"])}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{self.path}: not the record of a run; {self.way_out}") from None

    def has_ended(self) -> bool:
        """Return whether this very run has ended in the folder before."""
        found = self.read()
        return bool(found) and found["ended"] and found["identity"] == self.identity

    def claim(self, overwrite: bool = False) -> None:
        """Make the folder this run's: write the record, or resume the same run. In several processes, first the main.

        Args:
            overwrite: Whether what another run, or this one in an earlier attempt that ended, left is removed.

        Raises:
            `ValueError`: if the folder belongs to another run, or holds results of an unknown one, or if another
                process writes to it.
        """
        self.keep_others_out()
        try:
            self.claim_locked(overwrite)
        except BaseException:
            self.close()
            raise

    def claim_locked(self, overwrite: bool) -> None:
        """Read and write the record while no other process does."""
        if overwrite:
            try:
                found = self.read()
            except ValueError:
                found = {}
            if found.get("identity") == self.identity and not found["ended"]:
                return
            self.remove_products()
        elif found := self.read():
            if found["identity"] != self.identity:
                raise ValueError(f"{self.folder} holds another run: {self.differences(found['identity'])}")
            if not found["ended"]:
                return
        elif product := next((path for pattern in PRODUCTS for path in sorted(self.folder.glob(pattern))), None):
            raise ValueError(f"{self.folder} holds {product.name} of an unknown run; {self.way_out}")
        self.write(ended=False)

    def keep_others_out(self) -> None:
        """Lock the folder, where its file system has locks, until this record is closed or the process ends."""
        if self.lock is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(NotImplementedError):
            try:
                self.lock.acquire()
            except Timeout:
                reason = f"another process writes there; wait for its end, or {self.elsewhere}"
                raise ValueError(f"{self.folder}: {reason}") from None

    def finish(self, results: Mapping | None = None) -> None:
        """Record that the run has ended. To be called last, when all its files are in place."""
        self.write(ended=True, results=results)

    def close(self) -> None:
        """Let other processes into the folder, of which this process or none is writing to it."""
        if self.lock is not None:
            with contextlib.suppress(OSError):  # Windows removes no open file
                Path(self.lock.lock_file).unlink()
            self.lock.release(force=True)

    def write(self, ended: bool, results: Mapping | None = None):
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".unfinished")
        content = {"identity": self.identity, "ended": ended, "results": results}
        unfinished.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(unfinished, self.path)

    def remove_products(self):
        """Remove everything a run wrote; files of other names, and a card that somebody wrote, are kept."""
        for path in [path for pattern in (*PRODUCTS, *PLOTS) for path in self.folder.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.path.unlink(missing_ok=True)

    def differences(self, other: Mapping) -> str:
        """Name how another identity differs, the first difference with both values, and the way out. One line."""
        names = [name for name in {**self.identity, **other} if other.get(name) != self.identity.get(name)]
        first, values = names[0], [identity.get(names[0]) for identity in (other, self.identity)]
        are_digests = [str(value).startswith("sha256:") for value in values]
        text = f"{'the ' if any(are_digests) else ''}{first} was {shown(values[0])}, and is {shown(values[1])}"
        if all(are_digests):
            text = f"the {first} has other content"
        more = f" (and {', '.join(names[1:5])}{', ...' if len(names) > 5 else ''} differ)" if len(names) > 1 else ""
        return f"{text}{more}; {self.way_out}"


def given(identity: Mapping) -> dict:
    """Return what an identity gives a value: an option that is not given is one that a version does not have."""
    return {name: value for name, value in identity.items() if value is not None}


def shown(value: object) -> str:
    """Return a value of an identity as a message shows it."""
    if value is None:
        return "not given"
    if isinstance(value, list):
        return " ".join(map(str, value[:12])) + (" ..." if len(value) > 12 else "")
    return "given" if str(value).startswith("sha256:") else str(value)


def settings_of(*arguments: object) -> dict[str, object]:
    """Return the settings of argument dataclasses on which a result depends, as `--name: value`."""
    settings = {}
    for group in arguments:
        values = group.to_dict() if hasattr(group, "to_dict") else vars(group)
        settings |= {
            f"--{name}": value for name, value in values.items() if name not in WITHOUT_EFFECT and name[0] != "_"
        }
        if hasattr(group, "world_size"):
            settings["processes"] = group.world_size
    if isinstance(settings.get("--config_overrides"), str):  # however the JSON is laid out
        settings["--config_overrides"] = json.loads(settings["--config_overrides"])
    return settings


def digest(parts: Iterable[object]) -> str:
    """Return a digest of content, `sha256:...`.

    Args:
        parts: Tensors and numpy arrays by their bytes, everything else by its `repr`.
    """
    seen = hashlib.sha256()
    for part in parts:
        if isinstance(part, (Tensor, np.ndarray)):
            seen.update(f"{part.dtype} {tuple(part.shape)}\n".encode())
        if isinstance(part, Tensor):
            part = part.detach().cpu().flatten().view(torch.uint8).numpy()
        if isinstance(part, np.ndarray):
            seen.update(np.ascontiguousarray(part))
        else:
            seen.update(f"{part!r}\n".encode("utf-8", "backslashreplace"))
    return f"sha256:{seen.hexdigest()[:32]}"


def configuration_digest(config: PreTrainedConfig) -> str:
    """Return a digest of what a configuration says of the model, wherever and by whichever version it was saved."""
    values = {name: value for name, value in config.to_dict().items() if name not in NOT_OF_A_MODEL}
    return digest(sorted(values.items()))


def tokenizer_digest(tokenizer: ElmoTokenizer) -> str:
    """Return a digest of all by which a tokenizer makes rows of characters from texts."""
    added = [(repr(token), token.special) for token in tokenizer.added_words]
    rule = tokenizer.split, tokenizer.max_characters_per_token, tokenizer.split_special_tokens
    return digest([rule, added, tokenizer.word_vocab, tokenizer.dictionaries])
