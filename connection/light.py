"""The HTTP library without the detection of charsets, which nothing here uses: 3 MiB, and a part of each start."""

from __future__ import annotations

import contextlib
import sys
import warnings

DETECTORS = ("chardet", "charset_normalizer")


def import_requests() -> None:
    """Import requests before anything else does. It warns that it found no detector, and takes text for UTF-8; its
    releases before 2.32 cannot do without, and are then imported with theirs by whoever is next.
    """
    absent = [name for name in DETECTORS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: an import fails
    try:
        with warnings.catch_warnings(), contextlib.suppress(ImportError):
            warnings.simplefilter("ignore")
            import requests  # noqa: F401
    finally:
        for name in absent:
            del sys.modules[name]
