"""`hf-elmo score`, `substitutes` and `generate` as a user types them: output, `--json`, standard input, errors."""

import io
import json
import sys

import pytest
import torch
from shaken import shake
from toy_tasks import WORDS
from toy_tasks import config as toy_config
from versions import beams

from hf_elmo import ElmoForCausalLM, ElmoForPreTraining, ElmoModel, ElmoTokenizer
from hf_elmo.cli import main
from hf_elmo.scoring import next_words, score_sentences, substitutes
from hf_elmo.scoring.printing import print_object

VOCABULARY = ["<S>", "</S>", "<UNK>", *WORDS, "."]
TEXT = "Ada met Tom in Zürich .\n\nEve left .\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    (folder / "words.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    shake(ElmoForPreTraining(toy_config(word_vocab_size=len(VOCABULARY))), scale=0.6).save_pretrained(folder)
    ElmoTokenizer(str(folder / "words.txt"), max_characters_per_token=12).save_pretrained(folder)
    return folder


@pytest.fixture
def parts(folder):
    return ElmoForPreTraining.from_pretrained(folder).eval(), ElmoTokenizer.from_pretrained(folder)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "text.txt"


@pytest.fixture
def run(folder, capsys):
    def run(*arguments, model=folder) -> tuple[int, str, str]:
        capsys.readouterr()  # what loading printed before
        code = main([*map(str, arguments), "--model", str(model)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def typed(monkeypatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


# ---- score


def test_score(run, parts, text, monkeypatch):
    sentences = [line.split() for line in TEXT.splitlines() if line]
    scores = [*score_sentences(*parts, sentences)]
    code, printed, _ = run("score", text)
    assert code == 0
    header, *lines = printed.splitlines()
    assert header.split() == ["forward", "backward", "mean", "perplexity", "unknown", "sentence"]
    for line, score in zip(lines, scores, strict=True):
        numbers = [score.forward_log_probability, score.backward_log_probability, score.log_probability]
        assert [float(cell) for cell in line.split()[:3]] == pytest.approx(numbers, abs=1e-3)
        assert line.split()[4:] == [str(score.unknown), *score.words]
    typed(monkeypatch, TEXT)
    assert run("score") == (0, printed, "")
    words = run("score", text, "--words")[1].split("\n\n")
    assert [line.split()[-1] for line in words[1].splitlines()[1:-1]] == ["<S>", "Eve", "left", ".", "</S>"]
    assert [float(line.split()[0]) for line in words[1].splitlines()[2:-1]] == pytest.approx(
        scores[1].forward, abs=1e-3
    )


def test_score_as_json_agrees_with_perplexity(run, text):
    code, printed, _ = run("score", text, "--json")
    report, perplexity = json.loads(printed), json.loads(run("perplexity", text, "--json")[1])
    assert code == 0
    for name in ("forward_perplexity", "backward_perplexity", "perplexity", "tokens", "split"):
        assert report[name] == pytest.approx(perplexity[name], rel=1e-5) if name != "split" else perplexity[name]
    assert [sentence["unknown_words"] for sentence in report["sentences"]] == [1, 0]
    assert sum(report["sentences"][0]["forward"]) == pytest.approx(report["sentences"][0]["forward_log_probability"])


# ---- substitutes


def test_substitutes(run, parts, text):
    ((expected,),) = [substitutes(*parts, "Ada met Tom in Zürich .", [2], top_k=3)]
    code, printed, noted = run("substitutes", text, "--word", "Tom", "--top-k", 3)
    assert code == 0
    assert noted == "1 of 2 sentences have no word 'Tom' and are left out\n"
    assert printed.splitlines()[0] == "Ada met Tom in Zürich ."
    assert printed.splitlines()[1].split()[:3] == ["2", "Tom", expected[0].word]
    report = json.loads(run("substitutes", text, "--top-k", 3, "--direction", "backward", "--json")[1])
    assert [len(sentence["places"]) for sentence in report["sentences"]] == [6, 3]
    ((word, chance), *_) = substitutes(*parts, ["Eve", "left", "."], [1], 3, "backward")[0]
    assert report["sentences"][1]["places"][1]["candidates"][0]["word"] == word
    assert report["sentences"][1]["places"][1]["candidates"][0]["log_probability"] == pytest.approx(chance, rel=1e-5)
    assert run("substitutes", text, "--position", 5)[1].splitlines()[1].split()[:2] == ["5", "."]


# ---- generate


@pytest.mark.slow
def test_generate_depends_on_seed_and_prompt_alone(run, tmp_path, monkeypatch):
    options = ("--max-words", 5, "--samples", 2, "--json")
    code, printed, _ = run("generate", "Ada met", "Tom", *options)
    assert code == 0
    results = json.loads(printed)["results"]
    assert [result["prompt"] for result in results] == ["Ada met", "Ada met", "Tom", "Tom"]
    assert all(f"{result['prompt']} {result['continuation']}".strip() == result["text"] for result in results)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert json.loads(run("generate", "Tom", *options)[1])["results"] == results[2:]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert json.loads(run("generate", "Tom", *options, "--seed", 1)[1])["results"] != results[2:]
    (tmp_path / "prompts.txt").write_text("Ada met\nTom\n")
    lines = [result["text"] for result in results]
    assert run("generate", "--prompts-file", tmp_path / "prompts.txt", *options[:-1])[1].splitlines() == lines
    typed(monkeypatch, "Ada met\nTom\n")
    assert run("generate", "--prompts-file", "-", *options[:-1])[1].splitlines() == lines


@beams
def test_generate_searches_and_lists(run, parts, folder):
    model, tokenizer = ElmoForCausalLM.from_pretrained(folder), parts[1]
    batch = tokenizer("Ada met", return_tensors="pt")
    for options, given in ((["--greedy"], {}), (["--beams", 3], {"num_beams": 3})):
        output = model.generate(**batch, max_new_tokens=4, **given)
        text = tokenizer.decode(output[0], skip_special_tokens=True)
        assert run("generate", "Ada met", "--max-words", 4, *options) == (0, f"{text}\n", "")
    (word, chance), *_ = next_words(*parts, "Ada met")
    assert run("generate", "Ada met", "--next-words", 2)[1].splitlines()[1].split()[:2] == [
        word,
        f"{2.718281828**chance:.3f}",
    ]
    report = json.loads(run("generate", "Ada met", "--previous-words", 2, "--json")[1])
    assert len(report["results"][0]["previous_words"]) == 2
    assert run("generate", "--max-words", 1)[0] == 0


def test_json_is_printed_as_it_comes(run, text, capsys, monkeypatch):
    printed = []

    def items():
        for number in range(3):
            printed.append(capsys.readouterr().out)
            yield {"number": number, "word": "Zürich"}

    print_object("items", items(), lambda: {"count": 3})
    assert [line.strip(",") for part in printed for line in part.split("\n")[1:]] == [
        json.dumps({"number": number, "word": "Zürich"}, ensure_ascii=False) for number in (0, 1)
    ]
    assert json.loads("".join([*printed, capsys.readouterr().out]))["items"][2] == {"number": 2, "word": "Zürich"}
    print_object("items", [], lambda: {"count": 0})
    assert json.loads(capsys.readouterr().out) == {"items": [], "count": 0}
    for command in (["score", text], ["substitutes", text], ["generate", "Ada", "Tom", "--max-words", 2]):
        lines = run(*command, "--json")[1].splitlines()
        assert [json.loads(line.rstrip(",")) for line in lines[1:-1]]
        assert len(lines) == 4


# ---- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "no.txt"], "no.txt: no such file"),
        (["substitutes", "text.txt", "--word", "Oslo"], "text.txt: no sentence has a word 'Oslo'"),
        (["substitutes", "text.txt", "--position", "9"], "text.txt: no sentence has a word of number 9"),
        (["substitutes", "text.txt", "--top-k", "0"], "--top-k must be at least 1, but is 0"),
        (["generate", "a", "--temperature", "0"], "--temperature must be above 0, but is 0: for no chance, --greedy"),
        (["generate", "a", "--top-p", "1.5"], "--top-p must be above 0 and at most 1, but is 1.5"),
        (["generate", "a", "--greedy", "--top-k", "3"], "--top-k: for sampling only; leave out --greedy"),
        (["generate", "a", "--greedy", "--samples", "2"], "--samples goes with sampling or --beams"),
        (["generate", "a", "--beams", "2", "--samples", "3"], "there are only 2 beams; give more of them"),
        (["generate", "a", "--prompts-file", "b"], "either as arguments or by --prompts-file, not both"),
        (["generate", "--prompts-file", "no.txt"], "no.txt"),
        (["generate", "a", "--seed", "-1"], "--seed must be at least 0"),
        (["score", "empty.txt"], "empty.txt: there is no sentence in it"),
        (["generate", "--prompts-file", "none.txt"], "--prompts-file none.txt: there is no prompt in it"),
    ],
)
def test_errors_are_one_line(run, text, monkeypatch, arguments, message):
    monkeypatch.chdir(text.parent)
    (text.parent / "empty.txt").write_text("\n")
    (text.parent / "none.txt").write_text("")
    code, printed, error = run(*arguments)
    assert (code, printed) == (2, "")
    assert error.startswith(f"hf-elmo {arguments[0]}: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_an_encoder_alone_is_refused(run, tmp_path, text):
    ElmoModel(toy_config(word_vocab_size=0)).save_pretrained(tmp_path / "encoder")
    ElmoTokenizer(max_characters_per_token=12).save_pretrained(tmp_path / "encoder")
    for command in (["score", text], ["substitutes", text], ["generate", "Ada"]):
        code, _, error = run(*command, model=tmp_path / "encoder")
        assert code == 2
        assert "has no softmax over words" in error
