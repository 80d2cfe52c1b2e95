"""`hf-elmo apply` with models of semantic roles and of coreference: the official columns, JSON and pages."""

import json
import re

import pytest
import torch
import toy_tasks
from shaken import shake
from toy_scripts import SPANS

import hf_elmo
from hf_elmo.cli import main
from hf_elmo.model.label_schemes_elmo import spans
from hf_elmo.semantic_roles import label_roles
from hf_elmo.training.arguments import DocumentArguments, PredicateArguments
from hf_elmo.training.data.documents import read_documents
from hf_elmo.training.data.predicates import has_columns_of_predicates, read_predicates

TEXT = "Ada met Max & Eve in Rome. She saw Tom there.\nMax left Oslo.\n"
WIDER = {"coref_max_width": 4, "coref_singletons": True}
ROLES = ["O", "B-V", "I-V", "B-ARG0", "I-ARG0", "B-ARG1", "I-ARG1"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("models"), {}
    labels = {"num_labels": len(ROLES), "id2label": dict(enumerate(ROLES)), "predicate_feature_size": 8}
    for name, head, options in (
        ("roles", hf_elmo.ElmoForTokenClassification, labels),
        ("coref", hf_elmo.ElmoForCoreferenceResolution, SPANS | WIDER),
    ):
        torch.manual_seed(0)
        found[name] = shake(head(toy_tasks.config(word_vocab_size=0, **options)), seed=4)
        found[name].save_pretrained(folder / name)
        toy_tasks.tokenizer().save_pretrained(folder / name)
    return folder, found


@pytest.fixture
def apply(models, tmp_path, capsys):
    """Return a function that applies a model to a text, or to a file of the folder, and returns what is printed."""

    def apply(name, source, *options):
        if "\n" in source:
            (tmp_path / "in.txt").write_text(source, encoding="utf-8")
            source = "in.txt"
        assert main(["apply", str(models[0] / name), str(tmp_path / source), *options]) == 0
        return capsys.readouterr().out

    return apply


def test_roles_are_columns_that_readers_of_conll_2005_read(models, apply, tmp_path):
    tokens = [toy_tasks.tokenizer().tokenize(line) for line in TEXT.splitlines()]
    expected = label_roles(models[1]["roles"], toy_tasks.tokenizer(), tokens)
    assert sum(map(len, expected)) > 2
    assert {span.type for row in expected for one in row for span in spans(one["labels"])} > {"V"}
    (tmp_path / "out.conll").write_text(apply("roles", TEXT, "--format", "conll"))
    read = read_predicates(PredicateArguments(test_file=str(tmp_path / "out.conll"))).test
    assert read["tokens"] == tokens
    for row, predicates in zip(read["predicates"], expected, strict=True):
        labels = sorted(one["labels"] for one in row)
        assert labels == sorted(one["labels"] for one in predicates)
    assert apply("roles", "out.conll", "--format", "conll") == (tmp_path / "out.conll").read_text()
    printed = [json.loads(line)["predicates"] for line in apply("roles", TEXT).splitlines()]
    assert printed == expected


def test_files_with_predicates_are_known_by_their_columns(tmp_path):
    for lines, expected in (
        (["1 He he X Y _ B-A0", "2 left leave X Y leave.01 B-V", "", "1 So so X Y _"], True),
        (["1\tHe\the\tPRON\tPRP\t_\t2\tnsubj\t_\t_"], False),  # CoNLL-U
        (["He - (A0*)", "left leave (V*)", "", "So -"], True),
        (["He B-PER", "left O"], False),
        (["1 of the most common words ."], False),
        (["A sentence .", "Another one *"], False),
        ([""], False),
    ):
        (tmp_path / "in.txt").write_text("\n".join(lines) + "\n")
        assert has_columns_of_predicates(str(tmp_path / "in.txt")) == expected, lines


def test_a_page_has_a_line_for_each_predicate(models, apply):
    rows = [json.loads(line) for line in apply("roles", TEXT).splitlines()]
    page = apply("roles", TEXT, "--format", "html")
    marked = [spans(one["labels"]) for row in rows for one in row["predicates"]]
    assert page.count("<mark") == sum(map(len, marked))
    assert page.count("<i>") == len(marked)
    assert page.count("&amp;") >= len(rows[0]["predicates"])


def test_clusters_are_columns_that_readers_of_conll_2012_read(models, apply, tmp_path):
    rows = [json.loads(line) for line in apply("coref", TEXT).splitlines()]
    clusters = [[[[one["first_word"], one["last_word"]] for one in part] for part in row["clusters"]] for row in rows]
    assert len(clusters[0][0]) > 2
    assert [[len(words) for words in row["sentences"]] for row in rows] == [[8, 5], [4]]
    for row in rows:
        for mention in (mention for part in row["clusters"] for mention in part):
            assert row["text"][mention["start"] : mention["end"]] == mention["text"]
    (tmp_path / "out.conll").write_text(apply("coref", TEXT, "--format", "conll"))
    read = read_documents(DocumentArguments(test_file=str(tmp_path / "out.conll"))).test
    assert read["id"] == ["line-1", "line-2"]
    assert read["sentences"] == [row["sentences"] for row in rows]
    as_sets = [[{frozenset(map(tuple, part)) for part in one} for one in side] for side in (read["clusters"], clusters)]
    assert as_sets[0] == as_sets[1]
    for source in ("out.conll", "documents.jsonl"):  # its own output, and documents whose sentences are given
        lines = [json.dumps({"doc_key": f"line-{n}", "sentences": row["sentences"]}) for n, row in enumerate(rows, 1)]
        (tmp_path / "documents.jsonl").write_text("\n".join(lines) + "\n")
        assert apply("coref", source, "--format", "conll") == (tmp_path / "out.conll").read_text()


def test_mentions_inside_of_others_are_marked_inside_of_them(apply):
    page = apply("coref", TEXT, "--format", "html")
    rows = [json.loads(line) for line in apply("coref", TEXT).splitlines()]
    mentions = [one for row in rows for part in row["clusters"] for one in part]
    assert page.count("<mark") == page.count("</mark>") == len(mentions)
    body = page[page.index("</h1>") :]
    assert re.sub(r"<b>\d+</b>|<[^>]+>", "", body).split() == TEXT.replace("&", "&amp;").split()
    assert re.search(r"<mark[^>]*>(?:(?!</mark>).)*<mark", page), "no mention lies inside another one"
