"""The spaCy component, found by its entry point, compared with the model's vectors and tags."""

import numpy as np
import pytest
import torch
from toy_tasks import save_checkpoint, save_tagger
from transformers import AutoModel, AutoTokenizer, pipeline

pytest.importorskip("spacy")

import spacy
from spacy.training import Example

TEXT = "Ada met  Max in Rome. Tom left."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_checkpoint(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    return str(save_tagger(tmp_path_factory.mktemp("tagger")))


def pipe_of(model: str, **options):
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("elmo", config={"model": model, **options})
    return nlp


def test_vectors_are_the_models(folder):
    doc = pipe_of(folder)(TEXT)
    model, encoder = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    rows = []
    for sentence in doc.sents:
        words = [token.text for token in sentence if not token.is_space]
        with torch.no_grad():
            rows.append(
                model(**encoder(words, is_split_into_words=True, return_tensors="pt")).last_hidden_state[0, 1:-1]
            )
    words = [token.i for token in doc if not token.is_space]
    assert len(words) == len(doc) - 1
    np.testing.assert_allclose(doc.tensor[words], torch.cat(rows).numpy(), rtol=1e-5, atol=1e-6)
    space = next(token for token in doc if token.is_space)
    assert not space.has_vector
    assert not space.vector.any()
    np.testing.assert_allclose(doc.vector, doc.tensor[words].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(doc[0:2].vector, doc.tensor[0:2].mean(axis=0))
    a, b = doc[0].vector, doc[1].vector
    assert doc[0].similarity(doc[1]) == pytest.approx(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), rel=1e-5)
    assert doc[0].similarity(space) == 0.0


def test_streams_and_empty_documents(folder):
    nlp = pipe_of(folder)
    texts = [TEXT, "", "Eve", "Ann saw Bonn ."]
    for doc, text in zip(nlp.pipe(texts, batch_size=3), texts):
        np.testing.assert_allclose(doc.tensor, nlp(text).tensor, rtol=1e-4, atol=1e-6)
    assert nlp("").vector.shape == (nlp("Eve").tensor.shape[1],)


def test_saved_pipelines_open(folder, tmp_path):
    nlp = pipe_of(folder, layers="top")
    nlp.to_disk(tmp_path)
    np.testing.assert_array_equal(spacy.load(tmp_path)(TEXT).tensor, nlp(TEXT).tensor)


def test_entities_are_the_taggers(tagger):
    nlp = pipe_of(tagger)
    doc = nlp(TEXT)
    tag = pipeline("token-classification", model=tagger, aggregation_strategy="simple")
    expected = []
    for sentence in doc.sents:
        words = [token for token in sentence if not token.is_space]
        text = " ".join(token.text for token in words)
        starts = np.cumsum([0, *(len(token.text) + 1 for token in words)])
        for entity in tag(text):
            first, last = (int(np.searchsorted(starts, entity[side], "right")) - 1 for side in ("start", "end"))
            expected.append((words[first].i, words[last].i + (entity["end"] > starts[last]), entity["entity_group"]))
    assert expected
    assert [(span.start, span.end, span.label_) for span in doc.ents] == expected
    assert nlp.pipe_labels["elmo"] == ["LOC", "PER"]
    assert not pipe_of(tagger, entities=False)(TEXT).ents


def test_entities_that_are_there_stay_and_are_scored(tagger):
    nlp = pipe_of(tagger)
    alone = [(span.start, span.end, span.label_) for span in nlp(TEXT).ents]
    nlp.add_pipe("entity_ruler", before="elmo").add_patterns([{"label": "DAY", "pattern": "Ada"}])
    found = [(span.start, span.end, span.label_) for span in nlp(TEXT).ents]
    assert found == [(0, 1, "DAY"), *(span for span in alone if span[0] > 0)]
    nlp.remove_pipe("entity_ruler")
    gold = [(span.start_char, span.end_char, span.label_) for span in nlp(TEXT).ents][:-1]
    scores = nlp.evaluate([Example.from_dict(nlp.make_doc(TEXT), {"entities": gold})])
    assert scores["ents_p"] == pytest.approx(len(gold) / (len(gold) + 1))
    assert scores["ents_r"] == 1
    assert scores["ents_per_type"].keys() == {label for _, _, label in alone}


def test_bad_configurations(folder):
    cases = [
        ({}, "give a model"),
        ({"model": "/no/such"}, "/no/such"),
        ({"model": folder, "layers": "all"}, "`layers`"),
    ]
    cases.append(({"model": folder, "device": "gpu"}, "there is no device 'gpu' here"))
    cases.append(({"model": folder, "entities": True}, "no tagger of entities"))
    for options, problem in cases:
        with pytest.raises(ValueError, match=problem) as error:
            spacy.blank("en").add_pipe("elmo", config=options)
        assert "\n" not in str(error.value)
