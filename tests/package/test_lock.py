"""`requirements/`: exact versions of all that the package and its extras need, directly or not, for each Python."""

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = sorted((REPOSITORY / "requirements").glob("py3*.txt"))


def pins(lock: Path) -> dict[str, str]:
    lines = lock.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def declared() -> list[Requirement]:
    """Return the requirements in pyproject.toml: of the package and of all its extras."""
    distribution = importlib.metadata.distribution("hf-elmo")
    return [Requirement(line) for line in distribution.requires]


def test_every_supported_python_has_a_lock():
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    pythons = re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', project)
    assert {lock.stem for lock in LOCKS} == {f"py3{minor}" for minor in pythons}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_fixes_every_requirement_within_its_bounds(lock):
    versions = pins(lock)
    for requirement in declared():
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is locked at {version}"


def test_the_lock_of_this_python_names_what_is_needed_indirectly(request):
    """Of what is installed: the requirements of requirements, for this platform, without their extras."""
    if request.config.getoption("--unlocked"):
        pytest.skip("other versions are installed than those locked, which may need other packages")
    locked = pins(REPOSITORY / "requirements" / f"py{sys.version_info.major}{sys.version_info.minor}.txt")
    waiting, seen = [requirement.name for requirement in declared()], set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            lines = importlib.metadata.distribution(name).requires or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of an extra that is not installed
        requirements = [Requirement(line) for line in lines]
        waiting += [each.name for each in requirements if not each.marker or each.marker.evaluate({"extra": ""})]
    assert seen <= locked.keys()


def test_the_lowest_versions_are_those_of_the_project():
    lowest = pins(REPOSITORY / "requirements" / "lowest.txt")
    for requirement in declared():
        if requirement.marker is None:  # of the package itself, not of an extra
            (bound,) = requirement.specifier
            assert bound.operator == ">="
            assert re.fullmatch(rf"{re.escape(bound.version)}(\.0)*", lowest.pop(canonicalize_name(requirement.name)))
    assert not lowest
