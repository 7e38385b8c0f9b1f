"""In processes of their own: what was imported once cannot be taken back."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.lab.workers import REPOSITORY

SAYS = """
import json, sys, warnings
warnings.simplefilter("error")
from connection import light
light.import_requests()
import requests
loaded = sorted(name for name in sys.modules if name.partition(".")[0] in light.DETECTORS)
import charset_normalizer
print(json.dumps([loaded, requests.__name__, charset_normalizer.__name__]))
"""


def said(*paths):
    done = subprocess.run(
        [sys.executable, "-c", SAYS],
        env={"PYTHONPATH": ":".join(map(str, (*paths, REPOSITORY)))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_detector_is_loaded_and_nothing_is_said_of_it():
    assert said() == [[], "requests", "charset_normalizer"]


@pytest.mark.parametrize("detector", ["chardet", "charset_normalizer"])
def test_a_release_that_cannot_do_without_one_has_it(tmp_path, detector):
    (tmp_path / "requests").mkdir()
    (tmp_path / "requests" / "__init__.py").write_text("from . import compat\n")
    (tmp_path / "requests" / "compat.py").write_text(f"import {detector}\n")
    (tmp_path / "chardet.py").touch()
    (tmp_path / "charset_normalizer.py").touch()
    assert said(tmp_path) == [[detector], "requests", "charset_normalizer"]
