"""`hf-elmo export`: graphs for any length, run by ONNX Runtime."""

import json

import numpy as np
import pytest
import torch
from toy_tasks import config, save_checkpoint, tokenizer

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnxruntime

import hf_elmo
from hf_elmo import cli
from hf_elmo.export import examples

HEADS = {
    "ElmoForMaskedLM": ("fill-mask", ["logits"]),
    "ElmoForTokenClassification": ("token-classification", ["logits", "scores"]),
    "ElmoForSequenceClassification": ("text-classification", ["logits"]),
    "ElmoForQuestionAnswering": ("question-answering", ["start_logits", "end_logits"]),
}


def check(path, model, task, names) -> None:
    """Run a graph on texts of other lengths than those of the command's own check."""
    session = onnxruntime.InferenceSession(path)
    assert [node.name for node in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert [node.name for node in session.get_outputs()] == names
    for texts in (["Ada", "Tom left Rome again ."], ["in " * 30 + "Oslo"]):
        batch = examples(tokenizer(), texts, task)
        computed = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})
        with torch.no_grad():
            expected = model.eval()(**batch, output_hidden_states=True)
        for name, values in zip(names, computed):
            wanted = torch.stack(expected.hidden_states) if name == "hidden_states" else expected[name]
            np.testing.assert_allclose(values, wanted.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_an_encoder_with_its_layers(tmp_path, capsys):
    folder, path = save_checkpoint(tmp_path / "elmo"), tmp_path / "elmo.onnx"
    assert cli.main(["export", str(folder), str(path), "--hidden-states", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["outputs"] == ["last_hidden_state", "token_embeddings", "hidden_states"]
    assert report["largest_relative_difference"] < 1e-4
    assert report["bytes"] == path.stat().st_size
    check(path, hf_elmo.ElmoModel.from_pretrained(folder), "feature-extraction", report["outputs"])
    assert sorted(child.name for child in tmp_path.iterdir()) == ["elmo", "elmo.onnx"]


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_every_head(head, tmp_path, capsys):
    torch.manual_seed(0)
    task, names = HEADS[head]
    labels = ["O", "B-PER", "I-PER"]
    model = getattr(hf_elmo, head)(config(id2label=dict(enumerate(labels)), use_crf=True))
    model.save_pretrained(tmp_path / "model")
    words = tmp_path / "words.txt"
    words.write_text("\n".join(["<S>", "</S>", "<UNK>", *map(str, range(model.config.word_vocab_size - 3))]) + "\n")
    encode = hf_elmo.ElmoTokenizer(str(words), max_characters_per_token=12) if task == "fill-mask" else tokenizer()
    encode.save_pretrained(tmp_path / "model")
    assert cli.main(["export", str(tmp_path / "model"), str(tmp_path / "model.onnx"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["task"], report["outputs"]) == (task, names)
    check(tmp_path / "model.onnx", model, task, names)


def test_bad_arguments(tmp_path, capsys):
    (tmp_path / "there.onnx").write_text("precious")
    cases = {
        "must end in .onnx": ["elmo", str(tmp_path / "elmo.bin")],
        "replace it with --force": ["elmo", str(tmp_path / "there.onnx")],
        "there is no folder": ["elmo", str(tmp_path / "no" / "elmo.onnx")],
        "no/model": [str(tmp_path / "no/model"), str(tmp_path / "elmo.onnx")],
        "did you mean --hidden-states?": ["elmo", "elmo.onnx", "--hidden-state"],
    }
    for problem, arguments in cases.items():
        try:
            code = cli.main(["export", *arguments])
        except SystemExit as end:
            code = end.code
        message = capsys.readouterr().err
        assert code == 2
        assert problem in message
        assert message.count("\n") == 1
    assert (tmp_path / "there.onnx").read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1
