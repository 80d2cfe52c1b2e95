"""Folders for sentence-transformers: the vectors of `ElmoModel.sentence_vectors`, with the package and without it."""

import json
from pathlib import Path

import pytest
import torch
from fresh_process import run_python
from lanes import first_fast
from shaken import shake
from toy_tasks import config as toy_config
from toy_tasks import tokenizer as toy_tokenizer

from hf_elmo import ElmoForSequenceClassification, ElmoModel, ElmoTokenizer
from hf_elmo.cli import main
from hf_elmo.sentence_vectors import save_sentence_transformer

TEXTS = ["Ada met Eve in Rome .", "Tom left Oslo .", "", "Max saw Ann again"]


def toy_model(kind=ElmoModel, **options):
    torch.manual_seed(0)
    return shake(kind(toy_config(word_vocab_size=0, **options)))


def load(folder: Path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    return sentence_transformers.SentenceTransformer(str(folder), device="cpu")


@torch.no_grad()
def vectors_of(folder: Path) -> torch.Tensor:
    model, tokenizer = ElmoModel.from_pretrained(folder), ElmoTokenizer.from_pretrained(folder)
    return model.sentence_vectors(**tokenizer(TEXTS, padding=True, return_tensors="pt"))


@pytest.mark.parametrize("pooling", first_fast(["mean", "max", "attention"]))
def test_vectors_are_those_of_the_model(pooling, tmp_path):
    save_sentence_transformer(toy_model(sentence_pooling=pooling), toy_tokenizer(), tmp_path / "saved")
    encoder = load(tmp_path / "saved")
    vectors = encoder.encode(TEXTS, convert_to_tensor=True, batch_size=3)
    torch.testing.assert_close(vectors, vectors_of(tmp_path / "saved"), rtol=1e-5, atol=1e-6)
    assert encoder.get_embedding_dimension() == 24
    encoder.save(str(tmp_path / "again"))
    assert torch.equal(load(tmp_path / "again").encode(TEXTS, convert_to_tensor=True, batch_size=3), vectors)


def test_an_empty_text_is_like_nothing(tmp_path):
    save_sentence_transformer(toy_model(), toy_tokenizer(), tmp_path)
    encoder = load(tmp_path)
    from sentence_transformers.util import semantic_search

    vectors = encoder.encode(TEXTS, convert_to_tensor=True)
    assert encoder.similarity(vectors, vectors)[2].tolist() == [0, 0, 0, 0]
    (hits,) = semantic_search(encoder.encode(["Ada met Tom"], convert_to_tensor=True), vectors)
    assert [hit["corpus_id"] for hit in hits][-1] == 2
    assert hits[-1]["score"] == 0 < hits[-2]["score"]


def test_attention_is_trained_by_their_trainer(tmp_path):
    """With the encoder frozen, it alone changes."""
    save_sentence_transformer(toy_model(sentence_pooling="attention"), toy_tokenizer(), tmp_path / "saved")
    encoder = load(tmp_path / "saved")
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer import losses

    model = encoder[0].model
    model.freeze_encoder()
    model.freeze_mix()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    pairs = Dataset.from_dict({"a": TEXTS[:2] * 4, "b": ["Ada met Eve", "Tom left"] * 4})
    options = {"max_steps": 2, "per_device_train_batch_size": 4, "report_to": [], "use_cpu": True, "disable_tqdm": True}
    arguments = SentenceTransformerTrainingArguments(str(tmp_path / "run"), save_strategy="no", **options)
    loss = losses.MultipleNegativesRankingLoss(encoder)
    SentenceTransformerTrainer(encoder, arguments, train_dataset=pairs, loss=loss).train()
    changed = [name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])]
    assert changed == ["sentence_pooling.attention.score.weight"]


def test_a_head_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"pass model.elmo of the ElmoForSequenceClassification"):
        save_sentence_transformer(toy_model(ElmoForSequenceClassification), toy_tokenizer(), tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


# ---- hf-elmo convert --to sentence-transformers


def convert(*arguments) -> int:
    return main(["convert", *map(str, arguments), "--to", "sentence-transformers"])


def test_a_saved_model_becomes_such_a_folder(tmp_path):
    toy_model().save_pretrained(tmp_path / "model")
    toy_tokenizer().save_pretrained(tmp_path / "model")
    assert convert(tmp_path / "model", tmp_path / "sentences", "--pooling", "max") == 0
    encoder = load(tmp_path / "sentences")
    assert encoder[0].model.config.sentence_pooling == "max"
    expected = vectors_of(tmp_path / "sentences")
    torch.testing.assert_close(encoder.encode(TEXTS, convert_to_tensor=True), expected, rtol=1e-5, atol=1e-6)


def test_the_attention_of_a_classifier_is_kept(tmp_path, capsys):
    classifier = toy_model(ElmoForSequenceClassification, pooling="attention")
    classifier.save_pretrained(tmp_path / "classifier")
    toy_tokenizer().save_pretrained(tmp_path / "classifier")
    assert convert(tmp_path / "classifier", tmp_path / "sentences", "--pooling", "attention", "--json") == 0
    assert json.loads(capsys.readouterr().out)["notes"] == []
    model = ElmoModel.from_pretrained(tmp_path / "sentences")
    assert torch.equal(model.sentence_pooling.attention.score.weight, classifier.pooling.score.weight)
    toy_model().save_pretrained(tmp_path / "untrained")
    toy_tokenizer().save_pretrained(tmp_path / "untrained")
    assert convert(tmp_path / "untrained", tmp_path / "same", "--pooling", "attention") == 0
    assert "the attention is untrained" in capsys.readouterr().err


def test_foreign_weights_and_wrong_options(tmp_path, capsys):
    source = Path(__file__).parents[2] / "hf_elmo" / "data"
    assert convert(source, tmp_path / "sentences") == 0
    files = {"modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "model.safetensors"}
    assert files <= {path.name for path in (tmp_path / "sentences").iterdir()}
    assert main(["convert", str(source), str(tmp_path / "other"), "--pooling", "max"]) == 2
    assert "--pooling is of vectors of texts: it goes with --to sentence-transformers" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


STRANGER = """
import json, sys
from stranger import NotInstalled
sys.meta_path.insert(0, NotInstalled())
from sentence_transformers import SentenceTransformer
encoder = SentenceTransformer(sys.argv[1], trust_remote_code=True, device="cpu")
print(json.dumps(encoder.encode(json.loads(sys.argv[2])).tolist()))
"""


@pytest.mark.slow
def test_without_the_package(tmp_path):
    pytest.importorskip("sentence_transformers")
    save_sentence_transformer(toy_model(), toy_tokenizer(), tmp_path / "saved")
    helpers = str(Path(__file__).parents[1] / "helpers")
    process = run_python("-c", STRANGER, tmp_path / "saved", json.dumps(TEXTS), PYTHONPATH=helpers)
    vectors = torch.tensor(json.loads(process.stdout.splitlines()[-1]))
    torch.testing.assert_close(vectors, vectors_of(tmp_path / "saved"), rtol=1e-5, atol=1e-6)
