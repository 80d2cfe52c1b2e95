"""Low-rank adapters by PEFT with the defaults of the package."""

import pytest
import torch
from lanes import first_fast
from toy_tasks import config

pytest.importorskip("peft")

import peft

import hf_elmo
from hf_elmo.integrations.lora import lora_config

HEADS = ["ElmoModel", "ElmoForPreTraining", "ElmoForTokenClassification", "ElmoForSequenceClassification"]
HEADS += ["ElmoForQuestionAnswering"]


def products(model) -> set[str]:
    """Names of the linear layers of the biLSTM layers."""
    layers = model.base_model.layers
    prefix = "" if model.base_model is model else "elmo."
    names = (name for name, part in layers.named_modules() if isinstance(part, torch.nn.Linear))
    return {f"{prefix}layers.{name}" for name in names}


@pytest.mark.parametrize("name", first_fast(HEADS[::-1], 2))
def test_adapters_in_the_lstm_and_a_whole_head(name, tmp_path):
    torch.manual_seed(0)
    model = getattr(hf_elmo, name)(config(num_labels=3))
    heads = (
        {key.split(".")[0] for key, _ in model.named_parameters()} - {"elmo"}
        if model.base_model is not model
        else set()
    )
    expected = products(model)
    adapted = peft.get_peft_model(model, lora_config(model, r=2))
    trained = [
        key.removeprefix("base_model.model.") for key, value in adapted.named_parameters() if value.requires_grad
    ]
    assert {key.split(".lora_")[0] for key in trained if ".lora_" in key} == expected
    whole = {key.split(".modules_to_save")[0] for key in trained if ".lora_" not in key}
    assert whole == heads | {part for part in whole if "scalar_mixes" in part}
    assert any("scalar_mixes" in part for part in whole)
    ids = torch.randint(1, 200, (2, 4, 12))
    before = adapted.eval()(input_ids=ids)[0]
    adapted.save_pretrained(tmp_path)
    torch.manual_seed(0)
    again = getattr(hf_elmo, name)(config(num_labels=3))
    loaded = peft.PeftModel.from_pretrained(again, tmp_path).eval()
    torch.testing.assert_close(loaded(input_ids=ids)[0], before)


def test_plain_configurations_need_no_targets():
    model = hf_elmo.ElmoModel(config())
    expected = products(model)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2))
    names = (key for key, _ in adapted.named_parameters() if ".lora_A" in key)
    assert {key.removeprefix("base_model.model.").split(".lora_")[0] for key in names} == expected


def test_options_have_precedence():
    model = hf_elmo.ElmoModel(config())
    options = lora_config(model, r=3, target_modules=["projection"], modules_to_save=None)
    assert (options.r, options.target_modules, options.modules_to_save) == (3, {"projection"}, None)
