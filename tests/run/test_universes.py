"""`multiverse`: a finished run in, curves and a page out; one universe by its id gives the same number."""

import json
import shutil

import pandas as pd
import pytest

from dlrs import multiverse
from dlrs.config import ROOT
from dlrs_run import pages, universes
from dlrs_site import intake


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The committed cohort as a run that has its probabilities."""
    folder = tmp_path_factory.mktemp("run")
    intake.stage(folder, "data_synthetic")
    intake.read_cohort(ROOT / "data_synthetic").patients.to_csv(folder / "interim" / "patients.csv", index=False)
    shutil.copy(ROOT / "data_synthetic" / "dl_prob.csv", folder / "interim")
    (folder / "results.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "multiverse"
    assert universes.main([f"--run={run}", f"--out={out}"]) == 0
    return out


@pytest.mark.slow
def test_the_page_and_every_universe(made):
    page = (made / "multiverse.html").read_text(encoding="utf-8")
    assert all(f"<h2>{title}</h2>" in page for title in universes.PARTS) and page.count("<img") == 5
    table = pd.read_csv(made / "tables" / "multiverse_universes.csv")
    assert len(table) >= 5000 and table["universe"].is_unique and table["paper"].sum() == 5
    entries = json.loads((made / "results.json").read_text(encoding="utf-8"))
    shares = table.groupby("conclusion")["holds"].mean()
    for name in multiverse.STATISTICS:
        assert entries[f"multiverse.holds.{name}"]["value"] == pytest.approx(shares[name])
    for path in (made / "tables").glob("*.html"):
        rows = pages.read_table(path).rows
        assert all("".join(column) for column in zip(*rows, strict=True)), path.name
    choices = pd.read_csv(made / "tables" / "multiverse_choices.csv")["level"]
    assert "out-of-fold" in set(choices)
    no_seeds = not list((ROOT / "runs").glob("bands/seed-*/interim/dl_prob.csv"))
    assert choices.str.startswith("other seeds: not run").sum() == no_seeds


@pytest.mark.slow
def test_one_universe_by_its_id(made, run, capsys):
    table = pd.read_csv(made / "tables" / "multiverse_universes.csv").dropna(subset=["p"])
    for row in table.sample(3, random_state=1).itertuples():
        assert universes.main([f"--run={run}", f"--universe={row.universe}"]) == 0
        said = capsys.readouterr().out
        assert row.universe in said and f"{row.estimate:.3f}" in said
        assert ("it holds" in said) == row.holds


def test_what_is_wrong_is_one_sentence(run, capsys, tmp_path):
    row = multiverse.universes(multiverse.read(), "divides")["universe"][0]
    version = multiverse.read().version
    wrong = {f"--universe={row.replace(version, 'old123')}": "is of version old123", "--universe=what": "is named"}
    for word, said in wrong.items():
        assert universes.main([f"--run={run}", word]) == 1
        assert said in (text := capsys.readouterr().err) and len(text.splitlines()) == 1
    assert universes.main([f"--run={run}", "--also=seed"]) == 2
    (tmp_path / "other.txt").write_text("something")
    assert universes.main([f"--run={run}", f"--out={tmp_path}"]) == 2
