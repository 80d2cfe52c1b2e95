"""Pushed over HTTP to a small Hub on this machine, a repository is complete: a stranger opens it and reads its card."""

import json
import textwrap

import pytest
import torch
from fresh_process import REPOSITORY, run_python
from huggingface_hub import ModelCard
from loopback_hub import card_errors, running_hub
from shaken import shake
from test_remote_code import TOKENIZER, TRAVELLING, open_as_stranger

import hf_elmo
from hf_elmo.model.auto_map_elmo import AUTO_MAP

WRITES = {"HF_TOKEN": "hf_writes", "PYTHONPATH": str(REPOSITORY)}
STRANGER = (
    "import sys; sys.path.insert(0, {!r}); from stranger import NotInstalled; sys.meta_path.insert(0, NotInstalled())\n"
)
STRANGER = STRANGER.format(str(REPOSITORY / "tests" / "helpers"))
ONE_LINE = "from transformers import pipeline; print(pipeline(model={!r}, trust_remote_code=True)('bank'))"
SMALL = {
    "char_embedding_size": 4,
    "char_cnn_filters": [[1, 4], [2, 8]],
    "max_characters_per_token": 12,
    "projection_size": 6,
    "cell_size": 10,
    "tagger_size": 5,
    "sequence_size": 5,
    "qa_size": 5,
}
WRITTEN_BY_ADA = "---\nlicense: mit\nlanguage: en\n---\n# My model\n\nTrained on what my cat typed.\n"

TRAIN = """
import sys
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding
from transformers import Trainer, TrainingArguments
import hf_elmo
base, name = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(base)
texts = ["a river bank", "the money of a bank", "a boat", "money"] * 2
data = Dataset.from_dict({"text": texts, "label": [0, 1, 0, 1] * 2})
data = data.map(lambda rows: tokenizer(rows["text"]), batched=True, remove_columns="text")
trainer = Trainer(
    AutoModelForSequenceClassification.from_pretrained(base),
    TrainingArguments(
        "run", max_steps=2, eval_strategy="epoch", push_to_hub=True, hub_model_id=name, report_to=[], use_cpu=True,
        save_strategy="steps", save_steps=1, hub_always_push=True, disable_tqdm=True,
    ),
    train_dataset=data,
    eval_dataset=data,
    processing_class=tokenizer,
    data_collator=DataCollatorWithPadding(tokenizer),
    compute_metrics=lambda scored: {"accuracy": float((scored.predictions.argmax(-1) == scored.label_ids).mean())},
)
trainer.train()
trainer.evaluate()
trainer.push_to_hub(tasks="text-classification", dataset_tags="ada/banks", dataset="Banks", language="en")
"""


@pytest.fixture(scope="module")
def hub():
    with running_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def online(hub, home):
    """Run lines of Python, or a module, in a fresh process that knows the Hub."""

    def run(*arguments, check=True, **environment):
        arguments = [textwrap.dedent(argument) if isinstance(argument, str) else argument for argument in arguments]
        environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", **environment}
        return run_python(*arguments, home=home, check=check, again=True, **environment)

    return run


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A language model and its tokenizer in a folder, and what its encoder computes."""
    model = shake(hf_elmo.ElmoForPreTraining(hf_elmo.ElmoConfig(**SMALL, word_vocab_size=20)))
    tokenizer = hf_elmo.ElmoTokenizer(max_characters_per_token=12)
    folder = tmp_path_factory.mktemp("saved") / "elmo"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    batch = tokenizer(["The bank was closed.", "I went to the river bank."], padding=True, return_tensors="pt")
    with torch.no_grad():
        return folder, model.base_model(**batch).last_hidden_state


def card_of(hub, name: str) -> ModelCard:
    """The card of a repository, if the Hub has nothing against it."""
    content = hub.repositories[name].files["README.md"].decode()
    assert card_errors(content) == []
    assert "More information needed" not in content
    assert "[More Information Needed]" not in content
    return ModelCard(content)


@pytest.mark.slow
def test_a_pushed_model_opens_in_one_line_without_the_package_and_with_it(hub, online, saved, home, tmp_path):
    folder, expected = saved
    push = """
    import sys, hf_elmo
    from transformers import AutoModelForPreTraining, AutoTokenizer
    AutoTokenizer.from_pretrained(sys.argv[1]).push_to_hub("ada/elmo")
    AutoModelForPreTraining.from_pretrained(sys.argv[1]).push_to_hub("ada/elmo", tags=["toy"])
    """
    online("-c", push, folder, **WRITES)
    files = hub.repositories["ada/elmo"].files
    assert set(files) == TRAVELLING | {
        ".gitattributes",
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
    }
    assert len(hub.repositories["ada/elmo"].commits) == 3  # the first when it was made, one a push
    card = card_of(hub, "ada/elmo")
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "feature-extraction"
    assert card.data.tags == ["elmo", "toy"]
    assert 'AutoModel.from_pretrained("ada/elmo", trust_remote_code=True)' in card.text
    assert "more than 10 bytes is cut to its first 10" in card.text  # the rule of these 12 characters a word

    # Pulled over HTTP, for each Auto class; then offline, as what it is
    for environment, every in (({"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}, 1), ({}, 0)):
        told = "ada/elmo", "--every", every
        outputs, classes = open_as_stranger(tmp_path / "results", *told, home=home, **environment)
        assert len(outputs) == (len(AUTO_MAP) - 1 if every else 1)  # each but AutoConfig
        for key, output in outputs.items():
            torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)
            assert all(name.startswith("transformers_modules.ada.elmo.") for name in classes[key])

    pull = """
    import hf_elmo
    from transformers import AutoModel, AutoTokenizer
    print(AutoTokenizer.from_pretrained("ada/elmo").__module__, AutoModel.from_pretrained("ada/elmo").__module__)
    """
    with_package = online("-c", pull, PYTHONPATH=str(REPOSITORY))
    assert with_package.stdout.split() == ["hf_elmo.model.tokenization_elmo", "hf_elmo.model.modeling_elmo"]


@pytest.mark.slow
def test_no_push_overwrites_what_somebody_wrote(hub, online, saved):
    folder, _ = saved
    push = """
    import sys, hf_elmo
    from huggingface_hub import HfApi
    from transformers import AutoModel, AutoTokenizer
    HfApi().create_repo("ada/written")
    HfApi().upload_file(path_or_fileobj=sys.argv[2].encode(), path_in_repo="README.md", repo_id="ada/written")
    model = AutoModel.from_pretrained(sys.argv[1])
    model.push_to_hub("ada/written")
    model.save_pretrained(sys.argv[1] + "-again", push_to_hub=True, repo_id="ada/written")
    AutoTokenizer.from_pretrained(sys.argv[1]).push_to_hub("ada/written", tags=["cat"])
    """
    online("-c", push, folder, WRITTEN_BY_ADA, **WRITES)
    card = card_of(hub, "ada/written")
    assert card.text.strip() == ModelCard(WRITTEN_BY_ADA).text.strip()
    assert (card.data.license, card.data.language, card.data.tags) == ("mit", "en", ["cat"])
    assert "model.safetensors" in hub.repositories["ada/written"].files


@pytest.mark.slow
def test_a_tokenizer_is_pushed_alone_and_the_template_gives_way_to_the_models_card(hub, online, saved):
    folder, _ = saved
    push = """
    import sys, hf_elmo
    hf_elmo.ElmoTokenizer.from_pretrained(sys.argv[1]).push_to_hub("ada/tokenizer")
    for part in (hf_elmo.ElmoTokenizer, hf_elmo.ElmoConfig, hf_elmo.ElmoModel):
        part.from_pretrained(sys.argv[1]).push_to_hub("ada/parts")
    """
    online("-c", push, folder, **WRITES)
    files = {".gitattributes", "README.md", "tokenizer_config.json"}
    assert set(hub.repositories["ada/tokenizer"].files) == TOKENIZER | files
    assert card_of(hub, "ada/parts").data.pipeline_tag == "feature-extraction"
    assert set(hub.repositories["ada/parts"].files) == TRAVELLING | files | {"config.json", "model.safetensors"}


@pytest.mark.slow
def test_the_stock_trainer_works_as_with_any_model(hub, online, saved):
    folder, _ = saved
    online("-c", TRAIN, folder, "ada/banks-classifier", **WRITES)
    repository = hub.repositories["ada/banks-classifier"]
    assert set(repository.files) >= TRAVELLING | {"config.json", "model.safetensors", "tokenizer_config.json"}
    content = repository.files["README.md"].decode()
    assert card_errors(content) == []
    card = ModelCard(content)
    assert (card.data.datasets, card.data.language) == (["ada/banks"], ["en"])
    assert {result.metric_type for result in card.data.eval_results} == {"accuracy"}
    assert "generated automatically according to the information the Trainer had access to" in card.text
    one_line = ONE_LINE.replace("model={!r}", "'text-classification', model={!r}").format("ada/banks-classifier")
    assert "LABEL_" in online("-c", STRANGER + one_line).stdout


@pytest.mark.slow
def test_a_written_card_on_the_hub_is_kept_by_our_trainers(hub, online, tmp_path):
    keep = """
    import sys
    from huggingface_hub import HfApi
    from hf_elmo.hub import keep_written_card
    for name in ("ada/theirs", "ada/nothing"):
        HfApi().create_repo(name)
    HfApi().upload_file(path_or_fileobj=sys.argv[2].encode(), path_in_repo="README.md", repo_id="ada/theirs")
    print([keep_written_card(sys.argv[1], name) for name in (None, "ada/nothing", "ada/theirs", None)])
    """
    assert online("-c", keep, tmp_path, WRITTEN_BY_ADA, **WRITES).stdout == "[False, False, True, True]\n"
    assert ModelCard.load(tmp_path / "README.md").text == ModelCard(WRITTEN_BY_ADA).text


@pytest.mark.slow
def test_convert_pushes_a_folder_that_opens(hub, online, tmp_path):
    source = REPOSITORY / "hf_elmo" / "data"
    options = ["--push-to-hub", "ada/converted", "--license", "apache-2.0", "--language", "en", "--json"]
    process = online("-m", "hf_elmo.cli", "convert", source, tmp_path / "elmo", *options, **WRITES)
    assert json.loads(process.stdout)["url"] == f"{hub.url}/ada/converted"
    card = card_of(hub, "ada/converted")
    assert (card.data.license, card.data.language) == ("apache-2.0", "en")
    assert "SHA-256" in card.text
    assert "[[[" in online("-c", STRANGER + ONE_LINE.format("ada/converted")).stdout  # words' vectors, of one text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "refusals"),
    [
        ({}, {"": "hf auth login", "hf_unknown": "hf auth login", "hf_reads": "you must use a write token"}),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"hf_writes": "no connection to http://127.0.0.1:9"}),
        ({"HF_HUB_OFFLINE": "1"}, {"hf_writes": "offline mode is on"}),
    ],
    ids=["token", "no network", "offline"],
)
def test_what_keeps_a_push_from_working_is_one_line(online, tmp_path, environment, refusals):
    command = ["convert", str(REPOSITORY / "hf_elmo" / "data"), str(tmp_path / "elmo"), "--push-to-hub", "ada/refused"]
    script = f"""
    import os, sys
    from hf_elmo.cli import main
    for token in {[*refusals]}:
        os.environ["HF_TOKEN"] = token
        sys.stderr.write(f"exit code {{main([*{command}, '--overwrite'])}}\\n")
    """
    said = online("-c", script, PYTHONPATH=str(REPOSITORY), **environment).stderr.splitlines()
    said = [line for line in said if not line.startswith("note: ")]
    assert said[1::2] == ["exit code 2"] * len(refusals)
    for line, reason in zip(said[::2], refusals.values(), strict=True):
        assert line.startswith("hf-elmo convert: error: ada/refused: ")
        assert reason in line
    assert (tmp_path / "elmo" / "config.json").exists()  # what was converted is not lost


@pytest.mark.slow
def test_what_keeps_a_pull_from_working_is_one_line(hub, online, saved, tmp_path):
    folder, _ = saved
    text = tmp_path / "text.txt"
    text.write_text("a river bank\n")
    script = f"""
    import sys, hf_elmo
    from hf_elmo.cli import main
    model = hf_elmo.ElmoForPreTraining.from_pretrained({str(folder)!r})
    model.push_to_hub("ada/hidden", private=True, token="hf_writes")
    for name in ("ada/hidden", "ada/missing"):
        sys.stderr.write(f"exit code {{main(['perplexity', {str(text)!r}, '--model', name])}}\\n")
    """
    said = online("-c", script, PYTHONPATH=str(REPOSITORY), HF_HUB_DISABLE_PROGRESS_BARS="1").stderr.splitlines()
    assert hub.repositories["ada/hidden"].private
    said = said[-4:]
    assert said[1::2] == ["exit code 2"] * 2
    for line, name in zip(said[::2], ("ada/hidden", "ada/missing")):
        assert line.startswith(f"hf-elmo perplexity: error: {name}: ")
        assert "private" in line
