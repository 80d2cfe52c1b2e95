"""The command `hf-elmo inspect`: its numbers are those of their definitions, its plots and pages are complete."""

import json
import re

import numpy as np
import pytest
import torch
import toy_tasks
from lanes import first_fast
from shaken import shake
from torch.nn.functional import cosine_similarity
from transformers import GPT2Config, GPT2LMHeadModel

import hf_elmo
from hf_elmo import plots
from hf_elmo.cli import main
from hf_elmo.inspection.attribution import integrated_gradients
from hf_elmo.inspection.contextuality import explainable, mean_of_pairs, measures
from hf_elmo.inspection.corpora import normalized
from hf_elmo.inspection.senses import clusters, project
from hf_elmo.inspection.word_senses import best_threshold, votes
from hf_elmo.model.encoder_decoder_elmo import ElmoEncoderDecoderConfig, ElmoForSeq2SeqLM

SENTENCES = [
    "Ada met Max in Rome .",
    "Rome met Ada again today .",
    "Max left Ada .",
    "in Rome and in Oslo Ada saw Max .",
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return shake(hf_elmo.ElmoModel(toy_tasks.config(word_vocab_size=0)), scale=0.5).eval()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """An encoder, a classifier and a corpus."""
    folder = tmp_path_factory.mktemp("inspect")
    classifier = shake(toy_tasks.TASKS["text-classification"].model(num_labels=3), scale=0.6)
    for name, saved in (("elmo", model), ("classifier", classifier)):
        saved.save_pretrained(folder / name)
        toy_tasks.tokenizer().save_pretrained(folder / name)
    corpus = [*SENTENCES, *(" ".join(words) for words in toy_tasks.sentences(60))]
    (folder / "corpus.txt").write_text("\n".join(corpus) + "\n")
    return folder


@pytest.fixture
def inspect(folder, capsys):
    """Return a function that runs the command on the encoder and returns what it printed, JSON as an object."""

    def inspect(*arguments, model="elmo", code=0):
        assert main(["inspect", *map(str, arguments), "--model", str(folder / model)]) == code
        printed = capsys.readouterr()
        if code:
            return printed.err
        return json.loads(printed.out) if "--json" in arguments else printed.out

    return inspect


def layers_of(model, text):
    """All layers of a text's words, the mix last, `(layers, words, 2P)`."""
    with torch.no_grad():
        output = model(**toy_tasks.tokenizer()(text, return_tensors="pt"), output_hidden_states=True)
    return torch.stack([*output.hidden_states, output.last_hidden_state])[:, 0, 1:-1]


# ---- Layers


@pytest.mark.slow
def test_layers_are_the_mixes_of_the_model_and_of_the_seeds_of_a_run(folder, inspect, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    facts = inspect("--json")["layers"]["mixes"]
    expected = hf_elmo.ElmoModel.from_pretrained(folder / "elmo")
    assert facts[0]["weights"] == pytest.approx(expected.mix_weights()[0].tolist(), abs=1e-6)
    assert facts[0]["gamma"] == pytest.approx(expected.mix_scales()[0].item(), abs=1e-6)
    assert facts[0]["seeds"] == 1
    shares = [[0.2, 0.3, 0.5], [0.4, 0.3, 0.3]]
    runs = [{"mix_weights": [weights], "mix_scales": [gamma]} for weights, gamma in zip(shares, (1.0, 2.0))]
    hf_elmo.ElmoModel(toy_tasks.config(word_vocab_size=0)).save_pretrained(tmp_path / "run")
    (tmp_path / "run" / "all_results.json").write_text(json.dumps({"runs": runs}))
    plot = tmp_path / "layers.svg"
    arguments = ["inspect", "--model", str(tmp_path / "run"), "--model", str(folder / "elmo"), "--plot", str(plot)]
    assert main([*arguments, "--json"]) == 0
    mix = json.loads(capsys.readouterr().out)["layers"]["mixes"][0]
    assert mix["weights"] == pytest.approx([0.3, 0.3, 0.4])
    assert mix["deviations"] == pytest.approx(np.std(shares, axis=0, ddof=1).round(6).tolist())
    assert (mix["gamma"], mix["seeds"]) == (1.5, 2)
    assert "mean ± deviation" in plot.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_encoder_of_a_pair_is_inspected_and_embeds(folder, model, tmp_path, capsys):
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 8, "vocab_size": 20}
    decoder = GPT2Config(**sizes, is_decoder=True, add_cross_attention=True, bos_token_id=0, eos_token_id=1)
    config = ElmoEncoderDecoderConfig.from_encoder_decoder_configs(
        model.config, decoder, decoder_start_token_id=0, pad_token_id=1
    )
    ElmoForSeq2SeqLM(config, model, GPT2LMHeadModel(decoder)).save_pretrained(tmp_path / "pair")
    toy_tasks.tokenizer().save_pretrained(tmp_path / "pair")
    found, vectors = [], []
    for name in (tmp_path / "pair", folder / "elmo"):
        capsys.readouterr()
        assert main(["inspect", "--model", str(name), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["layers"]["mixes"][0])
        output = tmp_path / f"{name.name}.safetensors"
        assert main(["embed", str(folder / "corpus.txt"), str(output), "--model", str(name)]) == 0
        vectors.append(output.read_bytes())
    assert [one["architecture"] for one in found] == ["ElmoForSeq2SeqLM", "ElmoModel"]
    assert found[0]["weights"] == found[1]["weights"] != [1 / 3] * 3
    assert vectors[0] == vectors[1]


# ---- Senses


def test_nearest_occurrences_are_those_with_the_highest_cosine(folder, model, inspect, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(SENTENCES[1:]) + "\n")
    options = ["--word", "ada", "--corpus", tmp_path / "in.txt", "--text", SENTENCES[0], "--layer", "1", "--json"]
    found = inspect("senses", *options)["senses"]
    query = layers_of(model, SENTENCES[0])[:, 0]
    expected = {}
    for text in SENTENCES[1:]:
        words = text.split()
        similarity = cosine_similarity(layers_of(model, text)[:, words.index("Ada")], query, dim=-1)
        expected[text] = similarity.tolist()
    assert found["query"].startswith("[Ada] met")
    ranked = sorted(expected, key=lambda text: -expected[text][1])
    assert [" ".join(one["words"]) for one in found["nearest"]] == ranked
    for one, text in zip(found["nearest"], ranked):
        assert list(one["similarities"].values()) == pytest.approx(expected[text], abs=2e-6)


@pytest.mark.slow
def test_a_map_keeps_distances_and_groups_by_sense(inspect, tmp_path):
    pytest.importorskip("matplotlib")
    rows = ["source\tindex\tsense\tsentence"]
    for number, (sense, index, text) in enumerate(
        [("a", 0, SENTENCES[0]), ("b", 2, SENTENCES[1]), ("a", 2, SENTENCES[2]), ("b", 5, SENTENCES[3])]
    ):
        rows.append(f"s{number}\t{index}\t{sense}\t{text}")
    (tmp_path / "ada.tsv").write_text("\n".join(rows) + "\n")
    plot = tmp_path / "map.png"
    found = inspect("map", "--word", "Ada", "--corpus", tmp_path / "ada.tsv", "--plot", plot, "--json")["map"]
    assert found["groups"] == {"a": 2, "b": 2}
    assert found["layers"][0]["same_group"] == pytest.approx(1, abs=1e-5)  # one word is one vector without context
    assert found["layers"][1]["same_group"] < 0.999
    assert plot.read_bytes().startswith(b"\x89PNG")
    vectors = np.random.default_rng(0).normal(size=(9, 2)) @ np.random.default_rng(1).normal(size=(2, 12))
    places, shares = project(vectors, "pca")
    distances = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (vectors, places)]
    assert np.allclose(*distances)
    assert sum(shares) == pytest.approx(1)


def test_clusters_find_groups_that_are_apart():
    chance = np.random.default_rng(0)
    centers = np.eye(3, 8)
    truth = chance.integers(0, 3, size=40)
    found = clusters(normalized(centers[truth] + 0.1 * chance.normal(size=(40, 8))), 3)
    assert len({*zip(truth.tolist(), found)}) == 3


# ---- Contextuality


def test_measures_are_those_of_their_definitions():
    chance = np.random.default_rng(0)
    kept = {"a": [*chance.normal(size=(7, 2, 5))], "b": [*chance.normal(size=(5, 2, 5))]}
    baseline, sentences = chance.normal(size=(2, 12, 5)), np.arange(12) // 2
    values = measures(kept, baseline, sentences, np.zeros(2))

    def cosine(x, y):
        return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    for layer in range(2):
        pairs = [
            np.mean([cosine(x[layer], y[layer]) for x in words for y in words if x is not y]) for words in kept.values()
        ]
        assert values["self-similarity"][0][layer] == pytest.approx(np.mean(pairs))
        others = [
            cosine(baseline[layer, i], baseline[layer, j])
            for i in range(12)
            for j in range(12)
            if sentences[i] != sentences[j]
        ]
        assert values["self-similarity"][1][layer] == pytest.approx(np.mean(others))
        first = []
        for words in kept.values():
            matrix = np.stack([word[layer] for word in words])
            eigenvalues = np.linalg.eigvalsh(matrix.T @ matrix)
            first.append(eigenvalues.max() / eigenvalues.sum())
        assert values["maximum explainable variance"][0][layer] == pytest.approx(np.mean(first))
    same = np.repeat(chance.normal(size=(1, 1, 5)), 6, axis=1)
    assert mean_of_pairs(normalized(same)) == pytest.approx([1])
    assert explainable(same) == pytest.approx([1])


def test_layer_0_has_no_context(folder, inspect, tmp_path):
    pytest.importorskip("matplotlib")
    plot = tmp_path / "contextuality.svg"
    arguments = ["contextuality", "--corpus", folder / "corpus.txt", "--plot", plot]
    found = inspect(*arguments, "--json")["contextuality"]
    raw = {row["layer"]: row["raw"] for row in found["self-similarity"]}
    assert raw["layer 0"] == pytest.approx(1, abs=1e-5)
    assert raw["layer 1"] < 0.999
    first = plot.read_bytes()
    inspect(*arguments)
    assert plot.read_bytes() == first
    assert b"self-similarity" in first


# ---- Word senses


def annotated(folder, senses):
    """Write the sentences with the senses of "Ada" as training text, and as test data of two sets with a new lemma."""
    rows, elements, gold = [], [], []
    for number, (text, sense) in enumerate(zip(SENTENCES, senses)):
        words, place = text.split(), text.split().index("Ada")
        rows.append(f"s{number}\t{text}\t{place}:{place + 1}:ada%1:0{sense}::")
        id = f"{'one' if number < 3 else 'two'}.t{number}"
        words = [f"<wf>{word}</wf>" for word in words]
        words[place] = f'<instance id="{id}" lemma="ada" pos="NOUN">Ada</instance>'
        elements.append(f"<sentence>{''.join(words)}</sentence>")
        gold.append(f"{id} ada%1:0{sense}:: other%1:00::")
    elements.append('<sentence><instance id="two.new" lemma="new" pos="NOUN">today</instance></sentence>')
    (folder / "train.tsv").write_text("\n".join(rows) + "\n")
    (folder / "x.data.xml").write_text(f'<corpus source="one-two">{"".join(elements)}</corpus>')
    (folder / "x.gold.key.txt").write_text("\n".join([*gold, "two.new new%1:00::"]) + "\n")
    return ["wsd", "--train", folder / "train.tsv", "--test", folder / "x.data.xml", "--json"]


@pytest.mark.parametrize("options", [(), ("--neighbors", 1)], ids=["means", "neighbors"])
def test_senses_of_sentences_that_were_trained_on_are_found(inspect, tmp_path, options):
    """Each sense has one example, so its vector is the nearest; a word of a new lemma has no answer."""
    found = inspect(*annotated(tmp_path, "0123"), *options)["wsd"]
    scores = {row["layer"]: row for row in found["scores"]}
    assert (found["instances"], found["answered"]) == (5, 4)
    for layer in ("layer 1", "layer 2", "mix"):
        assert (scores[layer]["precision"], scores[layer]["recall"]) == (100, 80)
        assert scores[layer]["f1"] == pytest.approx(100 * 2 * 0.8 / 1.8, abs=1e-3)
        assert scores[layer]["f1_by_set"] == {"one": 100, "two": pytest.approx(100 * 2 * 0.5 / 1.5, abs=1e-3)}
    assert scores["most frequent sense"]["precision"] == 25


def test_without_context_the_words_of_one_spelling_vote_together(inspect, tmp_path):
    """In layer 0 all are equally near, so that one neighbor is all of them, and the most frequent sense wins."""
    scores = inspect(*annotated(tmp_path, "1022"), "--neighbors", "1")["wsd"]["scores"]
    precisions = {row["layer"]: row["precision"] for row in scores}
    assert precisions["most frequent sense"] == precisions["layer 0"] == 50
    assert precisions["layer 1"] == 100


def test_the_nearest_words_vote_with_their_similarities():
    similarities, has = np.array([[0.9, 0.5, 0.3, 0.5], [-0.2, -0.3, -0.4, -0.1]]), np.eye(2)[[0, 1, 1, 1]]
    assert votes(similarities, has, 1)[0] == pytest.approx([0.9, 0])
    assert votes(similarities, has, 2)[0] == pytest.approx([0.9, 1.0])  # the second and the fourth are equally near
    assert votes(similarities, has, 9)[0] == pytest.approx([0.9, 1.3])
    assert votes(similarities, has, 1)[1].argmax() == 1  # the nearest counts, however far it is
    shared = votes(np.array([[0.5, 0.25]]), np.array([[1, 1], [0, 1]]), 2)  # the first word has both senses
    assert shared == pytest.approx(np.array([[0.5, 0.75]]))


def test_words_in_context_are_judged_by_the_best_threshold(inspect, tmp_path):
    same = [f"Ada\tN\t0-0\t{SENTENCES[0]}\t{SENTENCES[0]}"] * 3
    other = [f"Ada\tN\t0-2\t{SENTENCES[0]}\t{SENTENCES[1]}"] * 2
    (tmp_path / "a.data.txt").write_text("\n".join([*same, *other]) + "\n")
    (tmp_path / "a.gold.txt").write_text("T\nT\nT\nF\nF\n")
    found = inspect("wic", "--train", tmp_path / "a.data.txt", "--test", tmp_path / "a.data.txt", "--json")["wic"]
    accuracies = {row["layer"]: row["test_accuracy"] for row in found["scores"]}
    assert accuracies["layer 1"] == 100
    assert accuracies["layer 0"] == found["majority"] == 60
    chance = np.random.default_rng(0)
    similarities, gold = chance.normal(size=30).round(1), chance.random(30) < 0.5
    threshold, accuracy = best_threshold(similarities, gold)
    assert accuracy == ((similarities >= threshold) == gold).mean()
    assert accuracy == max(((similarities >= place) == gold).mean() for place in [*similarities, 9])


# ---- Attribution


@pytest.mark.parametrize("task", first_fast(["text-classification", "token-classification", "question-answering"]))
def test_attributions_sum_to_the_difference_of_the_scores(task):
    model = shake(toy_tasks.TASKS[task].model(), scale=0.2).eval().requires_grad_(False)  # so that few steps suffice
    tokenizer = toy_tasks.tokenizer()
    encoded = tokenizer(*(["Who met Max ?"] if task.startswith("question") else []), SENTENCES[0], return_tensors="pt")

    def score(output):
        if "start_logits" in output:
            return output.start_logits[:, 8] + output.end_logits[:, 9]
        return output.logits.flatten(1)[:, 4 if output.logits.dim() == 3 else 1]

    values, at_input, at_baseline = integrated_gradients(model, tokenizer, encoded, score, steps=200)
    with torch.no_grad():
        assert at_input == pytest.approx(score(model(**encoded)).item(), abs=1e-4)
    assert abs(at_input - at_baseline) > 1e-5
    assert values.sum().item() == pytest.approx(at_input - at_baseline, rel=0.03)
    special = torch.tensor([word is None for word in encoded.word_ids(0)])
    assert (values[special] == 0).all()
    assert (values[~special] != 0).any()


@pytest.mark.slow
def test_captum_agrees():
    captum = pytest.importorskip("captum.attr")
    model = shake(toy_tasks.TASKS["text-classification"].model(), scale=0.5).eval()
    tokenizer = toy_tasks.tokenizer()
    encoded = tokenizer(SENTENCES[0], return_tensors="pt")
    mask = encoded["attention_mask"]
    table = model.elmo.get_input_embeddings()
    empty = tokenizer([""] * 6, is_split_into_words=True, return_tensors="pt")["input_ids"]
    assert empty.shape == encoded["input_ids"].shape == (1, 8, 12)

    def of_embeddings(embeddings):
        return model(inputs_embeds=embeddings, attention_mask=mask.expand(len(embeddings), -1)).logits

    given, baseline = (table(ids.long()).detach() for ids in (encoded["input_ids"], empty))
    baseline[:, [0, -1]] = given[:, [0, -1]]
    theirs = captum.IntegratedGradients(of_embeddings).attribute(
        given, baseline, target=1, n_steps=40, method="riemann_middle"
    )
    ours, _, _ = integrated_gradients(model, tokenizer, encoded, lambda output: output.logits[:, 1], steps=40)
    assert theirs.sum(dim=(2, 3))[0].tolist() == pytest.approx(ours.tolist(), abs=1e-5)

    def of_ids(ids):
        return model(input_ids=ids, attention_mask=mask.expand(len(ids), -1)).logits

    by_word = captum.LayerIntegratedGradients(of_ids, model.elmo.char_encoder)
    words = by_word.attribute(encoded["input_ids"], empty, target=1, n_steps=200)
    assert words.shape == (8, 12)  # a row per word: its context-free vector
    difference = (of_ids(encoded["input_ids"]) - of_ids(empty))[0, 1].item()
    assert words.sum().item() == pytest.approx(difference, abs=0.03 * abs(difference) + 1e-3)

    def of_layers(layers):
        return model(input_ids=encoded["input_ids"].expand(len(layers), -1, -1), layers=layers).logits

    layers = model.compute_layers(encoded["input_ids"])
    by_layer = captum.IntegratedGradients(of_layers).attribute(layers, target=1, n_steps=20)
    assert by_layer.sum(dim=(1, 3)).shape == (1, 3)
    difference = (of_layers(layers) - of_layers(0 * layers))[0, 1].item()
    assert by_layer.sum().item() == pytest.approx(difference, abs=1e-4)  # pooling and a linear layer: exact


def test_the_layer_recipes_of_captum_explain_each_layer_and_the_mix():
    captum = pytest.importorskip("captum.attr")
    model = shake(toy_tasks.TASKS["text-classification"].model(), scale=0.5).eval()
    encoded = toy_tasks.tokenizer()(SENTENCES[0], return_tensors="pt")
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    given = model.elmo.get_input_embeddings()(ids.long()).detach()

    def of_ids(ids):
        return model(input_ids=ids, attention_mask=mask.expand(len(ids), -1)).logits

    def of_embeddings(embeddings):
        return model(inputs_embeds=embeddings, attention_mask=mask.expand(len(embeddings), -1)).logits

    outputs, output = [], model.elmo(**encoded, output_hidden_states=True)
    for module, expected in zip(
        (*model.elmo.layers, model.elmo.scalar_mixes[0]), (*output.hidden_states[1:], output[0])
    ):
        assert torch.allclose(captum.LayerActivation(of_ids, module).attribute(ids), expected, atol=1e-5)
        at_layer = captum.LayerGradientXActivation(of_ids, module).attribute(ids, target=1)
        outputs.clear()
        hook = module.register_forward_hook(lambda *call: outputs.append(call[2]))
        (gradient,) = torch.autograd.grad(of_ids(ids)[0, 1], outputs)
        hook.remove()
        assert torch.allclose(at_layer, gradient * expected, atol=1e-6)
    baseline = torch.zeros_like(given)
    difference = (of_embeddings(given) - of_embeddings(baseline))[0, 1].item()
    for recipe in (captum.LayerConductance, captum.LayerIntegratedGradients):  # everything goes through the mix
        by_mix = recipe(of_embeddings, model.elmo.scalar_mixes[0]).attribute(given, baseline, target=1, n_steps=60)
        assert by_mix.sum().item() == pytest.approx(difference, abs=0.02 * abs(difference) + 1e-3)
        by_layer = recipe(of_embeddings, model.elmo.layers[0]).attribute(given, baseline, target=1, n_steps=5)
        assert by_layer.shape == (1, 8, 24)
        assert by_layer.abs().sum() > 0


def test_attribution_names_the_label_and_shades_the_words(inspect, tmp_path):
    page = tmp_path / "page.html"
    arguments = ["attribution", "--text", "Ada met Max .", "--target", "LABEL_2", "--json", "--html", page]
    found = inspect(*arguments, model="classifier")["attribution"]
    assert found["target"] == "the label 'LABEL_2'"
    assert found["words"] == ["Ada", "met", "Max", "."]
    difference = found["logit"] - found["baseline_logit"]
    assert sum(found["attributions"]) + found["completeness_error"] == pytest.approx(difference, abs=1e-4)
    assert page.read_text(encoding="utf-8").count("<span style=") == 4


# ---- Pages, plots, errors


@pytest.mark.slow
def test_a_page_holds_all_tables_and_plots_and_loads_nothing(folder, inspect, tmp_path):
    pytest.importorskip("matplotlib")
    page = tmp_path / "page.html"
    options = ["--word", "Ada", "--corpus", folder / "corpus.txt", "--html", page]
    printed = inspect("layers", "senses", "map", "contextuality", *options)
    content = page.read_text(encoding="utf-8")
    assert content.count("<svg") == content.count("</svg>") == content.count("<h2>") == 4
    assert content.count("<table>") == 1 + 1 + 2 + 3
    ids = re.findall(r'\bid="([^"]+)"', content)
    assert len(ids) == len(set(ids))
    assert {target for target in re.findall(r"url\(#([^)]+)\)", content)} <= set(ids)
    assert not re.search(r'"#(?![0-9a-fA-F]{6}")(?!layers-|senses-|map-|contextuality-)', content)  # colors stay colors
    assert not re.findall(r'(?:src|href)="(?!#)', content.replace("xlink:href", "href"))
    assert "cosine similarity to" in printed
    assert "not a number" not in content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lyers"], "lyers: no such topic; did you mean layers?"),
        (["weights"], "weights: no such topic; expected some of layers, senses, map"),
        (["senses"], "senses needs a word and a corpus: --word WORD --corpus FILE"),
        (["wsd", "--neighbors", "0"], "--neighbors must be at least 1, but is 0"),
        (["layers", "--word", "x"], "--word is for senses, map, attribution, not for layers"),
        (["layers", "map", "--plot", "x.png"], "--plot draws one topic, not 2: --html FILE takes all of them"),
        (["map", "--word", "x", "--corpus", "CORPUS", "--html", "CORPUS"], "corpus.txt: this is an input; give"),
        (["--plot", "x.pdf"], "x.pdf: a plot is a .png or .svg file"),
        (["--plot", "no/x.png"], "no/x.png: there is no folder no"),
        (["map", "--word", "nobody", "--corpus", "CORPUS"], "'nobody' is there 0 times; two are needed"),
        (["senses", "--word", "Ada", "--corpus", "CORPUS", "--layer", "7"], "--layer must be one of 0, 1, 2, mix, top"),
        (["senses", "--word", "Ada", "--corpus", "CORPUS", "--text", "x"], "--text has no word 'Ada'; its words are x"),
        (["attribution", "--text", "x"], "a model with a trained head is needed"),
        (["wic", "--train", "CORPUS", "--test", "CORPUS"], "there are no answers beside it"),
        (["wsd", "--train", "CORPUS", "--test", "CORPUS"], "corpus.txt, line 1: an id, the words and their senses"),
    ],
)
def test_errors_are_one_line_that_says_what_to_type(folder, inspect, arguments, message):
    error = inspect(*(str(folder / "corpus.txt") if word == "CORPUS" else word for word in arguments), code=2)
    assert message in error
    assert error.count("\n") == 1


def test_without_matplotlib_tables_remain_and_one_line_says_what_to_install(inspect, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    assert inspect("--plot", "x.png", code=2) == f"hf-elmo inspect: error: {plots.INSTALL}\n"
    page = tmp_path / "page.html"
    printed = inspect("--html", page)
    assert "normalized weights" in printed
    assert f"{page} has no plots: {plots.INSTALL}" in printed
    assert "<table>" in page.read_text(encoding="utf-8")
    assert "<svg" not in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_plots_are_equal_bytes_and_change_no_global_state():
    matplotlib = pytest.importorskip("matplotlib")
    before, images = dict(matplotlib.rcParams), []
    for _ in range(2):
        with plots.panels(2) as (figure, (left, right)):
            plots.bars(left, ["a", "b"], {"x": [1, 2], "y": [2, 3]}, {"x": [0.1, 0.2]})
            plots.matrix(right, np.array([[3, 1], [0, 2]]), ["a", "b"], ["a", "b"])
        images.append([plots.content(figure, format) for format in ("png", "svg")])
    assert images[0] == images[1]
    assert dict(matplotlib.rcParams) == before


@pytest.mark.slow
def test_the_senses_of_bank_are_apart_in_the_model_of_the_package(data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    capsys.readouterr()
    assert (
        main(
            [
                "inspect",
                "map",
                "--model",
                "elmo",
                "--word",
                "bank",
                "--corpus",
                str(data_dir / "wsd" / "bank.tsv"),
                "--json",
            ]
        )
        == 0
    )
    layers = {row["layer"]: row for row in json.loads(capsys.readouterr().out)["map"]["layers"]}
    assert layers["layer 1"]["difference"] > layers["layer 0"]["difference"] > 0
