"""The workflow's files are formatted as snakefmt does it."""

import importlib.util
import subprocess
import sys

import pytest

from dlrs.config import ROOT


@pytest.mark.skipif(not importlib.util.find_spec("snakefmt"), reason="snakefmt is not installed")
def test_the_workflow_is_formatted():
    command = [sys.executable, "-m", "snakefmt", "--check", "--diff", "--line-length", "120", "Snakefile", "workflow"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
