"""Which masters count as insecure."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from worker.assembly import insecure_masters


@pytest.mark.parametrize(
    ("url", "insecure"),
    [
        ("http://localhost:5000", False),
        ("http://127.0.0.1:5000", False),
        ("http://127.8.9.1", False),
        ("http://[::1]:5000", False),
        ("https://10.9.0.10:5000", False),
        ("http://10.9.0.10:5000", True),
        ("http://127.attacker.example:5000", True),
        ("http://127.0.0.1.example", True),
        ("http://localhost.example:5000", True),
    ],
)
def test_plain_http_to_another_machine(url, insecure):
    found = insecure_masters(SimpleNamespace(masters=(url,)))
    assert [where for where, _ in found] == ([url] if insecure else [])
