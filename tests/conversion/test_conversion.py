"""Every quirk of the original's files is read, and each comes back as it was: bit by bit, and options in meaning."""

import gzip
import hashlib
import importlib.util
import json
import socket
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from fresh_process import forking_python
from lanes import first_fast
from small_original import OPTIONS

from hf_elmo import ElmoConfig, ElmoForPreTraining, ElmoModel, ElmoTokenizer
from hf_elmo.conversion import convert
from hf_elmo.conversion.bilm_config import read_config
from hf_elmo.conversion.options import write_options
from hf_elmo.conversion.random_weights import random_weights, write_files

DATA = Path(__file__).resolve().parents[2] / "hf_elmo" / "data"


def with_options(removed=(), **changes):
    """`OPTIONS` with some changed (`lstm__dim=6`) and some removed (`"lstm.n_layers"`)."""
    options = json.loads(json.dumps(OPTIONS))
    for name, value in changes.items():
        section, option = name.split("__")
        options[section][option] = value
    for name in removed:
        section, option = name.split(".")
        del options[section][option]
    return options


def original(folder, options=OPTIONS, change=None, weights="weights.hdf5", **random):
    """Write original files into `folder`; `change` may change the tensors before."""
    tensors = random_weights(options, seed=3, **random)
    tensors = (change(tensors) or tensors) if change else tensors
    write_files(folder, options, tensors, weights)
    return folder


def stored(*paths):
    """Every dataset of hdf5 files: its bytes, shape and type by its name."""
    found = {}
    for path in paths:
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: (
                    found.update({name: (item[()].tobytes(), item.shape, item.dtype)})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
    return found


def there_and_back(folder, **arguments):
    """Convert `folder`/original to `folder`/model and back to `folder`/back."""
    conversion = convert(folder / "original", folder / "model", **arguments)
    convert(folder / "model", folder / "back", to="hdf5")
    return conversion


# ---- quirks


def with_padding_row(tensors):
    table = tensors["char_embed"]
    tensors["char_embed"] = np.concatenate([np.zeros((1, table.shape[1]), table.dtype), table])


def one_layer_names(tensors):
    return {name.replace("/MultiRNNCell/Cell0", ""): tensor for name, tensor in tensors.items()}


def as_type(dtype):
    return lambda tensors: {name: tensor.astype(dtype) for name, tensor in tensors.items()}


def mixed_types(tensors):
    tensors["CNN_proj/W_proj"] = tensors["CNN_proj/W_proj"].astype(np.float64) / 3
    tensors["char_embed"] = tensors["char_embed"].astype(np.float16)


TRAINING = {"bidirectional": True, "dropout": 0.2, "n_train_tokens": 22855, "unroll_steps": 20, "sample_softmax": True}
WORDS = {"lstm": OPTIONS["lstm"], "n_tokens_vocab": 7}
QUIRKS = {
    "usual": (OPTIONS, None, {}, {"vocab_size": 262, "projection_size": 6, "cell_size": 10}),
    "261-characters-in-options": (with_options(char_cnn__n_characters=261), None, {}, {"vocab_size": 262}),
    "table-with-padding-row": (OPTIONS, with_padding_row, {}, {"vocab_size": 262}),
    "no-highway": (with_options(char_cnn__n_highway=0), None, {}, {"num_highway_layers": 0}),
    "no-highway-option": (with_options(["char_cnn.n_highway"]), None, {}, {"num_highway_layers": 0}),
    "no-char-projection": (with_options(lstm__projection_dim=18), None, {}, {"use_char_projection": False}),
    "no-cell-projection": (with_options(lstm__dim=6), None, {}, {"use_cell_projection": False, "cell_size": 6}),
    "1-layer": (with_options(lstm__n_layers=1), None, {}, {"num_hidden_layers": 1}),
    "1-layer-by-its-dumped-name": (with_options(lstm__n_layers=1), one_layer_names, {}, {"num_hidden_layers": 1}),
    "1-layer-without-option": (with_options(["lstm.n_layers"]), one_layer_names, {}, {"num_hidden_layers": 1}),
    "3-layers": (with_options(lstm__n_layers=3), None, {}, {"num_hidden_layers": 3}),
    "null-clips": (
        with_options(lstm__cell_clip=None, lstm__proj_clip=None),
        None,
        {},
        {"cell_clip": None, "projection_clip": None},
    ),
    "missing-clips": (
        with_options(["lstm.cell_clip", "lstm.proj_clip"]),
        None,
        {},
        {"cell_clip": None, "projection_clip": None},
    ),
    "fractional-clips": (
        with_options(lstm__cell_clip=1.5, lstm__proj_clip=0.25),
        None,
        {},
        {"cell_clip": 1.5, "projection_clip": 0.25},
    ),
    "tanh": (with_options(char_cnn__activation="tanh"), None, {}, {"char_cnn_activation": "tanh"}),
    "20-characters": (
        with_options(char_cnn__max_characters_per_token=20),
        None,
        {},
        {"max_characters_per_token": 20},
    ),
    "no-skip-connections": (
        with_options(lstm__use_skip_connections=False),
        None,
        {},
        {"use_skip_connections": False},
    ),
    "whole-words": (WORDS, None, {}, {"vocab_size": 8, "char_cnn_filters": [], "max_characters_per_token": 1}),
    "softmax": (OPTIONS, None, {"words": 9}, {"word_vocab_size": 9}),
    "whole-words-and-softmax": (WORDS, None, {"words": 7}, {"vocab_size": 8, "word_vocab_size": 7}),
    "float16": (OPTIONS, as_type(np.float16), {}, {"dtype": torch.float16}),
    "float64": (OPTIONS, as_type(np.float64), {}, {"dtype": torch.float64}),
    "big-endian": (OPTIONS, as_type(">f4"), {}, {"dtype": torch.float32}),
    "several-types": (OPTIONS, mixed_types, {}, {}),
    "training-options": ({**OPTIONS, **TRAINING}, None, {}, {"lstm_dropout": 0.2}),
}


@pytest.mark.parametrize("quirk", first_fast(QUIRKS, 3))
def test_files_come_back_bit_by_bit(tmp_path, quirk):
    options, change, random, fields = QUIRKS[quirk]
    original(tmp_path / "original", options, change, **random)
    there_and_back(tmp_path)

    before, after = stored(tmp_path / "original" / "weights.hdf5"), stored(tmp_path / "back" / "weights.hdf5")
    assert {name: (numbers, shape) for name, (numbers, shape, _) in after.items()} == {
        name: (native(numbers, dtype), shape) for name, (numbers, shape, dtype) in before.items()
    }
    assert {name: dtype.newbyteorder("=") for name, (_, _, dtype) in before.items()} == {
        name: dtype for name, (_, _, dtype) in after.items()
    }
    written = json.loads((tmp_path / "back" / "options.json").read_text(encoding="utf-8"))
    assert without_defaults(written) == without_defaults(options)

    config = ElmoConfig.from_pretrained(tmp_path / "model")
    assert {name: getattr(config, name) for name in fields} == fields
    assert config == ElmoConfig.from_pretrained(convert(tmp_path / "back", tmp_path / "again").output)


def native(numbers, dtype):
    return np.frombuffer(numbers, dtype).astype(dtype.newbyteorder("=")).tobytes()


def without_defaults(options):
    """Options in meaning: what bilm-tf takes where one is missing is added, and both counts of characters are one."""
    options = json.loads(json.dumps(options))
    options["lstm"] = {"n_layers": 1, "cell_clip": None, "proj_clip": None, **options["lstm"]}
    if "char_cnn" in options:
        options["char_cnn"] = {"n_highway": 0, **options["char_cnn"], "n_characters": 262}
    options.pop("n_tokens_vocab", None)  # told by the softmax too, then it is added
    return options


@pytest.mark.parametrize("quirk", first_fast(QUIRKS, 3))
def test_every_parameter_is_from_the_file(tmp_path, quirk):
    """The model loads without a parameter missing or left over, and none holds what initialization put there."""
    options, change, random, _ = QUIRKS[quirk]
    original(tmp_path / "original", options, change, **random)
    convert(tmp_path / "original", tmp_path / "model")
    model_class = ElmoForPreTraining if random.get("words") else ElmoModel
    model, report = model_class.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert json.loads((tmp_path / "model" / "config.json").read_text())["architectures"] == [model_class.__name__]
    torch.manual_seed(0)
    fresh = model_class(model.config)
    for (name, parameter), other in zip(model.named_parameters(), fresh.parameters()):
        if "scalar_mixes" not in name:
            assert not torch.equal(parameter.float(), other.float()), name


@pytest.mark.slow
def test_variants_of_a_file_are_the_same_model(tmp_path):
    """261 rows or 262, either name of a single cell, any order of bytes: equal numbers in the model."""
    options = with_options(lstm__n_layers=1)
    variants = [None, with_padding_row, one_layer_names, as_type(">f4")]
    states = []
    for number, change in enumerate(variants):
        convert(original(tmp_path / f"{number}", options, change), tmp_path / f"model{number}")
        states.append(ElmoModel.from_pretrained(tmp_path / f"model{number}").state_dict())
    for state in states[1:]:
        assert all(torch.equal(state[name], states[0][name]) for name in states[0])
    assert (states[0]["char_encoder.embeddings.weight"][0] == 0).all()


def test_gates_and_matrices_lie_where_the_original_has_them(tmp_path):
    """One number of each kind, followed from the file to the model."""
    original(tmp_path / "original")
    convert(tmp_path / "original", tmp_path / "model")
    state = ElmoModel.from_pretrained(tmp_path / "model").state_dict()
    with h5py.File(tmp_path / "original" / "weights.hdf5") as file:
        cell = file["RNN_1/RNN/MultiRNNCell/Cell1/LSTMCell"]
        kernel, bias, projection = (torch.from_numpy(cell[name][()]) for name in ("W_0", "B", "W_P_0"))
        convolution = torch.from_numpy(file["CNN/W_cnn_2"][()])
        carry = torch.from_numpy(file["CNN_high_1/W_carry"][()])
        characters = torch.from_numpy(file["char_embed"][()])
    ours = "layers.1.backward_lstm"
    blocks = dict(zip("ijfo", range(4)))
    for place, gate in enumerate("ifjo"):  # ours in the order i, f, g, o; g is TensorFlow's j
        theirs = slice(10 * blocks[gate], 10 * (blocks[gate] + 1))
        here = slice(10 * place, 10 * (place + 1))
        assert torch.equal(state[f"{ours}.input_gates.weight"][here], kernel[:6, theirs].T)
        assert torch.equal(state[f"{ours}.recurrent_gates.weight"][here], kernel[6:, theirs].T)
        assert torch.equal(state[f"{ours}.input_gates.bias"][here], bias[theirs])
    assert torch.equal(state[f"{ours}.projection.weight"], projection.T)
    assert torch.equal(state["char_encoder.convolutions.2.weight"][5, 3], convolution[0, :, 3, 5])
    assert torch.equal(state["char_encoder.highways.1.carry.weight"], carry.T)
    assert torch.equal(state["char_encoder.embeddings.weight"][258], characters[257])


def test_one_layer_has_both_names_in_what_is_written(tmp_path):
    """bilm-tf dumps a single cell under a name that its own reader does not know."""
    original(tmp_path / "original", with_options(lstm__n_layers=1), one_layer_names)
    there_and_back(tmp_path)
    with h5py.File(tmp_path / "back" / "weights.hdf5") as file:
        for direction in range(2):
            dumped = file[f"RNN_{direction}/RNN/LSTMCell/W_0"]
            assert dumped == file[f"RNN_{direction}/RNN/MultiRNNCell/Cell0/LSTMCell/W_0"]


def test_one_layer_under_both_names_is_one_layer(tmp_path):
    def both(tensors):
        return tensors | one_layer_names(tensors)

    conversion = convert(original(tmp_path / "original", with_options(lstm__n_layers=1), both), tmp_path / "model")
    assert conversion.config.num_hidden_layers == 1


def test_unknown_tensors_are_named_and_left_out(tmp_path):
    def change(tensors):
        tensors["global_step"] = np.int64(426)
        tensors["CNN/W_cnn_0_Adagrad"] = tensors["CNN/W_cnn_0"]
        tensors["names"] = np.array([b"a", b"b"])

    conversion = convert(original(tmp_path / "original", change=change), tmp_path / "model")
    notes = "\n".join(conversion.notes)
    assert "global_step ()" in notes
    assert "CNN/W_cnn_0_Adagrad (1, 1, 4, 4)" in notes
    assert "names (2,)" in notes
    assert len(conversion.notes) == 3


def test_compressed_datasets_are_read(tmp_path):
    original(tmp_path / "plain")
    original(tmp_path / "original")
    with h5py.File(tmp_path / "original" / "weights.hdf5", "a") as file:
        for name in list(stored(tmp_path / "plain" / "weights.hdf5")):
            numbers = file[name][()]
            del file[name]
            file.create_dataset(name, data=numbers, compression="gzip", shuffle=True)
    there_and_back(tmp_path)
    assert stored(tmp_path / "back" / "weights.hdf5") == stored(tmp_path / "plain" / "weights.hdf5")


def test_what_had_to_be_assumed_is_told(tmp_path):
    options = with_options(["char_cnn.activation", "char_cnn.max_characters_per_token", "lstm.use_skip_connections"])
    conversion = convert(original(tmp_path / "original", options), tmp_path / "model")
    assert len(conversion.notes) == 3
    assert 'char_cnn.activation; assumed "relu"' in "\n".join(conversion.notes)
    assert "char_cnn.max_characters_per_token; assumed 50" in "\n".join(conversion.notes)
    assert "lstm.use_skip_connections; assumed false" in "\n".join(conversion.notes)
    assert "lstm.use_skip_connections; assumed false" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")


def test_options_of_a_configuration_made_here(tmp_path):
    """A model that never was an original one gets every option that bilm-tf and AllenNLP ask for."""
    config = ElmoConfig(char_cnn_filters=[[1, 4], [3, 8]], projection_size=6, cell_size=10, cell_clip=None)
    ElmoModel(config).save_pretrained(tmp_path / "model")
    convert(tmp_path / "model", tmp_path / "back", to="hdf5")
    options = json.loads((tmp_path / "back" / "options.json").read_text(encoding="utf-8"))
    assert options == write_options(config)
    assert options["lstm"] == {
        "use_skip_connections": True,
        "projection_dim": 6,
        "cell_clip": None,
        "proj_clip": 3.0,
        "dim": 10,
        "n_layers": 2,
    }
    assert options["char_cnn"]["n_characters"] == 262
    assert set(stored(tmp_path / "back" / "weights.hdf5")) >= {"char_embed", "CNN/W_cnn_1", "CNN_proj/b_proj"}


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"use_skip_connections": False}, "skip connections"),
        ({"projection_size": 10}, "projections of cells"),
        ({"char_cnn_filters": [[1, 2], [3, 4]], "use_skip_connections": False}, "characters and skip connections"),
        ({"use_skip_connections": False, "num_hidden_layers": 1}, None),
    ],
)
def test_models_that_allennlp_does_not_read_are_named(tmp_path, changes, missing):
    """It stops at options without skip connections, also of one layer, and at a file without either projection."""
    sizes = {"char_cnn_filters": [[1, 4], [3, 8]], "projection_size": 6, "cell_size": 10}
    ElmoModel(ElmoConfig(**sizes | changes)).save_pretrained(tmp_path / "model")
    notes = convert(tmp_path / "model", tmp_path / "back", to="hdf5").notes
    options = json.loads((tmp_path / "back" / "options.json").read_text(encoding="utf-8"))
    assert options["lstm"]["use_skip_connections"] == ("skip connections" not in str(missing))
    if missing is None:
        assert notes == []
    else:
        assert len(notes) == 1
        assert "AllenNLP does not: it expects " in notes[0]
        assert notes[0].endswith(missing)


def test_a_trained_mix_is_not_dropped_in_silence(tmp_path):
    convert(original(tmp_path / "original"), tmp_path / "model")
    model = ElmoModel.from_pretrained(tmp_path / "model")
    model.set_mix_weights([1, 2, 3])
    model.save_pretrained(tmp_path / "trained")
    assert convert(tmp_path / "model", tmp_path / "back", to="hdf5").notes == []
    notes = convert(tmp_path / "trained", tmp_path / "trained-back", to="hdf5").notes
    assert notes == ["scalar_mixes.0.weights has no place in the original format; left out"]


def test_any_class_of_the_house_is_converted_back(tmp_path):
    """Names below `elmo.` and weights in several files, as a task's model may have them."""
    original(tmp_path / "original", words=9)
    convert(tmp_path / "original", tmp_path / "model")
    ElmoForPreTraining.from_pretrained(tmp_path / "model").save_pretrained(tmp_path / "shards", max_shard_size="2KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    convert(tmp_path / "shards", tmp_path / "back", to="hdf5")
    assert stored(tmp_path / "back" / "weights.hdf5") == stored(tmp_path / "original" / "weights.hdf5")


# ---- where the parts lie


def test_softmax_in_a_file_of_its_own(tmp_path):
    folder = original(tmp_path / "original", words=9)
    with h5py.File(folder / "weights.hdf5", "a") as file, h5py.File(tmp_path / "softmax.hdf5", "w") as other:
        for name in ("softmax/W", "softmax/b"):
            other[name] = file[name][()]
        del file["softmax"]
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("\n".join(["<S>", "</S>", "<UNK>", "a", "b", "c", "d", "e", "f"]) + "\n", encoding="utf-8")
    there_and_back(tmp_path, softmax=tmp_path / "softmax.hdf5", vocab=vocabulary)
    assert stored(tmp_path / "back" / "weights.hdf5") == stored(folder / "weights.hdf5", tmp_path / "softmax.hdf5")
    assert ElmoForPreTraining.from_pretrained(tmp_path / "model").lm_head.weight.shape == (9, 6)
    assert (tmp_path / "model" / "vocab.txt").read_bytes() == vocabulary.read_bytes()
    assert (tmp_path / "back" / "vocab.txt").read_bytes() == vocabulary.read_bytes()


def test_a_folder_with_everything_under_other_names(tmp_path):
    """Weights are told by what they hold, options by what they say, and a separate softmax is found too."""
    folder = original(tmp_path / "original", weights="slovenian-elmo.bin", words=4)
    (folder / "options.json").rename(folder / "slo_config.json")
    (folder / "meta.json").write_text("[]", encoding="utf-8")
    with h5py.File(folder / "slovenian-elmo.bin", "a") as file, h5py.File(folder / "lm.h5", "w") as other:
        file.copy("softmax", other)
        del file["softmax"]
    with h5py.File(folder / "embeddings.hdf5", "w") as file:
        file["0"] = np.zeros((3, 4, 12), np.float32)
    with gzip.open(folder / "vocab.txt.gz", "wt", encoding="utf-8") as file:
        file.write("<S>\n</S>\n<UNK>\nbank\n")
    conversion = convert(folder, tmp_path / "model")
    assert set(conversion.files) == {"slo_config.json", "slovenian-elmo.bin", "lm.h5"}
    assert conversion.config.word_vocab_size == 4
    assert (tmp_path / "model" / "vocab.txt").read_text(encoding="utf-8") == "<S>\n</S>\n<UNK>\nbank\n"


@pytest.mark.parametrize("weights", ["elmo_weights.hdf5", "elmo.hdf5", "anything"])
def test_options_beside_a_weight_file_are_found(tmp_path, weights):
    folder = original(tmp_path / "original", weights=weights)
    beside = {"elmo_weights.hdf5": "elmo_options.json", "elmo.hdf5": "elmo.json", "anything": "options.json"}[weights]
    (folder / "options.json").rename(folder / beside)
    write_files(tmp_path / "other", with_options(lstm__dim=99), {})
    (folder / "another.json").write_text('{"lstm": {"dim": 99}}', encoding="utf-8")
    convert(folder / weights, tmp_path / "model")


def test_options_given_win_over_those_beside_the_weights(tmp_path):
    folder = original(tmp_path / "original")
    options = tmp_path / "mine.json"
    options.write_text(json.dumps(with_options(lstm__cell_clip=0.5)), encoding="utf-8")
    assert convert(folder, tmp_path / "model", options=options).config.cell_clip == 0.5


def test_whole_words_know_their_boundary_words_from_the_list(tmp_path):
    original(tmp_path / "original", WORDS)
    (tmp_path / "original" / "vocab.txt").write_text("a\nb\n</S>\nc\n<S>\n<UNK>\nd\n", encoding="utf-8")
    convert(tmp_path / "original", tmp_path / "model")
    config = ElmoConfig.from_pretrained(tmp_path / "model")
    assert (config.bos_token_id, config.eos_token_id) == (5, 3)
    batch = ElmoTokenizer.from_pretrained(tmp_path / "model")([["b", "zzz"]], is_split_into_words=True)
    assert batch["input_ids"] == [[[5], [2], [6], [3]]]


# ---- the folder


def test_the_folder_is_ready_for_the_hub(tmp_path):
    convert(original(tmp_path / "original"), tmp_path / "model", license="mit", language="sl", name="user/elmo")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer_config.json", "README.md", "modeling_elmo.py"} <= names
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    assert "license: mit\n" in card
    assert "language: sl\n" in card
    assert 'from_pretrained("user/elmo"' in card
    for file in ("options.json", "weights.hdf5"):
        digest = hashlib.sha256((tmp_path / "original" / file).read_bytes()).hexdigest()
        assert f"| `{file}` | `{digest}` |" in card
    assert str(tmp_path) not in card, "a card must not tell of this machine"
    assert str(tmp_path) not in (tmp_path / "model" / "config.json").read_text(encoding="utf-8")


@pytest.mark.slow
def test_shipped_weights_are_small_and_know_some_english(tmp_path):
    assert sum(path.stat().st_size for path in DATA.iterdir() if path.is_file()) < 16_000_000
    convert(DATA, tmp_path / "elmo", dtype="float32")
    model = ElmoForPreTraining.from_pretrained(tmp_path / "elmo").eval()
    tokenizer = ElmoTokenizer.from_pretrained(tmp_path / "elmo")
    words = "He went to the house of the old man , and said that he had not seen him .".split()
    losses = []
    for text in (words, sorted(words)):
        batch = tokenizer([text], is_split_into_words=True, return_tensors="pt")
        labels = torch.tensor([tokenizer.convert_words_to_labels(batch.tokens())])
        losses.append(model(**batch, labels=labels).loss.item())
    sentence, shuffled = losses
    assert sentence < shuffled - 1
    assert sentence < 5, "not far below 9.7, the loss of guessing among 16,000 words"


def test_sizes_come_from_shapes_alone():
    """With options that name no size at all, the configuration is the same."""
    tensors = random_weights(OPTIONS)
    bare = {"lstm": {"use_skip_connections": True, "cell_clip": 3, "proj_clip": 3}, "char_cnn": {"activation": "relu"}}
    bare["char_cnn"]["max_characters_per_token"] = 50
    full, _ = read_config(OPTIONS, in_memory(tensors))
    sparse, notes = read_config(bare, in_memory(tensors))
    assert sparse == full
    assert notes == []


def in_memory(tensors):
    from hf_elmo.conversion.original import StoredTensor

    return {
        name: StoredTensor(Path("weights.hdf5"), tensor.shape, lambda t=tensor: t) for name, tensor in tensors.items()
    }


@pytest.mark.slow
def test_fixtures_come_back_bit_by_bit(fixtures_dir, tmp_path):
    for number, name in enumerate(
        ["bilm_small", "allennlp_small", "random/s01_tiny_relu", "random/s02_tiny_tanh_clip", "nlpl_small/model_dir"]
    ):
        folder = fixtures_dir / name
        weights = next(path for path in folder.glob("*.hdf5") if path.name.endswith(("weights.hdf5", "model.hdf5")))
        convert(folder, tmp_path / f"model{number}")
        convert(tmp_path / f"model{number}", tmp_path / f"back{number}", to="hdf5")
        assert stored(tmp_path / f"back{number}" / "weights.hdf5") == stored(weights)
        written = json.loads((tmp_path / f"back{number}" / "options.json").read_text(encoding="utf-8"))
        assert written == json.loads((folder / "options.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are measured on Linux")
def test_memory_of_conversion_and_loading(tmp_path):
    """Below twice the file, as at the original's size, which `benchmarks/conversion.py` measures by itself."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "conversion.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_conversion", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.write_original(tmp_path / "original", "5M")
    records = benchmark.measure(tmp_path, forking_python())
    assert [record["step"] for record in records] == ["convert", "load", "back"]
    assert records[0]["peak_ratio"] > 0.5, "the measurement saw nothing"
    assert all(record["peak_ratio"] < 2 for record in records), records


def test_conversion_needs_no_network(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    convert(DATA, tmp_path / "model")
