"""The numbers are the original software's: of bilm-tf and AllenNLP, whose outputs `fixtures_dir` holds, and of a
float64 computation of the project's own where these are not at hand."""

import json

import h5py
import numpy as np
import pytest
import torch
from lanes import first_fast
from numpy_bilm import all_layers

from hf_elmo import ElmoModel
from hf_elmo.conversion import convert
from hf_elmo.conversion.bilm_hdf5 import rules
from hf_elmo.conversion.random_weights import random_weights, write_files

TOLERANCE = 5e-6  # the two originals are about 1e-6 apart
CLIPPED = 2e-5  # where half of all numbers are clipped they are 1e-5 apart

# Weight set -> weights, options (None: beside them), expected outputs, tolerance.
WEIGHT_SETS = {
    "trained": (
        "bilm_checkpoint/weights.hdf5",
        "bilm_checkpoint/options_inference.json",
        "bilm_checkpoint/expected_layers.npz",
        TOLERANCE,
    ),
    "bilm": ("bilm_small/lm_weights.hdf5", None, "bilm_small/expected_layers.npz", TOLERANCE),
    "allennlp": ("allennlp_small/lm_weights.hdf5", None, "allennlp_small/expected_layers.npz", TOLERANCE),
    "s01": ("random/s01_tiny_relu", None, "random/s01_tiny_relu/expected.npz", TOLERANCE),
    "s02": ("random/s02_tiny_tanh_clip", None, "random/s02_tiny_tanh_clip/expected.npz", CLIPPED),
}


@pytest.fixture(scope="module")
def converted(fixtures_dir, tmp_path_factory):
    """Convert a weight set of the fixtures once, and load it with options of `ElmoConfig`."""
    folders = {}

    def load(weights, options=None, **config):
        key = weights, str(options)
        if key not in folders:
            folder = tmp_path_factory.mktemp("converted") / "model"
            convert(fixtures_dir / weights, folder, options=options and fixtures_dir / options)
            folders[key] = folder
        return ElmoModel.from_pretrained(folders[key], **config).eval()

    return load


@torch.no_grad()
def embed(model, batches, stateful):
    """All layers of the words of all sentences, one after the other, `(L + 1, N, 2P)`."""
    state, flat = None, []
    for ids in batches:
        output = model(ids, state=state, use_state=stateful, output_hidden_states=True)
        state = output.state if stateful else None
        words = (ids > 0).any(-1)
        assert all((layer[~words] == 0).all() for layer in output.hidden_states), "a padded position is not 0"
        flat.append(torch.stack(output.hidden_states)[:, words])
    return torch.cat(flat, dim=1).numpy()


def id_batches(expected):
    return [torch.from_numpy(expected[name].astype(np.int64)) for name in expected if name.startswith("bilm_ids/")]


def assert_equals_original(model, expected, tolerance):
    names = [name for name in expected if name.endswith(("_stateless", "_stateful"))]
    assert names, "nothing to compare with"
    batches = id_batches(expected)
    assert len({len(ids) for ids in batches}) > 1 or len(batches) == 1 or len(batches) >= 3
    for stateful in (False, True):
        actual = embed(model, batches, stateful)
        for name in names:
            if name.endswith("_stateful") == stateful:
                assert np.abs(actual - expected[name]).max() <= tolerance, name


@pytest.mark.parametrize("name", first_fast(WEIGHT_SETS))
def test_all_layers_equal_the_originals(converted, fixtures_dir, name):
    weights, options, outputs, tolerance = WEIGHT_SETS[name]
    assert_equals_original(converted(weights, options), np.load(fixtures_dir / outputs), tolerance)


@pytest.mark.slow
def test_all_layers_equal_the_originals_with_skip_connections(converted, fixtures_dir):
    expected = np.load(fixtures_dir / "bilm_small" / "expected_layers_with_skip_connections.npz")
    model = converted("bilm_small/lm_weights.hdf5", use_skip_connections=True)
    assert_equals_original(model, expected, TOLERANCE)


def test_the_state_is_carried_while_the_number_of_rows_changes(converted, fixtures_dir):
    """So that the comparison above is one: the batches shrink and grow, and the state matters."""
    expected = np.load(fixtures_dir / "random" / "s01_tiny_relu" / "expected.npz")
    rows = expected["batch_sizes"].tolist()
    assert min(rows) < rows[0] < max(rows)
    assert np.abs(expected["bilm_stateful"] - expected["bilm_stateless"]).max() > 0.1


@pytest.mark.slow
def test_the_top_layer_equals_bilm_tfs_own_fixture(converted, fixtures_dir):
    """Of bilm-tf's own test: batch i is sentence i of the lists 0, 1 and 2, and the state is carried."""
    folder = fixtures_dir / "bilm_small"
    expected = np.load(folder / "expected_layers.npz")
    model = converted("bilm_small/lm_weights.hdf5")
    lengths = iter(expected["lengths"].tolist())
    top = embed(model, id_batches(expected), stateful=True)[-1]
    sentences = iter(np.split(top, np.cumsum(expected["lengths"])[:-1]))
    for i in range(10):
        for k in range(3):
            with h5py.File(folder / f"lm_embeddings_{k}.hdf5") as file:
                both = np.concatenate(file[str(i)][()], axis=-1)  # (2, words, P) forward and backward
            sentence = next(sentences)
            assert next(lengths) == len(sentence)
            assert np.abs(sentence[1:-1] - both).max() <= TOLERANCE


def test_layers_of_an_nlpl_model(converted, fixtures_dir):
    folder = fixtures_dir / "nlpl_small"
    sentences = json.loads((folder / "sentences.json").read_text(encoding="utf-8"))
    expected = np.load(folder / "expected.npz")["batch32/all/nowarmup/vectors"]  # (sentences, L + 1, words, 2P)
    model = converted("nlpl_small/model_dir")
    for sentence, vectors in zip(sentences, expected, strict=True):
        actual = embed(model, [rows([sentence])], stateful=False)[:, 1:-1]
        assert np.abs(actual - vectors[:, : len(sentence)]).max() <= TOLERANCE


# ---- AllenNLP's `Elmo` module: mixes, boundaries, gradients


def rows(sentences, width=50):
    """Character ids of sentences, boundary words added, `(B, T, W)`; spelled out here to owe the tokenizer nothing."""
    boundary = {"<S>": 257, "</S>": 258}
    ids = torch.zeros(len(sentences), max(map(len, sentences)) + 2, width, dtype=torch.long)
    for row, sentence in zip(ids, sentences):
        for word_row, word in zip(row, ["<S>", *sentence, "</S>"]):
            inside = [boundary[word]] if word in boundary else [byte + 1 for byte in word.encode()[: width - 2]]
            spelled = [259, *inside, 260]
            word_row[: len(spelled)] = torch.tensor(spelled)
            word_row[len(spelled) :] = 261
    return ids


MODULES = {
    "elmo_module": ("random/s01_tiny_relu", TOLERANCE),
    "elmo_module_3_layers": ("random/s02_tiny_tanh_clip", CLIPPED),
}


@pytest.fixture(params=MODULES)
def module(request, fixtures_dir, converted):
    """AllenNLP's settings and outputs, the loader of the weights they were computed with, and the tolerance."""
    folder = fixtures_dir / request.param
    settings = json.loads((folder / "elmo_module.json").read_text(encoding="utf-8"))
    weights, tolerance = MODULES[request.param]
    return settings, np.load(folder / "elmo_module.npz"), lambda **config: converted(weights, **config), tolerance


def set_mixes(model, case):
    given = case.get("set_after_construction", [])
    if "scalar_mix_parameters" in case:
        given = [{"scalar_parameters": case["scalar_mix_parameters"], "gamma": 1.0}]
    with torch.no_grad():
        for mix, values in zip(model.scalar_mixes, given):
            mix.weights.copy_(torch.tensor(values["scalar_parameters"]))
            mix.gamma.fill_(values["gamma"])


CASES = [
    "rep1",
    "rep2",
    "rep1_ln",
    "rep2_ln_params",
    "rep1_mixparams",
    "rep1_onlylayer1",
    "rep1_keepbounds",
    "rep2_ln_keepbounds",
]


@pytest.mark.parametrize("case", CASES)
def test_mixes_equal_allennlps(module, case):
    settings, expected, load, tolerance = module
    options = settings["cases"][case]
    number = options["num_output_representations"]
    model = load(num_mixes=number, mix_layer_norm=options.get("do_layer_norm", False))
    set_mixes(model, options)
    state = None
    for i, sentences in enumerate(settings["batches"]):  # one AllenNLP module sees them in order, and keeps its state
        with torch.no_grad():
            output = model(rows(sentences), state=state, use_state=True)
        state = output.state
        assert len(output.mixes) == number
        for k, mix in enumerate(output.mixes):
            wanted = torch.from_numpy(expected[f"{case}/batch{i}/rep{k}"])
            for row, wanted_row, sentence in zip(mix, wanted, sentences, strict=True):
                row = (
                    row[: len(sentence) + 2] if options.get("keep_sentence_boundaries") else row[1 : len(sentence) + 1]
                )
                assert (row - wanted_row[: len(row)]).abs().max() <= tolerance


def test_the_settings_of_every_case_are_tested(module):
    assert set(module[0]["cases"]) == set(CASES)


def test_rows_of_four_axes_are_rows_of_a_batch(module):
    _, expected, load, tolerance = module
    model, (begin, end) = load(), rows([[]])[0].split(1)
    ids = torch.from_numpy(expected["input4d/ids"].astype(np.int64)).flatten(0, 1)  # AllenNLP's, without boundaries
    for words, wanted in zip(ids, torch.from_numpy(expected["input4d/rep0"]).flatten(0, 1), strict=True):
        words = words[words.any(-1)]
        with torch.no_grad():
            mix = model(torch.cat([begin, words, end])[None]).last_hidden_state[0, 1:-1]
        assert (mix - wanted[: len(words)]).abs().max() <= tolerance


def test_token_embeddings_in_place_of_characters(module):
    """AllenNLP's `vocab_to_cache`: word vectors computed once, words given by their place in the list."""
    settings, expected, load, tolerance = module
    model = load()
    with torch.no_grad():
        words = model(rows([settings["vocab_to_cache"][2:]])).token_embeddings[0]
    cached = torch.from_numpy(expected["vocab_to_cache/word_embedding"])[2:]
    assert (words[1:-1] - cached).abs().max() <= tolerance
    table = torch.from_numpy(expected["vocab_to_cache/word_embedding"])
    begin, end = (torch.from_numpy(expected[f"vocab_to_cache/{name}"]) for name in ("bos", "eos"))
    state = None
    for i in range(4):
        ids = torch.from_numpy(expected[f"vocab_to_cache/batch{i}/word_inputs"].astype(np.int64))
        wanted = torch.from_numpy(expected[f"vocab_to_cache/batch{i}/rep0"])
        mask = torch.from_numpy(expected[f"vocab_to_cache/batch{i}/mask"])
        vectors = torch.zeros(len(ids), ids.shape[1] + 2, table.shape[1])
        attention_mask = torch.zeros(vectors.shape[:2], dtype=torch.long)
        for row, attended, word_ids in zip(vectors, attention_mask, ids):
            word_ids = word_ids[word_ids > 0]
            row[: len(word_ids) + 2] = torch.cat([begin[None], table[word_ids], end[None]])
            attended[: len(word_ids) + 2] = 1
        with torch.no_grad():
            output = model(token_embeddings=vectors, attention_mask=attention_mask, state=state, use_state=True)
        state = output.state
        assert (output.last_hidden_state[:, 1:-1] - wanted).abs()[mask].max() <= tolerance


def test_gradients_equal_allennlps(module):
    """Of every weight, as the file lays it out: the way back of the conversion is linear, so it takes gradients."""
    settings, expected, load, tolerance = module
    model = load()
    set_mixes(model, settings["grad"])
    sentences = settings["batches"][0]
    mix = model(rows(sentences)).last_hidden_state
    words = [mix[row, 1 : len(sentence) + 1] for row, sentence in enumerate(sentences)]
    coefficients = torch.from_numpy(expected["grad/coef"])
    loss = sum((vectors * coefficients[row, : len(vectors)]).sum() for row, vectors in enumerate(words))
    loss.backward()
    assert loss.item() == pytest.approx(float(expected["grad/loss"]), rel=1e-5)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    compared = {"scalar_mixes.0.weights": "grad/scalar_parameters", "scalar_mixes.0.gamma": "grad/gamma"}
    actual = {theirs: gradients[ours] for ours, theirs in compared.items()}
    for rule in rules(model.config):
        actual[f"grad/weights/{rule.dataset}"] = rule.layout.write(*(gradients[name] for name in rule.parameters))
    wanted = {name for name in expected if name.startswith(("grad/weights/", "grad/scalar", "grad/gamma"))}
    assert set(actual) == wanted
    for name, gradient in actual.items():
        scale = max(1.0, np.abs(expected[name]).max())
        assert np.abs(gradient.numpy() - expected[name]).max() <= tolerance * scale, name


# ---- without the fixtures

OPTIONS = {
    "lstm": {
        "use_skip_connections": True,
        "projection_dim": 8,
        "cell_clip": 3,
        "proj_clip": 3,
        "dim": 24,
        "n_layers": 2,
    },
    "char_cnn": {
        "activation": "relu",
        "filters": [[1, 4], [2, 8], [5, 12]],
        "n_highway": 2,
        "embedding": {"dim": 4},
        "n_characters": 262,
        "max_characters_per_token": 50,
    },
}
SENTENCES = [
    ["The", "bank", "was", "closed", "."],
    ["na\u00efve", "\u6c34", "x" * 60, ""],
    ["a"],
    ["</S>", "is", "a", "word"],
]


def changed(**sections):
    """`OPTIONS` with some of each section replaced; a section of None is left out."""
    return {
        name: {**section, **sections.get(name, {})}
        for name, section in OPTIONS.items()
        if sections.get(name, {}) is not None
    }


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(OPTIONS, id="usual"),
        pytest.param(changed(lstm={"cell_clip": 0.1, "proj_clip": 0.05}), id="clips-bind"),
        pytest.param(changed(lstm={"cell_clip": None, "proj_clip": None}), id="no-clips"),
        pytest.param(changed(lstm={"use_skip_connections": False, "n_layers": 3}), id="3-layers-no-skip"),
        pytest.param(changed(lstm={"n_layers": 1}), id="1-layer"),
        pytest.param(changed(lstm={"dim": 8, "proj_clip": 0.01}), id="no-cell-projection"),
        pytest.param(changed(char_cnn={"n_highway": 0, "activation": "tanh"}), id="tanh-no-highway"),
        pytest.param(changed(lstm={"projection_dim": 24, "dim": 32}), id="no-char-projection"),
        pytest.param(changed(char_cnn={"max_characters_per_token": 12}), id="12-characters"),
    ],
)
def test_all_layers_equal_a_float64_computation(tmp_path, options):
    tensors = random_weights(options, seed=1)
    write_files(tmp_path / "original", options, tensors)
    convert(tmp_path / "original", tmp_path / "model")
    model = ElmoModel.from_pretrained(tmp_path / "model").eval()
    ids = rows(SENTENCES, options["char_cnn"]["max_characters_per_token"])
    with torch.no_grad():
        output = model(ids, output_hidden_states=True)
    for row, sentence in enumerate(SENTENCES):
        expected = all_layers(tensors, options, ids[row, : len(sentence) + 2].numpy())
        actual = torch.stack([layer[row, : len(sentence) + 2] for layer in output.hidden_states])
        assert np.abs(actual.numpy() - expected).max() <= 2e-6


def test_words_in_place_of_characters_equal_a_float64_computation(tmp_path):
    options = {"lstm": OPTIONS["lstm"], "n_tokens_vocab": 9}
    tensors = random_weights(options, seed=1)
    write_files(tmp_path / "original", options, tensors)
    (tmp_path / "vocab.txt").write_text("<S>\n</S>\n<UNK>\nthe\nbank\nof\na\nriver\n.\n", encoding="utf-8")
    convert(tmp_path / "original", tmp_path / "model", vocab=tmp_path / "vocab.txt")
    model = ElmoModel.from_pretrained(tmp_path / "model").eval()
    ids = torch.tensor([[1, 5, 9, 9, 2], [1, 4, 2, 0, 0]])[..., None]
    with torch.no_grad():
        output = model(ids, output_hidden_states=True)
    for row, length in enumerate((5, 3)):
        expected = all_layers(tensors, options, ids[row, :length].numpy())
        actual = torch.stack([layer[row, :length] for layer in output.hidden_states])
        assert np.abs(actual.numpy() - expected).max() <= 2e-6
        assert all((layer[row, length:] == 0).all() for layer in output.hidden_states)
