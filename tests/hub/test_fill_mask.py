"""`pipeline("fill-mask")`: the words that the masked language model expects, as the stock pipeline gives them."""

import json
from pathlib import Path

import pytest
import torch
from fresh_process import run_python
from shaken import shake
from toy_tasks import WORDS
from toy_tasks import config as toy_config
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertTokenizer,
    FillMaskPipeline,
    pipeline,
)
from transformers.pipelines.base import PipelineException

from hf_elmo import ElmoForMaskedLM, ElmoForPreTraining, ElmoTokenizer
from hf_elmo.model.pipelines_elmo import ElmoFillMaskPipeline

VOCABULARY = ["<S>", "</S>", "<UNK>", *WORDS, "don't", "Zürich"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A language model as pretraining leaves it, with its vocabulary."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "words.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    model = shake(ElmoForPreTraining(toy_config(word_vocab_size=len(VOCABULARY))), scale=0.6)
    model.save_pretrained(folder)
    ElmoTokenizer(str(folder / "words.txt"), max_characters_per_token=12).save_pretrained(folder)
    return folder


def parts(folder):
    return ElmoForMaskedLM.from_pretrained(folder).eval(), ElmoTokenizer.from_pretrained(folder)


@pytest.fixture(params=["path", "instances", "class"])
def fill(request, folder):
    """The pipeline, made in each way there is."""
    if request.param == "path":
        return pipeline("fill-mask", model=str(folder), device="cpu")
    model, tokenizer = parts(folder)
    extra = {"pipeline_class": ElmoFillMaskPipeline} if request.param == "class" else {}
    return pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu", **extra)


def expected_scores(folder, words: list[str], place: int) -> torch.Tensor:
    """Probabilities of all words at a place, by the model's own logits."""
    model, tokenizer = parts(folder)
    with torch.no_grad():
        logits = model(**tokenizer([words], is_split_into_words=True, return_tensors="pt")).logits
    return logits[0, place + 1].softmax(-1)  # <S> is in front


def test_results_are_the_models_best_words(fill, folder):
    assert type(fill) is ElmoFillMaskPipeline
    scores = expected_scores(folder, ["Ada", "met", "anything", "in", "Rome", "."], 2)
    scores[:3] = 0  # <S>, </S> and <UNK> are no words to propose
    best = scores.topk(5)
    results = fill("Ada met [MASK] in Rome.")
    assert [sorted(result) for result in results] == [["score", "sequence", "token", "token_str"]] * 5
    assert [result["score"] for result in results] == pytest.approx(best.values.tolist(), rel=5e-5)
    assert [result["token"] for result in results] == best.indices.tolist()
    assert [result["token_str"] for result in results] == [VOCABULARY[i] for i in best.indices.tolist()]
    for result in results:
        assert result["sequence"] == f"Ada met {result['token_str']} in Rome."
    assert fill("Ada met <mask> in Rome.") == results


def test_top_k_and_targets(fill, folder):
    text = "Ada met [MASK] today"
    scores = expected_scores(folder, ["Ada", "met", "x", "today"], 2)
    assert len(fill(text, top_k=3)) == 3
    assert len(fill(text, top_k=1000)) == len(VOCABULARY) - 3
    results = fill(text, targets=["Zürich", "<UNK>", "Eve", "Eve"])
    assert {result["token_str"] for result in results} == {"Zürich", "<UNK>", "Eve"}
    assert [result["score"] for result in results] == sorted((r["score"] for r in results), reverse=True)
    for result in results:
        assert result["score"] == pytest.approx(scores[VOCABULARY.index(result["token_str"])].item(), rel=1e-5)
    assert [result["token_str"] for result in fill(text, targets="Eve")] == ["Eve"]
    assert [result["token_str"] for result in fill(text, targets=["Eve", "nowhere"])] == ["Eve"]
    with pytest.raises(ValueError, match="at least one word that is in the vocabulary"):
        fill(text, targets=["nowhere"])
    with pytest.raises(ValueError, match="top_k must be at least 1, but is 0"):
        fill(text, top_k=0)


def test_several_masks_and_texts(fill):
    """Whatever stands around a mask and whatever is in the batch; the rest of a text is kept to the letter."""
    texts = [
        "[MASK]",
        "  Ada  didn't\tmeet ([MASK]).",
        "<mask> saw [MASK] and\n[MASK], Mr. Müller!",
        "In [MASK]n-[MASK]",
    ]
    results = [fill(text) for text in texts]
    assert [len(result) for result in results] == [5, 5, 3, 2]  # a list of words, or one for each mask
    assert results[1][0]["sequence"] == f"  Ada  didn't\tmeet ({results[1][0]['token_str']})."
    last = results[2][2][0]
    assert last["sequence"] == f"<mask> saw [MASK] and\n{last['token_str']}, Mr. Müller!"
    for batch_size in (1, 2, 4):
        for batch, alone in zip(fill(texts, batch_size=batch_size), results):
            masks = zip([batch], [alone]) if isinstance(alone[0], dict) else zip(batch, alone)
            for found, expected in masks:
                assert [r["token"] for r in found] == [r["token"] for r in expected]
                assert [r["score"] for r in found] == pytest.approx([r["score"] for r in expected], rel=1e-4)
    assert fill([texts[0]]) == results[0]  # as the stock pipeline has it


def test_a_tokenizer_may_name_its_mask(folder):
    model, tokenizer = parts(folder)
    plain = pipeline("fill-mask", model=model, tokenizer=tokenizer)("Ada met [MASK] again")
    tokenizer.mask_token = "____"
    fill = pipeline("fill-mask", model=model, tokenizer=tokenizer)
    assert [r["token"] for r in fill("Ada met ____ again")] == [r["token"] for r in plain]
    with pytest.raises(PipelineException, match=r"no mask in 'Ada met': put \[MASK\] or <mask>"):
        fill("Ada met")
    with pytest.raises(PipelineException, match="0 of 1 masks are left"):
        fill("Ada met ____", tokenizer_kwargs={"truncation": True, "max_length": 4})


def test_words_as_input(tmp_path):
    """A word's row is its id: unknown words, and so masks, share one."""
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    sizes = {"char_cnn_filters": [], "max_characters_per_token": 1, "vocab_size": len(VOCABULARY) + 1}
    config = toy_config(**sizes, word_vocab_size=len(VOCABULARY), bos_token_id=1, eos_token_id=2)
    tokenizer = ElmoTokenizer(str(tmp_path / "vocab.txt"), max_characters_per_token=1)
    fill = pipeline("fill-mask", model=shake(ElmoForMaskedLM(config)), tokenizer=tokenizer)
    assert len(fill("nobody met [MASK] elsewhere")) == 5


@pytest.mark.parametrize(("words", "message"), [(None, "is missing"), (VOCABULARY[:7], "has 7")])
def test_without_its_vocabulary_it_says_so(folder, tmp_path, words, message):
    (tmp_path / "vocab.txt").write_text("\n".join(words or []) + "\n")
    tokenizer = ElmoTokenizer(words and str(tmp_path / "vocab.txt"), max_characters_per_token=12)
    with pytest.raises(ValueError, match=f"needs the {len(VOCABULARY)} words .* {message}: put the vocab.txt"):
        pipeline("fill-mask", model=ElmoForMaskedLM.from_pretrained(folder), tokenizer=tokenizer)


def test_other_models_keep_the_stock_pipeline(folder, tmp_path):
    parts(folder)  # wrapped by now
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "two"]))
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    bert = BertForMaskedLM(BertConfig(vocab_size=7, **sizes)).eval()
    fill = pipeline("fill-mask", model=bert, tokenizer=BertTokenizer(str(tmp_path / "vocab.txt")))
    assert type(fill) is FillMaskPipeline
    assert len(fill("one [MASK]", top_k=2)) == 2
    assert len(fill("one [MASK]", targets=["two"])) == 1


STRANGER = """
import json, sys
from stranger import NotInstalled
sys.meta_path.insert(0, NotInstalled())
from transformers import pipeline
fill = pipeline("fill-mask", model=sys.argv[1], trust_remote_code=True, device="cpu")
print(json.dumps(fill("Ada met [MASK] in Rome.")))
"""


@pytest.mark.slow
def test_code_that_came_with_the_weights(folder):
    """A process that has no package fills the same words."""
    process = run_python("-c", STRANGER, folder, PYTHONPATH=str(Path(__file__).parents[1] / "helpers"))
    expected = pipeline("fill-mask", model=str(folder), device="cpu")("Ada met [MASK] in Rome.")
    for result, other in zip(json.loads(process.stdout), expected, strict=True):
        assert result["sequence"] == other["sequence"]
        assert result["score"] == pytest.approx(other["score"], rel=1e-5)
