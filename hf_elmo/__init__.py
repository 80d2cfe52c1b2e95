"""ELMo for Hugging Face transformers. Importing the package registers its classes with the Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from .configuration_elmo import ElmoConfig
from .heads_elmo import (
    ElmoForQuestionAnswering,
    ElmoForSequenceClassification,
    ElmoForTokenClassification,
)
from .language_model_elmo import ElmoForMaskedLM, ElmoForPreTraining
from .modeling_elmo import ElmoModel, ElmoModelOutput, ElmoPreTrainedModel

__version__ = "0.1.0"
__all__ = [
    "ElmoConfig",
    "ElmoForMaskedLM",
    "ElmoForPreTraining",
    "ElmoForQuestionAnswering",
    "ElmoForSequenceClassification",
    "ElmoForTokenClassification",
    "ElmoModel",
    "ElmoModelOutput",
    "ElmoPreTrainedModel",
]

AutoConfig.register(ElmoConfig.model_type, ElmoConfig, exist_ok=True)
ElmoConfig.register_for_auto_class()
for auto_class, model_class in (
    (AutoModel, ElmoModel),
    (AutoModelForPreTraining, ElmoForPreTraining),
    (AutoModelForMaskedLM, ElmoForMaskedLM),
    (AutoModelForTokenClassification, ElmoForTokenClassification),
    (AutoModelForSequenceClassification, ElmoForSequenceClassification),
    (AutoModelForQuestionAnswering, ElmoForQuestionAnswering),
):
    auto_class.register(ElmoConfig, model_class, exist_ok=True)
    model_class.register_for_auto_class(auto_class.__name__)
