"""transformers' own common tests, run on every class of this package."""

import inspect
import re
import shutil
import tempfile
import unittest
from unittest.mock import patch

import pytest
import torch
import transformers_suite
from transformers import initialization as init
from transformers import pipeline
from transformers.models.auto import modeling_auto

import hf_elmo
from hf_elmo import ElmoConfig, ElmoTokenizer
from hf_elmo.model.modeling_elmo import ElmoPreTrainedModel
from hf_elmo.model.pooling_elmo import ElmoScalarMix

pytestmark = pytest.mark.slow  # many tests, a second each

configuration_suite = transformers_suite.load("test_configuration_common")
modeling_suite = transformers_suite.load("test_modeling_common")
pipeline_suite = transformers_suite.load("test_pipeline_mixin")
tokenization_suite = transformers_suite.load("test_tokenization_common")
training_suite = transformers_suite.load("test_training_mixin")

# What the suites know a class's labels, and whether it is a base model, by.
NAMES = {
    "MODEL_MAPPING_NAMES": "ElmoModel",
    "MODEL_FOR_PRETRAINING_MAPPING_NAMES": "ElmoForPreTraining",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES": "ElmoForMaskedLM",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": "ElmoForCausalLM",
    "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES": "ElmoForTokenClassification",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "ElmoForSequenceClassification",
    "MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES": "ElmoForMultipleChoice",
    "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES": "ElmoForQuestionAnswering",
}

# The reasons for which the suites skip themselves, by a word of each: all of these are true of this model.
DOES_NOT_APPLY = {
    "attention|sdpa|sliding window": "a recurrent model attends to nothing",
    "RoPE|position embeddings|base_model_class": "the recurrence knows the order of words",
    "experts|router_logits|grouped_mm": "there are no experts",
    "composite|subconfigs": "one configuration describes it all",
    "decoder-only|sequence-to-sequence": "no head predicts only from the left, or from another text",
    "take a cache as input": "the carried state is `state`, an LSTM's, and no cache of keys and values",
    "capture": "a layer's output is that of two modules, its directions, and is collected by hand",
    "conversion found": "a checkpoint's names are the model's",
    "_keep_in_fp32_modules": "no module needs single precision",
    "TP plan": "a step of the recurrence reads all of the step before: it cannot be split over devices",
    "chat templates at input": "the test is of processors, and asks for the tokenizer in one",
}

# Tests that cannot pass, with what each expects that a tokenizer of character ids cannot give
WORDS_ARE_ROWS = {
    "test_batch_encode_dynamic_overflowing": "expects a batch of words to be (B, T), where it is (B, T, W)",
    "test_chat_template_return_assistant_tokens_mask": "expects a mask (B, T) to have the shape of the ids (B, T, W)",
    "test_encode_basic_padding": "expects padding to be numbers, where it is rows of them",
    "test_encode_plus_with_padding_0": "expects padding to be numbers, where it is rows of them",
    "test_encode_plus_with_padding_1": "expects padding to be numbers, where it is rows of them",
    "test_integration_from_extractor": "expects a vocabulary of words in a tokenizer.json, and there is none",
    "test_training_new_tokenizer": "learns a vocabulary of pieces of words, and there are none",
    "test_training_new_tokenizer_with_special_tokens_change": "learns a vocabulary of pieces of words",
}


@pytest.fixture(scope="module", autouse=True)
def brief_messages():
    """The suites print every parameter into a message that a test which passes has no use for."""
    torch.set_printoptions(threshold=0, edgeitems=1)
    yield
    torch.set_printoptions(profile="default")


class SaysWhy:
    """A suite's test case that skips itself for true reasons only."""

    def skipTest(self, reason):
        known = any(re.search(words, reason, re.IGNORECASE) for words in DOES_NOT_APPLY)
        if not known and not transformers_suite.allow_unknown_reasons:
            self.fail(f"skips itself for a reason that is not among those known to be true: {reason}")
        super().skipTest(reason if known else f"UNKNOWN REASON: {reason}")


def without(tests):
    """A class decorator: skip these tests, each for its reason."""

    def decorate(case):
        for name, reason in tests.items():
            if transformers_suite.allow_unknown_reasons and not hasattr(case, name):
                continue  # another version of the suites has other tests
            setattr(case, name, unittest.skip(reason)(getattr(case, name)))
        return case

    return decorate


@pytest.fixture(autouse=True, scope="module")
def names_known_to_the_suites():
    with pytest.MonkeyPatch.context() as patcher:
        for mapping, name in NAMES.items():
            patcher.setitem(getattr(modeling_auto, mapping), "elmo", name)
        yield


def shaken_init_weights(self, module, plain=ElmoPreTrainedModel._init_weights):
    """Initial values without zeros: a bias or a mix at 0 would hide a mask that is not heeded, and much else."""
    plain(self, module)
    bias = getattr(module, "bias", None)
    if isinstance(bias, torch.nn.Parameter):
        init.normal_(bias, std=15 * self.config.initializer_range)
    if isinstance(module, ElmoScalarMix):
        init.normal_(module.weights)
        init.normal_(module.gamma)


class ElmoModelTester:
    """A tiny configuration and a batch for it, with padding."""

    batch_size, seq_length, width = 3, 5, 8
    num_choices = 2
    num_hidden_layers, hidden_size = 2, 12
    is_training = True

    def get_config(self) -> ElmoConfig:
        return ElmoConfig(
            char_embedding_size=4,
            char_cnn_filters=[[1, 4], [2, 6], [3, 6]],
            max_characters_per_token=self.width,
            projection_size=self.hidden_size // 2,
            cell_size=10,
            num_hidden_layers=self.num_hidden_layers,
            word_vocab_size=11,
            cell_clip=0.5,
            projection_clip=0.4,
            lstm_dropout=0.0,
            classifier_dropout=0.0,
            head_dropout=0.0,
            tagger_size=5,
            sequence_size=5,
            qa_size=5,
        )

    def prepare_config_and_inputs_for_common(self):
        input_ids = rows_tensor((self.batch_size, self.seq_length), 262).clamp(min=1)
        attention_mask = torch.ones(self.batch_size, self.seq_length, dtype=torch.long)
        attention_mask[0, 3:] = 0
        attention_mask[1, :1] = 0
        return self.get_config(), {"input_ids": input_ids, "attention_mask": attention_mask}


def rows_tensor(shape, vocab_size, plain=modeling_suite.ids_tensor, **kwargs):
    """Random ids of the suite's making; where it asks for a batch of words, each word is a row of ids."""
    return plain((*shape, ElmoModelTester.width) if len(shape) == 2 else shape, vocab_size, **kwargs)


class ElmoModelTest(SaysWhy, modeling_suite.ModelTesterMixin, unittest.TestCase):
    all_model_classes = tuple(getattr(hf_elmo, name) for name in NAMES.values())
    model_tester = ElmoModelTester()
    all_generative_model_classes = ()  # their tests make batches of numbers; ours: test_causal_language_model.py
    has_attentions = False

    def setUp(self):
        for target, name, replacement in (
            (ElmoPreTrainedModel, "_init_weights", shaken_init_weights),
            (modeling_suite, "ids_tensor", rows_tensor),
        ):
            patcher = patch.object(target, name, replacement)
            patcher.start()
            self.addCleanup(patcher.stop)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        words = inputs_dict["input_ids"]
        if model_class is hf_elmo.ElmoForMultipleChoice:  # the suite repeats what is (B, T), for each choice
            inputs_dict = {**inputs_dict, "input_ids": words.flatten(1)}
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels and model_class is hf_elmo.ElmoForPreTraining:  # a class the suite has no labels for
            inputs["labels"] = torch.zeros(inputs["input_ids"].shape[:2], dtype=torch.long)
        return inputs

    def test_hidden_states_output(self):
        """Of all classes but one, whose states are of one direction: test_causal_language_model.py has its own."""
        self.all_model_classes = tuple(c for c in self.all_model_classes if c is not hf_elmo.ElmoForCausalLM)
        super().test_hidden_states_output()

    def test_bc_torch_dtype(self):
        """Of three classes, as it loads each fourteen times: by a method that all have from one base class."""
        self.all_model_classes = (hf_elmo.ElmoModel, hf_elmo.ElmoForPreTraining, hf_elmo.ElmoForQuestionAnswering)
        super().test_bc_torch_dtype()

    def test_padding_changes_nothing(self):
        """The suite's own test of batching leaves every row its padding, so a model that ignores masks passes it."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for model_class in self.all_model_classes:
            with self.subTest(model_class.__name__):
                torch.manual_seed(0)
                model = model_class(config).eval()
                one = (None, None) if model_class is hf_elmo.ElmoForMultipleChoice else None  # row of one batch
                for row, mask in zip(inputs["input_ids"], inputs["attention_mask"].bool()):
                    padded = model(row[one], mask[one], output_hidden_states=True).to_tuple()
                    alone = model(row[mask][one], output_hidden_states=True).to_tuple()
                    torch.testing.assert_close(at_words(padded, mask), alone, rtol=0, atol=1e-6)


def at_words(output, mask):
    """What an output of one row says of its words; all of it where it is not about words."""
    if isinstance(output, tuple):
        return tuple(at_words(part, mask) for part in output)
    return output[:, mask] if output.shape[1] == len(mask) else output


class TrainingTest(training_suite.TrainingTesterMixin):
    """A head learns a batch by heart. The suite's batch is of plain ids and its labels are these ids."""

    model_class = None
    model_tester = ElmoModelTester()
    training_overfit_seq_length = 5
    training_overfit_steps = 30
    training_overfit_learning_rate = 6e-2

    def _get_trainable_model_class(self):
        return self.model_class

    def _create_text_training_batch(self, batch_size, seq_length, vocab_size):
        words = torch.arange(seq_length).repeat(batch_size, 1)
        return {"input_ids": words[..., None].repeat(1, 1, self.model_tester.width) + 1, **self.labels(words)}

    def labels(self, words):
        return {"labels": words}


class PreTrainingTrainingTest(TrainingTest, unittest.TestCase):
    model_class = hf_elmo.ElmoForPreTraining
    training_overfit_steps = 80
    training_overfit_learning_rate = 3e-2


class MaskedLMTrainingTest(TrainingTest, unittest.TestCase):
    model_class = hf_elmo.ElmoForMaskedLM


class TokenClassificationTrainingTest(TrainingTest, unittest.TestCase):
    model_class = hf_elmo.ElmoForTokenClassification

    def labels(self, words):
        return {"labels": words % 2}


class SequenceClassificationTrainingTest(TrainingTest, unittest.TestCase):
    model_class = hf_elmo.ElmoForSequenceClassification

    def labels(self, words):
        return {"labels": torch.zeros_like(words[:, 0])}


class MultipleChoiceTrainingTest(TrainingTest, unittest.TestCase):
    model_class = hf_elmo.ElmoForMultipleChoice

    def labels(self, words):
        return {"labels": torch.zeros_like(words[:, 0])}

    def _create_text_training_batch(self, batch_size, seq_length, vocab_size):
        batch = super()._create_text_training_batch(batch_size, seq_length, vocab_size)
        batch["input_ids"] = torch.stack([batch["input_ids"], batch["input_ids"].flip(1)], dim=1)
        return batch


class QuestionAnsweringTrainingTest(TrainingTest, unittest.TestCase):
    model_class = hf_elmo.ElmoForQuestionAnswering

    def labels(self, words):
        return {"start_positions": torch.full_like(words[:, 0], 2), "end_positions": torch.full_like(words[:, 0], 4)}


def test_configuration():
    tester = ElmoModelTester()
    case = unittest.TestCase()
    case.model_tester = tester
    configuration_suite.ConfigTester(
        case, config_class=ElmoConfig, common_properties=["hidden_size", "num_hidden_layers"], projection_size=6
    ).run_common_tests()


class PipelineCheck:
    """A pipeline over one of the suite's models, and what it must give for a text: `run_pipeline_test` says."""

    task, options = None, {}

    def get_test_pipeline(self, model, tokenizer, dtype):
        examples = ["The bank was closed.", "I went to the river bank, didn't I?"]
        return pipeline(
            self.task, model=model, tokenizer=tokenizer, dtype=dtype, device="cpu", **self.options
        ), examples


class FeatureExtractionCheck(PipelineCheck):
    task = "feature-extraction"

    def run_pipeline_test(self, pipe, examples):
        for result, words in zip(pipe(examples), (7, 13)):
            assert torch.tensor(result).shape == (1, words, pipe.model.config.hidden_size)


class TextClassificationCheck(PipelineCheck):
    task = "text-classification"

    def run_pipeline_test(self, pipe, examples):
        for results in pipe(examples, top_k=None):
            assert sorted(result["label"] for result in results) == ["LABEL_0", "LABEL_1"]
            assert sum(result["score"] for result in results) == pytest.approx(1, abs=1e-3)


class TokenClassificationCheck(PipelineCheck):
    task = "token-classification"

    def run_pipeline_test(self, pipe, examples):
        for strategy in ("none", "simple", "first", "average", "max"):
            for result, text in zip(pipe(examples, aggregation_strategy=strategy), examples):
                assert result
                for entity in result:
                    span = text[entity["start"] : entity["end"]]
                    assert entity["word"].replace(" ", "") == span.replace(" ", "")


class ZeroShotClassificationCheck(PipelineCheck):
    task = "zero-shot-classification"
    options = {"candidate_labels": ["money", "nature"]}

    def run_pipeline_test(self, pipe, examples):
        for result in pipe(examples):
            assert sorted(result["labels"]) == ["money", "nature"]
            assert sum(result["scores"]) == pytest.approx(1, abs=1e-3)


PIPELINES = {
    "feature-extraction": (hf_elmo.ElmoModel, FeatureExtractionCheck),
    "text-classification": (hf_elmo.ElmoForSequenceClassification, TextClassificationCheck),
    "token-classification": (hf_elmo.ElmoForTokenClassification, TokenClassificationCheck),
    "zero-shot": (hf_elmo.ElmoForSequenceClassification, ZeroShotClassificationCheck),
}


@pytest.fixture(scope="module")
def pipeline_models(tmp_path_factory):
    """The suite's tiny models and its table of them, which lie on the Hub for transformers' own models."""
    folder = tmp_path_factory.mktemp("models")
    summary = {"tokenizer_classes": ["ElmoTokenizer"], "processor_classes": []}
    models = {model_class for model_class, _ in PIPELINES.values()}
    for model_class in models:
        saved = folder / ElmoConfig.model_type / model_class.__name__
        model_class(ElmoModelTester().get_config()).save_pretrained(saved)
        ElmoTokenizer(max_characters_per_token=ElmoModelTester.width).save_pretrained(saved)
    with pytest.MonkeyPatch.context() as patcher:
        patcher.setattr(pipeline_suite, "TRANSFORMERS_TINY_MODEL_PATH", str(folder))
        patcher.setattr(pipeline_suite, "tiny_model_summary", {model.__name__: summary for model in models})
        patcher.setattr(pipeline_suite, "transformers_module", hf_elmo)
        for task, (_, check) in PIPELINES.items():
            patcher.setitem(pipeline_suite.pipeline_test_mapping, task, {"test": f"{__name__}.{check.__name__}"})
        yield


@pytest.mark.usefixtures("pipeline_models")
class ElmoPipelineTest(SaysWhy, pipeline_suite.PipelineTesterMixin, unittest.TestCase):
    pipeline_model_mapping = {task: model_class for task, (model_class, _) in PIPELINES.items()}


# The suite has a test for each task there is; those of other tasks are none of this model's.
OWN_TASKS = tuple(f"test_pipeline_{task.replace('-', '_')}{half}" for task in PIPELINES for half in ("", "_fp16"))
for name in dir(pipeline_suite.PipelineTesterMixin):
    if name.startswith("test_pipeline") and name not in OWN_TASKS:
        setattr(ElmoPipelineTest, name, None)


@without(WORDS_ARE_ROWS)
class ElmoTokenizerTest(
    SaysWhy,
    tokenization_suite.TokenizerTesterMixin,
    tokenization_suite.TokenizersBackendTesterMixin,
    unittest.TestCase,
):
    tokenizer_class = rust_tokenizer_class = ElmoTokenizer
    integration_test_input_string = "The bank,  didn't it?"
    integration_expected_tokens = ["The", "bank", ",", "did", "n't", "it", "?"]
    integration_expected_token_ids = [
        [259, *(ord(character) + 1 for character in word), 260] + [261] * (48 - len(word))
        for word in integration_expected_tokens
    ]
    integration_expected_decoded_text = "The bank , did n't it ?"

    # Marked as slow, because vocabularies are large where words have ids
    test_conversion_reversible = inspect.unwrap(tokenization_suite.TokenizerTesterMixin.test_conversion_reversible)

    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, folder)
        ElmoTokenizer().save_pretrained(folder)
        cls.from_pretrained_id = [folder]
        super().setUpClass()

    def get_clean_sequence(self, tokenizer, with_prefix_space=False, max_length=20, min_length=5):
        """A text and its ids. The suite makes one by decoding ids, which are words elsewhere."""
        text = " " * with_prefix_space + "the words of a text that says nothing much"
        return text, tokenizer.encode(text, add_special_tokens=False)
