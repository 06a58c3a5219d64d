"""Who may import whom: the contracts of .importlinter, and what they cannot see."""

import ast
import json
import pkgutil
import re
import subprocess
import sys

import pytest

import dlrs
import dlrs.stats
from dlrs.config import ROOT

SOURCES = sorted((ROOT / "src").rglob("*.py"))
STATS = [f"dlrs.stats.{module.name}" for module in pkgutil.iter_modules(dlrs.stats.__path__)]
TOP = [f"dlrs.{module.name}" for module in pkgutil.iter_modules(dlrs.__path__) if not module.ispkg]
NETWORKS = {"torch", "torchvision", "monai"}
ALLOWED = {"11_validation.ipynb": {"dlrs_site.release"}}  # what a notebook may import of ours beside dlrs
USED = ["papermill", "torch", "torchvision", "monai", "lifelines", "sksurv", "seaborn", "statsmodels"]


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports inside a package are written out: from dlrs.stats import ..."
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def notebooks_code():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path.name, "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


NOTEBOOKS = [*notebooks_code()]


def loaded_by(modules: list[str]) -> set[str]:
    """What is loaded once these modules are imported, in a fresh Python."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(run.stdout.split())


def test_the_contracts_hold(capsys):
    from importlinter.cli import lint_imports

    broken = lint_imports(config_filename=str(ROOT / ".importlinter"), no_cache=True, no_logo=True)
    assert not broken, capsys.readouterr().out


def test_every_module_has_its_place_in_the_design_and_in_the_contract():
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in design.splitlines() if line.startswith("| `")]
    named = {name.rsplit("/")[-1] for row in rows for name in re.findall(r"`([\w/]+)`", row)}
    assert {path.stem for path in SOURCES} - {"__init__"} == named
    contract = (ROOT / ".importlinter").read_text(encoding="utf-8").split("forbidden_modules")[1].split("[")[0]
    listed = set(re.findall(r"dlrs\.\w+", contract))
    folders = {f"dlrs.{module.name}" for module in pkgutil.iter_modules(dlrs.__path__) if module.ispkg}
    assert listed == {*TOP, *folders} - {"dlrs.stats"}


@pytest.mark.parametrize(("name", "code"), NOTEBOOKS, ids=[name for name, _ in NOTEBOOKS])
def test_a_notebook_imports_dlrs_alone(name, code):
    ours = {module for module in imported(ast.parse(code)) if module.split(".")[0] in ("dlrs_site", "dlrs_run")}
    assert ours <= ALLOWED.get(name, set())


def test_the_statistics_load_nothing_else_of_ours():
    ours = {name for name in loaded_by(STATS) if name.split(".")[0] in ("dlrs", "dlrs_site", "dlrs_run")}
    assert ours == {"dlrs", "dlrs.stats", *STATS}


def test_neither_networks_nor_images_are_loaded_outside_their_room():
    assert not loaded_by(STATS + TOP) & (NETWORKS | {"nibabel", "pydicom"})


def test_notebooks_of_the_statistics_do_not_import_torch():
    for name, code in NOTEBOOKS:
        heavy = {module.split(".")[0] for module in imported(ast.parse(code))} & NETWORKS
        assert not heavy or name[:2] in {"02", "03", "08", "09"}, name


@pytest.mark.parametrize("library", USED)
def test_each_library_is_really_used(library):
    """A library counts as used when something imported from it is used, in the package or in a notebook."""
    code = [*(path.read_text(encoding="utf-8") for path in SOURCES), *(text for _, text in NOTEBOOKS)]
    for text in code:
        tree = ast.parse(text)
        bound = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                bound |= {(a.asname or a.name).split(".")[0] for a in node.names if a.name.split(".")[0] == library}
            elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == library:
                bound |= {a.asname or a.name for a in node.names}
        if bound & {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}:
            return
    raise AssertionError(f"nothing uses {library}")


def test_jupyterlab_is_used_by_lab():
    tree = ast.parse((ROOT / "run.py").read_text(encoding="utf-8"))
    lab = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "lab")
    assert "jupyterlab" in {node.value for node in ast.walk(lab) if isinstance(node, ast.Constant)}
    asked = [sys.executable, "-m", "jupyterlab", "--version"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
