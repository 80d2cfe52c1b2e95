"""transformers' pipelines without special arguments: they give what model and tokenizer give when called by hand."""

import copy
import json
import logging
import shutil
import warnings

import numpy as np
import pytest
import torch
import toy_tasks
from fresh_process import REPOSITORY, run_python
from lanes import first_fast
from shaken import shake
from transformers import BertConfig, BertForTokenClassification, BertTokenizer, pipeline
from transformers.pipelines.token_classification import AggregationStrategy, TokenClassificationPipeline

import hf_elmo
from hf_elmo.model.pipelines_elmo import ElmoTokenClassificationPipeline

# White space of every kind, punctuation, clitics, abbreviations, several bytes a character, and a long text among short
TEXTS = [
    "  Ada   Lovelace's friend, Mr. Müller, didn't\n\tvisit Zürich \N{EN DASH} \N{SLIGHTLY SMILING FACE} (again).",
    "Yes!",
    "東京 and Tokyo are 1,000 miles from the U.S.A., aren't they?",
    " ",
]
LABELS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
NLI_LABELS = {0: "contradiction", 1: "neutral", 2: "entailment"}
MODELS = {
    "feature-extraction": (hf_elmo.ElmoModel, {}),
    "text-classification": (hf_elmo.ElmoForSequenceClassification, {"id2label": {0: "bad", 1: "fair", 2: "good"}}),
    "token-classification": (hf_elmo.ElmoForTokenClassification, {"id2label": LABELS}),
    "zero-shot-classification": (hf_elmo.ElmoForSequenceClassification, {"id2label": NLI_LABELS}),
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A saved model for each task."""
    folders = {}
    for task, (model_class, options) in MODELS.items():
        if "id2label" in options:
            options = {**options, "label2id": {label: i for i, label in options["id2label"].items()}}
        torch.manual_seed(0)
        model = shake(model_class(toy_tasks.config(**options)))
        if "id2label" in options:
            spread_scores(model, getattr(model, "score", None) or model.classifier)
        folders[task] = tmp_path_factory.mktemp(task)
        model.save_pretrained(folders[task])
        toy_tasks.tokenizer().save_pretrained(folders[task])
    return folders


@torch.no_grad()
def spread_scores(model, classifier):
    """Scale a model's last layer so that no label wins everywhere, and no probability is 1."""
    encode, scores = toy_tasks.tokenizer(), []
    hook = classifier.register_forward_hook(lambda module, given, output: scores.append(output.flatten(0, -2)))
    for text in TEXTS:
        model(**encode(text, return_tensors="pt"))
    hook.remove()
    spread, mean = torch.std_mean(torch.cat(scores), dim=0)
    classifier.bias.copy_(1.5 / spread * (classifier.bias - mean))
    classifier.weight.mul_(1.5 / spread[:, None])


def load(checkpoints, task):
    return MODELS[task][0].from_pretrained(checkpoints[task]), toy_tasks.tokenizer()


@pytest.fixture(params=["path", "instances"])
def make_pipeline(request, checkpoints):
    """A pipeline for a task, opened from a folder or given model and tokenizer."""

    def make(task, alias=None, **options):
        if request.param == "path":
            return pipeline(alias or task, model=str(checkpoints[task]), device="cpu", **options)
        model, tokenizer = load(checkpoints, task)
        return pipeline(alias or task, model=model, tokenizer=tokenizer, device="cpu", **options)

    return make


@pytest.fixture(autouse=True)
def no_complaint():
    """Nothing is logged or warned of."""
    records = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append
    logging.getLogger("transformers").addHandler(handler)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "this processor has no products of bfloat16")  # which depends on the machine
        yield
    logging.getLogger("transformers").removeHandler(handler)
    assert not [record.getMessage() for record in records]


def each_way(pipe, texts, **options):
    """The results for texts one by one; those for batches of them must be the same."""
    results = [pipe([text], **options)[0] for text in texts]
    for batch_size in (1, 3):
        assert_same(pipe(texts, batch_size=batch_size, **options), results)
    return results


def assert_same(actual, expected):
    if isinstance(expected, (float, np.floating)):
        assert actual == pytest.approx(expected, abs=1e-5)
    elif isinstance(expected, (list, tuple, dict)):
        assert len(actual) == len(expected)
        for key in expected if isinstance(expected, dict) else range(len(expected)):
            assert_same(actual[key], expected[key])
    else:
        assert actual == expected


def test_feature_extraction(make_pipeline, checkpoints):
    model, tokenizer = load(checkpoints, "feature-extraction")
    pipe = make_pipeline("feature-extraction")
    for text in TEXTS:
        expected = model(**tokenizer(text, return_tensors="pt")).last_hidden_state
        assert_same(pipe(text), expected.tolist())
    for result, text in zip(pipe(TEXTS, batch_size=3, return_tensors=True), TEXTS):
        expected = model(**tokenizer(text, return_tensors="pt")).last_hidden_state
        words = expected.shape[1]
        torch.testing.assert_close(result[:, :words], expected, rtol=0, atol=1e-5)
        assert not result[:, words:].any()  # this pipeline hands out a batch as it is, padding included


def test_text_classification(make_pipeline, checkpoints):
    model, tokenizer = load(checkpoints, "text-classification")

    def scores(*texts):
        return model(**tokenizer(*texts, return_tensors="pt")).logits[0].softmax(-1)

    pipe = make_pipeline("text-classification")
    results = each_way(pipe, TEXTS)
    assert len({result["label"] for result in results}) > 1
    for result, text in zip(results, TEXTS):
        expected = scores(text)
        assert_same(result, {"label": model.config.id2label[int(expected.argmax())], "score": expected.max().item()})
    for result, text in zip(each_way(pipe, TEXTS, top_k=None), TEXTS):
        assert_same([entry["score"] for entry in result], scores(text).sort(descending=True).values.tolist())
    result = pipe({"text": TEXTS[0], "text_pair": TEXTS[2]}, top_k=1)[0]
    assert result["score"] == pytest.approx(scores(TEXTS[0], TEXTS[2]).max().item(), abs=1e-5)


def test_several_labels_each_have_a_probability(make_pipeline, checkpoints):
    model, tokenizer = load(checkpoints, "text-classification")
    pipe = make_pipeline("text-classification")
    pipe.model.config.problem_type = "multi_label_classification"
    for result, text in zip(each_way(pipe, TEXTS, top_k=None), TEXTS):
        expected = model(**tokenizer(text, return_tensors="pt")).logits[0].sigmoid()
        assert_same([entry["score"] for entry in result], expected.sort(descending=True).values.tolist())


def words_by_hand(model, encoding):
    """(label, score, probabilities, start, end, position) of each word of an encoded text."""
    offsets = encoding.pop("offset_mapping")[0].tolist()
    probabilities = model(**encoding).logits[0].softmax(-1)
    for position, word in enumerate(encoding.word_ids()):
        if word is not None:
            score, label = probabilities[position].max(-1)
            yield model.config.id2label[int(label)], score.item(), *offsets[position], position


def entities_by_hand(words, text):
    """Words grouped: a group goes on while the tag stays and its word does not begin one."""
    groups = []
    for label, score, start, end, _ in words:
        tag = label.removeprefix("B-").removeprefix("I-")
        if groups and groups[-1]["entity_group"] == tag and not label.startswith("B-"):
            groups[-1]["scores"].append(score)
            groups[-1]["end"] = end
            groups[-1]["words"].append(text[start:end])
        else:
            groups.append(
                {"entity_group": tag, "scores": [score], "words": [text[start:end]], "start": start, "end": end}
            )
    for group in groups:
        scores, words = group.pop("scores"), group.pop("words")
        group |= {"score": sum(scores) / len(scores), "word": " ".join(words)}
    return [group for group in groups if group["entity_group"] != "O"]


@pytest.mark.parametrize("alias", first_fast(["token-classification", "ner"]))
@pytest.mark.parametrize("strategy", first_fast(["simple", "none", "first", "average", "max"]))
def test_token_classification(make_pipeline, checkpoints, strategy, alias):
    model, tokenizer = load(checkpoints, "token-classification")
    pipe = make_pipeline("token-classification", alias, aggregation_strategy=strategy)
    tags, lengths = set(), set()
    for result, text in zip(each_way(pipe, TEXTS), TEXTS):
        words = [*words_by_hand(model, tokenizer(text, return_tensors="pt", return_offsets_mapping=True))]
        if strategy == "none":
            expected = [
                {
                    "entity": label,
                    "score": score,
                    "index": position,
                    "word": text[start:end],
                    "start": start,
                    "end": end,
                }
                for label, score, start, end, position in words
                if label != "O"
            ]
        else:
            expected = entities_by_hand(words, text)
        assert_same(result, expected)
        tags |= {entity["entity" if strategy == "none" else "entity_group"] for entity in result}
        lengths |= {entity["word"].count(" ") for entity in result}
    assert len(tags) == (4 if strategy == "none" else 2)
    assert strategy == "none" or max(lengths) > 0


def test_token_classification_of_given_words(make_pipeline, checkpoints):
    model, tokenizer = load(checkpoints, "token-classification")
    words = ["New York", "is", "", "Ürümqi's", "twin", ","]
    text = " ".join(words)
    pipe = make_pipeline("token-classification", ignore_labels=[])
    (result,) = pipe([words], is_split_into_words=True)
    assert [entity["word"] for entity in result] == words
    assert [text[entity["start"] : entity["end"]] for entity in result] == words
    encoding = tokenizer(words, is_split_into_words=True, return_tensors="pt", return_offsets_mapping=True)
    expected = [*words_by_hand(model, encoding)]
    assert_same([(entity["entity"], entity["score"]) for entity in result], [word[:2] for word in expected])


TAGGED = "Ada met Bob in North Haven City (Oslo, Rome) today."
SPANS = [("PER", "Ada"), ("PER", "Bob"), ("LOC", "North Haven City"), ("LOC", "Oslo"), ("LOC", "Rome")]
IN_SCHEME = {
    "BIO": "B-PER O B-PER O B-LOC I-LOC I-LOC O B-LOC O B-LOC O O O",
    "IOB1": "I-PER O I-PER O I-LOC I-LOC I-LOC O I-LOC O I-LOC O O O",
    "BIOUL": "U-PER O U-PER O B-LOC I-LOC L-LOC O U-LOC O U-LOC O O O",
    "BIOES": "S-PER O S-PER O B-LOC I-LOC E-LOC O S-LOC O S-LOC O O O",
    "BMES": "S-PER O S-PER O B-LOC M-LOC E-LOC O S-LOC O S-LOC O O O",
    "suffixes": "PER-B O PER-B O LOC-B LOC-I LOC-I O LOC-B O LOC-B O O O",
    "underscores": "b_PER O b_PER O b_LOC i_LOC i_LOC O b_LOC O b_LOC O O O",
    "bare": "B O B O B I I O B O B O O O",
    "none": "PER O PER O LOC LOC LOC O LOC O LOC O O O",
}


class Told(torch.nn.Module):
    """Scores that say the labels of `TAGGED` by its words, in place of a trained layer."""

    def __init__(self, labels: dict[str, int], tokenizer, names: list[str]):
        super().__init__()
        words = tokenizer.tokenize(TAGGED)
        rows = tokenizer([words], is_split_into_words=True, add_special_tokens=False)["input_ids"][0]
        self.labels = {tuple(row): labels[name] for row, name in zip(rows, names, strict=True)}
        self.num_labels, self.outside, self.ids = len(labels), labels["O"], None

    def forward(self, features):
        labels = [[self.labels.get(tuple(row), self.outside) for row in rows] for rows in self.ids.tolist()]
        return 5.0 * torch.nn.functional.one_hot(torch.tensor(labels), self.num_labels)


def told(names: list[str], **options):
    """A tagger that gives the words of `TAGGED` these labels, and its tokenizer."""
    id2label = dict(enumerate(dict.fromkeys([*names, "O"])))
    labels = {name: number for number, name in id2label.items()}
    tokenizer = toy_tasks.tokenizer()
    model = hf_elmo.ElmoForTokenClassification(toy_tasks.config(id2label=id2label, label2id=labels, **options)).eval()
    model.score = Told(labels, tokenizer, names)
    model.register_forward_pre_hook(
        lambda module, args, kwargs: setattr(module.score, "ids", kwargs["input_ids"]), with_kwargs=True
    )
    return {"model": model, "tokenizer": tokenizer}


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("strategy", first_fast(["simple", "first", "average", "max"]))
@pytest.mark.parametrize("scheme", first_fast(IN_SCHEME, 2))
def test_entities_are_whole_in_every_scheme(scheme, strategy, crf):
    pipe = pipeline("ner", **told(IN_SCHEME[scheme].split(), tagger_crf=crf), aggregation_strategy=strategy)
    expected = [("_", text) for _, text in SPANS] if scheme == "bare" else SPANS
    for result in [pipe(TAGGED), *pipe([TAGGED, "Ada", TAGGED + " " + TAGGED], batch_size=2)[::2]]:
        found = [(entity["entity_group"], entity["word"]) for entity in result]
        assert found == expected * (len(result) // len(expected))
        assert all(TAGGED[entity["start"] : entity["end"]] == entity["word"] for entity in result[: len(expected)])
    outside = [entity["word"] for entity in pipe(TAGGED, ignore_labels=[]) if entity["entity_group"] == "O"]
    assert outside == ["met", "in", "(", ",", ") today ."]


def test_adjacent_entities_stay_apart():
    """An only word beside another, and a type that changes inside an entity."""
    names = "U-PER U-PER U-PER O B-LOC L-LOC U-LOC O B-LOC I-PER L-PER O O O".split()
    pipe = pipeline("ner", **told(names, tagger_crf=False), aggregation_strategy="simple")
    assert [(entity["entity_group"], entity["word"]) for entity in pipe(TAGGED)] == [
        ("PER", "Ada"),
        ("PER", "met"),
        ("PER", "Bob"),
        ("LOC", "North Haven"),
        ("LOC", "City"),
        ("LOC", "Oslo"),
        ("PER", ", Rome"),
    ]


def test_given_words_in_batches():
    pipe = pipeline("ner", **told(IN_SCHEME["BIOUL"].split()), aggregation_strategy="simple")
    sentences = [["Ada", "met"], ["in", "North", "Haven", "City", "(", "Oslo"], ["met", "Bob"]]
    alone = [pipe([words], is_split_into_words=True)[0] for words in sentences]
    assert [[entity["word"] for entity in result] for result in alone] == [
        ["Ada"],
        ["North Haven City", "Oslo"],
        ["Bob"],
    ]
    assert pipe(sentences, is_split_into_words=True, batch_size=3) == alone


@pytest.mark.slow
def test_long_texts_in_overlapping_parts(checkpoints):
    model, tokenizer = load(checkpoints, "token-classification")
    tokenizer.model_max_length = 10
    pipe = pipeline("ner", model=model, tokenizer=tokenizer, stride=4, aggregation_strategy="simple")
    text = " ".join(TEXTS)
    result = pipe(text)
    assert result[0]["start"] < len(TEXTS[0]) < result[-1]["start"]
    for entity in result:
        assert entity["word"].replace(" ", "") == "".join(text[entity["start"] : entity["end"]].split())


@pytest.mark.parametrize("strategy", [*AggregationStrategy])
def test_words_of_text_are_gathered_by_their_offsets(strategy, recwarn):
    text, scores = "Don't (Ada).", np.eye(8)
    encoding = hf_elmo.ElmoTokenizer()(
        text, return_tensors="pt", return_offsets_mapping=True, return_special_tokens_mask=True
    )
    ids, offsets, mask = (encoding[name][0] for name in ("input_ids", "offset_mapping", "special_tokens_mask"))
    entities = ElmoTokenClassificationPipeline.gather_pre_entities(
        None, text, ids, scores, offsets, mask.numpy(), strategy
    )
    assert [(entity["word"], entity["start"], entity["end"]) for entity in entities] == [
        ("Do", 0, 2),
        ("n't", 2, 5),
        ("(", 6, 7),
        ("Ada", 7, 10),
        (")", 10, 11),
        (".", 11, 12),
    ]
    assert [entity["index"] for entity in entities] == [1, 2, 3, 4, 5, 6]
    assert not any(entity["is_subword"] for entity in entities)
    assert all((entity["scores"] == scores[entity["index"]]).all() for entity in entities)
    assert not recwarn.list


def test_other_models_pipelines_are_what_they_were():
    """Where an ELMo pipeline exists, other models still get the library's class, and so do classes derived from it."""

    class Derived(TokenClassificationPipeline):
        pass

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ada", "##s", "met", "tom", "."]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    parts = {
        "model": shake(BertForTokenClassification(config), scale=1.0),
        "tokenizer": BertTokenizer({word: number for number, word in enumerate(words)}),
    }
    pipe = pipeline("ner", **parts, ignore_labels=[])
    assert type(pipe) is TokenClassificationPipeline
    assert type(TokenClassificationPipeline(**parts)) is TokenClassificationPipeline
    assert type(copy.copy(pipe)) is TokenClassificationPipeline
    assert [entity["word"] for entity in pipe("Adas met unheardof Tom.")] == [
        "ada", "##s", "met", "unheardof", "tom", ".",
    ]  # fmt: skip
    model = hf_elmo.ElmoForTokenClassification(toy_tasks.config())
    for elmo in (
        TokenClassificationPipeline(model=model, tokenizer=toy_tasks.tokenizer()),
        pipeline("ner", model=model, tokenizer=toy_tasks.tokenizer()),
    ):
        assert type(elmo) is ElmoTokenClassificationPipeline
    assert type(pipeline("ner", model=model, tokenizer=toy_tasks.tokenizer(), pipeline_class=Derived)) is Derived


@pytest.mark.parametrize("multi_label", first_fast([False, True]))
def test_zero_shot_classification(make_pipeline, checkpoints, multi_label):
    model, tokenizer = load(checkpoints, "zero-shot-classification")
    pipe = make_pipeline("zero-shot-classification")
    candidates = ["travel", "cooking", "free time"]
    options = {"candidate_labels": candidates, "multi_label": multi_label}
    for result, text in zip(each_way(pipe, TEXTS, **options), TEXTS):
        logits = torch.stack(
            [
                model(**tokenizer(text, f"This example is {label}.", return_tensors="pt")).logits[0]
                for label in candidates
            ]
        )
        scores = logits[:, [0, 2]].softmax(-1)[:, 1] if multi_label else logits[:, 2].softmax(0)
        order = scores.argsort(descending=True).tolist()
        assert_same(result["scores"], scores[order].tolist())
        assert result["labels"] == [candidates[i] for i in order]


def test_zero_shot_hypothesis_is_never_cut(checkpoints):
    model, tokenizer = load(checkpoints, "zero-shot-classification")
    pipe = pipeline("zero-shot-classification", model=model, tokenizer=tokenizer)
    whole = pipe(TEXTS[1], ["travel", "cooking"])
    tokenizer.model_max_length = 8  # less than a hypothesis, of which the library warns
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    assert_same(pipe(TEXTS[1], ["travel", "cooking"]), whole)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(checkpoints, dtype):
    for task in MODELS:
        pipe = pipeline(task, model=str(checkpoints[task]), dtype=dtype, device="cpu")
        assert pipe.model.dtype == getattr(torch, dtype)
        assert pipe(TEXTS[0], **({"candidate_labels": "one, two"} if task.startswith("zero") else {}))


OPTIONS = {
    "zero-shot-classification": {"candidate_labels": ["one", "two"]},
    "ner": {"aggregation_strategy": "simple", "ignore_labels": []},
}
REMOTE_CODE = f"""
import json, sys
OPTIONS = {OPTIONS}
if sys.argv[2] == "absent":
    sys.modules["hf_elmo"] = None
else:
    import hf_elmo
from transformers import pipeline
texts, folders = json.loads(sys.argv[1])
results = {{}}
for task, folder in folders.items():
    pipe = pipeline(task, model=folder, trust_remote_code=True, device="cpu")
    options = OPTIONS.get(task, {{}})
    results[task] = [pipe(text, **options) for text in texts] + pipe(texts, batch_size=3, **options)
print(json.dumps(results, default=float))
"""


@pytest.mark.slow
@pytest.mark.parametrize("package", ["absent", "imported"])
def test_code_that_came_with_the_weights(checkpoints, tmp_path, package):
    folders = {task: str(folder) for task, folder in checkpoints.items()} | {"ner": str(tmp_path / "ner")}
    shutil.copytree(checkpoints["token-classification"], folders["ner"])
    config = json.loads((tmp_path / "ner" / "config.json").read_text())
    config["id2label"] = dict(enumerate(["O", "U-PER", "B-LOC", "L-LOC", "U-LOC"]))
    (tmp_path / "ner" / "config.json").write_text(json.dumps(config))
    run = run_python("-c", REMOTE_CODE, json.dumps([TEXTS, folders]), package, PYTHONPATH=str(REPOSITORY))
    assert "not supported" not in run.stderr
    results = json.loads(run.stdout)
    for task, folder in folders.items():
        pipe = pipeline(task, model=folder, device="cpu")
        options = OPTIONS.get(task, {})
        assert_same(results[task], [pipe(text, **options) for text in TEXTS] + pipe(TEXTS, batch_size=3, **options))
