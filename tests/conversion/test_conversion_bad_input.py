"""What is wrong with a source is told in one line, and nothing is left where the result would have been."""

import gzip
import json
import pickle
import shutil
from contextlib import suppress

import h5py
import numpy as np
import pytest
from lanes import first_fast
from small_original import OPTIONS

from hf_elmo.conversion import convert, looks_unconverted
from hf_elmo.conversion.random_weights import random_weights, write_files

CELL = "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell"


@pytest.fixture
def original(tmp_path):
    """A sound folder, to be spoiled."""
    write_files(tmp_path / "original", OPTIONS, random_weights(OPTIONS))
    return tmp_path / "original"


def refusal(source, tmp_path, **arguments):
    """The error of a conversion: one line, and no trace of an output."""
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the callers look at the text)
        convert(source, tmp_path / "model", **arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    assert set(tmp_path.rglob("*")) == before
    return message


def assert_says(message, *parts):
    for part in parts:
        assert str(part) in message, message


def test_the_sound_folder_is_sound(original, tmp_path):
    convert(original, tmp_path / "model")


# ---- options


def set_option(folder, name, value):
    options = json.loads((folder / "options.json").read_text(encoding="utf-8"))
    *sections, last = name.split(".")
    place = options
    for section in sections:
        place = place[section]
    place[last] = value
    (folder / "options.json").write_text(json.dumps(options), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("lstm.dim", 12, ["lstm.dim is 12", "means 10", "options of other weights"]),
        ("lstm.dim", "10", ["lstm.dim is '10'"]),
        ("lstm.projection_dim", 7, ["lstm.projection_dim is 7", "W_P_0 (10, 6)", "means 6"]),
        ("lstm.n_layers", 3, ["lstm.n_layers is 3", "means 2"]),
        ("lstm.n_layers", True, ["lstm.n_layers is True"]),
        ("char_cnn.embedding.dim", 5, ["char_cnn.embedding.dim is 5", "char_embed (261, 4)", "means 4"]),
        (
            "char_cnn.filters",
            [[1, 4], [2, 8]],
            ["char_cnn.filters is [[1, 4], [2, 8]]", "means [[1, 4], [2, 8], [3, 6]]"],
        ),
        ("char_cnn.filters", "many", ["char_cnn.filters is 'many'"]),
        ("char_cnn.n_highway", 3, ["char_cnn.n_highway is 3", "means 2"]),
        ("char_cnn.n_characters", 300, ["char_cnn.n_characters", "262", "300"]),
        ("char_cnn.activation", "gelu", ["activation", "relu", "tanh", "gelu"]),
        ("char_cnn.activation", 3, ["char_cnn.activation must be a string", "3"]),
        ("char_cnn.max_characters_per_token", 2, ["max_characters_per_token must be at least 3", "2"]),
        ("char_cnn.max_characters_per_token", 10**9, ["max_characters_per_token", "at most 10000", "1000000000"]),
        ("char_cnn.max_characters_per_token", True, ["max_characters_per_token must be an integer", "True"]),
        ("char_cnn.max_characters_per_token", 50.5, ["char_cnn.max_characters_per_token must be an integer", "50.5"]),
        ("lstm.cell_clip", 0, ["lstm.cell_clip must be a positive number, or null", "0"]),
        ("lstm.cell_clip", -3, ["lstm.cell_clip must be a positive number, or null", "-3"]),
        ("lstm.proj_clip", "3", ["lstm.proj_clip must be a number or null", "'3'"]),
        ("lstm.proj_clip", float("nan"), ["lstm.proj_clip", "nan"]),
        ("lstm.use_skip_connections", 1, ["lstm.use_skip_connections must be true or false", "1"]),
        ("dropout", 1.5, ["dropout", "1.5"]),
        ("dropout", "0.1", ["dropout", "'0.1'"]),
        ("lstm", [], ['"lstm"']),
        ("char_cnn", [1], ["char_cnn must be an object"]),
        ("char_cnn.embedding", 4, ["char_cnn.embedding must be an object", "4"]),
    ],
)
def test_wrong_options(original, tmp_path, name, value, parts):
    set_option(original, name, value)
    assert_says(refusal(original, tmp_path), original / "options.json", *parts)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("{not json", ["not JSON"]),
        ("[1, 2]", ["no options of an ELMo", '"lstm"']),
        ("[" * 100_000, ["not JSON"]),
        ('{"model": {"type": "language_model"}}', ["no options of an ELMo"]),
        ('{"model": {"contextualizer": {"type": "bidirectional_language_model_transformer"}}}', ["Transformer"]),
        ("\ud800", ["not JSON"]),
    ],
)
def test_no_options(original, tmp_path, content, parts):
    (original / "options.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    assert_says(refusal(original, tmp_path), original / "options.json", *parts)


def test_options_with_a_byte_order_mark(original, tmp_path):
    (original / "options.json").write_bytes(b"\xef\xbb\xbf" + (original / "options.json").read_bytes())
    convert(original, tmp_path / "model")


def test_missing_options(original, tmp_path):
    (original / "options.json").unlink()
    assert_says(refusal(original, tmp_path), original, "options file", "--options")
    assert_says(refusal(original, tmp_path, options=tmp_path / "nowhere.json"), "nowhere.json", "no such file")


# ---- tensors


def spoil(folder, name, numbers=None, **create):
    """Replace a dataset, or remove it."""
    with h5py.File(folder / "weights.hdf5", "a") as file:
        del file[name]
        if numbers is not None or create:
            file.create_dataset(name, data=numbers, **create)
    return folder / "weights.hdf5"


@pytest.mark.parametrize(
    "name",
    ["CNN/b_cnn_1", "CNN_high_0/W_carry", "CNN_proj/W_proj", f"{CELL}/W_P_0", f"{CELL}/B", f"{CELL}/W_0", "char_embed"],
)
def test_a_missing_tensor(original, tmp_path, name):
    spoil(original, name)
    assert_says(refusal(original, tmp_path), original / "weights.hdf5", name)


def test_a_missing_direction(original, tmp_path):
    spoil(original, "RNN_1")
    assert_says(refusal(original, tmp_path), "missing RNN_1/RNN/MultiRNNCell/Cell0/LSTMCell/W_0 (12, 40)", "and 3 more")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("CNN/b_cnn_1", (9,)),
        ("CNN/W_cnn_1", (2, 4, 8)),
        ("CNN/W_cnn_1", (2, 2, 4, 8)),
        ("CNN_high_0/W_carry", (18, 17)),
        ("CNN_proj/W_proj", (6, 18)),
        (f"{CELL}/W_0", (13, 40)),
        (f"{CELL}/B", (41,)),
        (f"{CELL}/B", ()),
        (f"{CELL}/W_P_0", (10, 6, 1)),
        ("char_embed", (260, 4)),
        ("char_embed", (261,)),
        ("softmax/W", (5, 7)),
        ("softmax/W", ()),
    ],
)
def test_a_misshapen_tensor(original, tmp_path, name, shape):
    if name.startswith("softmax"):
        with h5py.File(original / "weights.hdf5", "a") as file:
            file["softmax/W"], file["softmax/b"] = np.zeros((5, 6), np.float32), np.zeros(5, np.float32)
    spoil(original, name, np.zeros(shape, np.float32))
    message = refusal(original, tmp_path)
    assert_says(message, original / "weights.hdf5", name, shape)


@pytest.mark.parametrize("bad", first_fast([np.nan, np.inf, -np.inf]))
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_that_are_none(original, tmp_path, bad, dtype):
    numbers = np.ones((10, 6), dtype)
    numbers[3, 4] = bad
    spoil(original, f"{CELL}/W_P_0", numbers)
    assert_says(
        refusal(original, tmp_path), original / "weights.hdf5", f"{CELL}/W_P_0 holds 1 NaN or infinite numbers", "60"
    )


@pytest.mark.parametrize(
    "numbers",
    [
        np.zeros((10, 6), np.int32),
        np.zeros((10, 6), np.complex64),
        np.zeros((10, 6), "S4"),
        np.zeros((10, 6), [("a", "f4"), ("b", "f4")]),
        np.zeros((10, 6), np.longdouble),
    ],
    ids=lambda numbers: numbers.dtype.kind + str(numbers.dtype.itemsize),
)
def test_numbers_of_another_type(original, tmp_path, numbers):
    spoil(original, f"{CELL}/W_P_0", numbers)
    assert_says(refusal(original, tmp_path), f"{CELL}/W_P_0 must hold float16, float32 or float64")


# ---- files that are something else


@pytest.mark.parametrize(
    ("start", "parts"),
    [
        (b"", ["empty"]),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 374434792\n",
            ["git-lfs pointer", "git lfs pull"],
        ),
        (b"<!DOCTYPE html><html>", ["web page"]),
        (pickle.dumps({"a": 1}, protocol=2), ["pickle"]),
        (gzip.compress(b"x"), ["gzip", "AllenNLP"]),
        (b"{}", ["JSON"]),
        (b"SQLite format 3\0", ["SQLite", ".magnitude"]),
        (b"\x12\x01" + bytes(20), ["MXNet", "gluonnlp"]),
        (bytes(1000), ["no readable hdf5 file", "1,000 bytes"]),
    ],
    ids=["empty", "git-lfs", "page", "pickle", "gzip", "json", "magnitude", "mxnet", "zeros"],
)
def test_weights_that_are_none(original, tmp_path, start, parts):
    (original / "weights.hdf5").write_bytes(start)
    assert_says(refusal(original, tmp_path), original / "weights.hdf5", *parts)
    assert_says(refusal(original / "weights.hdf5", tmp_path), original / "weights.hdf5")


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 374434792\n"
WEB_PAGE = b"\n<!doctype HTML><html><body>Sorry</body></html>"


@pytest.mark.parametrize("name", ["options.json", "weights.hdf5", "softmax.hdf5", "words.txt"])
@pytest.mark.parametrize(("content", "advice"), [(LFS_POINTER, "`git lfs pull`"), (WEB_PAGE, "download it again")])
def test_files_that_stand_for_others(original, tmp_path, name, content, advice):
    files = {"softmax.hdf5": {"softmax": original / name}, "words.txt": {"vocab": original / name}}
    (original / name).write_bytes(content)
    assert_says(refusal(original, tmp_path, **files.get(name, {})), original / name, "not the file itself", advice)


@pytest.mark.parametrize("part", [0.0001, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file(original, tmp_path, part):
    weights = original / "weights.hdf5"
    content = weights.read_bytes()
    weights.write_bytes(content[: max(9, int(part * len(content)))])
    assert_says(refusal(original, tmp_path), weights, "truncated")


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        (["weights.th", "config.json"], ["weights.th: not a file of PyTorch"]),
        (["saved_model.pb"], ["SavedModel"]),
        (["notes.txt"], ["no weights", "notes.txt"]),
        ([], ["no weights", "nothing"]),
    ],
)
def test_folders_of_something_else(tmp_path, files, parts):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in files:
        (folder / name).write_bytes(b"{}")
    assert_says(refusal(folder, tmp_path), folder, *parts)


def test_hdf5_files_of_something_else(original, tmp_path):
    weights = original / "weights.hdf5"
    contents = {
        "embedding": "token embeddings computed by a model",
        "softmax/W": "softmax weights without an ELMo; give them with --softmax",
        "transformer/layer_0/attention": "Transformer",
        "0": "no ELMo weights",
    }
    for name, says in contents.items():
        with h5py.File(weights, "w") as file:
            file[name] = np.zeros((3, 4), np.float32)
        assert_says(refusal(original, tmp_path), weights, says)


def test_several_weight_files_in_a_folder(original, tmp_path):
    write_files(original, OPTIONS, random_weights(OPTIONS), "another.hdf5")
    assert_says(refusal(original, tmp_path), original, "another.hdf5", "weights.hdf5", "give one of them")


@pytest.mark.parametrize("words", [b"the\nof\n", b"<S>\n</S>\nthe\n"])
def test_a_plain_word_list_beside_an_encoder_is_left_out(original, tmp_path, words):
    (original / "vocab.txt").write_bytes(words)
    (note,) = convert(original, tmp_path / "model").notes
    assert_says(note, original / "vocab.txt", "lacks", "<UNK>", "left out")
    assert not (tmp_path / "model" / "vocab.txt").exists()
    shutil.rmtree(tmp_path / "model")
    assert_says(refusal(original, tmp_path, vocab=original / "vocab.txt"), original / "vocab.txt", "lacks")


def test_what_looks_unconverted(original, tmp_path):
    for path in (original, original / "weights.hdf5"):
        assert_says(looks_unconverted(path), path, "bilm-tf hdf5", f"`hf-elmo convert {path} OUTPUT`")
    convert(original, tmp_path / "model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "other" / "tf_model.h5").write_bytes((original / "weights.hdf5").read_bytes())
    for name in ("model", "empty", "other", "nowhere", "user/name"):
        assert looks_unconverted(tmp_path / name) is None


def test_nothing_there(tmp_path):
    assert_says(refusal(tmp_path / "nowhere", tmp_path), tmp_path / "nowhere", "no such file or folder")
    assert_says(refusal("smal", tmp_path), "smal", "no such file or folder")


def test_a_softmax_that_is_none(original, tmp_path):
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["W"] = np.zeros((3, 4), np.float32)
    assert_says(refusal(original, tmp_path, softmax=tmp_path / "other.hdf5"), "other.hdf5", "softmax/W")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (b"<S>\n</S>\n<UNK>\n", ["3 words", "the model 5"]),
        (b"\xff\xfe\n" * 5, ["UTF-8"]),
    ],
)
def test_a_word_list_that_does_not_fit(original, tmp_path, words, parts):
    with h5py.File(original / "weights.hdf5", "a") as file:
        file["softmax/W"], file["softmax/b"] = np.zeros((5, 6), np.float32), np.zeros(5, np.float32)
    (tmp_path / "words.txt").write_bytes(words)
    assert_says(refusal(original, tmp_path, vocab=tmp_path / "words.txt"), "words.txt", *parts)


def test_a_damaged_gzipped_word_list(original, tmp_path):
    (original / "vocab.txt.gz").write_bytes(gzip.compress(b"<S>\n</S>\n<UNK>\n" * 100)[:40])
    assert_says(refusal(original, tmp_path), "vocab.txt.gz", "not readable")


def test_whole_words_need_marks_in_their_list(tmp_path):
    options = {"lstm": OPTIONS["lstm"], "n_tokens_vocab": 2}
    write_files(tmp_path / "original", options, random_weights(options))
    (tmp_path / "original" / "vocab.txt").write_text("a\n<S>\n", encoding="utf-8")
    assert_says(refusal(tmp_path / "original", tmp_path), "vocab.txt", "</S> and <UNK>")


# ---- hdf5 as a trap


def test_links_to_elsewhere_are_not_followed(original, tmp_path):
    write_files(tmp_path / "secret", OPTIONS, random_weights(OPTIONS, seed=1))
    for target in (f"{CELL}/W_P_0", "RNN_0"):
        spoil(original, target)
        with h5py.File(original / "weights.hdf5", "a") as file:
            file[target] = h5py.ExternalLink(str(tmp_path / "secret" / "weights.hdf5"), f"/{target}")
        assert_says(refusal(original, tmp_path), original / "weights.hdf5", f"{target} is a link", "not followed")


def test_soft_links_are_not_followed(original, tmp_path):
    spoil(original, "RNN_1")
    with h5py.File(original / "weights.hdf5", "a") as file:
        file["RNN_1"] = h5py.SoftLink("/RNN_0")
    assert_says(refusal(original, tmp_path), "RNN_1 is a link", "not followed")


def test_numbers_in_another_file_are_not_read(original, tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.ones(60, np.float32).tobytes())
    spoil(original, f"{CELL}/W_P_0", shape=(10, 6), dtype="f4", external=[(str(secret), 0, 240)])
    assert_says(refusal(original, tmp_path), f"{CELL}/W_P_0 keeps its numbers in another file")


def test_virtual_datasets_are_not_read(original, tmp_path):
    write_files(tmp_path / "secret", OPTIONS, random_weights(OPTIONS, seed=1))
    layout = h5py.VirtualLayout(shape=(10, 6), dtype="f4")
    layout[:] = h5py.VirtualSource(tmp_path / "secret" / "weights.hdf5", f"{CELL}/W_P_0", shape=(10, 6))
    spoil(original, f"{CELL}/W_P_0")
    with h5py.File(original / "weights.hdf5", "a") as file:
        file.create_virtual_dataset(f"{CELL}/W_P_0", layout)
    assert_says(refusal(original, tmp_path), f"{CELL}/W_P_0 keeps its numbers in another file")


HUGE = {
    "never-written": {"shape": (10**9, 6), "dtype": "f4"},
    "in-chunks": {"shape": (10**9, 6), "dtype": "f4", "chunks": (1000, 6)},
    "compressed": {"shape": (10**9, 6), "dtype": "f4", "chunks": (1000, 6), "compression": "gzip"},
    "growing": {"shape": (10**9, 6), "dtype": "f8", "chunks": (1000, 6), "maxshape": (None, 6)},
}


@pytest.mark.parametrize("create", HUGE.values(), ids=list(HUGE))
def test_absurd_sizes_are_not_allocated(original, tmp_path, create):
    """A softmax of a billion words, which only its bias would contradict, and that is as long."""
    with h5py.File(original / "weights.hdf5", "a") as file:
        file.create_dataset("softmax/W", **create)
        file.create_dataset("softmax/b", shape=(10**9,), dtype="f4")
    message = refusal(original, tmp_path)
    assert_says(message, original / "weights.hdf5", "softmax/W declares shape (1000000000, 6)", "bytes are stored")


@pytest.mark.slow
def test_a_bomb_of_compressed_zeros_is_not_read(original, tmp_path):
    with h5py.File(original / "weights.hdf5", "a") as file:
        file.create_dataset("softmax/W", data=np.zeros((5_000_000, 6), np.float32), compression="gzip")
        file.create_dataset("softmax/b", data=np.zeros(5_000_000, np.float32), compression="gzip")
    assert_says(refusal(original, tmp_path), "softmax/W declares shape (5000000, 6), 120,000,000 bytes, but only")


def test_a_sparse_file_is_not_read(original, tmp_path):
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(original / "weights.hdf5", "a") as file:
        group = file.create_group("softmax")
        for name, shape in (("W", (10**8, 6)), ("b", (10**8,))):
            space = h5py.h5s.create_simple(shape)
            h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space, dcpl=early)
    if (original / "weights.hdf5").stat().st_blocks * 512 > 10**8:
        pytest.skip("this file system has no sparse files")
    assert_says(refusal(original, tmp_path), "softmax/W declares shape (100000000, 6)", "the whole file occupies")


def test_chunks_that_were_never_written(original, tmp_path):
    """They would be read as zeros, and few enough of them are within what compression may explain."""
    spoil(original, "char_embed", shape=(261, 4), dtype="f4", chunks=(100, 4), compression="gzip")
    with h5py.File(original / "weights.hdf5", "a") as file:
        file["char_embed"][:200] = 1
    assert_says(refusal(original, tmp_path), original / "weights.hdf5", "char_embed declares shape (261, 4)")


def test_chunks_that_do_not_divide_the_shape(original, tmp_path):
    numbers = random_weights(OPTIONS)["char_embed"]
    spoil(original, "char_embed", numbers, chunks=(100, 3), compression="gzip")
    convert(original, tmp_path / "model")


def test_names_that_are_no_text(original, tmp_path):
    with h5py.File(original / "weights.hdf5", "a") as file:
        file[b"\xff\xfe"] = np.ones(3)
    assert_says(refusal(original, tmp_path), original / "weights.hdf5", "is no UTF-8")


@pytest.mark.slow
def test_damaged_structures(original, tmp_path):
    """Whatever byte of them is wrong, it is told in one line, or the weights are still whole."""
    weights = original / "weights.hdf5"
    sound, chance = weights.read_bytes(), np.random.RandomState(0)
    errors = []
    for number in range(60):
        content = np.frombuffer(sound, np.uint8).copy()
        content[chance.randint(0, len(sound) // 2, 40)] = chance.randint(0, 256, 40)
        weights.write_bytes(content.tobytes())
        with suppress(ValueError):
            convert(original, tmp_path / "models" / str(number))
            continue
        errors.append(refusal(original, tmp_path))
    assert len(errors) > 20


def test_an_empty_hdf5_file(original, tmp_path):
    h5py.File(original / "weights.hdf5", "w").close()
    assert_says(refusal(original, tmp_path), original / "weights.hdf5", "the hdf5 file is empty")


def test_a_tangle_of_groups_ends(original, tmp_path):
    """Hard links may make a group its own ancestor, and as many paths as there are atoms."""
    with h5py.File(original / "weights.hdf5", "a") as file:
        group = file.create_group("tangle")
        group["up"] = file["/"]
        for depth in range(60):
            deeper = file.create_group(f"level{depth}")
            group["left"], group["right"] = deeper, deeper
            group = deeper
    convert(original, tmp_path / "model")


def test_a_damaged_chunk(original, tmp_path):
    plain = random_weights(OPTIONS)["CNN_high_0/W_carry"]
    weights = spoil(original, "CNN_high_0/W_carry", plain, compression="gzip", fletcher32=True)
    with h5py.File(weights) as file:
        place = file["CNN_high_0/W_carry"].id.get_chunk_info(0).byte_offset
    content = bytearray(weights.read_bytes())
    content[place + 30] ^= 0xFF
    weights.write_bytes(content)
    assert_says(refusal(original, tmp_path), weights, "CNN_high_0/W_carry cannot be read", "damaged")


# ---- the output


def test_what_is_at_the_output_is_kept(original, tmp_path):
    output = tmp_path / "model"
    output.mkdir()
    convert(original, output)  # an empty folder is free
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert_says(refusal(original, tmp_path), output, "not empty", "--overwrite")
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


def test_overwriting_replaces_the_whole_model_or_nothing(original, tmp_path):
    output = tmp_path / "model"
    convert(original, output)
    (output / "old.txt").write_text("of before", encoding="utf-8")
    set_option(original, "lstm.dim", 12)
    refusal(original, tmp_path, overwrite=True)
    assert (output / "old.txt").exists()
    set_option(original, "lstm.dim", 10)
    convert(original, output, overwrite=True)
    assert (output / "config.json").exists()
    assert not (output / "old.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "original"]


def test_only_models_are_overwritten(original, tmp_path):
    output = tmp_path / "model"
    output.mkdir()
    (output / "thesis.txt").write_text("mine", encoding="utf-8")
    assert_says(refusal(original, tmp_path, overwrite=True), output, "holds no model")
    output = tmp_path / "file"
    output.write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="no folder"):
        convert(original, output, overwrite=True)


def test_the_source_is_not_overwritten(original):
    (original.parent / "config.json").write_text("{}", encoding="utf-8")
    for output in (original, original.parent):
        with pytest.raises(ValueError, match="holds the source itself"):
            convert(original, output, overwrite=True)
    assert (original / "weights.hdf5").exists()


def test_the_output_of_hdf5_is_a_folder(original, tmp_path):
    with pytest.raises(ValueError, match=r"weights\.hdf5: the output is a folder"):
        convert(original, tmp_path / "weights.hdf5", to="hdf5")


def test_a_converted_model_is_not_converted_again(original, tmp_path):
    convert(original, tmp_path / "converted")
    assert_says(refusal(tmp_path / "converted", tmp_path), "already a model for transformers", "--to hdf5")


@pytest.mark.parametrize("damage", first_fast(["truncated", "no-weights", "no-tensor", "bad-config"], 2))
def test_a_damaged_folder_of_ours(original, tmp_path, damage):
    folder = tmp_path / "converted"
    convert(original, folder)
    weights = folder / "model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "no-weights":
        weights.unlink()
    elif damage == "no-tensor":
        from safetensors.torch import load_file, save_file

        state = load_file(weights)
        del state["layers.0.forward_lstm.projection.weight"]
        save_file(state, weights)
    else:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps({**config, "cell_size": -1}), encoding="utf-8")
    assert_says(refusal(folder, tmp_path, to="hdf5"), folder)
