"""environment.yml says the same as uv.lock."""

import re
import tomllib
from importlib.metadata import distributions

import pytest
import yaml
from packaging.markers import Marker, default_environment

from dlrs.config import ROOT


def lock():
    packages = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    return {(package["name"], package["version"]) for package in packages if "registry" in package["source"]}


def pins():
    """Return (name, version, marker) of every pin below pip."""
    *_, below_pip = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    found = [re.fullmatch(r"([a-z0-9._-]+)==([^ ;]+)(?: ; (.+))?", line) for line in below_pip["pip"][1:]]
    assert all(found) and below_pip["pip"][0] == "-e ."
    return [match.groups() for match in found]


def test_conda_gives_python_and_pip_and_the_lock_the_rest():
    content = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert [part if isinstance(part, str) else [*part] for part in content["dependencies"]] == [
        "python=3.11", "pip", ["pip"],
    ]  # fmt: skip
    assert content["channels"] == ["conda-forge"] and "prefix" not in content


def test_every_version_is_the_locks():
    remedy = "write it anew with `python3 run.py environment`"
    assert {(name, version) for name, version, _ in pins()} == lock(), remedy


def test_the_start_of_notebooks_and_of_monai_pays_for_no_grammar_of_web_addresses():
    assert "jsonschema" in dict(lock()) and "rfc3987-syntax" not in dict(lock())


def test_where_the_lock_forks_one_version_applies():
    for python in ("3.11.2", "3.11.9", "3.12.4", "3.13.1"):
        for system, machine in (("linux", "x86_64"), ("darwin", "arm64")):
            place = {
                **default_environment(),
                "python_full_version": python,
                "python_version": python[:4],
                "sys_platform": system,
                "platform_machine": machine,
            }
            names = [name for name, _, marker in pins() if marker is None or Marker(marker).evaluate(place)]
            assert len(names) == len(set(names)) and {"torch", "scipy", "lifelines"} <= set(names)
            assert ("triton" in names) == (system == "linux")


@pytest.mark.imaging
def test_the_environment_of_this_test_is_the_locks():
    here = {re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower(): d.version for d in distributions()}
    wanted = {name: version for name, version, marker in pins() if marker is None or Marker(marker).evaluate()}
    assert {name: here.get(name) for name in wanted} == wanted
