"""Which file may know which: files that travel with the weights are flat siblings, and imports go one way."""

import ast
import re
import sys
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_imports

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "hf_elmo"
MODEL = PACKAGE / "model"
TRAVELLING = sorted(MODEL.glob("*_elmo*.py"))
SCRIPTS = ("pretrain", "ner", "sentiment", "nli", "qa")

# What a file that travels may import at its top, of its siblings.
KNOWS = {
    "model_card_elmo": set(),
    "hub_elmo": {"model_card_elmo"},
    "configuration_elmo": {"hub_elmo"},
    "word_splitting_elmo": set(),
    "character_ids_elmo": set(),
    "encoding_elmo": {"character_ids_elmo"},
    "tokenization_elmo": {"character_ids_elmo", "encoding_elmo", "word_splitting_elmo"},
    "pipelines_elmo": {"label_schemes_elmo"},
    "linear_elmo": set(),
    "char_cnn_elmo": {"linear_elmo"},
    "quantizer_elmo": {"int8_elmo"},
    "modeling_elmo": {
        "char_cnn_elmo",
        "configuration_elmo",
        "hub_elmo",
        "quantizer_elmo",
        "lstm_elmo",
        "int8_elmo",
        "linear_elmo",
    },
    "task_features_elmo": {"configuration_elmo", "modeling_elmo"},
    "task_layers_elmo": {"lstm_elmo", "modeling_elmo"},
    "task_attention_elmo": set(),
    "token_classification_elmo": {
        "configuration_elmo",
        "crf_elmo",
        "pipelines_elmo",
        "task_features_elmo",
        "task_layers_elmo",
    },
    "sequence_classification_elmo": {
        "configuration_elmo",
        "task_attention_elmo",
        "task_features_elmo",
        "task_layers_elmo",
    },
    "question_answering_elmo": {"configuration_elmo", "task_attention_elmo", "task_features_elmo", "task_layers_elmo"},
    "crf_elmo": {"label_schemes_elmo"},
}
# A Hub's visitor has these: torch and transformers, and what these two cannot be without.
AT_HAND = {"torch", "transformers", "huggingface_hub", "numpy", "tokenizers", "yaml"}


def imports(path: Path, everywhere: bool) -> list[ast.Import | ast.ImportFrom]:
    """Import statements, inside functions too or only at the top (a branch or `try` there is still the top)."""
    found, waiting = [], [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.append(node)
        if everywhere or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            waiting.extend(ast.iter_child_nodes(node))
    return found


def siblings(path: Path, everywhere: bool = False) -> set[str]:
    return {node.module for node in imports(path, everywhere) if isinstance(node, ast.ImportFrom) and node.level == 1}


def absolute(path: Path) -> set[str]:
    """Full names of the modules that a file imports, anywhere, from outside its folder."""
    names = set()
    for node in imports(path, everywhere=True):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", TRAVELLING, ids=lambda path: path.stem)
def test_travelling_files_import_siblings_and_what_every_visitor_has(path):
    for node in imports(path, everywhere=True):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, f"line {node.lineno} imports from outside the folder"
            assert node.module, f"line {node.lineno}: `from . import` copies no file"
            assert (MODEL / f"{node.module}.py") in TRAVELLING, f"line {node.lineno}: {node.module} does not travel"
    # As the loader sees it: guarded imports, in a `try`, are not required.
    assert set(get_imports(path)) <= AT_HAND | sys.stdlib_module_names


@pytest.mark.parametrize("path", TRAVELLING, ids=lambda path: path.stem)
def test_the_loader_finds_the_imports_that_there_are(path):
    """It looks for a pattern in the text, and would take an example in a docstring for an import."""
    assert set(get_relative_imports(path)) == siblings(path, everywhere=True)


@pytest.mark.parametrize("path", TRAVELLING, ids=lambda path: path.stem)
def test_imports_go_one_way(path):
    known = siblings(path)
    if path.stem in KNOWS:
        assert known == KNOWS[path.stem]
    if path.stem.startswith("lstm"):  # tensors in, tensors out
        assert all(name.startswith("lstm") or name in ("linear_elmo", "int8_elmo") for name in known)
        assert "transformers" not in {name.split(".")[0] for name in absolute(path)}


def test_no_file_waits_for_itself():
    """Imports at the top have no cycle."""
    done: set[str] = set()
    waiting = {path.stem: siblings(path) for path in TRAVELLING}
    while waiting:
        ready = [name for name, known in waiting.items() if known <= done]
        assert ready, f"cycle among {sorted(waiting)}"
        done.update(ready)
        waiting = {name: known for name, known in waiting.items() if name not in ready}


def test_conversion_knows_the_package_but_not_its_commands():
    for path in (REPOSITORY / "conversion").glob("*.py"):
        names = absolute(path)
        assert not any(re.match(r"hf_elmo\.(training|cli|demo)\b|conversion\b", name) for name in names), path


def test_training_scripts_share_by_common_modules_only():
    for path in (PACKAGE / "training").glob("*.py"):
        known = siblings(path, everywhere=True) | {name.removeprefix("hf_elmo.training.") for name in absolute(path)}
        assert not known & set(SCRIPTS), f"{path.name} imports a script: {known & set(SCRIPTS)}"


def requirements() -> dict[str, str]:
    """Names and lowest versions of what the package needs."""
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[(.*?)^\]", project, flags=re.MULTILINE | re.DOTALL)[1]
    return dict(re.findall(r'^ *"([\w-]+)>=([\d.]+)"', listed, flags=re.MULTILINE))


def test_the_versions_tested_as_lowest_are_those_required():
    listed = (REPOSITORY / "requirements" / "lowest.txt").read_text(encoding="utf-8")
    tested = dict(re.findall(r"^([\w-]+)==([\d.]+)$", listed, flags=re.MULTILINE))
    assert tested.keys() == requirements().keys()
    for name, version in requirements().items():
        assert re.fullmatch(rf"{re.escape(version)}(\.0)*", tested[name]), name


def test_requirements_are_what_is_imported():
    """Each requirement is imported somewhere in the package, and each unguarded import is a requirement, or of one."""
    required = {name.replace("-", "_") for name in requirements()}
    files = [*PACKAGE.rglob("*.py"), *(REPOSITORY / "conversion").glob("*.py")]
    imported = {name.split(".")[0] for path in files for name in absolute(path)}
    assert required - imported <= {"accelerate"}  # the Trainer is not without it
    brought = {"numpy", "tokenizers", "tqdm", "yaml", "pyarrow"}  # by transformers and datasets
    needed = {name for path in files for name in get_imports(path)} - sys.stdlib_module_names - {"hf_elmo"}
    assert needed <= required | brought
