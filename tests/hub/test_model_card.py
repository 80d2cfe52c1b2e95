"""The card of a model: metadata that the Hub accepts, and what a stranger must know."""

import shutil

import pytest
import torch
from datasets import Dataset
from fresh_process import REPOSITORY
from huggingface_hub import EvalResult, ModelCard
from loopback_hub import card_errors
from transformers import AutoModelForTokenClassification, AutoTokenizer, Trainer, TrainingArguments

import hf_elmo
from hf_elmo.conversion import convert
from hf_elmo.hub import remove_code_and_card
from hf_elmo.model.auto_map_elmo import AUTO_MAP
from hf_elmo.model.model_card_elmo import CLASSES, is_automatic, model_card, read_card, renamed

ORIGINAL = hf_elmo.ElmoConfig()
PERPLEXITY = EvalResult(
    task_type="feature-extraction",
    dataset_type="ada/news",
    dataset_name="News",
    dataset_split="test",
    metric_type="perplexity",
    metric_name="perplexity, mean of both directions",
    metric_value=39.7,
)
FACTS = {
    "license": "apache-2.0",
    "language": "en",
    "datasets": ["ada/news"],
    "origin": "Trained by Ada on the news of a week.",
    "tokenization": "At white space.",
    "eval_results": [PERPLEXITY],
}


AUTO_CLASSES = {reference.split(".")[1]: auto_class for auto_class, reference in AUTO_MAP.items()}
AUTO_CLASSES |= {"ElmoForPreTraining": "AutoModel", "ElmoForMaskedLM": "AutoModel"}  # cards show them as encoders
AUTO_CLASSES |= {"ElmoForSeq2SeqLM": "AutoModelForSeq2SeqLM"}  # of pairs, which have an AUTO_MAP of their own
AUTO_CLASSES |= {name: name for name in ("ElmoForCoreferenceResolution", "ElmoForSpanClassification")}  # without one


@pytest.mark.parametrize("architecture", CLASSES)
def test_card_of_each_class_is_valid_and_says_how_to_open_it(architecture):
    card = model_card("ada/elmo", ORIGINAL, architecture, num_parameters=93_600_864, **FACTS)
    assert card_errors(card.content) == []
    facts = CLASSES[architecture]
    assert f'model = {AUTO_CLASSES[architecture]}.from_pretrained("ada/elmo", trust_remote_code=True)' in card.text
    assert card.data.pipeline_tag == facts.task
    for said in (
        "93,600,864",
        "4096 wide, clipped at 3",
        "1024",
        "more than 48 bytes is cut",
        "At white space.",
        "Ada",
    ):
        assert said in card.text
    assert "| News | test | perplexity, mean of both directions | 39.7 |" in card.text
    assert ModelCard(card.content).data.to_dict() == card.data.to_dict()
    index = card.data.to_dict()["model-index"]
    assert index[0]["results"][0]["metrics"][0]["value"] == 39.7


def test_what_is_not_known_is_not_said():
    card = model_card("elmo", ORIGINAL)
    assert card_errors(card.content) == []
    assert card.data.license == "unknown"
    assert not {"language", "datasets", "model-index", "base_model"} & set(card.data.to_dict())
    assert "## Results" not in card.text
    assert "None" not in card.content


def test_card_of_a_model_that_reads_words_tells_their_scheme():
    config = hf_elmo.ElmoConfig(vocab_size=11, char_cnn_filters=[], max_characters_per_token=1)
    card = model_card("elmo", config)
    assert "line number in `vocab.txt`" in card.text
    assert "bytes" not in card.text


def test_renamed_card_says_its_new_name_everywhere():
    card = renamed(model_card("elmo", ORIGINAL, **FACTS), "ada/elmo")
    again = model_card("ada/elmo", ORIGINAL, **FACTS)
    assert card.content == again.content


def save(model, folder):
    model.save_pretrained(folder)
    return read_card(folder)


def test_saved_again_untouched_the_card_is_the_same(tiny_config, tmp_path):
    model = hf_elmo.ElmoModel(tiny_config)
    assert is_automatic(save(model, tmp_path / "first"))
    written = model_card("first", tiny_config, num_parameters=model.num_parameters(), **FACTS)
    written.save(tmp_path / "first" / "README.md")
    assert save(model, tmp_path / "first").content == written.content  # which is not the model's to replace
    model = hf_elmo.ElmoModel.from_pretrained(tmp_path / "first")
    assert save(model, tmp_path / "second").content == renamed(written, "second").content


def test_trained_further_the_card_keeps_what_stays_true(tiny_config, tmp_path):
    hf_elmo.ElmoModel(tiny_config).save_pretrained(tmp_path / "base")
    model_card("base", tiny_config, **FACTS).save(tmp_path / "base" / "README.md")
    trained = hf_elmo.ElmoForTokenClassification.from_pretrained(tmp_path / "base")
    optimizer = torch.optim.AdamW(trained.parameters(), fused=True)
    trained(trained.dummy_inputs["input_ids"]).logits.sum().backward()
    optimizer.step()
    card = save(trained, tmp_path / "tagger")
    assert card_errors(card.content) == []
    assert (card.data.license, card.data.language, card.data.datasets) == ("apache-2.0", "en", ["ada/news"])
    assert card.data.eval_results is None  # measured of other weights
    assert "They were made from those of `base`. Of that model's weights its card says:" in card.text
    assert "news of a week" in card.text
    assert "At white space." in card.text
    assert str(tmp_path) not in card.text  # nobody's business


@pytest.mark.parametrize("text", ["My notes.\n", "---\n- [\n---\nMy notes.\n", "---\nlicense: [\n"])
def test_any_readme_that_is_there_stays_and_breaks_nothing(tiny_config, tmp_path, text):
    (tmp_path / "README.md").write_text(text)
    hf_elmo.ElmoModel(tiny_config).save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == text
    assert save(hf_elmo.ElmoModel.from_pretrained(tmp_path), tmp_path / "again").data.license == "unknown"


@pytest.mark.slow
def test_the_stock_trainers_card_of_data_in_memory(tiny_config, tmp_path):
    batches = [{"input_ids": [[[1] * 50] * 4], "labels": [0]}] * 4
    data = Dataset.from_list([{name: column[0] for name, column in batch.items()} for batch in batches])
    trainer = Trainer(
        hf_elmo.ElmoForSequenceClassification(tiny_config),
        TrainingArguments(str(tmp_path), max_steps=1, report_to=[], use_cpu=True, disable_tqdm=True),
        train_dataset=data,
        eval_dataset=data,
    )
    trainer.train()
    trainer.evaluate()
    trainer.create_model_card(tasks="text-classification", finetuned_from="ada/elmo")
    card = read_card(tmp_path)
    assert card.data.base_model == "ada/elmo"
    assert "This model is a fine-tuned version of [ada/elmo]" in card.text
    trainer.save_model()
    assert read_card(tmp_path).content == card.content  # asked for by a person, and so kept


def test_a_checkpoint_without_code_and_card_opens_with_the_package(tiny_config, tmp_path):
    model, tokenizer = hf_elmo.ElmoForTokenClassification(tiny_config), hf_elmo.ElmoTokenizer()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path)
    remove_code_and_card(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "tokenizer_config.json"}
    opened = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert type(opened) is hf_elmo.ElmoForTokenClassification
    assert type(AutoTokenizer.from_pretrained(tmp_path)) is hf_elmo.ElmoTokenizer
    (tmp_path / "README.md").write_text("My notes.\n")
    remove_code_and_card(tmp_path)
    assert (tmp_path / "README.md").exists()


def test_converted_weights_keep_what_the_card_beside_them_tells(tmp_path):
    source = shutil.copytree(REPOSITORY / "hf_elmo" / "data", tmp_path / "source")
    told = model_card("source", ORIGINAL, training="For a week, by `pretrain`.", **FACTS)
    told.save(source / "README.md")
    convert(source, tmp_path / "elmo", language="de")  # what is given goes before what is told
    card = read_card(tmp_path / "elmo")
    assert card_errors(card.content) == []
    assert (card.data.license, card.data.language, card.data.datasets) == ("apache-2.0", "de", ["ada/news"])
    assert [result.metric_value for result in card.data.eval_results] == [39.7]
    for said in ("Trained by Ada on the news of a week.", "SHA-256", "At white space.", "For a week, by `pretrain`."):
        assert said in card.text


def test_the_card_in_the_repository_is_that_of_the_weights_it_carries(tmp_path):
    """`hf-elmo convert hf_elmo/data elmo`, and its README.md is model_card.md."""
    convert(REPOSITORY / "hf_elmo" / "data", tmp_path / "elmo")
    card = (REPOSITORY / "model_card.md").read_text(encoding="utf-8")
    assert card_errors(card) == []
    assert (tmp_path / "elmo" / "README.md").read_text(encoding="utf-8") == card
