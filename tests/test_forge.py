"""What a forge and a visitor meet first: links, citation, hooks and the workflow say what is so."""

import argparse
import importlib.util
import json
import os
import re
import shlex
import tomllib
from datetime import date
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from dlrs.config import ROOT, published

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "notebooks/README.md",
    "reports/deviations.md",
    "reports/nomogram.html",
]
PERSON, ENTITY = (
    {"family-names", "given-names", "orcid", "affiliation", "email"},
    {"name", "website", "orcid", "date-start"},
)


def read_yaml(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def links(name: str) -> tuple[list[str], str]:
    """Return a page's links and its text without code."""
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".html"):
        return re.findall(r"""(?:href|src)=["']([^"']+)["']""", text), text
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)]+)\)", text), text


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    found, text = links(name)
    for link in [*found, *re.findall(r"https?://[^\s)<>\"']+", text)]:
        parts = urlsplit(link)
        if parts.scheme in ("http", "https"):
            assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.hostname or ""), link
            assert not re.search(r"[\s<>\"{}|\\^`]", link), link
        elif parts.scheme:
            assert parts.scheme in ("data", "mailto"), link
        elif parts.path:
            assert (ROOT / name).parent.joinpath(unquote(parts.path)).exists(), f"{name} links to {link}"
        else:
            headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert parts.fragment in slugs, f"{name} links to {link}"


def test_the_readme_leads_to_what_else_there_is():
    found, _ = links("README.md")
    assert {"PARITY.md", "CONTRIBUTING.md", "reports/nomogram.html"} <= set(found)


def test_the_citation_is_one_that_tools_can_read():
    """Keys and types of schema 1.2.0 (https://github.com/citation-file-format), as far as the file uses them."""
    cited = read_yaml("CITATION.cff")
    known = {"cff-version", "message", "type", "title", "abstract", "version", "date-released", "license", "authors"}
    known |= {"keywords", "references", "repository-code", "url", "doi"}
    assert {"cff-version", "message", "title", "authors"} <= set(cited) <= known
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    texts = {"message", "title", "abstract", "version", "license"} & set(cited)
    assert all(isinstance(cited[key], str) and cited[key].strip() for key in texts)
    assert isinstance(cited.get("date-released", date.today()), date)
    assert len(set(cited["keywords"])) == len(cited["keywords"]) and all(isinstance(k, str) for k in cited["keywords"])
    (paper,) = cited["references"]
    for author in [*cited["authors"], *paper["authors"]]:
        assert set(author) <= (ENTITY if "name" in author else PERSON) and all(
            isinstance(v, str) for v in author.values()
        )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert {"authors", "title", "type"} <= set(paper) and isinstance(paper["start"], str)
    said = published()["citation"]
    assert paper["doi"] == said["doi"] and re.fullmatch(r"10\.\d{4,}/\S+", paper["doi"])
    assert f"{paper['journal']} {paper['volume']} ({paper['year']}) {paper['start']}" == said["journal"]
    assert read_yaml("codecheck.yml")["paper"]["title"] == paper["title"]


def test_the_hooks_are_the_checks_of_run_py_test(monkeypatch):
    spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    checked = []
    monkeypatch.setattr(run, "call", lambda *words, **_: checked.append(words) or 0)
    run.test(argparse.Namespace(rest=[], quick=False, all=False))
    wanted = {" ".join(word for word in words if word != "." and not word.endswith(".ipynb")) for words in checked}
    (local,) = read_yaml(".pre-commit-config.yaml")["repos"]
    hooks = {
        " ".join(shlex.split(hook["entry"].replace(" --force-exclude", "").removeprefix(".venv/bin/")))
        for hook in local["hooks"]
    }
    assert len(wanted) == 4 and hooks == wanted
    assert local["repo"] == "local" and {hook["language"] for hook in local["hooks"]} == {"system"}


def commands_of(job) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_the_workflow_runs_the_readmes_two_commands_and_the_check():
    job = read_yaml(".github/workflows/ci.yml")["jobs"]["full"]
    by_hand = Path(ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert commands_of(job) == re.findall(r"^python3 run\.py.*$", by_hand, flags=re.MULTILINE)
    front = re.search(r"```\n((?:python3 run\.py \w+\n){2})```", (ROOT / "README.md").read_text(encoding="utf-8"))[1]
    assert set(front.split("\n")[:2]) <= {command.removesuffix(" --all") for command in commands_of(job)}
    assert "python3 run.py test --all" in commands_of(job)
    assert job["env"]["DLRS_BROWSER"] == "required" and "DLRS_BROWSER=required" in by_hand


def test_the_quick_job_needs_no_torch_and_runs_on_every_python_and_system_that_is_promised():
    workflow = read_yaml(".github/workflows/ci.yml")
    quick, full = (workflow["jobs"][name] for name in ("quick", "full"))
    assert commands_of(quick) == ["python3 run.py statistics", "python3 run.py check"]
    matrix = quick["strategy"]["matrix"]
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    (low, high) = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", needs).groups()
    assert matrix["python"] == [f"3.{minor}" for minor in range(int(low), int(high))]
    assert {system.split("-")[0] for system in matrix["system"]} == {"ubuntu", "macos"}
    uses = [step for job in (quick, full) for step in job["steps"] if "uses" in step]
    assert all("@" in step["uses"] for step in uses)
    cached = [step["with"] for step in uses if step["uses"].startswith("astral-sh/setup-uv")]
    assert [each["enable-cache"] for each in cached] == [True, True]
    assert len({each["cache-suffix"] for each in cached}) == 2  # one with torch, one without
    assert len(workflow[True]["schedule"]) == 1  # YAML 1.1 reads `on` as true


def test_containers_are_built_from_the_lock_by_run_py():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert container["postCreateCommand"] == "python3 run.py statistics" and container["image"].endswith(":3.11")
    build = (ROOT / ".binder" / "postBuild").read_text(encoding="utf-8")
    assert os.access(ROOT / ".binder" / "postBuild", os.X_OK) and "\npython3 run.py statistics\n" in build
    assert (ROOT / ".binder" / "runtime.txt").read_text(encoding="utf-8") == "python-3.11\n"
    docker = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = re.search(r"^COPY (.*) \./$", docker, flags=re.MULTILINE)[1].split()
    assert {"pyproject.toml", "uv.lock", "run.py"} <= set(copied) and all((ROOT / name).is_file() for name in copied)
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    assert set(re.findall(r"'(\w+)'", docker)) == {"io", "imaging"} <= set(groups)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".venv", "runs", "data_synthetic/images"} <= set(ignored) and not set(ignored) & set(copied)
