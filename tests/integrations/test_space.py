"""The Gradio Space in `space/`: put together as its README says, started, and looked at in a real browser."""

import importlib.metadata
import importlib.util
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from browser import MISSING, Browser
from pages import blocks_of
from toy_tasks import save_tagger
from transformers import pipeline

REPOSITORY = Path(__file__).resolve().parents[2]
SPACE = REPOSITORY / "space"
FRONT_MATTER = re.match(r"---\n(.*?)---\n", (SPACE / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
SETTINGS = dict(line.split(": ", 1) for line in FRONT_MATTER.splitlines())
PLANTS = ["The plant grows in the garden .", "She waters the plant .", "The plant makes cars ."]


def test_the_settings_are_those_of_the_package():
    """The Hub installs the listed packages, and the package itself lies beside the app."""
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    needed = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)[1]
    needed += re.search(r"^space = \[(.*?)\]", project, re.MULTILINE)[1]
    listed = (SPACE / "requirements.txt").read_text(encoding="utf-8").split()
    assert sorted(listed) == sorted(re.findall(r'"([^"]+)"', needed))
    lock = REPOSITORY / "requirements" / f"py{SETTINGS['python_version'].strip(chr(34)).replace('.', '')}.txt"
    assert f"gradio=={SETTINGS['sdk_version']}" in lock.read_text(encoding="utf-8").splitlines()
    assert (SPACE / SETTINGS["app_file"]).is_file()
    assert len(SETTINGS["short_description"]) <= 60  # what the Hub accepts


def module_of_app() -> ModuleType:
    spec = importlib.util.spec_from_file_location("space_app", SPACE / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def app():
    """The module of the app, with the model in the package and without a tagger."""
    needs = "needs gradio 6 and matplotlib: pip install '.[space]'"
    if not all(map(importlib.util.find_spec, ("gradio", "matplotlib"))):
        pytest.skip(needs)
    if int(importlib.metadata.version("gradio").split(".")[0]) < 6:
        pytest.skip(needs)
    assert not {"ELMO_MODEL", "ELMO_TAGGER"} & set(os.environ)
    return module_of_app()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "problem"),
    [("ELMO_MODEL", "a model of ElmoForPreTraining or ElmoForMaskedLM is needed"), ("ELMO_TAGGER", "/no/such")],
)
def test_models_that_cannot_be_shown_end_the_app_in_one_line(app, tagger, monkeypatch, variable, problem):
    """A head that was not trained would give labels at random."""
    monkeypatch.setenv(variable, tagger if variable == "ELMO_MODEL" else "/no/such")
    with pytest.raises(SystemExit, match=problem) as end:
        module_of_app()
    assert "\n" not in str(end.value)


@pytest.mark.slow
def test_without_a_tagger_the_tab_says_what_to_do(app):
    shown = [block.value for block in app.page().blocks.values() if isinstance(block, app.gr.Markdown)]
    assert app.NO_TAGGER in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "inputs", "problem"),
    [
        (
            "sense_map",
            ("plant", "The plant grows .\n\nNo such word ."),
            "sentence 2 has no word 'plant': No such word .",
        ),
        ("sense_map", ("plant", "The plant grows ."), "at least two sentences with 'plant'"),
        ("sense_map", ("plant", "The plant grows .\n" * 51), "at most 50 sentences are shown, but there are 51"),
        ("fill", ("no blank",), r"write \[MASK\] once"),
        ("fill", ("[MASK] and [MASK]",), r"write \[MASK\] once"),
    ],
)
def test_inputs_that_cannot_be_shown(app, function, inputs, problem):
    with pytest.raises(app.gr.Error, match=problem):
        getattr(app, function)(*inputs)


@pytest.mark.slow
def test_the_map_has_a_panel_for_each_layer_and_names_neighbors(app):
    figure, rows = app.sense_map(" Plant ", "\n".join([*PLANTS, PLANTS[0]]))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["layer 0", "layer 1", "layer 2", "mix"]
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes[1:]] == [["1", "2", "3", "4"]] * 3
    assert "one vector" in figure.axes[0].texts[0].get_text()
    assert rows[0] == [1, "The [plant] grows in the garden .", 4, 4, 4]  # a sentence that is there twice
    assert [row[1] for row in rows[1:3]] == ["She waters the [plant] .", "The [plant] makes cars ."]


# ---- In a browser


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    return str(save_tagger(tmp_path_factory.mktemp("tagger")))


@pytest.fixture(scope="module")
def browser(tmp_path_factory, app, tagger):
    """A browser at the page of the app, which runs as a process, from the folder that the README uploads."""
    if MISSING:
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("space")
    assemble = next(block.code for block in blocks_of(SPACE / "README.md") if "cp -r space upload" in block.code)
    subprocess.run(["bash", "-e", "-c", assemble.replace("upload", str(folder / "upload"))], cwd=REPOSITORY, check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {"GRADIO_SERVER_PORT": port, "GRADIO_SERVER_NAME": "127.0.0.1", "HF_HUB_OFFLINE": "1"}
    environment = {**os.environ, **environment, "ELMO_TAGGER": tagger, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen([sys.executable, "-u", "app.py"], cwd=folder / "upload", env=environment, **pipes)
    try:
        printed = []
        for line in process.stdout:
            printed.append(line)
            if "Running on local URL" in line:
                break
        assert process.poll() is None, "".join(printed)
        visitor = Browser(folder)
        try:
            visitor.open(f"http://127.0.0.1:{port}")
            yield visitor
        finally:
            visitor.close()
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


def field(label: str) -> str:
    """Return the XPath of a text field."""
    return f"//label[contains(., '{label}')]//*[self::textarea or self::input]"


@pytest.mark.slow
def test_a_visitor_sees_senses_tags_and_words(browser, app, tagger):
    browser.wait("//*[contains(text(), 'Willows grew on the muddy [bank] .')]")  # shown before anything is clicked
    picture = "return document.querySelector('[data-testid=matplotlib] img').src"
    before = browser.script(picture)
    browser.fill(field("Word"), "plant")
    browser.fill(field("Sentences with it"), "\n".join(PLANTS))
    browser.click("//button[normalize-space()='Map']")
    browser.wait("//*[contains(text(), 'The [plant] makes cars .')]")
    assert browser.script(picture) != before
    assert browser.script("return document.querySelector('[data-testid=matplotlib] img').naturalWidth") > 400

    browser.click("//button[@role='tab'][normalize-space()='Tagger']")
    text = "Ada met Max in Rome . Tom left ."
    browser.fill(field("Text"), text)
    browser.click("//button[normalize-space()='Tag']")
    expected = pipeline("token-classification", model=tagger, aggregation_strategy="simple")(text)
    assert expected
    marks = "return [...document.querySelectorAll('.token.highlighted')].map(one => one.innerText.trim())"
    browser.wait("//*[contains(@class, 'token') and contains(@class, 'highlighted')]")
    assert [mark.split() for mark in browser.script(marks)] == [
        [*text[entity["start"] : entity["end"]].split(), entity["entity_group"]] for entity in expected
    ]

    browser.click("//button[@role='tab'][normalize-space()='Fill-in']")
    browser.fill(field("Text with one"), "I went to the [MASK] .")
    browser.click("//button[normalize-space()='Fill in']")
    for word in app.filler("I went to the [MASK] .", top_k=10):
        browser.wait(f"//*[contains(@class, 'label')]//*[normalize-space()='{word['token_str']}']")
    browser.fill(field("Text with one"), "no blank")
    browser.click("//button[normalize-space()='Fill in']")
    browser.wait("//*[contains(text(), 'write [MASK] once')]")
