"""A frozen encoder's layers, computed once: in a file of float32 numbers that is read where it lies."""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ..model.task_model_elmo import ElmoTaskModel
from .encoded import Split, collate

logger = logging.getLogger("hf_elmo.training")

BATCH_WORDS = 4096  # words of a batch, at most, where a sentence is not longer


class StoredLayers(Sequence):
    """The layers of each feature of a split, `(T, L + 1, 2P)`, out of a file."""

    def __init__(self, path: Path, lengths: Sequence[int], layers: int, width: int):
        self.ends = np.cumsum(lengths)
        self.numbers = np.memmap(path, dtype=np.float32, mode="r", shape=(int(self.ends[-1]), layers, width))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> np.ndarray:
        return self.numbers[self.ends[number - 1] if number else 0 : self.ends[number]]


class EncoderCache:
    """Layers by encoder and text: whoever asks for the same again, another seed or run too, gets the same file.

    Args:
        folder: Where the files are kept. By default a folder that is removed with this object.
    """

    def __init__(self, folder: str | None = None):
        self.folder, self.temporary = folder and Path(folder), None
        self.seconds = 0.0  # that computing took

    def __enter__(self) -> "EncoderCache":
        if self.folder is None:
            self.temporary = tempfile.mkdtemp(prefix="hf_elmo-layers-")
            self.folder = Path(self.temporary)
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *exception):
        if self.temporary is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)

    def fill(self, model: ElmoTaskModel, split: Split):
        """Give a split the layers that the encoder of `model` computes of it.

        Raises:
            `OSError`: if the file cannot be written.
        """
        layers, width = model.config.num_hidden_layers + 1, model.config.hidden_size
        path = self.folder / f"layers-{fingerprint(model, split)}.f32"
        size = split.num_words * layers * width * np.dtype(np.float32).itemsize
        if not path.is_file() or path.stat().st_size != size:
            started = time.time()
            logger.info("Computing the encoder's layers of %d texts, %.0f MB: %s", len(split), size / 1e6, path)
            self.write(model, split, path, size)
            self.seconds += time.time() - started
        split.layers = StoredLayers(path, [len(one["input_ids"]) for one in split.features], layers, width)

    def write(self, model: ElmoTaskModel, split: Split, path: Path, size: int):
        """Compute and write them, under another name until all `size` bytes are there."""
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise OSError(
                f"the encoder's layers of {len(split)} texts take {size / 1e9:.1f} GB, and {self.folder} has "
                f"{free / 1e9:.1f} GB: give another folder, --cache_dir, or --cache_encoder_outputs False"
            )
        ends = np.cumsum([len(feature["input_ids"]) for feature in split.features]) * (size // split.num_words)
        handle, unfinished = tempfile.mkstemp(dir=self.folder, suffix=".unfinished")
        try:
            with open(handle, "wb") as file:  # not in memory that is mapped: a full disk would kill the process
                for batch in batches_of_words(split):
                    inputs = collate([split.features[number] for number in batch])
                    inputs = {name: inputs[name].to(model.device) for name in ("input_ids", "attention_mask")}
                    for number, row in zip(batch, model.compute_layers(**inputs).float().cpu().numpy()):
                        layers = row[: len(split.features[number]["input_ids"])]
                        file.seek(ends[number] - layers.nbytes)
                        file.write(layers.tobytes())
            os.replace(unfinished, path)
        finally:
            Path(unfinished).unlink(missing_ok=True)


def batches_of_words(split: Split) -> Iterator[list[int]]:
    """Numbers of features, the longest first, in batches of at most `BATCH_WORDS` words with their padding."""
    batch: list[int] = []
    for number in split.order.tolist():
        batch.append(number)
        if (len(batch) + 1) * len(split.features[batch[0]]["input_ids"]) > BATCH_WORDS:
            yield batch
            batch = []
    if batch:
        yield batch


def fingerprint(model: ElmoTaskModel, split: Split) -> str:
    """Of all that the layers depend on: the encoder's configuration and weights, and the texts."""
    seen = hashlib.sha256(f"texts apart: {model.separate_texts}\n".encode())
    for name in ("cell_clip", "projection_clip", "forget_bias", "use_skip_connections", "char_cnn_activation"):
        seen.update(f"{name}: {getattr(model.config, name)}\n".encode())
    for name, tensor in sorted(model.elmo.state_dict().items()):
        if not name.startswith("scalar_mixes."):
            seen.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            seen.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    for feature in split.features:
        seen.update(f"{len(feature['input_ids'])}\n".encode())
        seen.update(np.ascontiguousarray(feature["input_ids"]))
    return seen.hexdigest()[:24]
