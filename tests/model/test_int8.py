"""ELMo with weights of 8 bits: loaded, saved, copied, compiled, refused to be trained, and near the floats."""

import copy
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
from importlib import resources

import pytest
import torch
from fresh_process import REPOSITORY, forking_python, run_python
from safetensors.torch import load_file
from shaken import shake
from torch import nn
from torch.nn.functional import cosine_similarity
from transformers import (
    AutoModel,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    Trainer,
    TrainingArguments,
)

import hf_elmo
from hf_elmo import ElmoConfig, ElmoInt8Config, ElmoModel, ElmoTokenizer
from hf_elmo.cli import main
from hf_elmo.conversion import convert
from hf_elmo.demo import SENTENCES
from hf_elmo.model.int8_elmo import Int8Linear, processor_reason
from hf_elmo.model.lstm_elmo import last_lstm_path, lstm_path
from hf_elmo.model.quantizer_elmo import METHOD

HEADS = (
    "ElmoForPreTraining",
    "ElmoForMaskedLM",
    "ElmoForTokenClassification",
    "ElmoForSequenceClassification",
    "ElmoForQuestionAnswering",
)


def batch_of(sentences=SENTENCES) -> dict[str, torch.Tensor]:
    return dict(ElmoTokenizer()(sentences, padding=True, return_tensors="pt"))


def vectors(model, **options) -> torch.Tensor:
    """All layers and the mix, of the words that are there `(words, L + 2, 2P)`."""
    batch = batch_of(**options)
    with torch.no_grad():
        output = model.base_model(**batch, output_hidden_states=True)
    return torch.stack([*output.hidden_states, output.last_hidden_state], dim=2)[batch["attention_mask"].bool()]


def int8_layers(model) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, Int8Linear)]


def linear_layers(model) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]


def quantized(model):
    """The same model in 8 bits, without a file."""
    return type(model).from_pretrained(
        None, config=model.config, state_dict=model.state_dict(), quantization_config=ElmoInt8Config()
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The trained weights that the package carries, converted."""
    folder = tmp_path_factory.mktemp("trained") / "elmo"
    with resources.as_file(resources.files("hf_elmo.data")) as source:
        convert(source, folder, dtype="float32")
    return folder


@pytest.fixture(scope="module")
def int8(trained):
    return AutoModel.from_pretrained(trained, quantization_config=ElmoInt8Config())


@pytest.fixture(scope="module")
def int8_folder(int8, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "int8"
    int8.save_pretrained(folder)
    ElmoTokenizer().save_pretrained(folder)
    return folder


# ---- what it computes


def test_trained_vectors_keep_their_directions(trained, int8):
    """Measured on 200 sentences of news and prose, mean cosines are 0.9999 for each layer."""
    floats, integers = vectors(AutoModel.from_pretrained(trained)), vectors(int8)
    assert not torch.equal(floats, integers)
    cosines = cosine_similarity(floats, integers, dim=-1)
    assert cosines.mean(0).min() > 0.999
    assert cosines.min() > 0.995


def test_the_path_is_chosen_for_the_weights_and_its_reference_agrees(int8):
    fast = vectors(int8)
    unsupported = processor_reason()
    reason = "oneDNN's kernel" if unsupported is None else f"multiplied as floats: {unsupported}"
    assert last_lstm_path() == ("int8", f"int8 weights, {reason}")
    with lstm_path("reference"):
        plain = vectors(int8)
        assert last_lstm_path() == ("reference", "forced by lstm_path")
    # Here and there a value may lie on the edge between two codes.
    assert ((plain - fast).abs() < 1e-5).float().mean() > 0.9
    assert (plain - fast).abs().max() < 0.02


def test_a_sentence_has_its_vectors_in_any_batch(int8):
    together = vectors(int8)
    alone = torch.cat([vectors(int8, sentences=[sentence]) for sentence in SENTENCES])
    assert ((together - alone).abs() < 1e-5).float().mean() > 0.9
    assert (together - alone).abs().max() < 0.02


def test_states_go_in_and_out(int8):
    batch = batch_of(SENTENCES[:1])
    length = batch["input_ids"].shape[1]
    with torch.no_grad():
        whole = int8(**batch, use_state=True)
        words = whole.token_embeddings
        first = int8(token_embeddings=words[:, : length // 2], use_state=True)
        second = int8(token_embeddings=words[:, length // 2 :], state=first.state)
    ahead = int8.config.projection_size  # the backward direction does not go on from left to right
    layers = torch.cat([first.last_hidden_state, second.last_hidden_state], dim=1)[..., :ahead]
    torch.testing.assert_close(layers, whole.last_hidden_state[..., :ahead], rtol=0, atol=1e-5)
    torch.testing.assert_close(second.state[1][:, :, 0], whole.state[1][:, :, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"char_cnn_filters": [], "vocab_size": 30, "max_characters_per_token": 1},
        {"use_cell_projection": False, "cell_size": 12, "projection_size": 12},
        {"cell_clip": None, "projection_clip": None, "num_hidden_layers": 3, "use_skip_connections": False},
        {"num_highway_layers": 0, "use_char_projection": False, "projection_size": 18, "num_mixes": 2},
    ],
    ids=["words", "unprojected", "unclipped", "no highways"],
)
def test_any_architecture(tiny_config, options):
    torch.manual_seed(0)
    model = shake(ElmoModel(ElmoConfig(**{**tiny_config.to_dict(), **options})), scale=0.1)
    integers = quantized(model)
    assert int8_layers(integers) == linear_layers(model)
    ids = model.dummy_inputs["input_ids"].clamp(min=1)
    with torch.no_grad():
        ours, theirs = (m(ids, output_hidden_states=True).hidden_states[-1] for m in (integers, model))
    assert 0 < (ours - theirs).norm() < 0.05 * theirs.norm()
    assert last_lstm_path().name == "packed"  # of the floats, which came last


# ---- loading, saving, copying


def test_only_linear_layers_change(trained, int8):
    floats = AutoModel.from_pretrained(trained)
    assert int8_layers(int8) == linear_layers(floats)
    assert not linear_layers(int8)
    assert int8.num_parameters() == floats.num_parameters()
    assert int8.dtype == torch.float32
    kept = {name: value for name, value in floats.named_parameters() if name in dict(int8.named_parameters())}
    for name, value in kept.items():
        if not name.endswith("weight") or name.rpartition(".")[0] not in int8_layers(int8):
            assert torch.equal(dict(int8.named_parameters())[name], value), name
    matrices = sum(floats.get_submodule(name).weight.numel() for name in int8_layers(int8))
    scales = sum(floats.get_submodule(name).out_features for name in int8_layers(int8))
    saved = floats.get_memory_footprint() - int8.get_memory_footprint()
    assert saved == 3 * matrices - 4 * scales


def test_a_saved_model_is_a_quarter_and_the_same(trained, int8, int8_folder):
    assert json.loads((int8_folder / "config.json").read_text())["quantization_config"] == {"quant_method": METHOD}
    size, before = (os.path.getsize(folder / "model.safetensors") for folder in (int8_folder, trained))
    softmax = 10_000 * 81 * 4  # which `AutoModel` leaves behind
    assert size < 0.3 * (before - softmax)
    loaded, found = AutoModel.from_pretrained(int8_folder, output_loading_info=True)
    assert not any(found.values())
    assert torch.equal(vectors(loaded), vectors(int8))
    assert all(map(torch.equal, loaded.state_dict().values(), int8.state_dict().values()))
    asked = AutoModel.from_pretrained(int8_folder, dtype=torch.bfloat16)
    assert asked.dtype == torch.float32
    assert torch.equal(vectors(asked), vectors(int8))


def test_half_precision_weights_are_quantized_too(trained, tmp_path):
    AutoModel.from_pretrained(trained, dtype=torch.bfloat16).save_pretrained(tmp_path)
    integers = AutoModel.from_pretrained(tmp_path, quantization_config=ElmoInt8Config())
    assert {value.dtype for value in integers.state_dict().values()} == {torch.float32, torch.int8}
    floats = AutoModel.from_pretrained(tmp_path, dtype=torch.float32)
    assert cosine_similarity(vectors(integers), vectors(floats), dim=-1).mean() > 0.999


def test_copies_and_pickles_compute_the_same_and_carry_nothing_packed(int8):
    expected = vectors(int8)
    assert any(module.packing for module in int8.modules() if isinstance(module, Int8Linear))
    written = pickle.dumps(int8)
    assert len(written) < 1.2 * int8.get_memory_footprint()
    for again in (pickle.loads(written), copy.deepcopy(int8)):
        assert not any(module.packing for module in again.modules() if isinstance(module, Int8Linear))
        assert torch.equal(vectors(again), expected)


@pytest.mark.parametrize("assign", [False, True])
def test_other_weights_take_effect_at_once(int8, assign):
    model = copy.deepcopy(int8)
    before, state = vectors(model), copy.deepcopy(model.state_dict())
    changed = {name: -value if value.dtype == torch.int8 else value for name, value in state.items()}
    model.load_state_dict(changed, assign=assign)
    after = vectors(model)
    assert not torch.equal(after, before)
    with lstm_path("reference"):
        torch.testing.assert_close(vectors(model), after, rtol=0, atol=0.02)
    model.load_state_dict(state, assign=assign)
    assert torch.equal(vectors(model), before)
    with torch.inference_mode():
        model.load_state_dict(changed, assign=assign)
        assert torch.equal(vectors(model), after)


def in_child(queue, model):
    queue.put(vectors(model, sentences=SENTENCES[:1])[-1, -1, :4].tolist())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_a_forked_child_computes_the_same(int8):
    queue = multiprocessing.get_context("fork").Queue()
    in_child(queue, int8)
    expected = queue.get(timeout=60)
    process = multiprocessing.get_context("fork").Process(target=in_child, args=(queue, int8))
    process.start()
    try:
        assert queue.get(timeout=60) == expected
    finally:
        process.kill()
        process.join()


def test_back_to_floats(trained, int8_folder, tmp_path):
    model = AutoModel.from_pretrained(int8_folder)
    integers = vectors(model)
    floats = model.dequantize()
    assert not int8_layers(floats)
    assert cosine_similarity(vectors(floats), integers, dim=-1).min() > 0.995
    assert last_lstm_path().name == "packed"
    floats.train()
    floats(**batch_of()).last_hidden_state.sum().backward()
    assert all(parameter.grad is not None for parameter in floats.parameters())
    floats.save_pretrained(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    assert torch.equal(vectors(AutoModel.from_pretrained(tmp_path)), vectors(floats.eval()))


# ---- converting


@pytest.mark.slow
def test_conversion_rounds_as_loading_does(trained, int8, tmp_path, capsys):
    with resources.as_file(resources.files("hf_elmo.data")) as source:
        assert main(["convert", str(source), str(tmp_path / "one"), "--dtype", "int8"]) == 0
    assert main(["convert", str(trained), str(tmp_path / "two"), "--dtype", "int8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["notes"] == []
    weights = [(tmp_path / folder / "model.safetensors").read_bytes() for folder in ("one", "two")]
    assert weights[0] == weights[1]
    for folder in (tmp_path / "one", tmp_path / "two"):
        assert torch.equal(vectors(AutoModel.from_pretrained(folder)), vectors(int8))
        assert AutoTokenizer.from_pretrained(folder).word_vocab == AutoTokenizer.from_pretrained(trained).word_vocab
        card = (folder / "README.md").read_text()
        assert "matrices were rounded to 8 bits" in card
        assert "| matrices | of 8 bits" in card


def test_a_saved_head_is_rounded_under_its_head(tiny_config, tmp_path):
    tiny_config.num_labels = 5
    model = shake(hf_elmo.ElmoForTokenClassification(tiny_config))
    model.save_pretrained(tmp_path / "floats")
    ElmoTokenizer(split="whitespace").save_pretrained(tmp_path / "floats")
    assert main(["convert", str(tmp_path / "floats"), str(tmp_path / "integers"), "--dtype", "int8"]) == 0
    again = AutoModelForTokenClassification.from_pretrained(tmp_path / "integers")
    assert int8_layers(again) == [f"elmo.{name}" for name in linear_layers(model.elmo)]
    assert linear_layers(again) == [name for name in linear_layers(model) if not name.startswith("elmo.")]
    expected = quantized(model)
    assert all(map(torch.equal, again.state_dict().values(), expected.state_dict().values()))
    assert AutoTokenizer.from_pretrained(tmp_path / "integers").split == "whitespace"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FLOATS", "OUT", "--to", "hdf5", "--dtype", "int8"], "--to hdf5 writes the weights as the original reads"),
        (
            ["FLOATS", "OUT", "--keep-optimizer", "--dtype", "int8"],
            "--keep-optimizer needs weights as they were trained",
        ),
        (["INT8", "OUT", "--to", "hdf5"], "a quantized model (elmo_int8), whose weights are rounded"),
        (["INT8", "OUT", "--dtype", "int8"], "a quantized model (elmo_int8), whose weights are rounded"),
    ],
)
def test_what_rounded_weights_cannot_become(arguments, message, trained, int8_folder, tmp_path, capsys):
    places = {"FLOATS": str(trained), "INT8": str(int8_folder), "OUT": str(tmp_path / "out")}
    assert main(["convert", *(places.get(argument, argument) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


# ---- heads and training


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_heads_stay_floats(name, trained, int8, int8_folder, tmp_path):
    head, sentences = getattr(hf_elmo, name), SENTENCES[:1]
    expected, batch = vectors(int8, sentences=sentences), batch_of(sentences)
    for folder, options in ((trained, {"quantization_config": ElmoInt8Config()}), (int8_folder, {})):
        model = head.from_pretrained(folder, **options)
        assert [f"elmo.{layer}" for layer in int8_layers(int8)] == int8_layers(model)
        assert torch.equal(vectors(model, sentences=sentences), expected)
        model.save_pretrained(tmp_path / name)
        with torch.no_grad():
            before, after = model(**batch), head.from_pretrained(tmp_path / name)(**batch)
        torch.testing.assert_close(after.to_tuple(), before.to_tuple(), rtol=0, atol=1e-5)  # heads are float32


def test_a_head_trains_on_a_frozen_encoder(int8_folder, tmp_path):
    torch.manual_seed(0)
    model = hf_elmo.ElmoForSequenceClassification.from_pretrained(int8_folder, num_labels=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows = [{key: value[0] for key, value in batch_of([s]).items()} for s in SENTENCES]
    examples = [{**row, "labels": label} for row, label in zip(rows, (0, 0, 1, 1))]
    arguments = TrainingArguments(
        output_dir=tmp_path,
        max_steps=4,
        learning_rate=0.05,
        per_device_train_batch_size=1,
        logging_steps=1,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=examples)
    trainer.train()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    mixes = {"elmo.scalar_mixes.0.weights", "elmo.scalar_mixes.0.gamma"}
    assert changed == mixes | {name for name in before if not name.startswith("elmo.")}
    again = hf_elmo.ElmoForSequenceClassification.from_pretrained(tmp_path / "checkpoint-4")
    assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))


def test_training_the_encoder_is_refused(int8):
    model = copy.deepcopy(int8)
    assert not any(parameter.requires_grad for part in model.encoder_parts() for parameter in part.parameters())
    with pytest.raises(ValueError, match="an int8 encoder cannot be trained: load its weights in float32"):
        model.freeze_encoder(False)
    characters = model.get_input_embeddings()(batch_of()["input_ids"]).detach().requires_grad_()
    with pytest.raises(ValueError, match="int8 layers have no gradients"):
        model(inputs_embeds=characters, attention_mask=batch_of()["attention_mask"])
    model.get_input_embeddings().requires_grad_()
    with pytest.raises(ValueError, match="int8 layers have no gradients"):
        model(**batch_of())


# ---- the house around it


@pytest.mark.slow
@torch.no_grad()
def test_compiled_and_exported_it_computes_the_same(tiny_config, tmp_path):
    tiny_config.num_hidden_layers = 1
    model = quantized(shake(ElmoModel(tiny_config), scale=0.1))
    words = model(**batch_of(SENTENCES[:1])).token_embeddings[:, :3]
    expected = model(token_embeddings=words).last_hidden_state
    assert last_lstm_path().name == "int8"
    assert expected.abs().max() > 0.1
    compiled = torch.compile(model, backend="eager", fullgraph=True)(token_embeddings=words).last_hidden_state
    torch.testing.assert_close(compiled, expected, rtol=0, atol=0.02)
    program = torch.export.export(model, (), {"token_embeddings": words}, strict=False)
    assert torch.int8 in {value.dtype for value in program.state_dict.values()}
    torch.export.save(program, tmp_path / "elmo.pt2")
    exported = torch.export.load(tmp_path / "elmo.pt2").module()(token_embeddings=words).last_hidden_state
    torch.testing.assert_close(exported, expected, rtol=0, atol=0.02)


def test_hooked_layers_are_called(int8):
    """As where accelerate offloads them."""
    model, calls = copy.deepcopy(int8), []
    model.layers[0].forward_lstm.recurrent_gates.register_forward_hook(lambda *_: calls.append(1))
    called = vectors(model, sentences=SENTENCES[:1])
    assert len(calls) == batch_of(SENTENCES[:1])["input_ids"].shape[1]
    torch.testing.assert_close(called, vectors(int8, sentences=SENTENCES[:1]), rtol=0, atol=0.02)


def test_it_is_for_elmo_only():
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    with pytest.raises(ValueError, match="ElmoInt8Config quantizes ELMo models only, but this is BertModel"):
        BertModel.from_pretrained(
            None, config=config, state_dict=BertModel(config).state_dict(), quantization_config=ElmoInt8Config()
        )
    with pytest.raises(ValueError, match="`quant_method` must be 'elmo_int8', but is 'int4'"):
        ElmoInt8Config("int4")


STRANGER = """
import sys, warnings
warnings.simplefilter("error", UserWarning)
sys.path.insert(0, {tests!r})
if {installed}:
    import hf_elmo
    ours = hf_elmo.ElmoModel.from_pretrained({folder!r})
else:
    from stranger import NotInstalled
    sys.meta_path.insert(0, NotInstalled())
import torch
from transformers import AutoModel, AutoTokenizer
from transformers.dynamic_module_utils import get_class_from_dynamic_module
tokenizer = AutoTokenizer.from_pretrained({folder!r}, trust_remote_code=True)
model = get_class_from_dynamic_module("modeling_elmo.ElmoModel", {folder!r}).from_pretrained({folder!r})
assert type(model).__module__.startswith("transformers_modules."), type(model)
assert type(model.layers[0].forward_lstm.projection).__module__.startswith("transformers_modules.")
with torch.no_grad():
    output = model(**tokenizer({sentences!r}, padding=True, return_tensors="pt")).last_hidden_state
print(sys.modules[type(model).__module__.replace("modeling_elmo", "lstm_elmo")].last_lstm_path().name)
print(output.double().abs().sum().item())
"""


@pytest.mark.slow
@pytest.mark.parametrize("installed", [False, True], ids=["without the package", "beside the package"])
def test_the_code_travels(int8, int8_folder, installed, tmp_path):
    """Beside the package, its quantizer is the registered one, and the layers are the travelling ones all the same."""
    script = STRANGER.format(
        tests=str(REPOSITORY / "tests" / "helpers"), installed=installed, folder=str(int8_folder), sentences=SENTENCES
    )
    path = {"PYTHONPATH": str(REPOSITORY)} if installed else {}
    process = run_python("-c", script, home=tmp_path, **path)
    name, total = process.stdout.split()
    assert name == "int8"
    with torch.no_grad():
        expected = int8(**batch_of()).last_hidden_state.double().abs().sum().item()
    assert float(total) == pytest.approx(expected, rel=1e-5)


# ---- the scripts


@pytest.mark.slow
def test_scripts_train_what_is_above_a_rounded_encoder(tmp_path, capsys):
    from toy_finetuning import command, tagged, write_words

    data = write_words(tmp_path)
    assert main(["convert", str(data / "encoder"), str(tmp_path / "int8"), "--dtype", "int8"]) == 0
    shutil.rmtree(data / "encoder")
    (tmp_path / "int8").rename(data / "encoder")
    assert not tagged(*command(data, tmp_path / "tagger"))
    assert json.loads((tmp_path / "tagger" / "config.json").read_text())["quantization_config"]
    tagger = AutoModelForTokenClassification.from_pretrained(tmp_path / "tagger")
    encoder = AutoModel.from_pretrained(data / "encoder")
    for name in int8_layers(encoder):
        assert torch.equal(tagger.elmo.get_submodule(name).weight, encoder.get_submodule(name).weight)
    capsys.readouterr()
    for more in (["--freeze_encoder", "False"], ["--random_encoder", "True"]):
        assert tagged(*command(data, tmp_path / "refused", *more)) == 2
        assert "the encoder is quantized, and cannot be trained" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()


def test_pretraining_is_refused_but_for_the_softmax(trained, tmp_path, capsys):
    from toy_pretraining import command, pretrained, write_texts

    assert main(["convert", str(trained), str(tmp_path / "int8"), "--dtype", "int8"]) == 0
    texts, start = write_texts(tmp_path), ["--model_name_or_path", str(tmp_path / "int8")]
    capsys.readouterr()
    assert pretrained(*command(texts, tmp_path / "refused", *start, "--config_overrides", "{}")) == 2
    assert "the encoder is quantized, and cannot be trained" in capsys.readouterr().err


WITHOUT_VNNI = """
import sys
import torch
from safetensors.torch import save_file
from hf_elmo import ElmoModel, ElmoTokenizer
from hf_elmo.model.lstm_elmo import last_lstm_path
with torch.no_grad():
    output = ElmoModel.from_pretrained({folder!r})(**ElmoTokenizer()({sentences!r}, padding=True, return_tensors="pt"))
print(last_lstm_path().reason)
save_file({{"output": output.last_hidden_state.contiguous()}}, {file!r})
"""


@pytest.mark.slow
def test_without_the_instructions_the_same_integers_are_multiplied_as_floats(int8, int8_folder, tmp_path):
    """oneDNN is told to do without them, before its first product, and would then add in 16 bits, which overflow."""
    file = str(tmp_path / "output.safetensors")
    script = WITHOUT_VNNI.format(folder=str(int8_folder), sentences=SENTENCES, file=file)
    command = [forking_python("everything"), "-c", script]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    process = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout.startswith("int8 weights, multiplied as floats: ")
    with torch.no_grad():
        expected = int8(**batch_of()).last_hidden_state
    torch.testing.assert_close(load_file(file)["output"], expected, rtol=0, atol=0.02)
