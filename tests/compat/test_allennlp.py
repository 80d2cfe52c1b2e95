"""AllenNLP's calls: the numbers of the original software, and its documentation with only the import changed."""

import io
import json

import h5py
import numpy as np
import pytest
import torch
from lanes import first_fast
from small_original import OPTIONS
from torch import nn

from hf_elmo import ElmoModel, ElmoTokenizer
from hf_elmo.compat import Elmo, ElmoEmbedder, batch_to_ids
from hf_elmo.conversion import convert
from hf_elmo.conversion.random_weights import random_weights, write_files

# Numbers up to 3 in size, rounded ten times in a row, in an order of additions that depends on the processor
MODULES = {"elmo_module": ("s01_tiny_relu", 4e-6), "elmo_module_3_layers": ("s02_tiny_tanh_clip", 5e-6)}
SENTENCES = [["First", "sentence", "."], ["Another", "."]]


@pytest.fixture(params=first_fast(MODULES))
def original(request, fixtures_dir):
    """Settings and outputs of AllenNLP, the files of the weights, and a tolerance."""
    weights, tolerance = MODULES[request.param]
    folder, files = fixtures_dir / request.param, fixtures_dir / "random" / weights
    settings = json.loads((folder / "elmo_module.json").read_text(encoding="utf-8"))
    paths = files / "options.json", files / "weights.hdf5"
    return settings, np.load(folder / "elmo_module.npz"), tuple(map(str, paths)), tolerance


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Options and weights of a small model, as users of AllenNLP have them."""
    folder = tmp_path_factory.mktemp("original")
    write_files(folder, OPTIONS, random_weights(OPTIONS))
    return str(folder / "options.json"), str(folder / "weights.hdf5")


def close(found: torch.Tensor | np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=0, atol=tolerance)


# ---- Elmo


@pytest.mark.slow
@torch.no_grad()
def test_elmo_gives_the_originals_numbers(original):
    """In each case, one object sees four batches in order, as the original did."""
    settings, expected, files, tolerance = original
    for case, options in settings["cases"].items():
        values, options = options.get("set_after_construction", []), dict(options)
        options.pop("set_after_construction", None)
        elmo = Elmo(*files, dropout=0.0, **options)
        for mix, given in zip(elmo.scalar_mixes, values):
            mix.weights.copy_(torch.tensor(given["scalar_parameters"]))
            mix.gamma.fill_(given["gamma"])
        for number, sentences in enumerate(settings["batches"]):
            output = elmo(batch_to_ids(sentences))
            assert len(output["elmo_representations"]) == options["num_output_representations"]
            mask = expected[f"{case}/batch{number}/mask"]
            assert np.array_equal(output["mask"], mask)
            for k, vectors in enumerate(output["elmo_representations"]):  # layer norm left numbers at padding
                close(vectors, expected[f"{case}/batch{number}/rep{k}"] * mask[..., None], tolerance)


@torch.no_grad()
def test_elmo_takes_rows_of_four_axes_and_cached_words(original):
    settings, expected, files, tolerance = original
    output = Elmo(*files, 1, dropout=0)(torch.from_numpy(expected["input4d/ids"].astype(np.int64)))
    close(output["elmo_representations"][0], expected["input4d/rep0"], tolerance)
    assert np.array_equal(output["mask"], expected["input4d/mask"])
    elmo = Elmo(*files, 1, dropout=0, vocab_to_cache=settings["vocab_to_cache"])
    for number in range(4):
        words = torch.from_numpy(expected[f"vocab_to_cache/batch{number}/word_inputs"].astype(np.int64))
        mask = expected[f"vocab_to_cache/batch{number}/mask"]
        output = elmo(batch_to_ids(settings["batches"][number]), words)["elmo_representations"][0]
        close(output[torch.from_numpy(mask)], expected[f"vocab_to_cache/batch{number}/rep0"][mask], tolerance)


def test_gradients_are_the_originals(original):
    settings, expected, files, _ = original
    elmo = Elmo(*files, 1, requires_grad=True, dropout=0)
    (mix,) = elmo.scalar_mixes
    (values,) = settings["grad"]["set_after_construction"]
    with torch.no_grad():
        mix.weights.copy_(torch.tensor(values["scalar_parameters"]))
        mix.gamma.fill_(values["gamma"])
    output = elmo(batch_to_ids(settings["batches"][0]))
    vectors = output["elmo_representations"][0]
    loss = (vectors * torch.from_numpy(expected["grad/coef"]) * output["mask"][..., None]).sum()
    loss.backward()
    assert loss.item() == pytest.approx(float(expected["grad/loss"]), rel=1e-5)
    close(mix.weights.grad, expected["grad/scalar_parameters"], 1e-4)
    close(mix.gamma.grad, expected["grad/gamma"], 1e-4)


def test_the_how_to_of_allennlp(files):
    """Its snippet, with the import changed and local files."""
    options_file, weight_file = files
    elmo = Elmo(options_file, weight_file, 2, dropout=0)
    character_ids = batch_to_ids(SENTENCES)
    assert character_ids.shape == (2, 3, 50)
    embeddings = elmo(character_ids)
    assert [part.shape for part in embeddings["elmo_representations"]] == [(2, 3, 12), (2, 3, 12)]
    assert embeddings["mask"].tolist() == [[True, True, True], [True, True, False]]
    assert elmo.get_output_dim() == 12
    assert not embeddings["elmo_representations"][0][1, 2].any()
    trained = [name for name, parameter in elmo.named_parameters() if parameter.requires_grad]
    assert len(trained) == 4
    assert all("scalar_mixes" in name for name in trained)


@torch.no_grad()
def test_the_state_is_carried_unless_it_is_switched_off(files, tmp_path):
    convert(files[1], tmp_path / "model")
    model, tokenizer = ElmoModel.from_pretrained(tmp_path / "model"), ElmoTokenizer.from_pretrained(tmp_path / "model")
    batch = tokenizer(SENTENCES, is_split_into_words=True, padding=True, return_tensors="pt")
    alone = model(**batch).last_hidden_state[:, 1:-1]
    ids = batch_to_ids(SENTENCES)
    stateful, stateless = Elmo(*files, 1), Elmo(*files, 1, stateful=False)
    first, second = (stateful.eval()(ids)["elmo_representations"][0] for _ in range(2))
    torch.testing.assert_close(first[0], alone[0])
    assert not torch.allclose(first[0], second[0])
    stateful.reset_states()
    assert torch.equal(stateful(ids)["elmo_representations"][0], first)
    for _ in range(2):
        torch.testing.assert_close(stateless.eval()(ids)["elmo_representations"][0], first)
    from_folder = Elmo(None, str(tmp_path / "model"), 1).eval()
    torch.testing.assert_close(from_folder(ids)["elmo_representations"][0], first)


def test_dropout_and_fixed_mixes(files):
    elmo = Elmo(*files, 2, dropout=0.5, scalar_mix_parameters=[0.0, 1.0, 0.0])
    assert not [name for name, parameter in elmo.named_parameters() if parameter.requires_grad]
    ids = batch_to_ids(SENTENCES)
    share = (elmo(ids)["elmo_representations"][0][0] == 0).float().mean()
    assert 0.2 < share < 0.8
    with pytest.raises(ValueError, match=r"must have a number for each of the 3 layers, .*, but has 2"):
        Elmo(*files, 1, scalar_mix_parameters=[0.0, 1.0])


class Layers(nn.Module):
    """A module of the form that `module=` asks for."""

    num_layers = 2

    def forward(self, inputs):
        mask = torch.ones(len(inputs), inputs.shape[1] + 2, dtype=torch.bool)
        return {"activations": [torch.full((*mask.shape, 4), float(layer)) for layer in range(2)], "mask": mask}

    def get_output_dim(self):
        return 4


def test_another_module_may_give_the_layers(files):
    elmo = Elmo(None, None, 1, dropout=0, module=Layers())
    output = elmo(batch_to_ids([["a", "b"]]))
    assert torch.equal(output["elmo_representations"][0], torch.full((1, 2, 4), 0.5))
    assert (elmo.get_output_dim(), output["mask"].tolist()) == (4, [[True, True]])
    with pytest.raises(ValueError, match="not both"):
        Elmo(*files, 1, module=Layers())
    with pytest.raises(ValueError, match="`weight_file` is missing"):
        Elmo(None, None, 1)
    with pytest.raises(ValueError, match="no such file"):
        Elmo(None, "nowhere.hdf5", 1)


def test_batch_to_ids_is_what_the_tokenizer_makes(files):
    words = [["Zürich", "<S>", ""], [], ["x" * 60]]
    ids = batch_to_ids(words)
    rows = ElmoTokenizer()(words, is_split_into_words=True, add_special_tokens=False, padding=True, return_tensors="pt")
    assert torch.equal(ids, rows["input_ids"].long())
    assert batch_to_ids([]).shape == (0, 0, 50)
    with pytest.raises(ValueError, match="padding must be on the right"):
        Elmo(*files, 1)(ids.flip(1))


# ---- ElmoEmbedder


@pytest.mark.slow
def test_embedder_writes_the_files_of_the_original(original, tmp_path, fixtures_dir, request):
    _, _, files, tolerance = original
    folder = fixtures_dir / request.node.callspec.params["original"]
    text = (folder / "sentences.txt").read_text(encoding="utf-8")
    for name, lines, options in (
        ("all", text, {}),
        ("top", text, {"output_format": "top"}),
        ("average", text, {"output_format": "average"}),
        ("all_forget_sentences", text, {"forget_sentences": True}),
        ("all_sentence_keys", "".join(text.splitlines(keepends=True)[:6]), {"use_sentence_keys": True}),
    ):
        embedder = ElmoEmbedder(*files)
        embedder.embed_file(io.StringIO(lines), tmp_path / f"{name}.hdf5", batch_size=3, **options)
        with h5py.File(tmp_path / f"{name}.hdf5") as mine, h5py.File(folder / f"elmo_command_{name}.hdf5") as wanted:
            assert list(mine) == list(wanted)
            for key in wanted:
                if key == "sentence_to_index":
                    assert mine[key][0] == wanted[key][0]
                else:
                    assert mine[key].dtype == wanted[key].dtype
                    close(mine[key][:], wanted[key][:], 2 * tolerance)


def test_embedder(files, tmp_path):
    elmo = ElmoEmbedder(*files)
    tokens = ["I", "ate", "an", "apple", "for", "breakfast"]
    vectors = elmo.embed_sentence(tokens)
    assert len(vectors) == 3
    assert len(vectors[0]) == len(tokens)
    assert vectors.dtype == np.float32
    assert not np.allclose(elmo.embed_sentence(tokens), vectors)  # the state was carried
    elmo.reset_states()
    close(elmo.embed_sentence(tokens), vectors, 1e-6)
    alone = ElmoEmbedder(*files, stateful=False)
    several = [*alone.embed_sentences([tokens, [], ["a"], tokens], batch_size=2)]
    assert [part.shape for part in several] == [(3, 6, 12), (3, 0, 12), (3, 1, 12), (3, 6, 12)]
    close(several[3], vectors, 1e-6)
    assert [part.shape for part in alone.embed_batch([[], []])] == [(3, 0, 12)] * 2
    layers, mask = alone.batch_to_embeddings([tokens, ["a"]])
    assert (layers.shape, mask.sum().item()) == ((2, 3, 6, 12), 7)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a\n\nb\n", {}, "the input has empty lines, the first of them line 2"),
        ("a\na\n", {"use_sentence_keys": True}, "'a' is there twice"),
        ("a\n", {"output_format": "mix"}, "`output_format` must be one of all, top, average, but is 'mix'"),
    ],
)
def test_files_that_cannot_be_written(files, tmp_path, text, options, message):
    with pytest.raises(ValueError, match=message):
        ElmoEmbedder(*files).embed_file(io.StringIO(text), tmp_path / "out.hdf5", **options)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="must be a list of words, but is a text: 'a b'"):
        ElmoEmbedder(*files).embed_batch(["a b"])
