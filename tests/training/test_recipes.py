"""The argument files of the published set-ups: each is run as it is, with an encoder and data that are tiny."""

import json
import random
import re
from pathlib import Path

import pytest
import torch
import toy_tasks
from shaken import shake

import hf_elmo
from hf_elmo.training import classify, coref, ner, nli, qa, srl

pytestmark = pytest.mark.slow  # each test trains

RECIPES = Path(hf_elmo.__file__).parent / "training" / "recipes"
SCRIPTS = {
    "conll2003_ner": ner,
    "sst5": classify,
    "snli": nli,
    "squad": qa,
    "ontonotes_coref": coref,
    "ontonotes_srl": srl,
}
SMALL = [
    "--max_train_samples",
    "60",
    "--max_eval_samples",
    "4",
    "--max_predict_samples",
    "4",
    "--num_train_epochs",
    "1",
]
QUIET = [
    "--plots",
    "False",
    "--use_cpu",
    "True",
    "--report_to",
    "none",
    "--disable_tqdm",
    "True",
    "--save_only_model",
    "True",
]


def conll(words):
    labels = [
        f"I-{label[2:]}" if label != "O" else label for label in (toy_tasks.KINDS[toy_tasks.kind(w)] for w in words)
    ]
    return "".join(f"{word} NN I-NP {label}\n" for word, label in zip(words, labels)) + "\n"


def tree(words):
    label = min(4, 2 * toy_tasks.names_in(words))
    inner = f"({label} {words[-1]})"
    for word in words[-2::-1]:
        inner = f"({label} (2 {word}) {inner})"
    return inner + "\n"


def snli(words):
    label = ["entailment", "neutral", "contradiction", "-"][len(words) % 4]
    return json.dumps({"gold_label": label, "sentence1": " ".join(words), "sentence2": words[0], "pairID": "1"}) + "\n"


def squad(rows):
    def paragraph(number, words):
        answers = [{"text": words[0], "answer_start": 0}]
        return {"context": " ".join(words), "qas": [{"id": str(number), "question": "Who was it?", "answers": answers}]}

    return json.dumps({"data": [{"title": "T", "paragraphs": [paragraph(*row) for row in enumerate(rows)]}]})


def conll2012(words):
    names = [f"({toy_tasks.NAMES.index(word)})" if word in toy_tasks.NAMES else "-" for word in words]
    roles = ["(V*)", *["(ARG1*)"] * (len(words) - 1)]
    frames = ["be 01", *["- -"] * (len(words) - 1)]
    cells = zip(words, frames, roles, names)
    lines = [f"bn/a 0 {n} {word} NN * {frame} - - * {role} {name}" for n, (word, frame, role, name) in enumerate(cells)]
    return "\n".join(["#begin document (bn/a); part 000", *lines, "", "#end document"]) + "\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with all that recipes name: the encoder, word vectors, and corpora in their own formats."""
    torch.manual_seed(0)
    shake(hf_elmo.ElmoModel(toy_tasks.config(word_vocab_size=0))).save_pretrained(tmp_path / "elmo-original")
    toy_tasks.tokenizer().save_pretrained(tmp_path / "elmo-original")
    chance = random.Random(0)
    for name, size in (("glove.6B.50d.txt", 50), ("glove.6B.100d.txt", 100), ("glove.840B.300d.txt", 300)):
        rows = [" ".join([word, *(f"{chance.random():.3f}" for _ in range(size))]) for word in toy_tasks.WORDS]
        (tmp_path / name).write_text("\n".join([*rows, rows[0].lower()]) + "\n")
    for seed, files in enumerate(zip(*(FILES[name] for name in FILES))):
        rows = toy_tasks.sentences(20, seed)
        for path, write in zip(files, (conll, tree, snli, squad, conll2012)):
            file = tmp_path / path
            file.parent.mkdir(exist_ok=True)
            file.write_text(squad(rows) if write is squad else "".join(map(write, rows)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


FILES = {
    "conll2003_ner": [f"conll2003/eng.{part}" for part in ("train", "testa", "testb")],
    "sst5": [f"trees/{part}.txt" for part in ("train", "dev", "test")],
    "snli": [f"snli_1.0/snli_1.0_{part}.jsonl" for part in ("train", "dev", "test")],
    "squad": [f"squad/{part}-v1.1.json" for part in ("train", "dev", "test")],
    "ontonotes_coref": [f"conll-2012/{part}.english.v4_gold_conll" for part in ("train", "dev", "test")],
}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_there_is_a_recipe_for_each_script():
    assert {path.stem for path in RECIPES.glob("*.json")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_recipe_runs(place, name):
    recipe = read(RECIPES / f"{name}.json")
    runs = [] if "seeds" not in recipe else ["--seeds", "1"]
    assert SCRIPTS[name].main([f"{name}.json", *runs, *SMALL, *QUIET]) == 0
    output = place / recipe["output_dir"]
    results, config = read(output / "all_results.json"), read(output / "config.json")
    assert f"eval_{recipe['metric_for_best_model']}" in results["mean"]
    assert {key: config[key] for key in recipe["config_overrides"]} == recipe["config_overrides"]
    assert config["word_vector_size"] == int(re.search(r"(\d+)d", recipe["word_vectors"])[1])
    assert results["runs"][0]["steps"] > 0
    assert (output / "model.safetensors").is_file()


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_value_of_a_recipe_has_its_source(name):
    """In the table of the recipe, or in the table of all; a row names its arguments."""
    text = (RECIPES / "README.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL))
    tables = sections["In all of them"] + sections[f"`{name}.json`"]
    told = {
        argument
        for row in re.findall(r"^\| (`.*?) \|", tables, re.MULTILINE)
        for argument in re.findall(r"`(\w+)`", row)
    }
    recipe = read(RECIPES / f"{name}.json")
    arguments = {*recipe, *recipe["config_overrides"]} - {"_about", "config_overrides"}
    assert arguments <= told, f"no source of {arguments - told}"
    assert "NOT RUN HERE" in recipe["_about"]
