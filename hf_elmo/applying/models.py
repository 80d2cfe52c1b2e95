# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Trained models by their names: the architecture says which head is applied, and to what."""

from argparse import Namespace

from ..loading import load_model, load_tokenizer
from ..model.configuration_elmo import ElmoConfig
from ..model.coreference_elmo import ElmoForCoreferenceResolution
from ..model.question_answering_elmo import ElmoForQuestionAnswering
from ..model.sequence_classification_elmo import ElmoForSequenceClassification
from ..model.task_model_elmo import ElmoTaskModel
from ..model.token_classification_elmo import ElmoForTokenClassification
from ..training.configs import read_config
from .heads import Answerer, Classifier, Head, Tagger
from .structures import Resolver, RoleLabeler

HEADS: dict[type[ElmoTaskModel], type[Head]] = {
    ElmoForTokenClassification: Tagger,
    ElmoForSequenceClassification: Classifier,
    ElmoForQuestionAnswering: Answerer,
    ElmoForCoreferenceResolution: Resolver,
}


def load_head(name: str, options: Namespace) -> Head:
    """Load a trained model with its tokenizer; its architecture says what it is applied to.

    Raises:
        `ValueError`: in one line, if there is no such model, or it has no head that this command applies.
    """
    config = read_config(name)
    model_class, head = head_of(name, config)
    tokenizer = load_tokenizer(name)
    return head(load_model(model_class, name), tokenizer, options)


def head_of(name: str, config: ElmoConfig) -> tuple[type[ElmoTaskModel], type[Head]]:
    saved = (config.architectures or ["no model"])[0]
    for model_class, head in HEADS.items():
        if model_class.__name__ == saved:
            is_of_roles = model_class is ElmoForTokenClassification and config.predicate_feature_size
            return model_class, RoleLabeler if is_of_roles else head
    known = ", ".join(model_class.__name__ for model_class in HEADS)
    raise ValueError(
        f"{name}: a model with a trained head is needed ({known}), but this is {saved}: train one with "
        "`hf-elmo train ner`, `classify`, `pairs`, `qa`, `srl` or `coref`"
    )
