"""The question-answering pipeline: the answers that the training script finds, however the model is opened."""

import json

import datasets
import numpy as np
import pytest
import torch
from fresh_process import run_python
from lanes import first_fast
from shaken import shake
from toy_tasks import config as toy_config
from toy_tasks import tokenizer as toy_tokenizer
from transformers import pipeline

from hf_elmo import ElmoForQuestionAnswering
from hf_elmo.model.pipelines_elmo import ElmoQuestionAnsweringPipeline
from hf_elmo.training.data.question_windows import best_answers, make_windows

TEXT = "Ada met Bob in Rome. They went to the river's bank, and it didn't rain. Eve saw them in Oslo (today)."
EXAMPLES = [
    {"id": "0", "question": "Who met Bob?", "context": TEXT},
    {"id": "1", "question": "Where did  they go?", "context": "To the bank."},
    {"id": "2", "question": "Why?", "context": f"{TEXT}\n\n{TEXT} {TEXT}"},
]


def parts(**options):
    torch.manual_seed(0)
    model = ElmoForQuestionAnswering(toy_config(qa_size=8, **options))
    return {"model": shake(model, scale=0.6), "tokenizer": toy_tokenizer()}


def asked(examples=EXAMPLES):
    return [{name: example[name] for name in ("question", "context")} for example in examples]


@pytest.mark.slow
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("words", first_fast([9, 400]))
@torch.no_grad()
def test_answers_are_those_of_the_training_scripts_search(words, side):
    answer = ElmoQuestionAnsweringPipeline(**parts())
    answer.tokenizer.padding_side = side
    for example in EXAMPLES:
        rows = datasets.Dataset.from_list(
            [{**example, "answers": {"text": [], "answer_start": []}, "is_impossible": False}]
        )
        windows, features = make_windows(rows, answer.tokenizer, words, 2)
        outputs = [answer.model(torch.as_tensor(np.asarray(row["input_ids"]))[None].long()) for row in features]
        logits = ([output[name][0].numpy() for output in outputs] for name in ("start_logits", "end_logits"))
        (expected,) = best_answers(rows, windows, *logits, max_answer_length=5, n_best=7)
        longest = len(answer.tokenizer.tokenize(example["question"])) + 4 + words
        found = answer(asked([example])[0], top_k=7, max_answer_len=5, max_seq_len=longest, doc_stride=2)
        assert [(part["answer"], part["start"], part["end"]) for part in found] == [part[:3] for part in expected]
        assert np.log([part["score"] for part in found]) == pytest.approx([part.score for part in expected], abs=1e-5)


def test_forms_of_a_call_and_batches():
    answer = ElmoQuestionAnsweringPipeline(**parts())
    alone = [answer(**example) for example in asked()]
    assert all(TEXT[part["start"] : part["end"]] == part["answer"] for part in alone[:1])
    for options in ({}, {"batch_size": 3}, {"batch_size": 2, "max_seq_len": 30, "doc_stride": 5}):
        expected = alone if "max_seq_len" not in options else [answer(e, max_seq_len=30, doc_stride=5) for e in asked()]
        for part, other in zip(answer(asked(), **options), expected, strict=True):
            assert {**part, "score": 0} == {**other, "score": 0}
            assert part["score"] == pytest.approx(other["score"], rel=1e-4)
    both = answer(question=["Who?", "Where?"], context=TEXT)
    assert both == [answer(question=question, context=TEXT) for question in ("Who?", "Where?")]
    assert [len(part) for part in answer(question=["Who?"] * 2, context=[TEXT, "Ada met"], top_k=10)] == [10, 3]


def test_no_answer_is_among_the_answers_where_it_was_trained():
    answer = ElmoQuestionAnsweringPipeline(**parts(qa_no_answer=True))
    found = answer(**asked()[0], top_k=2000)
    empty = [part for part in found if not part["answer"]]
    assert [(part["start"], part["end"]) for part in empty] == [(0, 0)]
    assert all(part["answer"] for part in answer(**asked()[0], top_k=2000, handle_impossible_answer=False))
    assert answer(question="Who?", context=" ") == {**answer(question="Who?", context=" "), "answer": ""}
    without = ElmoQuestionAnsweringPipeline(**parts())
    assert without(question="Who?", context=" ") == []


def test_limits_of_the_configuration():
    """Without limits, the whole text is one window and an answer may be all of it; limits of length cut texts off."""
    free = ElmoQuestionAnsweringPipeline(**parts(qa_context_len=None, qa_max_answer_len=None))
    words = len(free.tokenizer.tokenize(TEXT))
    assert len(free(question="Who?", context=TEXT, top_k=2000)) == words * (words + 1) // 2
    assert len(free(question="Who?", context=TEXT, top_k=2000, max_answer_len=1)) == words
    cut = ElmoQuestionAnsweringPipeline(**parts(qa_length_limits=[1, 4]))
    found = cut(question="Who met Bob?", context=TEXT, top_k=100)
    assert found == cut(question="Who", context="Ada met Bob in", top_k=100)
    assert max(part["end"] for part in found) == len("Ada met Bob in")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ([], {}, "a question and a context are needed, both texts, but there is None"),
        ([{"question": "Who?"}], {}, r"both texts, but there is \{'question': 'Who\?'\}"),
        ([asked()[0]], {"top_k": 0}, "top_k must be at least 1, but is 0"),
        ([asked()[0]], {"max_seq_len": 5}, "max_length=5|too short"),
    ],
)
def test_what_cannot_be_answered_is_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        ElmoQuestionAnsweringPipeline(**parts())(*arguments, **options)


STRANGER = """
import json, sys
if sys.argv[2] == "absent":
    sys.modules["hf_elmo"] = None
else:
    import hf_elmo
from transformers import pipeline
answer = pipeline("question-answering", model=sys.argv[1], trust_remote_code=True, device="cpu")
answer.model.save_pretrained(sys.argv[1] + "-again")
print(json.dumps(answer(json.loads(sys.argv[3]), top_k=3)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("package", ["absent", "imported"])
def test_code_that_came_with_the_weights(tmp_path, package):
    for part in parts().values():
        part.save_pretrained(tmp_path / "model")
    process = run_python("-c", STRANGER, tmp_path / "model", package, json.dumps(asked()))
    answer = pipeline(
        "question-answering", str(tmp_path / "model-again"), pipeline_class=ElmoQuestionAnsweringPipeline, device="cpu"
    )
    answer.tokenizer = toy_tokenizer()
    for found, expected in zip(json.loads(process.stdout), answer(asked(), top_k=3), strict=True):
        assert [part["answer"] for part in found] == [part["answer"] for part in expected]
        assert [part["score"] for part in found] == pytest.approx([part["score"] for part in expected], rel=1e-4)
