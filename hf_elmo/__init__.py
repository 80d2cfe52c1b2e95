"""ELMo for Hugging Face transformers. Importing the package registers its classes with the Auto classes.

A model class is imported when it is first used: the base class of all models takes longer to import than torch.
"""

import importlib
from typing import TYPE_CHECKING

import transformers

from .model.auto_map_elmo import AUTO_MAP
from .model.configuration_elmo import ElmoConfig
from .model.tokenization_elmo import ElmoTokenizer

if TYPE_CHECKING:
    from .model.language_model_elmo import ElmoForMaskedLM, ElmoForPreTraining
    from .model.lstm_elmo import last_lstm_path, lstm_path
    from .model.modeling_elmo import ElmoModel, ElmoModelOutput, ElmoPreTrainedModel
    from .model.quantizer_elmo import ElmoInt8Config
    from .model.question_answering_elmo import ElmoForQuestionAnswering
    from .model.sequence_classification_elmo import ElmoForSequenceClassification
    from .model.token_classification_elmo import ElmoForTokenClassification

__version__ = "0.1.0"
__all__ = [
    "ElmoConfig",
    "ElmoForMaskedLM",
    "ElmoForPreTraining",
    "ElmoForQuestionAnswering",
    "ElmoForSequenceClassification",
    "ElmoForTokenClassification",
    "ElmoInt8Config",
    "ElmoModel",
    "ElmoModelOutput",
    "ElmoPreTrainedModel",
    "ElmoTokenizer",
    "last_lstm_path",
    "lstm_path",
]

MODELS = {auto_class: path.split(".") for auto_class, path in AUTO_MAP.items() if auto_class != "AutoConfig"}
MODULES = {
    "ElmoInt8Config": "quantizer_elmo",
    "ElmoModelOutput": "modeling_elmo",
    "ElmoPreTrainedModel": "modeling_elmo",
    "last_lstm_path": "lstm_elmo",
    "lstm_path": "lstm_elmo",
}
MODULES |= {name: module for module, name in MODELS.values()}


class LazyModel:
    """Stands among the Auto classes for a model class that is not imported yet, and becomes it when it is used."""

    config_class = ElmoConfig

    def __init__(self, module: str, name: str):
        self.__module__, self.__name__ = f"{__name__}.model.{module}", name

    def __getattr__(self, attribute: str):
        return getattr(__getattr__(self.__name__), attribute)


def __getattr__(name: str):
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".model.{MODULES[name]}", __name__)
    for auto_class, (file, model) in MODELS.items():
        if file == MODULES[name]:
            getattr(transformers, auto_class).register(ElmoConfig, getattr(module, model), exist_ok=True)
    globals()[name] = getattr(module, name)
    return globals()[name]


transformers.AutoConfig.register(ElmoConfig.model_type, ElmoConfig, exist_ok=True)
ElmoConfig.register_for_auto_class()
transformers.AutoTokenizer.register(ElmoConfig, tokenizer_class=ElmoTokenizer, exist_ok=True)
ElmoTokenizer.register_for_auto_class()
for auto_class, (module, name) in MODELS.items():
    getattr(transformers, auto_class).register(ElmoConfig, LazyModel(module, name), exist_ok=True)
