# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Which class opens a saved model, and the code that is saved with it.

A checkpoint saved by one class opens with every class of `AUTO_MAP`, also where the package is not installed: the map
is part of each saved configuration, and `copy_code` puts the files of all these classes beside it. (Where the outputs
of two heads differ in number, transformers asks for `ignore_mismatched_sizes=True`.) To open a model,
transformers fetches only the file of the class that is asked for and the files this one imports, so that a base model
is opened without the code of any head.
"""

import functools
import shutil
from pathlib import Path

from transformers.dynamic_module_utils import get_cached_module_file, get_relative_import_files
from transformers.utils import HF_MODULES_CACHE, logging

AUTO_MAP = {
    "AutoConfig": "configuration_elmo.ElmoConfig",
    "AutoModel": "modeling_elmo.ElmoModel",
    "AutoModelForPreTraining": "language_model_elmo.ElmoForPreTraining",
    "AutoModelForMaskedLM": "language_model_elmo.ElmoForMaskedLM",
    "AutoModelForCausalLM": "causal_lm_elmo.ElmoForCausalLM",
    "AutoModelForTokenClassification": "token_classification_elmo.ElmoForTokenClassification",
    "AutoModelForSequenceClassification": "sequence_classification_elmo.ElmoForSequenceClassification",
    "AutoModelForMultipleChoice": "sequence_classification_elmo.ElmoForMultipleChoice",
    "AutoModelForQuestionAnswering": "question_answering_elmo.ElmoForQuestionAnswering",
}
# Classes for tasks that no Auto class stands for. They travel too, and `get_class_from_dynamic_module` opens them.
WITHOUT_AUTO_CLASS = (
    "coreference_elmo.ElmoForCoreferenceResolution",
    "span_classification_elmo.ElmoForSpanClassification",
)

logger = logging.get_logger(__name__)


def copy_code(folder: str | Path, source: str | None = None, classes: dict[str, str] | None = None):
    """Copy the files of classes, by default all of `AUTO_MAP` and `WITHOUT_AUTO_CLASS`, into a folder.

    Code that was opened with `trust_remote_code=True` is present only as far as it was needed. The rest is fetched from
    where it came from, the folder or repository `source`; if that fails, a warning names the class that cannot open
    the folder. The folder must exist; `classes` are given by the Auto classes that open them.
    """
    here = Path(__file__).parent  # of fetched code, transformers names this folder by the commit
    files: dict[str, Path] = {}
    references = classes or {**AUTO_MAP, **{reference.split(".")[1]: reference for reference in WITHOUT_AUTO_CLASS}}
    for auto_class, reference in references.items():
        path = here / f"{reference.split('.')[0]}.py"
        if not path.is_file():
            try:
                path = Path(HF_MODULES_CACHE, get_cached_module_file(source or "", path.name, revision=here.name))
            except (OSError, ValueError):
                logger.warning(f"{folder} will not open with {auto_class}: {source or here} has no {path.name}")
                continue
        files |= {file.name: file for file in code_of(path)}
    for name, file in files.items():
        shutil.copyfile(file, Path(folder, name))


@functools.lru_cache
def code_of(path: Path) -> tuple[Path, ...]:
    """Return a file and those that it imports, or that these import. Reading them takes longer than copying them."""
    return (path, *map(Path, get_relative_import_files(path)))
