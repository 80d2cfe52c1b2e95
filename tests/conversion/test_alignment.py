"""Alignment matrices between languages: whose layer they multiply, how they are read, and that they travel."""

import numpy as np
import pytest
import torch
from many_langs_weights import write_model
from numpy_bilm import all_layers
from small_original import OPTIONS
from transformers import AutoModel, AutoTokenizer

from hf_elmo import ElmoConfig, ElmoForMaskedLM, ElmoForPreTraining, ElmoModel, ElmoTokenizer
from hf_elmo.cli import main
from hf_elmo.conversion import convert
from hf_elmo.conversion.random_weights import random_weights, write_files

SENTENCES = [["I", "went", "to", "the", "bank"], ["Closed", "."]]
TENSORS = random_weights(OPTIONS, seed=5, words=4)
MATRIX = np.random.default_rng(1).normal(size=(12, 12)).astype(np.float32)
OTHER = np.random.default_rng(2).normal(size=(12, 12)).astype(np.float32)


@pytest.fixture
def original(tmp_path):
    """A folder of bilm-tf with a matrix as MUSE saves it."""
    folder = tmp_path / "original"
    write_files(folder, OPTIONS, TENSORS)
    (folder / "vocab.txt").write_text("<S>\n</S>\n<UNK>\nbank\n")
    torch.save(MATRIX, folder / "best_mapping.pth", _use_new_zipfile_serialization=False)
    return folder


@torch.no_grad()
def outputs(folder, model_class=ElmoModel, **call):
    model, tokenizer = model_class.from_pretrained(folder).eval(), ElmoTokenizer.from_pretrained(folder)
    batch = tokenizer(SENTENCES, is_split_into_words=True, padding=True, return_tensors="pt")
    return batch, model(**batch, **call, output_hidden_states=True)


def witness(batch, matrices):
    """All layers in numpy's float64, those with a matrix multiplied by its transpose, `(B, L + 1, T, 2P)` ragged."""
    for ids, mask in zip(batch["input_ids"].numpy(), batch["attention_mask"].bool().numpy()):
        layers = all_layers(TENSORS, OPTIONS, ids[mask])
        yield np.stack([layer @ matrices[k].T if k in matrices else layer for k, layer in enumerate(layers)])


@pytest.mark.parametrize("matrices", [{1: MATRIX}, {0: OTHER, 1: MATRIX, 2: OTHER}])
def test_layers_and_mixes_are_aligned_as_numpy_aligns_them(original, tmp_path, matrices):
    files = []
    for layer, matrix in matrices.items():
        torch.save(torch.from_numpy(matrix), tmp_path / f"{layer}.pth")
        files.append(f"{layer}={tmp_path / f'{layer}.pth'}")
    convert(original, tmp_path / "model", alignment=files)
    batch, output = outputs(tmp_path / "model")
    for row, expected in enumerate(witness(batch, matrices)):
        found = torch.stack(output.hidden_states)[:, row, : expected.shape[1]]
        torch.testing.assert_close(found.double(), torch.from_numpy(expected), rtol=0, atol=5e-6)
        mix = torch.from_numpy(expected.mean(0))
        torch.testing.assert_close(output.last_hidden_state[row, : len(mix)].double(), mix, rtol=0, atol=5e-6)
    assert not output.last_hidden_state[~batch["attention_mask"].bool()].any()


def test_only_the_aligned_layer_in_the_mix_is_the_published_recipe(original, tmp_path):
    conversion = convert(original, tmp_path / "model", alignment=[original / "best_mapping.pth"])
    assert conversion.notes == [
        "aligned to another language: layer 1 by best_mapping.pth; the mix holds the other layers too, unless you type "
        "model.set_mix_weights([0, 1, 0])"
    ]
    model = ElmoModel.from_pretrained(tmp_path / "model")
    model.set_mix_weights([0, 1, 0])
    ids = torch.randint(1, 257, (1, 3, 50))
    output = model.eval()(ids, output_hidden_states=True)
    torch.testing.assert_close(output.last_hidden_state, output.hidden_states[1])
    stored = torch.stack(output.hidden_states, dim=2)
    torch.testing.assert_close(model(layers=stored).last_hidden_state, output.last_hidden_state)  # not aligned twice
    pair = model(ids, token_type_ids=torch.tensor([[0, 0, 1]]), output_hidden_states=True).hidden_states[1]
    plain = convert(original, tmp_path / "plain") and ElmoModel.from_pretrained(tmp_path / "plain").eval()
    expected = plain(ids, token_type_ids=torch.tensor([[0, 0, 1]]), output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(pair, expected @ torch.from_numpy(MATRIX).T)


@pytest.mark.slow
def test_the_language_model_predicts_what_it_did(original, tmp_path):
    """It reads the layers as they were trained; only hidden states are aligned."""
    convert(original, tmp_path / "model", alignment=[original / "best_mapping.pth"])
    convert(original, tmp_path / "plain")
    for model_class, logits in ((ElmoForPreTraining, "forward_logits"), (ElmoForMaskedLM, "logits")):
        options = {"output_logits": True} if model_class is ElmoForPreTraining else {}
        (_, aligned), (_, plain) = (outputs(tmp_path / name, model_class, **options) for name in ("model", "plain"))
        torch.testing.assert_close(aligned[logits], plain[logits])
        expected = plain.hidden_states[1] @ torch.from_numpy(MATRIX).T
        torch.testing.assert_close(aligned.hidden_states[1], expected)
        torch.testing.assert_close(aligned.hidden_states[2], plain.hidden_states[2])


def test_matrices_are_saved_named_on_the_card_and_never_trained(original, tmp_path):
    convert(original, tmp_path / "model", alignment=[original / "best_mapping.pth"])
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "| aligned to another language | layer 1 |" in card
    assert "`best_mapping.pth`" in card
    model, report = ElmoForPreTraining.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not report["missing_keys"] | report["unexpected_keys"]
    model = ElmoModel.from_pretrained(tmp_path / "model")
    assert "alignment.layer_1" not in dict(model.named_parameters())
    model.save_pretrained(tmp_path / "saved")
    again = AutoModel.from_pretrained(tmp_path / "saved", dtype=torch.bfloat16)
    assert torch.equal(again.alignment.layer_1, torch.from_numpy(MATRIX).bfloat16())
    assert (tmp_path / "saved" / "pooling_elmo.py").is_file()
    notes = convert(tmp_path / "model", tmp_path / "back", to="hdf5").notes
    assert notes == ["alignment.layer_1 has no place in the original format; left out"]


def test_off_by_default(original, tmp_path):
    notes = convert(original, tmp_path / "model").notes
    assert len(notes) == 1
    assert "best_mapping.pth, an alignment of a layer to another language, is not applied; --alignment" in notes[0]
    model = ElmoModel.from_pretrained(tmp_path / "model")
    assert model.alignment is None
    assert not list(model.buffers())
    fresh = ElmoModel(ElmoConfig.from_pretrained(tmp_path / "model", aligned_layers=[2]))
    assert torch.equal(fresh.alignment.layer_2, torch.eye(12))


def test_other_formats_and_the_command(original, tmp_path, capsys):
    write_model(tmp_path / "many")
    arguments = ["convert", str(tmp_path / "many"), str(tmp_path / "model"), "--alignment"]
    assert main([*arguments, f"1={original / 'best_mapping.pth'}", f"2={original / 'best_mapping.pth'}"]) == 0
    assert "layer 1 by best_mapping.pth, layer 2 by best_mapping.pth" in capsys.readouterr().err
    model, tokenizer = (kind.from_pretrained(tmp_path / "model") for kind in (AutoModel, AutoTokenizer))
    assert model.config.aligned_layers == [1, 2]
    assert model(**tokenizer("the bank", return_tensors="pt")).last_hidden_state.shape == (1, 4, 12)
    assert main(["convert", str(tmp_path / "many"), str(tmp_path / "x"), "--alignment", str(tmp_path / "none")]) == 2
    assert f"{tmp_path / 'none'}: no such file" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


class Evil:
    def __reduce__(self):
        return print, ("code",)


WRONG = {
    "shape": (MATRIX[:5], "the alignment matrix must be (12, 12) to fit the other tensors, but is (5, 12)"),
    "axes": (torch.zeros(12), "the alignment matrix must be (12, 12)"),
    "nan": (np.full_like(MATRIX, np.nan), "holds 144 NaN or infinite numbers"),
    "integers": (torch.zeros(12, 12).long(), "must hold floating-point numbers, but holds torch.int64"),
    "integer-array": (MATRIX.astype(np.int32), "holds an array of another type than float32 and float64"),
    "objects": (np.array([[Evil()] * 12] * 12, dtype=object), "perhaps code, and is not opened"),
    "list": ([MATRIX.tolist()], "holds list; expected an alignment matrix"),
    "code": (Evil(), "perhaps code, and is not opened; expected an alignment matrix"),
}


@pytest.mark.parametrize("what", WRONG)
def test_files_that_are_no_matrix(original, tmp_path, what, capsys):
    content, complaint = WRONG[what]
    torch.save(content, tmp_path / "wrong.pth")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        convert(original, tmp_path / "model", alignment=[tmp_path / "wrong.pth"])
    assert str(caught.value).startswith(f"{tmp_path / 'wrong.pth'}: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "code" not in capsys.readouterr().out
    assert not (tmp_path / "model").exists()


def test_double_precision_and_columns_first(original, tmp_path):
    torch.save(np.asfortranarray(MATRIX.astype(np.float64)), tmp_path / "matrix.pth")
    convert(original, tmp_path / "model", alignment=[tmp_path / "matrix.pth"])
    assert torch.equal(ElmoModel.from_pretrained(tmp_path / "model").alignment.layer_1, torch.from_numpy(MATRIX))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"alignment": ["3={}"]}, "is for layer 3, but layers go from 0 to 2"),
        ({"alignment": ["{}", "{}"]}, "two files for layer 1"),
        ({"alignment": ["{}"], "to": "hdf5"}, "leave out --alignment"),
    ],
)
def test_what_cannot_be_asked_for(original, tmp_path, arguments, complaint):
    file = str(original / "best_mapping.pth")
    arguments = {**arguments, "alignment": [text.format(file) for text in arguments["alignment"]]}
    with pytest.raises(ValueError, match=complaint):
        convert(original, tmp_path / "model", **arguments)


def test_layers_that_a_model_has_not():
    with pytest.raises(Exception, match="`aligned_layers` must be different numbers from 0 to 2"):
        ElmoConfig(aligned_layers=[3])
    with pytest.raises(Exception, match="`aligned_layers` must be different numbers from 0 to 2"):
        ElmoConfig(aligned_layers=[1, 1])
