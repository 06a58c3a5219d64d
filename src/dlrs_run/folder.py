"""What a run's graph depends on in its cohort folder: found from the description and the table, never from an image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

NOT_TABLES = ("truth.csv", "dl_prob.csv", "alternatives.csv")


class Folder(NamedTuple):
    """A cohort folder as the workflow sees it."""

    path: Path
    tables: list[str]  # files that hold the patients
    cohorts: list[str]  # of primary and validation those that have patients
    synthetic: bool  # a stage renders the images; a hospital's own lie there already
    private: bool  # of class COHORT: a last stage looks for patients' names in what is to be shown
    variables: Mapping = {}  # of its table, by name


def trial(run_dir: Path) -> Folder:
    """Return the folder of a trial run, whose first stage writes a few synthetic patients into it."""
    path = run_dir / "cohort"
    return Folder(path, [str(path / "clinical.csv")], ["primary", "validation"], synthetic=True, private=False)


def look_at(path: Path, *, only: str | None = None, committed: bool = False) -> Folder:
    """Return what the graph needs to know of a cohort folder.

    Parameters
    ----------
    path
        The folder, with a `cohort.yaml`.
    only
        The cohort whose patients the run takes; the others are left out.
    committed
        The folder is the repository's own: it has both cohorts, and reading it would cost every start two seconds.

    Raises
    ------
    InputError
        If the description or the table cannot be used.
    """
    cohorts, variables = ["primary", "validation"], {}
    if only or not committed:
        from dlrs.cohort import columns, complete_cases
        from dlrs_site.intake import read_cohort

        found = read_cohort(path, only=only)
        variables = found.variables
        cohorts = sorted(complete_cases(found.patients, columns(variables, "covariate"))[0]["cohort"].unique())
    tables = sorted({*path.glob("*.csv"), *path.glob("*.xlsx")} - {path / name for name in NOT_TABLES})
    synthetic, private = (path / "truth.csv").is_file(), False
    if not synthetic:
        from dlrs_site.intake import read_class

        private = read_class(path) == "COHORT"
    return Folder(path, [str(table) for table in tables], cohorts, synthetic, private, variables)
