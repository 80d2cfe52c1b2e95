"""The rest of the house: what other libraries do with a model of transformers, they do with this one.

Libraries that the package does not need are in the extra `integrations`; their tests skip where they are not installed.
"""

import copy

import pytest
import torch
from shaken import shake
from torch import nn
from toy_tasks import CHECKPOINTING
from transformers import AutoModel, AutoModelForTokenClassification

import hf_elmo
from hf_elmo import ElmoConfig, ElmoTokenizer

CLASSES = (
    "ElmoModel",
    "ElmoForPreTraining",
    "ElmoForMaskedLM",
    "ElmoForTokenClassification",
    "ElmoForSequenceClassification",
    "ElmoForQuestionAnswering",
)
SENTENCES = ["I went to the river bank .", "The bank was closed .", "Money"]
WORDS = 9  # of the longest, with <S> and </S>
OUTPUTS = {
    "ElmoForPreTraining": ("last_hidden_state",),
    "ElmoForQuestionAnswering": ("start_logits", "end_logits"),
    "ElmoModel": ("last_hidden_state", "token_embeddings"),
}


def config(**options) -> ElmoConfig:
    """Small, yet as linear layers and kernels that have a least width want it."""
    small = {
        "char_embedding_size": 8,
        "char_cnn_filters": [[1, 16], [2, 16], [3, 32]],
        "num_highway_layers": 1,
        "max_characters_per_token": 16,
        "projection_size": 32,
        "cell_size": 64,
        "cell_clip": 0.5,
        "projection_clip": 0.4,
        "word_vocab_size": 20,
        "tagger_size": 16,
        "sequence_size": 16,
        "qa_size": 16,
        "num_labels": 3,
    }
    return ElmoConfig(**{**small, **options})


def model_of(name: str, **options) -> hf_elmo.ElmoPreTrainedModel:
    torch.manual_seed(0)
    return shake(getattr(hf_elmo, name)(config(**options)), scale=0.1)


def batch_of(sentences=SENTENCES, **options) -> dict[str, torch.Tensor]:
    return dict(ElmoTokenizer(max_characters_per_token=16)(sentences, padding=True, return_tensors="pt", **options))


@pytest.fixture
def saved(tmp_path):
    """A model in a folder with its tokenizer."""
    model = model_of("ElmoModel", word_vocab_size=0)
    model.save_pretrained(tmp_path / "elmo")
    ElmoTokenizer(max_characters_per_token=16).save_pretrained(tmp_path / "elmo")
    return model, tmp_path / "elmo"


# ---- torch.export, ONNX


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_torch_export_for_any_batch_and_length(name):
    """A layer above another is in the graph of the encoder alone, and so is padding on the left. Graphs take long, with
    gradients twice as long, and again in each call: one has them."""
    model = model_of(name, num_hidden_layers=2 if name == "ElmoModel" else 1, tagger_layers=1)
    batch = batch_of()
    assert batch["input_ids"].shape[1] == WORDS
    dynamic = {key: {0: torch.export.Dim("batch"), 1: torch.export.Dim("words", min=3)} for key in batch}
    sides = ("right", "left" if name == "ElmoModel" else "right", "right")
    with torch.set_grad_enabled(name == "ElmoForSequenceClassification"):
        program = torch.export.export(model, (), kwargs=batch, dynamic_shapes=dynamic).module()
        for sentences, side in zip((SENTENCES, SENTENCES[::-1] * 2, [" ".join(SENTENCES), "Money talks"]), sides):
            again = batch_of(sentences, padding_side=side)
            exported, expected = program(**again), model(**again)
            for output in OUTPUTS.get(name, ("logits",)):
                torch.testing.assert_close(exported[output], expected[output], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [("Dynamo", "ElmoForMaskedLM"), ("Onnx", "ElmoModel")])
@torch.no_grad()
def test_exporters_of_transformers(kind, name, tmp_path):
    if kind == "Onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    exporters = pytest.importorskip("transformers.exporters")
    model, batch = model_of(name, num_hidden_layers=1), batch_of()
    dynamic = {key: {0: torch.export.Dim("batch", max=64)} for key in batch}
    settings = getattr(exporters, f"{kind}Config")(dynamic_shapes=dynamic)
    getattr(exporters, f"{kind}Exporter")().export(copy.deepcopy(model), batch, config=settings).save_pretrained(
        tmp_path
    )
    # A Dynamo program is pickled; this one was written a line above, so loading it is safe.
    exported = exporters.ExportedModel.from_pretrained(tmp_path, trust_remote_code=True)
    for sentences in (SENTENCES, SENTENCES[::-1] * 2):
        again = batch_of(sentences)
        computed, expected = exported(**again), model(**again)
        for output in OUTPUTS.get(name, ("logits",)):
            torch.testing.assert_close(computed[output], expected[output], rtol=1e-4, atol=1e-5)


# ---- adapters, quantization


@pytest.mark.slow
def test_lora_trains_is_saved_and_merges(tmp_path):
    peft = pytest.importorskip("peft")
    base = model_of("ElmoForTokenClassification")
    frozen = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    lora = peft.LoraConfig(task_type="TOKEN_CLS", r=4, target_modules="all-linear", modules_to_save=["score"])
    model = peft.get_peft_model(copy.deepcopy(base), lora)
    adapted = {name.split(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name}
    linears = {name for name, module in base.named_modules() if isinstance(module, nn.Linear) and name != "score"}
    assert {name.removeprefix("base_model.model.") for name in adapted} == linears

    batch = batch_of()
    model.train()
    model.enable_input_require_grads()
    getattr(model, f"{CHECKPOINTING}_enable")(**{f"{CHECKPOINTING}_kwargs": {"use_reentrant": True}})
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.5)
    for _ in range(2):  # the first step moves only the half of each adapter that starts at zero
        model(**batch, labels=torch.ones(3, WORDS, dtype=torch.long)).loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
        optimizer.step()
    model.eval()
    trained = model(**batch).logits
    assert not torch.allclose(trained, base(**batch).logits, atol=1e-3)
    for name, tensor in base.state_dict().items():
        assert torch.equal(tensor, frozen[name])

    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).eval()
    torch.testing.assert_close(loaded(**batch).logits, trained, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loaded.merge_and_unload()(**batch).logits, trained, rtol=1e-4, atol=1e-5)


def test_int8_by_torchao(saved):
    torchao = pytest.importorskip("torchao.quantization")
    from transformers import TorchAoConfig

    model, folder = saved
    quantization = TorchAoConfig(torchao.Int8DynamicActivationInt8WeightConfig())
    quantized = AutoModel.from_pretrained(folder, quantization_config=quantization).eval()
    layers = [module for module in quantized.layers.modules() if isinstance(module, nn.Linear)]
    assert layers
    assert all("Int8" in type(module.weight).__name__ for module in layers)
    output, expected = quantized(**batch_of()).last_hidden_state, model(**batch_of()).last_hidden_state
    assert not torch.equal(output, expected)
    assert (output - expected).norm() < 0.05 * expected.norm()


@pytest.mark.slow
def test_sentence_transformers_pools_words(saved):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    model, folder = saved
    modules = [Transformer(str(folder)), Pooling(model.config.hidden_size, "mean")]
    encoder = sentence_transformers.SentenceTransformer(modules=modules, device="cpu")
    vectors = torch.tensor(encoder.encode(SENTENCES))
    batch = batch_of()
    mask = batch["attention_mask"][..., None].bool()
    hidden = model(**batch).last_hidden_state
    expected = (hidden * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(vectors, expected.detach(), rtol=1e-5, atol=1e-6)


# ---- ways of loading


@pytest.mark.parametrize("place", ["cpu", "disk"])
def test_offloaded_layers_compute_the_same(saved, place, tmp_path):
    model, folder = saved
    device_map = {"char_encoder": "cpu", "layers.0": "cpu", "layers.1": place, "scalar_mixes": "cpu"}
    offloaded = AutoModel.from_pretrained(folder, device_map=device_map, offload_folder=tmp_path / "offload").eval()
    assert any(parameter.is_meta for parameter in offloaded.layers[1].parameters()) == (place == "disk")
    torch.testing.assert_close(
        offloaded(**batch_of()).last_hidden_state, model(**batch_of()).last_hidden_state, rtol=1e-5, atol=1e-6
    )


def test_device_map_auto_splits_between_memory_and_disk(saved, tmp_path):
    model, folder = saved
    sizes = {"cpu": sum(p.numel() * 4 for p in model.char_encoder.parameters()) + 150_000}
    offloaded = AutoModel.from_pretrained(
        folder, device_map="auto", max_memory=sizes, offload_folder=tmp_path / "offload"
    ).eval()
    assert set(offloaded.hf_device_map.values()) == {"cpu", "disk"}
    torch.testing.assert_close(
        offloaded(**batch_of()).last_hidden_state, model(**batch_of()).last_hidden_state, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_loading_in_another_precision(saved, dtype, tmp_path):
    model, folder = saved
    loaded = AutoModel.from_pretrained(folder, dtype=dtype).eval()
    assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}
    output, expected = loaded(**batch_of()).last_hidden_state, model(**batch_of()).last_hidden_state
    assert output.dtype == dtype
    bound = {torch.bfloat16: 2e-2, torch.float16: 3e-3, torch.float64: 1e-6}[dtype]
    assert (output.double() - expected.double()).norm() < bound * expected.double().norm()
    loaded.save_pretrained(tmp_path / "again")
    for options in ({}, {"dtype": "auto"}):  # as it was saved
        assert AutoModel.from_pretrained(tmp_path / "again", **options).dtype == dtype


def test_sharded_weights_load_as_they_were(tmp_path):
    model = model_of("ElmoForTokenClassification")
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 3
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
