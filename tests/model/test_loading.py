"""Loading as another class than the saved one is quiet but for a line about untrained parts; damage is reported, and
published weights are answered with the command that converts them."""

from importlib.resources import as_file, files

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForTokenClassification, logging
from transformers.testing_utils import CaptureLogger

from hf_elmo import (
    ElmoConfig,
    ElmoForMaskedLM,
    ElmoForPreTraining,
    ElmoForTokenClassification,
    ElmoModel,
    ElmoTokenizer,
)

UNTRAINED = "ElmoForTokenClassification starts with untrained parts that ElmoModel does not have: crf, score, tagger"


@pytest.fixture
def encoder(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.fixture
def language_model(tiny_config, tmp_path):
    tiny_config.word_vocab_size = 20
    ElmoForPreTraining(tiny_config).save_pretrained(tmp_path / "language_model")
    return tmp_path / "language_model"


def load(auto_class, folder, **options) -> tuple[str, torch.nn.Module]:
    """Load a model; return what is logged with it."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_warning()
    try:
        with (
            CaptureLogger(logging.get_logger("transformers.modeling_utils")) as library,
            CaptureLogger(logging.get_logger("hf_elmo.model.modeling_elmo")) as ours,
        ):
            model = auto_class.from_pretrained(folder, **options)
    finally:
        logging.set_verbosity(verbosity)
    return library.out + ours.out, model


def test_a_head_on_an_encoder_is_said_to_be_untrained_in_a_line(encoder):
    logged, _ = load(AutoModelForTokenClassification, encoder)
    assert UNTRAINED in logged
    assert "LOAD REPORT" not in logged
    assert len(logged.splitlines()) == 1


def test_further_mixes_of_a_head_are_part_of_it(encoder):
    logged, model = load(ElmoForTokenClassification, encoder, elmo_at_output=True)
    assert len(model.elmo.scalar_mixes) > 1
    assert "LOAD REPORT" not in logged


@pytest.mark.parametrize("auto_class", [AutoModel, ElmoForMaskedLM])
def test_without_the_head_or_with_the_same_one_nothing_is_said(language_model, auto_class):
    assert load(auto_class, language_model)[0] == ""


def test_loading_info_has_everything(encoder, language_model):
    _, (_, info) = load(AutoModelForTokenClassification, encoder, output_loading_info=True)
    assert {key.split(".")[0] for key in info["missing_keys"]} == {"crf", "score", "tagger"}
    _, (_, info) = load(AutoModel, language_model, output_loading_info=True)
    assert info["unexpected_keys"] == {"lm_head.weight", "lm_head.bias"}


@pytest.mark.parametrize("auto_class", [ElmoModel, AutoModelForTokenClassification], ids=["same class", "head"])
def test_damage_is_reported(encoder, auto_class):
    file = encoder / "model.safetensors"
    tensors = load_file(file)
    tensors["layers.7.other"] = tensors.pop("layers.0.forward_lstm.input_gates.bias")
    save_file(tensors, file, {"format": "pt"})
    logged, _ = load(auto_class, encoder)
    assert "LOAD REPORT" in logged
    assert "forward_lstm.input_gates.bias" in logged
    assert "layers.7.other" in logged


@pytest.mark.parametrize("cls", [ElmoConfig, ElmoModel, ElmoTokenizer])
def test_published_weights_are_answered_with_the_command_that_converts_them(cls, tmp_path):
    """The loader would take default values where it finds no config.json of its kind."""
    (tmp_path / "archive.zip").write_bytes(b"PK")
    (tmp_path / "allennlp").mkdir()
    (tmp_path / "allennlp" / "config.json").write_text('{"model": {"type": "crf_tagger"}}')
    with as_file(files("hf_elmo.data")) as original:
        for path in (original, original / "options.json", tmp_path / "archive.zip", tmp_path / "allennlp"):
            with pytest.raises(ValueError, match="hf-elmo convert") as refusal:
                cls.from_pretrained(path)
            assert str(refusal.value).startswith(f"{path}: ")
            assert "\n" not in str(refusal.value)


def test_a_tokenizer_alone_and_weights_with_a_given_configuration_need_no_config_json(encoder, tmp_path):
    ElmoTokenizer().save_pretrained(tmp_path / "tokenizer")
    assert not (tmp_path / "tokenizer" / "config.json").exists()
    assert ElmoTokenizer.from_pretrained(tmp_path / "tokenizer").split == "treebank"
    config = ElmoConfig.from_pretrained(encoder)
    (encoder / "config.json").unlink()
    assert ElmoModel.from_pretrained(encoder, config=config).num_parameters()
