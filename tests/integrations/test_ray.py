"""`embed_dataset` on a local Ray, with a pool of actors, compared with `embed_sentences`."""

import pyarrow as pa
import pytest
import torch
from toy_tasks import save_checkpoint

pytest.importorskip("ray.data", reason="needs Ray Data: pip install 'ray[data]'")

import ray

from hf_elmo.embedding import embed_sentences
from hf_elmo.integrations.ray import RowEmbedder, embed_dataset
from hf_elmo.loading import load_encoder, load_tokenizer

TEXTS = ["Ada met Max .", "", "Tom left Rome again", "Eve saw Oslo ."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def expected(folder):
    return list(embed_sentences(load_encoder(str(folder)), load_tokenizer(str(folder)), TEXTS))


@pytest.mark.slow
def test_actors_give_the_vectors_of_embed_sentences(folder, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.chdir(folder.parent)  # actors may be started elsewhere
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        rows = ray.data.from_items([{"number": number, "text": text} for number, text in enumerate(TEXTS)])
        embedded = embed_dataset(rows, folder.name, actors=2, rows_per_batch=2)
        embedded.write_parquet(str(tmp_path / "vectors"))
    finally:
        ray.shutdown()
    read = pa.parquet.read_table(tmp_path / "vectors").sort_by("number").to_pydict()
    assert read["words"] == [text.split() for text in TEXTS]
    for vectors, wanted in zip(read["vectors"], expected):
        torch.testing.assert_close(torch.tensor(vectors).reshape(wanted.shape), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("layers", "dtype"), [("all", "float32"), (0, "float16")])
def test_an_actor_adds_a_list_of_vectors_to_each_row(folder, layers, dtype):
    rows = pa.table({"tokens": [text.split() for text in TEXTS]})
    embedded = RowEmbedder(str(folder), "tokens", layers, "words", dtype)(rows, words_per_batch=20)
    model, tokenizer = load_encoder(str(folder)), load_tokenizer(str(folder))
    assert embedded.column_names == ["tokens", "words", "vectors"]
    for vectors, wanted in zip(
        embedded["vectors"].to_pylist(), embed_sentences(model, tokenizer, TEXTS, layers=layers)
    ):
        wanted = wanted.to(getattr(torch, dtype))
        torch.testing.assert_close(torch.tensor(vectors, dtype=wanted.dtype).reshape(wanted.shape), wanted)


def test_an_actor_pools_each_row(folder, expected):
    embedded = RowEmbedder(str(folder), "text", "mix", "sentences", "float32")(pa.table({"text": TEXTS}), 4096)
    wanted = [vectors.sum(0) / max(1, len(vectors)) for vectors in expected]
    torch.testing.assert_close(torch.tensor(embedded["vector"].to_pylist()), torch.stack(wanted))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"column": "body"}, "there is no column 'body', but text: give `column`"),
        ({"vectors": "both"}, "`vectors` must be 'words' or 'sentences', but is 'both'"),
        ({"dtype": "bfloat16"}, "`dtype` must be 'float32' or 'float16', but is 'bfloat16'"),
        ({"layers": 7}, "`layers` must be 'mix', 'mean', 'top', 'all' or a layer's number from 0 to 2, but is 7"),
        ({"layers": "all", "vectors": "sentences"}, "`layers` must select one vector a word"),
    ],
)
def test_what_cannot_be_computed_is_refused_before_actors_start(folder, options, message):
    class Columns:
        """Stands for a dataset, for which Ray would start."""

        def columns(self, fetch_if_missing: bool) -> list[str]:
            assert not fetch_if_missing
            return ["text"]

    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        embed_dataset(Columns(), str(folder), **options)


def test_a_row_that_is_no_text_is_named(folder):
    embed = RowEmbedder(str(folder), "text", "mix", "words", "float32")
    with pytest.raises(ValueError, match=r"sentence 1 \(the first is 0\) must be a text or a list of words"):
        embed(pa.table({"text": ["a b", None]}), 4096)
    with pytest.raises(ValueError, match="there is no column 'text', but body: give `column`"):
        embed(pa.table({"body": TEXTS}), 4096)
