"""The README and the pages of the documentation: every block is run as printed, in order, in a clone after the demo."""

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_server import CLIENT
from fresh_process import forking_python, python_with_transformers
from pages import Block, Session, blocks_of, borrow_packages, clone

from hf_elmo import cli

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
HELPERS = REPOSITORY / "tests" / "helpers"
DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
PAGES = [page for page in (README, *DOCS) if any(block.not_run is None for block in blocks_of(page))]
# pip finds everything installed, and is asked to build without fetching what a build needs.
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "HF_HUB_OFFLINE": "1", "PIP_CONFIG_FILE": "/dev/null"}


def name_of(page) -> str | None:
    return page.stem if isinstance(page, Path) else None


@pytest.fixture(scope="module")
def cloned(tmp_path_factory) -> Path:
    return clone(REPOSITORY, tmp_path_factory.mktemp("pages") / "clone")


@pytest.fixture(scope="module")
def commands(cloned, tmp_path_factory):
    """A folder with `hf-elmo`, `python` and `torchrun` that take no time to import, while the tests here run.

    They are forks of one process that has the package of the clone imported, and so is what `torchrun` launches; see
    helpers/command_server.py.
    """
    folder = tmp_path_factory.mktemp("commands")
    command = [forking_python(), HELPERS / "command_server.py", folder, "package"]
    environment = {**os.environ, **OFFLINE, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(cloned)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as server:
        assert server.stdout.readline() == "ready\n"
        client = {"python": sys.executable, "name": "python", "address": str(folder / "socket"), "package": False}
        torchrun = (
            f'#!/bin/sh\nPYTHON_EXEC="{folder}/launched" exec "{folder}/launched" -m torch.distributed.run "$@"\n'
        )
        for name, script in (("launched", CLIENT.format(**client)), ("torchrun", torchrun)):
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)
        subprocess.run([folder / "hf-elmo", "demo"], cwd=cloned, env=environment, check=True, capture_output=True)
        yield folder
        server.stdin.close()


@pytest.fixture
def session(cloned, commands):
    """A shell in a clone where the demo was run.

    What runs the Python blocks is a fork of a process that has transformers imported, and the package not: a block that
    forgets its import fails.
    """
    session = Session(cloned, **OFFLINE, PYTHONPATH=str(cloned), PYTHON_EXEC=str(commands / "launched"))
    session.run(Block("sh", f"PATH='{commands}':$PATH\n", None))
    session.interpreter = python_with_transformers()
    yield session
    session.close()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_runs_as_printed(page, session):
    """A page of docs/ starts where the README's first block ends. Its first line may name libraries that it needs.

    A block that needs one more library is left out where that is not installed.
    """
    needs = re.match(r"<!-- needs: (.+) -->", page.read_text(encoding="utf-8"))
    for library in needs[1].split(", ") if needs else ():
        pytest.importorskip(library)
    for block in blocks_of(page)[page == README :]:
        missing = block.needs is not None and importlib.util.find_spec(block.needs) is None
        if block.language in ("sh", "python") and block.not_run is None and not missing:
            session.run(block)


@pytest.mark.slow
def test_the_demo_prints_the_similarities_of_the_readme(tmp_path):
    """In a clone, by the first block of the README, for real. It brings a command `hf-elmo` that starts."""
    folder = clone(REPOSITORY, tmp_path / "clone")
    borrow_packages(folder)
    session = Session(folder, **OFFLINE)
    printed = session.run(blocks_of(README)[0])
    assert session.run(Block("sh", "command -v hf-elmo; hf-elmo --help\n", None)).startswith(f"{folder / '.venv'}")
    session.close()
    (table,) = (block.code for block in blocks_of(README) if block.language == "text")
    assert [line.strip() for line in table.splitlines()] == [
        line.strip() for line in printed.splitlines() if re.match(r" +[ -]\d\.\d\d  ", line)
    ]


def commands_of(page: Path) -> list[list[str]]:
    """Return the shell commands of a page that are not run, each as its words."""
    text = "\n".join(block.code for block in blocks_of(page) if block.language == "sh" and block.not_run)
    lines = re.sub(r"\s+#.*$", "", text.replace("\\\n", " "), flags=re.MULTILINE).splitlines()
    return [line.split() for line in lines if line.strip()]


def help_of(command: list[str], capsys) -> str:
    """Return the help of a command of the documentation, or the source of a script that reads its own options."""
    if command[0] == "hf-elmo":
        words = command[1:3] if command[1] == "train" else command[1:2]
    elif command[:2] == ["python", "-m"]:
        words = ["train", command[2].removeprefix("hf_elmo.training.")]
        words[1] = {"nli": "pairs"}.get(words[1], words[1])
    else:
        return (REPOSITORY / command[1]).read_text(encoding="utf-8")
    with contextlib.suppress(SystemExit):  # how argparse ends
        cli.main([*words, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("page", [README, *DOCS], ids=name_of)
def test_options_of_blocks_that_are_not_run_exist(page, capsys):
    for command in commands_of(page):
        if command[0] not in ("hf-elmo", "python", "python3"):
            continue
        options = {word for word in command if re.fullmatch(r"--[a-z][\w-]*", word)}
        text = help_of(command, capsys)
        assert not {option for option in options if not re.search(rf"{option}\b", text)}, command


@pytest.mark.parametrize("page", [README, *DOCS], ids=name_of)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.slow
def test_the_site_builds(tmp_path):
    """With every page, the API out of the docstrings, and the notebooks, which other tests run."""
    pytest.importorskip("nbclient")
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    site = tmp_path / "site"
    build(load_config(str(REPOSITORY / "mkdocs.yml"), site_dir=str(site), extra={"run_notebooks": False}))
    for notebook in (REPOSITORY / "docs" / "tutorials").glob("*.ipynb"):
        page = (site / "tutorials" / notebook.stem / "index.html").read_text(encoding="utf-8")
        assert f'href="../{notebook.name}"' in page  # for those who want to run it
        assert f"tutorials/{notebook.stem}/" in (site / "index.html").read_text(encoding="utf-8")
    for page in DOCS:
        folder = "" if page.stem == "index" else page.stem
        assert (tmp_path / "site" / folder / "index.html").is_file()
    models = (tmp_path / "site" / "api" / "models" / "index.html").read_text(encoding="utf-8")
    assert "ElmoForTokenClassification" in models
