"""Text classification and question answering: the words that count, and the meaning of labels."""

import pytest
import torch
import toy_tasks
from shaken import shake

import hf_elmo

QUESTION, CONTEXT = ["Who", "left"], ["Ada", "met", "Tom"]
FIRST = 5  # place of the context's first word, behind <S> Who left </S> <S>


def model_of(head, **options):
    torch.manual_seed(0)
    return shake(head(toy_tasks.config(**options)))


def encode(*texts, side="right", **options):
    tokenizer = toy_tasks.tokenizer()
    tokenizer.padding_side = side
    return tokenizer(*texts, is_split_into_words=True, return_tensors="pt", **options)


def test_a_model_of_pairs_refuses_a_text_alone():
    model = model_of(hf_elmo.ElmoForSequenceClassification, sequence_encoder="esim")
    model(**encode(CONTEXT, QUESTION))
    with pytest.raises(
        ValueError, match=r"'esim' compares two texts, but row 0 has one `<S>`: give pairs, tokenizer\("
    ):
        model(**encode(CONTEXT))


@torch.no_grad()
def test_a_text_alone_is_both_texts_of_a_biattentive_pair():
    model = model_of(hf_elmo.ElmoForSequenceClassification, sequence_encoder="bcn")
    alone, twice = model(**encode(CONTEXT)).logits, model(**encode(CONTEXT, CONTEXT)).logits
    torch.testing.assert_close(alone, twice, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(alone, model(**encode(CONTEXT, QUESTION)).logits, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("qa_encoder", ["bidaf", "linear"])
def test_only_words_of_the_context_and_no_answer_have_scores(qa_encoder, side):
    model = model_of(hf_elmo.ElmoForQuestionAnswering, qa_encoder=qa_encoder)
    output = model(**encode(QUESTION, CONTEXT, side=side, padding="max_length", max_length=12))
    shift = 3 if side == "left" else 0
    expected = {shift, *range(shift + FIRST, shift + FIRST + len(CONTEXT))}
    for logits in (output.start_logits, output.end_logits):
        lowest = torch.finfo(logits.dtype).min
        assert {place for place in range(12) if logits[0, place] > lowest} == expected
        assert qa_encoder == "linear" or logits[0, shift] == 0


@torch.no_grad()
def test_the_score_of_no_answer_is_learnt_from_question_and_context():
    model = model_of(hf_elmo.ElmoForQuestionAnswering, qa_no_answer=True)
    plain = hf_elmo.ElmoForQuestionAnswering(toy_tasks.config()).eval()
    missing, extra = plain.load_state_dict(model.state_dict(), strict=False)
    assert not missing
    assert {name.split(".")[1] for name in extra} == {"question_pooling", "no_answer"}
    shifts = []
    for question, context in ((QUESTION, CONTEXT), (CONTEXT, CONTEXT), (QUESTION, QUESTION)):
        batch = encode(question, context)
        words = slice(len(question) + 3, len(question) + 3 + len(context))
        for name in ("start_logits", "end_logits"):
            scores, without = model(**batch)[name][0], plain(**batch)[name][0]
            assert scores[0] == without[0] == 0
            shift = without[words] - scores[words]
            torch.testing.assert_close(shift, shift[:1].expand_as(shift))
            shifts.append(round(shift[0].item(), 3))
    assert len(set(shifts)) == len(shifts)


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_best_span_is_the_best_of_all_that_are_possible(side):
    texts = [[QUESTION, QUESTION], [CONTEXT, CONTEXT[:2]]]
    mask = encode(*texts, side=side, padding=True)["attention_mask"]
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        start, end = (torch.full(mask.shape, torch.finfo(torch.float32).min) for _ in range(2))
        expected = []
        for row in range(2):
            first = int(mask[row].argmax())
            words = range(first + FIRST, first + FIRST + len(texts[1][row]))
            for scores in (start, end):
                scores[row, [first, *words]] = torch.randn(1 + len(words), generator=generator)
            spans = [(first, first), *((a, b) for a in words for b in words if a <= b)]
            expected.append(max(spans, key=lambda span: start[row, span[0]] + end[row, span[1]]))
        found = hf_elmo.ElmoForQuestionAnswering.best_spans(start, end)
        assert [tuple(span) for span in found.tolist()] == expected


@pytest.mark.parametrize("head", ["TokenClassification", "SequenceClassification", "QuestionAnswering"])
def test_token_embeddings_are_refused(head):
    model = model_of(getattr(hf_elmo, f"ElmoFor{head}"))
    with pytest.raises(ValueError, match="`token_embeddings` do not have: give `input_ids` or `inputs_embeds`"):
        model(token_embeddings=torch.zeros(1, 4, model.config.projection_size))


@torch.no_grad()
def test_places_in_the_context_are_answers_and_others_are_none():
    model, batch = model_of(hf_elmo.ElmoForQuestionAnswering), encode(QUESTION, CONTEXT)
    output = model(**batch)

    def loss(start, end, rows=1):
        repeated = {name: torch.cat([tensor] * rows) for name, tensor in batch.items()}
        places = {"start_positions": torch.tensor(start), "end_positions": torch.tensor(end)}
        return model(**repeated, **places).loss

    def by_hand(start, end):
        return -(output.start_logits.log_softmax(-1)[0, start] + output.end_logits.log_softmax(-1)[0, end]) / 2

    torch.testing.assert_close(loss([FIRST], [FIRST + 2]), by_hand(FIRST, FIRST + 2))
    for nowhere in (0, 1, FIRST - 1, FIRST + 3):  # <S>, the question, <S> and </S> of the context
        torch.testing.assert_close(loss([nowhere], [nowhere]), by_hand(0, 0))
    for outside in (-100, -1, FIRST + 4, 1 << 20):
        assert loss([outside], [outside]) == 0
        torch.testing.assert_close(loss([FIRST, outside], [FIRST, outside], 2), by_hand(FIRST, FIRST))
