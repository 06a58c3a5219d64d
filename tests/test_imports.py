"""Who may import whom: the floors of the package, and where torch may come in."""

import ast
import json
import subprocess
import sys

import pytest

from dlrs.config import ROOT

FLOORS = [
    {"config", "resample", "checks", "scan", "dicom"},
    {"nifti"},
    {"cohort", "images", "survival", "groups"},
    {"simulate", "train", "explain", "metrics", "calibration", "reclassification", "decision", "nomogram", "competing"},
    {"doctor", "release", "plots", "report", "audit", "studies", "chain", "page", "calculator", "privacy"},
    {"execute", "expected", "stages", "controls"},  # what starts and watches the others
]
HEAVY = {"torch", "torchvision", "monai"}
MAY_TRAIN = {"images", "train", "explain"}
SOURCES = sorted((ROOT / "src" / "dlrs").glob("*.py"))
USED = ["papermill", "torch", "torchvision", "monai", "lifelines", "sksurv", "seaborn", "statsmodels"]


def imported(tree: ast.AST) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports inside the package are written out: from dlrs import ..."
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def floor_of(module: str) -> int:
    found = [number for number, modules in enumerate(FLOORS) if module in modules]
    assert len(found) == 1, f"{module} has no floor: give it one here and in the design"
    return found[0]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_module_imports_from_lower_floors_only(source):
    if source.stem == "__init__":
        return
    names = {path.stem for path in SOURCES}
    mine = floor_of(source.stem)
    for name in imported(ast.parse(source.read_text(encoding="utf-8"))):
        other = name.removeprefix("dlrs.").split(".")[0]
        if name.startswith("dlrs.") and other in names:
            assert floor_of(other) < mine, f"{source.stem} imports {other} of floor {floor_of(other)}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_torch_and_monai_are_imported_where_images_and_networks_are(source):
    found = {name.split(".")[0] for name in imported(ast.parse(source.read_text(encoding="utf-8")))}
    assert source.stem in MAY_TRAIN or not found & HEAVY


def test_importing_everything_else_brings_neither_torch_nor_monai():
    others = ", ".join(f"dlrs.{path.stem}" for path in SOURCES if path.stem not in {*MAY_TRAIN, "__init__"})
    code = f"import sys, {others}; print([name for name in {sorted(HEAVY)} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout.strip() == "[]"


def test_the_statistics_bring_no_reader_of_images():
    """Only the check of a hospital's folder needs them at once; everything else imports them where it reads a file."""
    others = ", ".join(f"dlrs.{path.stem}" for path in SOURCES if path.stem not in {"train", "doctor", "__init__"})
    readers = ["nibabel", "pydicom", "highdicom"]
    code = f"import sys, {others}; print([name for name in {readers} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout.strip() == "[]"
    for name, text in notebooks_code():
        top = [node for node in ast.parse(text).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert not {module.split(".")[0] for node in top for module in imported(node)} & set(readers), name


def notebooks_code():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path.name, "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


def test_notebooks_of_the_statistics_do_not_import_torch():
    for name, code in notebooks_code():
        heavy = {module.split(".")[0] for module in imported(ast.parse(code))} & HEAVY
        assert not heavy or name[:2] in {"02", "03", "08", "09"}, name


@pytest.mark.parametrize("library", USED)
def test_each_library_is_really_used(library):
    """A library counts as used when something imported from it is used, in the package or in a notebook."""
    code = [*(path.read_text(encoding="utf-8") for path in SOURCES), *(text for _, text in notebooks_code())]
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
    said = subprocess.run([sys.executable, "-m", "jupyterlab", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.strip()
