"""The README and the pages of the documentation: every block is run as printed, in order, in a clone after the demo."""

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import Block, Session, blocks_of, clone

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
def demonstrated(tmp_path_factory) -> tuple[Path, str]:
    """A clone in which the first block of the README was run, for real, and what it printed.

    It brings a command `hf-elmo` that starts.
    """
    folder = clone(REPOSITORY, tmp_path_factory.mktemp("pages") / "clone")
    session = Session(folder, **OFFLINE)
    printed = session.run(blocks_of(README)[0])
    assert session.run(Block("sh", "command -v hf-elmo; hf-elmo --help\n", None)).startswith(f"{folder / '.venv'}")
    session.close()
    return folder, printed


@contextlib.contextmanager
def serving(clone, folder, what):
    """Fork commands of the clone from one process for each call; see helpers/command_server.py."""
    command = [clone / ".venv" / "bin" / "python", HELPERS / "command_server.py", folder, what]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, **OFFLINE, "OMP_NUM_THREADS": "1"}, **pipes) as server:
        assert server.stdout.readline() == "ready\n"
        yield folder
        server.stdin.close()


@pytest.fixture(scope="module")
def commands(demonstrated, tmp_path_factory):
    """A folder with `hf-elmo` and `python` that take no time to import, while the tests of this module run."""
    with serving(demonstrated[0], tmp_path_factory.mktemp("commands"), "package") as folder:
        yield folder


@pytest.fixture(scope="module")
def interpreter(demonstrated, tmp_path_factory):
    """An interpreter that has torch imported, and the package not: a block that forgets its import fails."""
    with serving(demonstrated[0], tmp_path_factory.mktemp("interpreter"), "libraries") as folder:
        yield folder / "python"


@pytest.fixture
def session(demonstrated, commands, interpreter):
    """A shell after the first block of the README, whose last line activates the environment.

    Commands are forks of one, and so is what runs the Python blocks.
    """
    session = Session(demonstrated[0], **OFFLINE)
    activate = blocks_of(README)[0].code.splitlines()[-1]
    session.run(Block("sh", f"{activate}\n", None))
    path = f"'{commands}':$PATH:'{Path(sys.executable).parent}'"  # the last: accelerate
    session.run(Block("sh", f"PATH={path}\n", None))
    session.interpreter = interpreter
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
def test_the_demo_prints_the_similarities_of_the_readme(demonstrated):
    (table,) = (block.code for block in blocks_of(README) if block.language == "text")
    assert [line.strip() for line in table.splitlines()] == [
        line.strip() for line in demonstrated[1].splitlines() if re.match(r" +[ -]\d\.\d\d  ", line)
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
