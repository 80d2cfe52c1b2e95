"""The wheel and the source distribution: complete, clean, and at work away from the checkout."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from fresh_process import REPOSITORY, run_python

setuptools = pytest.importorskip("setuptools", "77", reason="building needs setuptools 77 or newer")

# Builds what the project's own build-system section names, without a network.
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
SOURCES = "pyproject.toml README.md LICENSE hf_elmo hf_elmo_command.py conversion tests run.py model_card.md".split()


def build(what: str, source: Path, output: Path) -> Path:
    """The file that `build_wheel` or `build_sdist` makes of the sources."""
    output.mkdir(exist_ok=True)
    command = [sys.executable, "-c", BUILD, what, str(output)]
    process = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    return output / process.stdout.split()[-1]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, Path]:
    """The wheel and the source distribution of a copy of this checkout, and the wheel made of the latter."""
    folder = tmp_path_factory.mktemp("packaging")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in SOURCES:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, checkout)
    sdist = build("build_sdist", checkout, folder / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    unpacked = folder / "unpacked" / sdist.name.removesuffix(".tar.gz")
    return {
        "sdist": sdist,
        "wheel": build("build_wheel", checkout, folder / "wheel"),
        "wheel of sdist": build("build_wheel", unpacked, folder / "again"),
    }


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.slow
def test_wheel_holds_the_package_and_its_console_script_and_nothing_else(built):
    names = contents(built["wheel"])
    expected = {"hf_elmo_command.py"} | {
        f"hf_elmo/{path.relative_to(REPOSITORY / 'hf_elmo').as_posix()}"
        for path in (REPOSITORY / "hf_elmo").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    expected |= {f"hf_elmo/conversion/{path.name}" for path in (REPOSITORY / "conversion").glob("*.py")}
    expected.add("hf_elmo/conversion/catalogue.json")
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith("/licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_wheels_of_checkout_and_source_distribution_are_alike(built):
    assert contents(built["wheel of sdist"]) == contents(built["wheel"])
    with tarfile.open(built["sdist"]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"README.md", "LICENSE", "pyproject.toml", "conversion/__init__.py"} <= names


@pytest.mark.slow
@pytest.mark.parametrize("what", ["wheel", "sdist"])
def test_pip_installs_what_works_away_from_the_checkout(built, what, tmp_path):
    """The modules come from where pip put them, and the command does the main job there, conversion included."""
    installed = tmp_path / "installed"
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(installed)]
    run_python("-m", "pip", "--disable-pip-version-check", "install", *options, built[what], home=tmp_path, anew=True)
    away = {"home": tmp_path, "PYTHONPATH": str(installed)}
    script = "import hf_elmo, hf_elmo.conversion; print(hf_elmo.__file__, hf_elmo.conversion.__file__, sep='\\n')"
    for line in run_python("-c", script, **away).stdout.split():
        assert Path(line).is_relative_to(installed)
    if what == "wheel":
        process = run_python(installed / "bin" / "hf-elmo", "demo", "--output", tmp_path / "elmo", **away)
        assert "last_hidden_state" in process.stdout
        made = {path.name for path in (tmp_path / "elmo").iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer_config.json", "README.md"} <= made
