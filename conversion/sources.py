# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""What a user may name as the source of a conversion, recognized in one place.

A source is first made local (`presets.py`, `download.py`); then the first entry of `FORMATS` that knows what lies there
reads it. A further format is one more entry.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hf_elmo.model.configuration_elmo import ElmoConfig

from .bilm_hdf5 import read_weights, rules
from .hdf5_file import StoredTensor, is_hdf5, open_hdf5
from .options import read_config, read_options
from .tensorflow_checkpoint import adagrad_accumulators, bilm_variables, checkpoint_files, read_checkpoint


class Request(NamedTuple):
    """The local files a user named."""

    source: Path  # file or folder
    options: Path | None = None
    softmax: Path | None = None
    vocabulary: Path | None = None


class Original(NamedTuple):
    """A model as it was found."""

    format: str
    config: ElmoConfig
    state: Mapping[str, Tensor]  # names as in ElmoModel, and `lm_head.*`
    files: list[Path]  # that were read
    vocabulary: Path | None
    notes: list[str]  # what was assumed or left out, a line each
    accumulators: Mapping[str, StoredTensor] = {}  # Adagrad's, by the names of the weights in the original format


def open_source(request: Request) -> Original:
    """Recognize a source and read it.

    Raises:
        ValueError: There is nothing there, or nothing that is supported and sound.
    """
    if not (request.source.exists() or is_tensorflow(request.source)):
        raise ValueError(
            f"{request.source}: no such file or folder, and no preset or URL; expected weights in hdf5 format, a "
            "folder with them and their options.json, or a preset (`hf-elmo convert --help` names them)"
        )
    for recognizes, refusal in UNSUPPORTED:
        if recognizes(request.source):
            raise ValueError(f"{request.source}: {refusal}")
    return next(read for recognizes, read in FORMATS if recognizes(request.source))(request)


# ---- bilm-tf and AllenNLP: hdf5 weights with options.json


def read_bilm(request: Request) -> Original:
    weights, softmax = request.source, request.softmax
    if weights.is_dir():
        weights, found_softmax = find_weights(weights)
        softmax = softmax or found_softmax
    options_file = request.options or find_options(weights)
    options = read_options(options_file)
    with ExitStack() as files:
        stored = files.enter_context(open_hdf5(weights))
        if not stored:
            raise ValueError(f"{weights}: the hdf5 file is empty; expected the tensors of an ELMo")
        if softmax is not None:
            stored = stored | softmax_only(files.enter_context(open_hdf5(softmax)), softmax)
        config, notes = read_config(options, stored, options_file)
        state, unused = read_weights(stored, config)
    notes += [f"{weights} holds {name}, which is no part of an ELMo; left out" for name in unused]
    vocabulary = request.vocabulary or find_vocabulary(weights.parent)
    files_read = [options_file, weights, *([softmax] if softmax else [])]
    return Original("bilm-tf hdf5", config, state, files_read, vocabulary, notes)


def softmax_only(stored: Mapping[str, StoredTensor], path: Path) -> dict[str, StoredTensor]:
    softmax = {name: tensor for name, tensor in stored.items() if name.startswith("softmax/")}
    if "softmax/W" not in softmax:
        raise ValueError(
            f"{path}: no softmax weights; expected softmax/W and softmax/b, found {', '.join(list(stored)[:5])}"
        )
    return softmax


def find_weights(folder: Path) -> tuple[Path, Path | None]:
    """The weight file of a folder, whatever its name, and the file of its softmax if that is separate."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    candidates = [path for path in files if is_hdf5(path)]
    if not candidates:  # something named so that is none: its own error says more
        candidates = [path for path in files if path.suffix in (".hdf5", ".h5")][:1]
    if not candidates:
        names = ", ".join(path.name for path in files[:8]) or "nothing"
        raise ValueError(f"{folder}: no weights; expected a file in hdf5 format and its options.json, found {names}")
    if len(candidates) == 1:
        return candidates[0], None
    weights, softmax = [], []
    for path in candidates:
        with open_hdf5(path) as stored:
            if any(name.startswith("RNN_") for name in stored):
                weights.append(path)
            elif "softmax/W" in stored:
                softmax.append(path)
    if len(weights) != 1 or len(softmax) > 1:
        names = ", ".join(path.name for path in weights + softmax or candidates)
        raise ValueError(f"{folder}: {len(weights)} weight files among {names}; give one of them instead of the folder")
    return weights[0], softmax[0] if softmax else None


def find_options(weights: Path) -> Path:
    """The options file of a weight file: of the same name, of the usual name, or the only one beside it."""
    names = (f"{weights.stem.replace('weights', 'options')}.json", f"{weights.stem}.json", "options.json")
    for name in names:
        if (weights.parent / name).is_file():
            return weights.parent / name
    found = sorted(path for path in weights.parent.glob("*.json") if is_options(path))
    if len(found) != 1:
        among = f"found {len(found)} ({', '.join(path.name for path in found)})" if found else "found none"
        raise ValueError(
            f"{weights.parent}: expected one options file beside {weights.name}, {among}; give it with --options"
        )
    return found[0]


def is_options(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "lstm" in content


def find_vocabulary(folder: Path) -> Path | None:
    return next((folder / name for name in ("vocab.txt", "vocab.txt.gz") if (folder / name).is_file()), None)


# ---- TensorFlow checkpoints of bilm-tf


def read_tensorflow(request: Request) -> Original:
    folder = request.source if request.source.is_dir() else request.source.parent
    options_file = request.options or find_options(folder / "checkpoint")
    options = read_options(options_file)
    checkpoint = read_checkpoint(request.source)
    stored = bilm_variables(checkpoint)
    config, notes = read_config(options, stored, options_file)
    state, unused = read_weights(stored, config)
    notes += [f"{request.source} holds {name}, which is no part of an ELMo; left out" for name in unused]
    vocabulary = request.vocabulary or find_vocabulary(folder)
    files = [options_file, *checkpoint_files(request.source)]
    mix = [name for name in checkpoint if "aggregation/" in name]
    notes += [f"{request.source} holds {name}, of a mix of layers; left out, the new mix is their mean" for name in mix]
    accumulators = adagrad_accumulators(checkpoint)
    return Original("TensorFlow checkpoint", config, state, files, vocabulary, notes, accumulators)


# ---- our own folders


def read_folder(request: Request) -> Original:
    folder = request.source
    try:
        config = ElmoConfig.from_pretrained(folder)
        tensors = SafetensorsFolder(folder)
    except (ValueError, OSError, SafetensorError, StrictDataclassError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ValueError(
            f"{folder}: not readable as a saved model ({reason}); expected what `hf-elmo convert` makes"
        ) from error
    if quantization := getattr(config, "quantization_config", None):
        raise ValueError(
            f"{folder}: a quantized model ({quantization.get('quant_method')}), whose weights are rounded; give the "
            "model that it was made from"
        )
    needed = {parameter for rule in rules(config) for parameter in rule.parameters}
    if missing := needed - set(tensors):
        raise ValueError(
            f"{folder}: model.safetensors lacks {', '.join(sorted(missing)[:3])}, which config.json asks for"
        )
    left = sorted(name for name in set(tensors) - needed if not is_untrained_mix(name, tensors))
    notes = [f"{name} has no place in the original format; left out" for name in left]
    vocabulary = request.vocabulary or find_vocabulary(folder)
    return Original("safetensors", config, tensors, sorted(folder.glob("*.safetensors")), vocabulary, notes)


def is_untrained_mix(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a tensor is of a scalar mix as every conversion adds it, so that nothing is lost without it."""
    return name.startswith("scalar_mixes.") and bool((tensors[name] == name.endswith(".gamma")).all())


class SafetensorsFolder(Mapping):
    """The tensors of a saved model, each read when asked for. Names are as in `ElmoModel`, whichever class it was."""

    def __init__(self, folder: Path):
        self.files = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                self.files.update({name: path for name in file.keys()})  # noqa: SIM118 (not a dict)

    def __getitem__(self, name: str) -> Tensor:
        stored = name if name in self.files else f"elmo.{name}"
        with safe_open(self.files[stored], framework="pt") as file:
            return file.get_tensor(stored)

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix("elmo.") for name in self.files)

    def __len__(self) -> int:
        return len(self.files)


# ---- recognition


def holds(*names: str) -> Callable[[Path], bool]:
    return lambda path: path.is_dir() and all((path / name).is_file() for name in names)


def starts_with(*beginnings: bytes) -> Callable[[Path], bool]:
    def recognizes(path: Path) -> bool:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return file.read(16).startswith(beginnings)

    return recognizes


def is_own_folder(path: Path) -> bool:
    config = path / "config.json"
    if not (path.is_dir() and config.is_file() and any(path.glob("*.safetensors"))):
        return False
    try:
        return json.loads(config.read_text(encoding="utf-8")).get("model_type") == "elmo"
    except (ValueError, AttributeError, RecursionError):
        return False


def is_tensorflow(path: Path) -> bool:
    if path.is_dir():
        return any(path.glob("*.index")) or (path / "checkpoint").is_file()
    return path.suffix == ".index" or path.with_name(path.name + ".index").is_file()


UNSUPPORTED = (
    (
        holds("encoder.pkl", "token_embedder.pkl"),
        "a model of ELMoForManyLangs, which reads Unicode characters and whole words; not supported yet",
    ),
    (
        holds("weights.th", "config.json"),
        "an unpacked AllenNLP archive (weights.th); not supported yet: give the options and hdf5 weights it had",
    ),
    (
        holds("saved_model.pb"),
        "a TensorFlow SavedModel; give the checkpoint or the hdf5 weights the module was made from",
    ),
    (starts_with(b"PK\x03\x04"), "a zip archive; unpack it and give the folder with options.json and the hdf5 weights"),
    (
        starts_with(b"\x1f\x8b", b"BZh"),
        "a compressed archive; unpack it and give the folder with options.json and the hdf5 weights (AllenNLP's "
        "model.tar.gz and Transformer-ELMo have none and are not supported)",
    ),
    (starts_with(b"{"), "a JSON file; give the hdf5 weights or their folder as the source, and this with --options"),
)
FORMATS = (
    (is_own_folder, read_folder),
    (is_tensorflow, read_tensorflow),
    (lambda path: True, read_bilm),
)
