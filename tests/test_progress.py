import io

import pytest

from story import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "patience_s", "drawn"),
    [(Terminal(), 0.0, True), (Terminal(), 60.0, False), (io.StringIO(), 0.0, False)],
    ids=["a terminal after a while", "a terminal at once", "a pipe"],
)
def test_a_bar_is_drawn_on_a_terminal_once_it_has_lasted(monkeypatch, stream, patience_s, drawn):
    monkeypatch.setattr(progress, "PATIENCE_S", patience_s)
    monkeypatch.setenv("TERM", "xterm-256color")
    with progress.reading(2000, stream) as bar:
        bar.add(1000)
        bar.add(1000)
    assert ("reading logs" in stream.getvalue()) == drawn
    assert ("2.0/2.0 kB" in stream.getvalue()) == drawn
