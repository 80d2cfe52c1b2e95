"""Saved models open with one line where the package is not installed: from folders, and from the Hub's cache."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from fresh_process import run_python
from safetensors.torch import load_file
from shaken import shake
from transformers.dynamic_module_utils import get_relative_import_files

import hf_elmo
from hf_elmo.model.auto_map_elmo import AUTO_MAP, WITHOUT_AUTO_CLASS

HELPERS = Path(__file__).resolve().parents[1] / "helpers"
PACKAGE = Path(hf_elmo.__file__).parent / "model"
MODELS = {auto_class: path.split(".")[1] for auto_class, path in AUTO_MAP.items() if auto_class != "AutoConfig"}
# A pair of encoder and decoder brings its own class besides; see tests/training/test_seq2seq.py.
TRAVELLING = {path.name for path in PACKAGE.glob("*_elmo*.py")} - {"encoder_decoder_elmo.py"}


def code_of(reference: str) -> set[str]:
    """The files that a class needs, by the imports that there are."""
    path = PACKAGE / f"{reference.split('.')[0]}.py"
    return {path.name, *(Path(file).name for file in get_relative_import_files(path))}


TOKENIZER = code_of("tokenization_elmo.ElmoTokenizer")
FETCHED = {name: code_of(reference) for name, reference in AUTO_MAP.items()} | {"AutoTokenizer": TOKENIZER}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def open_as_stranger(
    results: Path, *saved, home: Path, **environment
) -> tuple[dict[str, torch.Tensor], dict[str, list[str]]]:
    """What the encoders compute and the classes of configuration, tokenizer and model, by "SAVED Auto class"."""
    run_python(HELPERS / "stranger.py", results, *saved, home=home, again=True, **environment)
    classes = {key: names.split() for key, names in json.loads((results / "classes.json").read_text()).items()}
    return load_file(results / "results.safetensors"), classes


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[str, tuple[Path, torch.Tensor]]:
    """A folder saved by each class, and what its encoder computes."""
    config = hf_elmo.ElmoConfig(
        char_embedding_size=4,
        char_cnn_filters=[[1, 4], [2, 8]],
        num_highway_layers=1,
        projection_size=6,
        cell_size=10,
        word_vocab_size=20,
        tagger_size=5,
        sequence_size=5,
        qa_size=5,
    )
    tokenizer = hf_elmo.ElmoTokenizer()
    batch = tokenizer(["The bank was closed.", "I went to the river bank."], padding=True, return_tensors="pt")
    folders = {}
    for seed, name in enumerate(MODELS.values()):
        model = shake(getattr(hf_elmo, name)(config), seed)
        folder = tmp_path_factory.mktemp("saved") / name
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        with torch.no_grad():
            folders[name] = folder, model.base_model(**batch).last_hidden_state
    return folders


def check_open(saved, opened, named, every=()):
    """Each folder or repository, named by the class that saved it, opened to the same numbers.

    It was opened with the Auto class of that class; those of the classes `every`, with all Auto classes.
    """
    outputs, classes = opened
    pairs = [(name, auto) for name in saved for auto in MODELS if name in every or MODELS[auto] == name]
    assert outputs.keys() == {f"{named(name)} {auto_class}" for name, auto_class in pairs}
    for name, auto_class in pairs:
        key = f"{named(name)} {auto_class}"
        torch.testing.assert_close(outputs[key], saved[name][1], rtol=0, atol=1e-6, msg=key)
        assert [path.split(".")[-1] for path in classes[key]] == ["ElmoConfig", "ElmoTokenizer", MODELS[auto_class]]
        assert all(path.startswith("transformers_modules.") for path in classes[key]), classes[key]


@pytest.mark.slow
def test_all_code_travels_whatever_is_saved(saved, tmp_path):
    for folder, _ in saved.values():
        assert {path.name for path in folder.glob("*.py")} == TRAVELLING
        assert json.loads((folder / "config.json").read_text())["auto_map"] == AUTO_MAP
    hf_elmo.ElmoConfig().save_pretrained(tmp_path / "config")
    classes = set().union(*map(code_of, [*AUTO_MAP.values(), *WITHOUT_AUTO_CLASS]))
    assert {path.name for path in (tmp_path / "config").glob("*.py")} == classes
    hf_elmo.ElmoTokenizer().save_pretrained(tmp_path / "tokenizer")
    assert {path.name for path in (tmp_path / "tokenizer").glob("*.py")} == TOKENIZER


@pytest.mark.slow
def test_folders_open_with_every_auto_class_and_again_once_saved_again(saved, home, tmp_path):
    every = ["ElmoModel", "ElmoForTokenClassification"]  # a base model as one with a head, and one head as another
    folders = {name: saved[name][0] for name in dict.fromkeys([*every, *saved])}
    opened = open_as_stranger(tmp_path / "first", *folders.values(), "--every", len(every), home=home)
    check_open(saved, opened, folders.get, every)

    again = {name: tmp_path / "first" / name / auto for auto, name in MODELS.items() if name in every}
    for folder in again.values():
        assert {path.name for path in folder.glob("*.py")} == TRAVELLING
        assert json.loads((folder / "config.json").read_text())["auto_map"] == AUTO_MAP
    opened = open_as_stranger(tmp_path / "second", *again.values(), home=home)
    check_open({name: saved[name] for name in again}, opened, again.get)


@pytest.mark.slow
def test_repositories_in_the_cache_open_offline(saved, home, tmp_path):
    for name, (folder, _) in saved.items():
        repository = home / "hub" / f"models--org--{name}"
        shutil.copytree(folder, repository / "snapshots" / COMMIT)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
    opened = open_as_stranger(tmp_path / "results", *(f"org/{name}" for name in saved), home=home)
    check_open(saved, opened, "org/{}".format)


@pytest.mark.slow
def test_with_the_package_its_models_open_folders_that_bring_code(saved, home, tmp_path):
    folder, expected = saved["ElmoForPreTraining"]
    beside = {"home": home, "PYTHONPATH": str(PACKAGE.parents[1])}
    outputs, classes = open_as_stranger(tmp_path, folder, "--with-package", "--every", 1, **beside)
    for key, output in outputs.items():
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)
        assert [path.split(".")[0] for path in classes[key]] == ["hf_elmo", "transformers_modules", "hf_elmo"]


def test_no_part_needs_the_code_of_another():
    """A base model does without heads, a head without other heads, a tokenizer without models."""
    heads = {f"{reference.split('.')[0]}.py" for reference in AUTO_MAP.values()} - FETCHED["AutoModel"]
    assert len(heads) >= 4
    for auto_class in AUTO_MAP.keys() - {"AutoConfig", "AutoModel", "AutoModelForCausalLM"}:
        assert FETCHED[auto_class] & heads == {f"{AUTO_MAP[auto_class].split('.')[0]}.py"}
    assert FETCHED["AutoModelForCausalLM"] & heads == {"causal_lm_elmo.py", "language_model_elmo.py"}
    assert not {*TOKENIZER, *FETCHED["AutoConfig"]} & {"modeling_elmo.py", "lstm_elmo.py"}


# The code of each thing that is opened is copied to a folder of its own.
VISITOR = """
import json, sys
from pathlib import Path
import transformers
from transformers.utils import HF_MODULES_CACHE
fetched = {}
for auto_class in sys.argv[2:]:
    opened = getattr(transformers, auto_class).from_pretrained(sys.argv[1], trust_remote_code=True)
    code = Path(HF_MODULES_CACHE, *type(opened).__module__.split(".")).parent
    fetched[auto_class] = sorted(path.name for path in code.glob("*_elmo*.py"))
print(json.dumps(fetched))
"""


@pytest.mark.slow
def test_a_visitor_fetches_only_the_code_of_what_is_opened(saved, home):
    """A base model without the code of heads, a tokenizer without that of models."""
    process = run_python("-c", VISITOR, saved["ElmoModel"][0], *FETCHED, home=home, again=True)
    assert json.loads(process.stdout.splitlines()[-1]) == {name: sorted(code) for name, code in FETCHED.items()}


@pytest.mark.slow
def test_a_class_without_an_auto_class_opens_by_its_reference(home, tmp_path):
    """As its card says, and with what it computes where the package is installed."""
    sizes = {"char_cnn_filters": [[1, 4]], "projection_size": 6, "cell_size": 8, "coref_size": 4}
    model = shake(hf_elmo.ElmoForCoreferenceResolution(hf_elmo.ElmoConfig(**sizes)))
    tokenizer, folder = hf_elmo.ElmoTokenizer(), tmp_path / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (block,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    process = run_python("-c", block.replace('"model"', repr(str(folder))) + "\nprint(clusters)", home=home, again=True)
    expected = model.eval().find_clusters(tokenizer, ["Ada went to the river.", "She saw it."])
    assert expected
    assert process.stdout.splitlines()[-1] == str(expected)


def test_the_page_on_trust_counts_what_is_fetched():
    """Files and lines within a sixth: a file more is no other statement."""
    page = (PACKAGE.parents[1] / "docs" / "trust.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`Auto.*?) \| (\d+) \| ([\d,]+) \|$", page, flags=re.MULTILINE)
    stated = {name: counts for names, *counts in rows for name in re.findall(r"`(\w+)`", names)}
    assert stated.keys() == AUTO_MAP.keys() | {"AutoTokenizer"}
    for name, (files, lines) in stated.items():
        entry = PACKAGE / f"{AUTO_MAP.get(name, 'tokenization_elmo.').split('.')[0]}.py"
        fetched = {entry, *map(Path, get_relative_import_files(entry))}
        assert abs(len(fetched) - int(files)) <= max(1, len(fetched) / 6), f"{name}: {len(fetched)} files"
        total = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in fetched)
        assert 5 / 6 < total / int(lines.replace(",", "")) < 7 / 6, f"{name}: {total} lines"


@pytest.mark.slow
def test_parts_open_alone(home, tmp_path):
    """A repository may hold only a configuration, or only a tokenizer."""
    hf_elmo.ElmoConfig(char_cnn_filters=[[1, 4]], projection_size=6, cell_size=8).save_pretrained(tmp_path / "config")
    hf_elmo.ElmoTokenizer(max_characters_per_token=12).save_pretrained(tmp_path / "tokenizer")
    script = f"""
import sys
sys.path.insert(0, {str(HELPERS)!r})
from stranger import NotInstalled
sys.meta_path.insert(0, NotInstalled())
from transformers import AutoConfig, AutoModel, AutoTokenizer
config = AutoConfig.from_pretrained({str(tmp_path / "config")!r}, trust_remote_code=True)
print(AutoModel.from_config(config, trust_remote_code=True).num_parameters())
tokenizer = AutoTokenizer.from_pretrained({str(tmp_path / "tokenizer")!r}, trust_remote_code=True)
print(tuple(tokenizer("river bank", return_tensors="pt")["input_ids"].shape))
"""
    printed = run_python("-c", script, home=home, again=True).stdout.split("\n")
    expected = hf_elmo.ElmoModel(hf_elmo.ElmoConfig(char_cnn_filters=[[1, 4]], projection_size=6, cell_size=8))
    assert printed[:2] == [str(expected.num_parameters()), "(1, 4, 12)"]


@pytest.mark.slow
def test_without_trust_nothing_runs(saved, home):
    folder, _ = saved["ElmoModel"]
    script = "from transformers import AutoModel; AutoModel.from_pretrained({!r}, trust_remote_code=False)"
    process = run_python("-c", script.format(str(folder)), home=home, check=False, again=True)
    assert process.returncode == 1
    assert "trust_remote_code=True" in process.stderr
