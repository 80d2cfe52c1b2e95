"""The common test suites of transformers, as the installed version's source distribution carries them.

They are fetched by pip when first asked for, kept in the user's cache, and imported as the package
`transformers_tests`. What they import that the source distribution leaves out is put in its place here.
"""

import importlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import types
from pathlib import Path

import pytest
import transformers

PACKAGE = "transformers_tests"

# Whether a suite may skip a test for a reason that we have not read: set by the option --unlocked of the tests.
allow_unknown_reasons = False

# A text for the tokenizer suite's use, in place of the one that is left out.
SAMPLE_TEXT = "A bank by the river.\n\nThe bank by the station was closed.\n"

# Every configuration must keep what it is given for these, which all models have in common.
COMMON_CONFIG_ARGUMENTS = {
    "architectures": ["ElmoModel"],
    "chunk_size_feed_forward": 5,
    "dtype": "float16",
    "id2label": {0: "label"},
    "is_encoder_decoder": True,
    "label2id": {"label": 0},
    "output_attentions": False,
    "output_hidden_states": True,
    "problem_type": "regression",
    "return_dict": False,
}


def load(name: str) -> types.ModuleType:
    """The test module `name` of the installed transformers. Skips the calling module where it cannot be fetched."""
    if PACKAGE not in sys.modules:
        install(fetch())
    try:
        return importlib.import_module(f"{PACKAGE}.{name}")
    except ModuleNotFoundError as error:
        # The newest release for Python 3.10, 5.20.2, imports modules that its source distribution leaves out.
        may_lack = allow_unknown_reasons or sys.version_info < (3, 11)
        if not may_lack or not error.name.startswith(PACKAGE):
            raise
        reason = f"the sources of transformers {transformers.__version__} lack {error.name}, which its {name} imports"
        pytest.skip(reason, allow_module_level=True)


def fetch() -> Path:
    """The folder of the installed version's test modules, from the cache or by pip."""
    release = f"transformers-{transformers.__version__}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hf_elmo" / release
    if (cache / "tests").is_dir():
        return cache / "tests"
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
        requirement = f"transformers=={transformers.__version__}"
        arguments = ["--no-deps", "--no-binary=transformers", "--disable-pip-version-check", "--dest", folder]
        command = [sys.executable, "-m", "pip", "download", "--quiet", *arguments, requirement]
        pip = subprocess.run(command, capture_output=True, text=True)
        if pip.returncode:
            reason = (pip.stderr.strip() or "no message").splitlines()[-1]
            pytest.skip(f"pip cannot download the sources of {requirement}: {reason}", allow_module_level=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            members = [member for member in tar if member.name.startswith(f"{release}/tests/")]
            tar.extractall(folder, members, filter="data")
        add_what_is_left_out(Path(folder) / release)
        try:
            os.rename(Path(folder) / release, cache)
        except OSError:  # another process was faster
            shutil.rmtree(Path(folder) / release)
    return cache / "tests"


def add_what_is_left_out(release: Path):
    """Files that the test modules open while they are imported or set up."""
    (release / "tests" / "fixtures").mkdir()
    (release / "tests" / "fixtures" / "sample_text.txt").write_text(SAMPLE_TEXT)
    (release / "tests" / "utils").mkdir()
    (release / "tests" / "utils" / "tiny_model_summary.json").write_text("{}")
    # The suites import transformers by this path, to make sure that it is there: the installed one is.
    (release / "src" / "transformers").mkdir(parents=True)
    for folder in ("tests", "src/transformers"):
        (release / folder / "__init__.py").touch()


def install(folder: Path):
    """Make the test modules importable under a name of their own, beside any other package called `tests`."""
    package = types.ModuleType(PACKAGE)
    package.__path__ = [str(folder)]
    sys.modules[PACKAGE] = package
    for name, contents in (
        ("exporters.test_export", {"ExportTesterMixin": type("ExportTesterMixin", (), {})}),
        ("generation.test_utils", {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})}),
        ("utils.test_configuration_utils", {"config_common_kwargs": COMMON_CONFIG_ARGUMENTS}),
    ):
        module = types.ModuleType(f"{PACKAGE}.{name}")
        vars(module).update(contents)
        parent = f"{PACKAGE}.{name.split('.')[0]}"
        sys.modules[parent] = types.ModuleType(parent)
        sys.modules[module.__name__] = module
