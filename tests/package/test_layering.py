"""The plan of the house: which file may know which, how large it may be, and which private API the code leans on."""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from transformers import dynamic_module_utils
from transformers.dynamic_module_utils import get_relative_imports

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "hf_elmo"
MODEL = PACKAGE / "model"
TRAVELLING = sorted(MODEL.glob("*_elmo*.py"))
SCRIPTS = ("pretrain", "ner", "sentiment", "nli", "qa", "coref", "srl", "seq2seq")

# The order of knowing: a file imports only from files above it, inside functions too.
ORDER = """
    saved_folder_elmo auto_map_elmo configuration_elmo
    word_splitting_elmo character_ids_elmo row_variants_elmo encoding_elmo tokenizer_files_elmo
    tokenization_elmo
    scan_elmo linear_elmo int8_elmo quantizer_elmo packed_order_elmo lstm_packed_elmo
    lstm_elmo_triton lstm_elmo
    model_card_elmo char_cnn_elmo pooling_elmo
    modeling_elmo encoder_decoder_elmo
    label_schemes_elmo pipelines_elmo language_model_elmo causal_lm_elmo
    crf_elmo task_layers_elmo task_encoders_elmo pair_layers_elmo word_features_elmo
    task_model_elmo
    token_classification_elmo sequence_classification_elmo question_answering_elmo
    document_model_elmo coreference_elmo span_classification_elmo
""".split()
# Bounds are what there is now; the plan aims at 5500 lines that travel and 3200 of training, before later heads.
MAX_LINES = {"a file": 550, "the files that travel": 9761, "training": 8931}
EXTRAS = {"integrations"}  # folders whose modules need more than the package does
# Private API of other libraries, which a release may change without notice.
TORCH = "_C _are_functorch_transforms_active _forward_hooks _forward_pre_hooks _higher_order_ops _linear_pointwise"
TORCH += " _is_mkldnn_bf16_supported _reorder_linear_weight _values _version"
MODELS = "_adjust_missing_and_unexpected_keys _hf_hook _init_weights _is_hf_initialized _no_split_modules"
MODELS += " _upload_modified_files _dequantize _process_model_after_weight_loading _process_model_before_weight_loading"
TOKENIZERS = "_add_tokens _encode_plus _eventual_warn_about_too_long_sequence _get_padding_truncation_strategies"
TOKENIZERS += " _from_pretrained _save_pretrained"
PIPELINES = "_forward _load_feature_extractor _load_image_processor _load_processor _load_tokenizer"
PIPELINES += " _sanitize_parameters"
GENERATION = "_expand_inputs_for_generation _is_stateful _supports_default_dynamic_cache"
GENERATION += " _update_model_kwargs_for_generation"
TRAINERS = "_clip_grad_norm _get_eval_sampler _get_train_sampler _load_best_model _load_from_checkpoint"
TRAINERS += " _push_from_checkpoint _save _save_checkpoint"
ARGPARSE = "_actions _option_string_actions"
LEANED_ON = {*" ".join([TORCH, MODELS, TOKENIZERS, PIPELINES, GENERATION, TRAINERS, ARGPARSE]).split()}
# A Hub's visitor has these: torch and transformers, and what these two cannot be without.
AT_HAND = {"torch", "transformers", "huggingface_hub", "numpy", "tokenizers", "yaml"}


@cache
def parsed(path: Path) -> list[ast.AST]:
    """All nodes of a file, which its tests only read."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


get_imports = cache(dynamic_module_utils.get_imports)  # of a file, as the loader sees them


def imports(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """Import statements, also those inside functions."""
    return [node for node in parsed(path) if isinstance(node, (ast.Import, ast.ImportFrom))]


def siblings(path: Path) -> set[str]:
    return {node.module for node in imports(path) if isinstance(node, ast.ImportFrom) and node.level == 1}


def absolute(path: Path) -> set[str]:
    """Full names of the modules that a file imports, anywhere, from outside its folder."""
    names = set()
    for node in imports(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", TRAVELLING, ids=lambda path: path.stem)
def test_travelling_files_import_siblings_and_what_every_visitor_has(path):
    for node in imports(path):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, f"line {node.lineno} imports from outside the folder"
            assert node.module, f"line {node.lineno}: `from . import` copies no file"
            assert (MODEL / f"{node.module}.py") in TRAVELLING, f"line {node.lineno}: {node.module} does not travel"
    # As the loader sees it: guarded imports, in a `try`, are not required.
    assert set(get_imports(path)) <= AT_HAND | sys.stdlib_module_names


@pytest.mark.parametrize("path", TRAVELLING, ids=lambda path: path.stem)
def test_the_loader_finds_the_imports_that_there_are(path):
    """It looks for a pattern in the text, and would take an example in a docstring for an import."""
    assert set(get_relative_imports(path)) == siblings(path)


def test_every_file_imports_only_from_files_above_it_in_the_order_of_knowing():
    assert sorted(ORDER) == [path.stem for path in TRAVELLING]
    for path in TRAVELLING:
        for name in siblings(path):
            assert ORDER.index(name) < ORDER.index(path.stem), f"{path.name} imports from {name}, which is below it"


def test_the_plan_of_the_house_names_every_file_in_the_order_of_knowing():
    plan = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`\w+_elmo.*?) \|", plan, flags=re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(rows)) == ORDER


def test_the_recurrence_is_tensors_in_tensors_out():
    for path in MODEL.glob("lstm*_elmo*.py"):
        backends = {"lstm_elmo", "lstm_packed_elmo", "lstm_elmo_triton"}
        products = {"linear_elmo", "int8_elmo"}
        assert siblings(path) <= {*backends, *products, "packed_order_elmo", "scan_elmo"}
        assert "transformers" not in {name.split(".")[0] for name in absolute(path)}


def test_files_stay_small_enough_to_be_read():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    kernels = MODEL / "lstm_elmo_triton.py"
    assert {path.name: n for path, n in lines.items() if n > MAX_LINES["a file"] and path != kernels} == {}
    assert sum(lines[path] for path in TRAVELLING) <= MAX_LINES["the files that travel"]
    assert sum(n for path, n in lines.items() if PACKAGE / "training" in path.parents) <= MAX_LINES["training"]


@pytest.mark.parametrize("path", TRAVELLING, ids=lambda path: path.stem)
def test_each_file_that_travels_says_whose_it_is_and_under_which_license(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0."


@pytest.mark.parametrize("path", TRAVELLING, ids=lambda path: path.stem)
def test_nothing_that_travels_changes_another_library(path):
    """Neither by an assignment to an attribute or item of what it imports, nor by `setattr`."""
    foreign = {
        (alias.asname or alias.name).split(".")[0]
        for node in imports(path)
        if isinstance(node, ast.Import) or not node.level
        for alias in node.names
    }
    changed = set()
    for node in parsed(path):
        targets = [*getattr(node, "targets", []), getattr(node, "target", None)]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr"):
            targets.append(ast.Attribute(node.args[0]))
        for target in filter(None, targets):
            root = target
            while isinstance(root, (ast.Attribute, ast.Subscript)):
                root = root.value
            special = isinstance(target, ast.Attribute) and target.attr.startswith("__")
            if special or (root is not target and isinstance(root, ast.Name) and root.id in foreign):
                changed.add(ast.unparse(target))
    assert changed == ({"stock.__new__"} if path.stem == "pipelines_elmo" else set())  # see `dispatch_by_model`


def test_no_file_reaches_into_the_private_names_of_another():
    for path in [*PACKAGE.rglob("*.py"), *(REPOSITORY / "conversion").glob("*.py")]:
        for node in imports(path):
            own = isinstance(node, ast.ImportFrom) and (node.level or node.module.split(".")[0] == "hf_elmo")
            assert not own or not any(is_private(alias.name) for alias in node.names), f"{path.name}, {node.lineno}"


def is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__") and name != "_"


def private_names(path: Path) -> Iterator[tuple[object, bool]]:
    """Names in a file, and whether it makes them itself."""
    for node in parsed(path):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name, True
        elif isinstance(node, ast.arg):
            yield node.arg, True
        elif isinstance(node, (ast.Attribute, ast.Name)):
            yield getattr(node, "attr", None) or node.id, isinstance(node.ctx, ast.Store)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((name, False) for name in [*node.module.split("."), *(alias.name for alias in node.names)])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            yield from ((name.value, False) for name in node.args[1:] if isinstance(name, ast.Constant))


def overridden_names(path: Path) -> Iterator[str]:
    """Private names that classes of a file redefine, or set, for a class of another library."""
    try:
        module = importlib.import_module(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
    except ImportError:  # the library of an extra is not installed
        assert path.parent.name in EXTRAS, path
        return
    for _, cls in inspect.getmembers(module, inspect.isclass):
        if cls.__module__ == module.__name__:
            own = [base for base in cls.__mro__ if base.__module__.split(".")[0] == "hf_elmo"]
            foreign = [base for base in cls.__mro__ if base not in (*own, object)]
            yield from (name for base in own for name in vars(base) if any(hasattr(parent, name) for parent in foreign))


@pytest.mark.slow
def test_the_private_api_that_the_code_leans_on_is_listed_here():
    """A new name is one more thing that a release can break: find a public way, or add it to the list."""
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py"]
    found = {pair for path in files for pair in private_names(path) if is_private(pair[0])}
    leaned_on = {name for name, made in found if not made and (name, True) not in found}
    leaned_on |= {name for path in files for name in overridden_names(path) if is_private(name)}
    public = {"_asdict", "_replace"}  # of named tuples
    made_by_others = {"_abc_impl", "_auto_class", "_backward_cls", "_is_protocol", "_sklearn_auto_wrap_output_keys"}
    made_by_others |= {"_can_set_experts_implementation_cached_value"}  # by transformers, once a model was made
    assert leaned_on - public - made_by_others == LEANED_ON


def test_conversion_knows_the_package_but_not_its_commands():
    for path in (REPOSITORY / "conversion").glob("*.py"):
        names = absolute(path)
        assert not any(re.match(r"hf_elmo\.(training|cli|demo)\b|conversion\b", name) for name in names), path


def test_training_scripts_share_by_common_modules_only():
    for path in (PACKAGE / "training").glob("*.py"):
        known = siblings(path) | {name.removeprefix("hf_elmo.training.") for name in absolute(path)}
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
