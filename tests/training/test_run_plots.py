"""The plots of training runs: what they count, that they are in folder and card, and that nothing depends on them."""

import json

import numpy as np
import pytest
import toy_pretraining
from toy_finetuning import command, tagged, write_words

from hf_elmo import plots
from hf_elmo.training.errors import (
    NO_ARGUMENT,
    OTHERS,
    SHOWN,
    confusions,
    coreference_errors,
    entity_errors,
    label_errors,
    outcomes,
    role_errors,
    score_errors,
    value_errors,
)
from hf_elmo.training.run_plots import draw_run
from hf_elmo.training.run_record import PLOTS


def test_entities_are_right_or_missed_in_one_way():
    gold = ["B-PER I-PER O B-LOC O B-PER".split(), "B-LOC I-LOC O O".split(), "O O B-ORG".split()]
    found = ["B-PER I-PER O B-PER O O".split(), "O B-LOC O B-PER".split(), "O O B-ORG".split()]
    errors = entity_errors(gold, found)
    assert errors["groups"] == ["PER", "LOC", "ORG"]
    assert errors["outcomes"] == {
        "right": [1, 0, 1],
        "other type": [0, 1, 0],
        "other boundary": [0, 1, 0],
        "missed": [1, 0, 0],
        "invented": [1, 0, 0],
    }


def test_confusions_count_every_pair_and_merge_rare_labels():
    few = confusions([("a", "a"), ("a", "b"), ("b", "b"), ("b", "b")], "texts")
    assert few == {"units": "texts", "labels": ["a", "b"], "counts": [[1, 1], [0, 2]]}
    chance = np.random.default_rng(0)
    pairs = [(f"l{int(a)}", f"l{int(b)}") for a, b in chance.geometric(0.1, size=(2000, 2))]
    many = confusions(pairs, "words")
    assert len(many["labels"]) == SHOWN
    assert many["labels"][-1] == OTHERS
    assert np.sum(many["counts"]) == 2000
    places = {label: place for place, label in enumerate(many["labels"])}
    for right, predicted in [("l1", "l2"), ("l2", "l2")]:
        assert many["counts"][places[right]][places[predicted]] == pairs.count((right, predicted))


def test_roles_of_the_same_words_are_compared_and_others_have_none():
    gold = "B-A0 B-V B-A1 I-A1 O B-C-A1".split(), "B-A0 B-V O O O O".split()
    found = "B-A2 B-V B-A1 I-A1 O B-C-A1".split(), "O B-V B-A0 O O O".split()
    errors = role_errors(gold, found)
    assert errors["labels"] == [NO_ARGUMENT, "A0", "A1", "A2"]
    assert errors["counts"] == [[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_mentions_are_right_linked_elsewhere_or_not_found():
    a, b, c, d, e = (0, 0), (2, 3), (5, 5), (7, 9), (11, 16)
    clusters = [[(a, c, d), (b, e)]]
    assert coreference_errors(clusters, clusters)["outcomes"]["right"] == [2, 1, 1, 1]
    # The first mention a is right; b is linked to a, and c to nothing; d is found with its last word; e is not.
    found = [[(b, a), (c, (7, 8)), ((20, 20), (21, 21))]]
    errors = coreference_errors(clusters, found)
    assert errors["groups"] == ["1 word", "2 words", "3 words", "5 words and more"]
    assert errors["outcomes"] == {
        "right": [1, 0, 0, 0],
        "other link": [1, 1, 0, 0],
        "other boundary": [0, 0, 1, 0],
        "missed": [0, 0, 0, 1],
        "invented": [2, 0, 0, 0],
    }


def test_scores_are_counted_in_steps_by_length():
    errors = score_errors([(3, 100.0), (10, 0.0), (11, 59.9), (0, 60.0), (120, 20.0)], "chrF", "texts")
    assert errors["groups"] == ["1 to 10 words", "11 to 20 words", "111 to 120 words"]
    assert [*errors["outcomes"].values()] == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert next(iter(errors["outcomes"])) == "chrF 80 to 100"


def test_labels_values_and_groups():
    errors = label_errors([["a", "b"], ["a"], []], [["a"], ["b"], ["a"]])
    assert dict(zip(errors["groups"], zip(*errors["outcomes"].values()))) == {"a": (1, 1, 1), "b": (0, 1, 1)}
    many = outcomes([(f"g{n:02}", "right") for n in range(30) for _ in range(40 - n)], ["right"], "things")
    assert (many["groups"][0], many["groups"][-1]) == ("g00", OTHERS)
    assert sum(many["outcomes"]["right"]) == sum(range(11, 41))
    values = value_errors([*range(2000)], [*range(2000)])
    assert values["right"] == values["predicted"]
    assert len(values["right"]) == 500


STATE = {
    "best_global_step": 4,
    "log_history": [
        {"step": 2, "epoch": 1.0, "loss": 1.0},
        {"step": 2, "epoch": 1.0, "eval_loss": 1.2, "eval_f1": 0.4},
        {"step": 4, "epoch": 2.0, "loss": 0.5},
        {"step": 4, "epoch": 2.0, "eval_loss": 0.9, "eval_f1": 0.6},
    ],
}
ERRORS = [
    confusions([("a", "b"), ("b", "b")], "texts"),
    entity_errors([["B-X", "O"]], [["O", "B-X"]]),
    value_errors([1.0, 2.0], [1.5, 1.0]),
]


@pytest.mark.slow
@pytest.mark.parametrize("errors", ERRORS, ids=lambda errors: errors["units"])
def test_plots_of_one_and_of_several_runs_are_drawn_alike_twice(tmp_path, errors):
    pytest.importorskip("matplotlib")
    (tmp_path / "state.json").write_text(json.dumps(STATE))
    runs = [
        {"seed": seed, "mix_weights": [[0.2, 0.3, 0.5]], "errors": {"validation": errors, "test": errors}}
        for seed in (1, 2)
    ]
    contents = []
    for name, some in (("one", runs[:1]), ("two", runs), ("again", runs)):
        (tmp_path / name).mkdir()
        states = {f"seed {run['seed']}" if len(some) > 1 else "": tmp_path / "state.json" for run in some}
        draw_run(tmp_path / name, {"runs": some, "best_seed": 1}, states, "f1")
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == sorted(PLOTS)
        contents.append([(tmp_path / name / plot).read_bytes() for plot in PLOTS])
    assert contents[1] == contents[2] != contents[0]


def test_without_matplotlib_one_line_says_what_to_install(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with caplog.at_level("INFO"):
        draw_run(tmp_path, {}, {}, None)
    assert [record.message.split(" ", 1)[1].strip() for record in caplog.records] == [plots.INSTALL]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_draws_its_plots_into_folder_and_card_and_prints_one_table(tmp_path, caplog, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "words").mkdir()
    words, model, epoch = write_words(tmp_path / "words"), tmp_path / "model", ("--num_train_epochs", "1")
    with caplog.at_level("INFO"):
        assert not tagged(*command(words, model, *epoch, "--seeds", "1", "2", "--plots", "True", "--json"))
    printed = json.loads(capsys.readouterr().out)
    assert {path.name for path in model.glob("*.png")} == set(PLOTS)
    assert not list(model.glob("seed-*/*.png"))
    card = (model / "README.md").read_text(encoding="utf-8")
    assert all(f"]({name})" in card for name in PLOTS)
    results = json.loads((model / "all_results.json").read_text())
    assert printed == {"output_dir": str(model), **results}
    for run in results["runs"]:
        right, missed = (sum(run["errors"]["test"]["outcomes"][name]) for name in ("right", "missed"))
        assert right + missed <= 80
    (table,) = [
        record.getMessage() for record in caplog.records if "standard deviation of 2 runs" in record.getMessage()
    ]
    mean, deviation = results["mean"]["test_f1"], results["std"]["test_f1"]
    assert next(line for line in table.splitlines() if line.startswith("f1 ")).endswith(f"{mean:.4f} ± {deviation:.4f}")
    assert "mix 0" in table
    before = {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}
    assert not tagged(*command(words, model, *epoch, "--seeds", "1", "2", "--plots", "False"))  # not another run
    assert {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()} == before
    assert not tagged(*command(words, model, *epoch, "--plots", "False", "--overwrite_output_dir", "True"))
    assert not list(model.glob("*.png"))
    assert "![" not in (model / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_pretraining_draws_its_curves(tmp_path):
    pytest.importorskip("matplotlib")
    texts, model = toy_pretraining.write_texts(tmp_path), tmp_path / "model"
    held_out = ["--validation_files", str(texts / "held_out.txt"), "--eval_steps", "4", "--eval_strategy", "steps"]
    assert not toy_pretraining.pretrained(*toy_pretraining.command(texts, model, *held_out, "--plots", "True"))
    assert [path.name for path in model.glob("*.png")] == ["training_curves.png"]
    assert "](training_curves.png)" in (model / "README.md").read_text(encoding="utf-8")
