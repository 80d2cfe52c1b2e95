"""The code block of each card runs as it is printed, from the saved folder and without the package."""

import pytest
from card_blocks import card_block, run_blocks
from shaken import shake

import hf_elmo

pytestmark = pytest.mark.slow  # a process that opens ten models

MODELS = {
    "encoder": (hf_elmo.ElmoModel, {}),
    "language-model": (hf_elmo.ElmoForPreTraining, {"word_vocab_size": 20}),
    "masked-words": (hf_elmo.ElmoForMaskedLM, {"word_vocab_size": 20}),
    "generator": (hf_elmo.ElmoForCausalLM, {"word_vocab_size": 20}),
    "tagger": (hf_elmo.ElmoForTokenClassification, {"num_labels": 3}),
    "classifier": (hf_elmo.ElmoForSequenceClassification, {}),
    "biattentive": (hf_elmo.ElmoForSequenceClassification, {"sequence_encoder": "bcn"}),
    "inference": (hf_elmo.ElmoForSequenceClassification, {"sequence_encoder": "esim", "num_labels": 3}),
    "answers": (hf_elmo.ElmoForQuestionAnswering, {}),
    "answers-or-none": (hf_elmo.ElmoForQuestionAnswering, {"qa_no_answer": True}),
    "linear-answers": (hf_elmo.ElmoForQuestionAnswering, {"qa_encoder": "linear"}),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict:
    """What each card's block computes, run where the folders lie."""
    home, blocks = tmp_path_factory.mktemp("home"), {}
    words = ["<S>", "</S>", "<UNK>", *(f"w{number}" for number in range(17))]
    (home / "words.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    for seed, (name, (model_class, options)) in enumerate(MODELS.items()):
        sizes = {"char_embedding_size": 4, "char_cnn_filters": [[1, 4], [2, 8]], "projection_size": 6, "cell_size": 10}
        sizes |= {"tagger_size": 5, "sequence_size": 5, "qa_size": 5}
        shake(model_class(hf_elmo.ElmoConfig(**sizes, **options)), seed).save_pretrained(home / name)
        vocabulary = str(home / "words.txt") if "word_vocab_size" in options else None
        hf_elmo.ElmoTokenizer(vocabulary).save_pretrained(home / name)
        blocks[name] = card_block(home / name)
    return run_blocks(blocks, home)


@pytest.mark.parametrize("name", ["encoder", "language-model", "masked-words"])
def test_vectors(results, name):
    assert results[name] == [2, 9, 12]  # I went to the river bank . with <S> and </S>


def test_labels_of_words(results):
    assert len(results["tagger"]) == 9
    assert set(results["tagger"]) <= {"LABEL_0", "LABEL_1", "LABEL_2"}


@pytest.mark.parametrize("name", ["classifier", "biattentive", "inference"])
def test_labels_of_texts(results, name):
    assert results[name].startswith("LABEL_")


@pytest.mark.parametrize("name", ["answers", "answers-or-none", "linear-answers"])
def test_answers_are_spans_of_the_text_or_nothing(results, name):
    first, last, answer = results[name]
    words = "I went to the river bank .".split()
    first_of_text = len("<S> Where did I go ? </S> <S>".split())
    if (first, last) == (0, 0):
        assert answer == ""
    else:
        assert first_of_text <= first <= last
        assert answer.replace(".", " .").split() == words[first - first_of_text : last + 1 - first_of_text]
