"""The layers of a frozen encoder, computed once for each text and kept in a memory-mapped file of float32 numbers.

Features of the same text, as one for each predicate of a sentence, share its layers.
"""

import hashlib
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..embedding import evaluation_mode
from ..model.task_model_elmo import ElmoTaskModel
from .batches import EncodedDataset, collate
from .run_record import digest

logger = logging.getLogger("hf_elmo.training")

BATCH_WORDS = 4096  # words of a batch, at most, where a sentence is not longer


class StoredLayers(Sequence):
    """The layers of each feature of a dataset, `(T, L + 1, 2P)`, read from a file of texts as they are needed.

    Args:
        ends: How many words there are up to the end of each text.
        texts: Number of each feature's text.
        shape: Number and width of the layers.
    """

    def __init__(self, path: Path, ends: np.ndarray, texts: Sequence[int], shape: tuple[int, int]):
        self.texts, self.ends = texts, ends
        self.numbers = np.memmap(path, dtype=np.float32, mode="r", shape=(int(ends[-1]), *shape))

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, number: int) -> np.ndarray:
        text = self.texts[number]
        return self.numbers[self.ends[text - 1] if text else 0 : self.ends[text]]


class EncoderCache:
    """Files of layers, identified by encoder and texts: other seeds and runs with the same ones use them too.

    Args:
        folder: Where the files are kept. By default a folder that is removed with this object.
    """

    def __init__(self, folder: str | None = None):
        self.folder, self.temporary = None if folder is None else Path(folder), ""
        self.seconds = 0.0  # time spent on computing layers

    def __enter__(self) -> "EncoderCache":
        if self.folder is None:
            self.temporary = tempfile.mkdtemp(prefix="hf_elmo-layers-")
            self.folder = Path(self.temporary)
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *exception):
        if self.temporary:
            shutil.rmtree(self.temporary, ignore_errors=True)

    def fill(self, model: ElmoTaskModel, dataset: EncodedDataset):
        """Add the layers that the encoder of `model` computes to a dataset, from a file or by computing them."""
        shape = model.elmo.config.num_hidden_layers + 1, model.elmo.config.hidden_size
        texts, numbers = distinct_texts(dataset)
        ends = np.cumsum([len(feature["input_ids"]) for feature in texts.features])
        sizes = ends * math.prod(shape) * np.dtype(np.float32).itemsize
        path = self.folder / f"layers-{fingerprint(model, texts)}.f32"
        if not path.is_file() or path.stat().st_size != sizes[-1]:
            started = time.time()
            logger.info("Computing the encoder's layers of %d texts, %.0f MB: %s", len(texts), sizes[-1] / 1e6, path)
            self.write(model, texts, path, sizes)
            self.seconds += time.time() - started
        dataset.layers = StoredLayers(path, ends, numbers, shape)

    def write(self, model: ElmoTaskModel, dataset: EncodedDataset, path: Path, ends: np.ndarray):
        """Compute the layers and write them, each up to its end in bytes, under another name until all are written."""
        size, free = ends[-1], shutil.disk_usage(self.folder).free
        if size > free:
            raise OSError(
                f"the encoder's layers of {len(dataset)} texts take {size / 1e9:.1f} GB, and {self.folder} has "
                f"{free / 1e9:.1f} GB: give another folder, --cache_dir, or --cache_encoder_outputs False"
            )
        handle, unfinished = tempfile.mkstemp(dir=self.folder, suffix=".unfinished")
        try:
            with open(handle, "wb") as file:  # not in memory that is mapped: a full disk would kill the process
                follow_each_other = model.device.type == "cpu" and not model.separate_texts
                for batch in batches_of_words(dataset, follow_each_other):
                    features = [dataset.features[number] for number in batch]
                    if follow_each_other:
                        rows = layers_of_texts(model, features)
                    else:
                        inputs = {name: value.to(model.device) for name, value in collate(features).items()}
                        rows = model.compute_layers(inputs["input_ids"], inputs["attention_mask"])
                    for number, row in zip(batch, rows):
                        layers = row[: len(dataset.features[number]["input_ids"])].float().cpu().numpy()
                        file.seek(ends[number] - layers.nbytes)
                        file.write(layers.tobytes())
            os.replace(unfinished, path)
        finally:
            Path(unfinished).unlink(missing_ok=True)


def distinct_texts(dataset: EncodedDataset) -> tuple[EncodedDataset, list[int]]:
    """Return a dataset of the first feature of each text, and the number of each feature's text."""
    numbers: dict[bytes, int] = {}
    features, texts = [], []
    for feature in dataset.features:
        key = hashlib.sha256(np.ascontiguousarray(feature["input_ids"])).digest()
        if key not in numbers:
            numbers[key] = len(features)
            features.append(feature)
        texts.append(numbers[key])
    return EncodedDataset(dataset.examples, features), texts


@torch.no_grad()
def layers_of_texts(model: ElmoTaskModel, features: list[dict]) -> Iterable[Tensor]:
    """Return the layers `(T, L + 1, 2P)` of each text, computed one after the other in rows that are always busy."""
    lengths = [len(feature["input_ids"]) for feature in features]
    ids = torch.from_numpy(np.concatenate([feature["input_ids"] for feature in features]))[None]
    words = torch.ones(ids.shape[:2], dtype=torch.bool)
    with evaluation_mode(model.elmo):
        output = model.elmo(ids, words, sentence_lengths=lengths, output_hidden_states=True, return_dict=True)
    return torch.stack(output.hidden_states, dim=2)[0].split(lengths)


def batches_of_words(dataset: EncodedDataset, follow_each_other: bool) -> Iterator[list[int]]:
    """Yield the numbers of features, longest first, in batches of at most `BATCH_WORDS` words with their padding.

    Where features follow each other, they keep their order, in batches of about twice as many words.
    """
    batch: list[int] = []
    words = 0
    for number in range(len(dataset.features)) if follow_each_other else dataset.order.tolist():
        batch.append(number)
        words += len(dataset.features[number]["input_ids"])
        longest = len(dataset.features[batch[0]]["input_ids"])
        if words >= 2 * BATCH_WORDS if follow_each_other else (len(batch) + 1) * longest > BATCH_WORDS:
            yield batch
            batch, words = [], 0
    if batch:
        yield batch


def fingerprint(model: ElmoTaskModel, dataset: EncodedDataset) -> str:
    """Return a digest of everything that layers depend on: configuration and weights of the encoder, and the texts."""
    names = ("cell_clip", "projection_clip", "forget_bias", "use_skip_connections", "char_cnn_activation")
    weights = sorted(item for item in model.elmo.state_dict().items() if not item[0].startswith("scalar_mixes."))
    return digest(
        [
            model.separate_texts,
            *((name, getattr(model.elmo.config, name)) for name in names),
            *(part for weight in weights for part in weight),
            *(feature["input_ids"] for feature in dataset.features),
        ]
    ).removeprefix("sha256:")
