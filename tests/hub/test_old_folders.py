"""Folders saved when all files of the package lay flat beside each other open to the same numbers.

fixtures/saved_flat was written by commit f911ebf, which also computed outputs.safetensors. The code that was saved with
the weights is left out.
"""

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

import hf_elmo
from hf_elmo.model.model_card_elmo import is_automatic, read_card

SAVED = Path(__file__).resolve().parents[1] / "fixtures" / "saved_flat"
AUTO_CLASSES = {
    "language_model": "AutoModelForPreTraining",
    "tagger": "AutoModelForTokenClassification",
    "classifier": "AutoModelForSequenceClassification",
    "inference": "AutoModelForSequenceClassification",
    "answers": "AutoModelForQuestionAnswering",
}


@torch.no_grad()
@pytest.mark.parametrize("name", AUTO_CLASSES)
def test_an_old_folder_opens_to_the_same_numbers(name):
    tokenizer = transformers.AutoTokenizer.from_pretrained(SAVED / "tagger")
    model, report = getattr(transformers, AUTO_CLASSES[name]).from_pretrained(SAVED / name, output_loading_info=True)
    assert not any(report.values())
    questions, texts = ["Where did I go?", "The bank was closed."], ["I went to the river bank.", "It was Sunday."]
    batch = tokenizer(questions, texts, padding=True, return_tensors="pt")
    output = model(**batch, **({"output_logits": True} if name == "language_model" else {}))
    expected = {key.split()[1]: value for key, value in load_file(SAVED / "outputs.safetensors").items() if name in key}
    assert expected
    for key, value in expected.items():
        torch.testing.assert_close(output[key], value, rtol=1e-5, atol=1e-6)


def test_an_old_card_is_known_as_automatic_and_its_facts_are_inherited(tmp_path):
    assert is_automatic(read_card(SAVED / "tagger"))
    source = tmp_path / "old"
    source.mkdir()
    text = (SAVED / "tagger" / "README.md").read_text(encoding="utf-8")
    unrecorded = "## Where the weights come from\n\nThis is not recorded."
    assert unrecorded in text
    text = text.replace("license: unknown", "license: mit").replace(unrecorded, f"{unrecorded[:32]}By Ada.")
    (source / "README.md").write_text(text, encoding="utf-8")
    for name in ("config.json", "model.safetensors"):
        (source / name).write_bytes((SAVED / "tagger" / name).read_bytes())
    card = hf_elmo.ElmoModel.from_pretrained(source).card("new")
    assert card.data.license == "mit"
    assert "They are those of `old`. Of that model's weights its card says:\n\nBy Ada." in card.text
