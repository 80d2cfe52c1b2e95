"""Write requirements/pyXY.txt: exact versions of all that hf_elmo and its extras need, for each supported Python.

Run it by `python3 run.py lock`. pip resolves everything once for each Python, without installing; the files are
constraints, so that one file serves all platforms: what a platform does not need is not installed there.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
BUILD = ["setuptools-scm"]  # packages that come as sources only are built with it
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
# Platforms whose markers count; pip itself evaluates them for the machine that it runs on.
PLATFORMS = (
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch", metavar="VERSION", help="this version of torch, not the newest")
    parser.add_argument("--python", nargs="+", default=PYTHONS, metavar="3.X", help="only for these versions of Python")
    arguments = parser.parse_args()
    wanted = declared() + BUILD
    if arguments.torch:
        # `===` takes the build of the package index, whose metadata name what a build with CUDA needs.
        wanted.append(f"torch==={arguments.torch}")
    sources = source_only(wanted)
    for python in arguments.python:
        versions = resolve(wanted, python, sources)
        lines = [f"{name}=={version}" for name, version in sorted(versions.items())]
        header = f"# All that hf_elmo and its extras need with Python {python}. Renew by: python3 run.py lock"
        path = ROOT / "requirements" / f"py{python.replace('.', '')}.txt"
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {len(lines)} packages", flush=True)
    return 0


def declared() -> list[str]:
    """Return the requirements of pyproject.toml: of the package, of all its extras, and of its build."""
    import tomllib  # Python 3.11 and newer

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    listed = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    return listed + [line for lines in extras for line in lines]


def report(*arguments: str) -> list[dict]:
    """Return what pip would install, an entry for each package, with its metadata."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        options = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(path)]
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *options, *arguments]
        subprocess.run(command, check=True)
        return json.loads(path.read_text(encoding="utf-8"))["install"]


def source_only(wanted: list[str]) -> dict[str, dict]:
    """Return the packages that have no wheel, with their metadata: pip resolves them for its own Python only."""
    entries = report(*wanted)
    return {name_of(entry): entry for entry in entries if not entry["download_info"]["url"].endswith(".whl")}


def resolve(wanted: list[str], python: str, sources: dict[str, dict]) -> dict[str, str]:
    """Return the version of each package for one version of Python."""
    versions = {name: entry["metadata"]["version"] for name, entry in sources.items()}
    wanted = [line for line in wanted if canonicalize_name(Requirement(line).name) not in sources]
    wanted += [line for entry in sources.values() for line in entry["metadata"].get("requires_dist", [])]
    waiting, entries = [bare(line) for line in wanted if applies(line, python)], []
    while waiting:
        options = ["--python-version", python, "--only-binary=:all:", "--target", "unused"]
        entries = report(*options, *waiting)
        found = {name_of(entry) for entry in entries}
        # What another platform, or this Python and not pip's own, needs besides.
        more = {
            bare(line)
            for entry in entries
            for line in entry["metadata"].get("requires_dist", [])
            if applies(line, python) and canonicalize_name(Requirement(line).name) not in found
        }
        if not more:
            break
        waiting = waiting + sorted(more)
    return versions | {name_of(entry): entry["metadata"]["version"] for entry in entries}


def name_of(entry: dict) -> str:
    return canonicalize_name(entry["metadata"]["name"])


def bare(line: str) -> str:
    """Return a requirement without its marker, which pip would evaluate for the machine and Python it runs on."""
    requirement = Requirement(line)
    requirement.marker = None
    return str(requirement)


def applies(line: str, python: str) -> bool:
    """Return whether a requirement counts with this Python on any platform, extras aside."""
    marker = Requirement(line).marker
    base = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    return marker is None or any(marker.evaluate({**base, **platform}) for platform in PLATFORMS)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"renew.py: this command failed: {' '.join(map(str, error.cmd))}")
