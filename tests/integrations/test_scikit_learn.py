"""`ElmoVectorizer` in scikit-learn's own tools, compared with the model's vectors."""

import pickle

import numpy as np
import pytest
import torch
from lanes import first_fast
from toy_tasks import save_checkpoint
from transformers import AutoModel, AutoTokenizer

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from hf_elmo.integrations.scikit_learn import ElmoVectorizer

CHECKS = "no_attributes_set_in_init get_params_invariance set_params estimator_repr estimator_cloneable".split()
CHECKS += ["valid_tag_types", "mixin_order"]
TEXTS = ["Ada met Max .", "Tom left Rome again", "", "Eve saw Oslo ."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_checkpoint(tmp_path_factory.mktemp("encoder")))


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("layers", first_fast(["mix", "top", 0]))
def test_vectors_are_the_models(folder, pooling, layers):
    vectors = ElmoVectorizer(folder, pooling=pooling, layers=layers).fit_transform(TEXTS)
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, model.config.hidden_size)
    assert not vectors[2].any()  # no words
    for index in (0, 1, 3):
        with torch.no_grad():
            output = model(**tokenizer(TEXTS[index], return_tensors="pt"), output_hidden_states=True)
        words = {"mix": output.last_hidden_state, "top": output.hidden_states[-1], 0: output.hidden_states[0]}[layers]
        words = words[0, 1:-1]
        expected = words.mean(dim=0) if pooling == "mean" else words.amax(dim=0)
        np.testing.assert_allclose(vectors[index], expected.numpy(), rtol=1e-5, atol=1e-6)


def test_words_need_no_splitting(folder):
    vectorizer = ElmoVectorizer(folder)
    words = vectorizer.transform(iter([text.split() for text in TEXTS]))
    np.testing.assert_array_equal(words, vectorizer.transform(np.array(TEXTS, dtype=object)))
    assert vectorizer.transform([]).shape == words[:0].shape


@pytest.mark.slow
def test_pipeline_grid_and_pickle(folder):
    texts, labels = TEXTS * 4, [0, 1, 1, 0] * 4
    pipe = make_pipeline(ElmoVectorizer(folder), LogisticRegression(C=1e4))
    search = GridSearchCV(pipe, {"elmovectorizer__pooling": ["mean", "max"]}, cv=2).fit(texts, labels)
    assert search.best_score_ == 1.0
    stored = pickle.dumps(search.best_estimator_)
    assert len(stored) < 10_000  # the name of the model, not its weights
    np.testing.assert_array_equal(
        pickle.loads(stored).predict_proba(TEXTS), search.best_estimator_.predict_proba(TEXTS)
    )
    copy = clone(pipe.named_steps["elmovectorizer"])
    assert vars(copy) == {**vars(copy), "model": folder, "pooling": "mean"}


@pytest.mark.parametrize("name", CHECKS)
def test_what_scikit_learn_checks_of_estimators(folder, name):
    """Its checks that need no table of numbers; `check_estimator` skips the others for all estimators of texts."""
    getattr(estimator_checks, f"check_{name}")("ElmoVectorizer", ElmoVectorizer(folder))


def test_column_of_a_table(folder):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"text": TEXTS, "length": [len(text) for text in TEXTS]})
    columns = ColumnTransformer([("elmo", ElmoVectorizer(folder), "text")], remainder="passthrough")
    found = columns.set_output(transform="pandas").fit_transform(table)
    np.testing.assert_array_equal(found.iloc[:, :-1], ElmoVectorizer(folder).transform(TEXTS))
    assert list(found.columns[[0, -1]]) == ["elmo__elmo0", "remainder__length"]
    with pytest.raises(ValueError, match=r"pass one column, as in data\['text'\]"):
        ElmoVectorizer(folder).fit_transform(table[["text"]])


def test_names_of_columns(folder):
    vectorizer = ElmoVectorizer(folder).set_output(transform="default")
    names = vectorizer.get_feature_names_out()
    assert list(names[:2]) == ["elmo0", "elmo1"]
    assert len(names) == vectorizer.transform(["Ada"]).shape[1]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"pooling": "sum"}, r"`pooling` must be one of mean, max, but is 'sum'"),
        ({"layers": "all"}, r"`layers` must select one vector a word"),
        ({"layers": 7}, r"`layers` must be .* but is 7"),
        ({"model": "/no/such"}, r"/no/such"),
        ({"device": "gpu"}, r"there is no device 'gpu' here"),
    ],
)
def test_bad_parameters(folder, options, problem):
    with pytest.raises(ValueError, match=problem) as error:
        ElmoVectorizer(**{"model": folder, **options}).fit_transform(["Ada"])
    assert "\n" not in str(error.value)


def test_one_text_is_refused(folder):
    with pytest.raises(ValueError, match="put it into a list"):
        ElmoVectorizer(folder).transform("Ada met Max")
