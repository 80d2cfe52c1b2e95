"""ELMo for Hugging Face transformers. Importing the package registers its classes with the Auto classes."""

import transformers

from .model.auto_map_elmo import AUTO_MAP
from .model.causal_lm_elmo import ElmoForCausalLM
from .model.configuration_elmo import ElmoConfig
from .model.coreference_elmo import ElmoForCoreferenceResolution
from .model.encoder_decoder_elmo import ElmoForSeq2SeqLM
from .model.language_model_elmo import ElmoForMaskedLM, ElmoForPreTraining
from .model.linear_elmo import prepared
from .model.lstm_elmo import last_lstm_path, lstm_path
from .model.modeling_elmo import ElmoModel, ElmoModelOutput, ElmoPreTrainedModel
from .model.quantizer_elmo import ElmoInt8Config
from .model.question_answering_elmo import ElmoForQuestionAnswering
from .model.sequence_classification_elmo import ElmoForMultipleChoice, ElmoForSequenceClassification
from .model.span_classification_elmo import ElmoForSpanClassification
from .model.token_classification_elmo import ElmoForTokenClassification
from .model.tokenization_elmo import ElmoTokenizer

__version__ = "0.1.0"
__all__ = [
    "ElmoConfig",
    "ElmoForCausalLM",
    "ElmoForCoreferenceResolution",
    "ElmoForMaskedLM",
    "ElmoForMultipleChoice",
    "ElmoForPreTraining",
    "ElmoForQuestionAnswering",
    "ElmoForSeq2SeqLM",
    "ElmoForSequenceClassification",
    "ElmoForSpanClassification",
    "ElmoForTokenClassification",
    "ElmoInt8Config",
    "ElmoModel",
    "ElmoModelOutput",
    "ElmoPreTrainedModel",
    "ElmoTokenizer",
    "last_lstm_path",
    "lstm_path",
    "prepared",
]

transformers.AutoConfig.register(ElmoConfig.model_type, ElmoConfig, exist_ok=True)
transformers.AutoTokenizer.register(ElmoConfig, tokenizer_class=ElmoTokenizer, exist_ok=True)
ElmoConfig.register_for_auto_class()
ElmoTokenizer.register_for_auto_class()
for auto_class, reference in AUTO_MAP.items():
    if auto_class != "AutoConfig":
        model_class = globals()[reference.split(".")[1]]
        getattr(transformers, auto_class).register(ElmoConfig, model_class, exist_ok=True)
        model_class.register_for_auto_class(auto_class)
