"""Reads the logs of one or several nodes back and tells what happened: outages, failovers, slow pings."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Optional, TypeVar

from story.episodes import Story, as_json
from story.following import Following
from story.moments import stamp
from story.page import render
from story.progress import reading
from story.reading import Folder
from story.spelling import count
from story.terminal import Ticker, show
from story.timeline import tell
from story.together import diaries_of
from story.window import choose, parse_nodes, parse_time, window_of
from story.words import Sentence

EPILOG = """\
Give the LOG_DIR of each worker; one without its neighbours' logs tells half of a failover. Folders
of one node, such as archives, are read as one log, and a line that two of them hold is told once.
Rotated and gzipped files are read too, and lines of the scripts of 2020 as far as their words go.
Lines that do not fit are counted.

TIME is such as 2026-11-24T22:47, "2026-11-24 22:47:01.123+0000" or 22:47, or how long ago, such as
2h or 30m. One without an offset is this machine's local time. What began before --since or ends
after --until is told whole.

Exit code: 0, or 1 where a folder or a file in it could not be read, or the page could not be
written; the story of the others is told all the same. 2 for a wrong call."""


Value = TypeVar("Value")


class _Ended(Exception):
    """SIGTERM or Ctrl-C came while --follow was still reading what is there."""


def _arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    now = datetime.now().astimezone()

    def when(text: str) -> datetime:
        return _checked(lambda: parse_time(text, now))

    def numbers(text: str) -> frozenset[int]:
        return _checked(lambda: parse_nodes(text))

    parser = argparse.ArgumentParser(
        prog="diagnose.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders", metavar="LOGDIR", nargs="+", type=Path, help="folder with ping.log and comms.log"
    )
    parser.add_argument(
        "--html", metavar="FILE", type=Path, help="write the story's picture and tables as one web page"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--since", metavar="TIME", type=when, help="tell what happened from then on")
    parser.add_argument("--until", metavar="TIME", type=when, help="tell what happened up to then")
    parser.add_argument(
        "--node",
        metavar="N",
        type=numbers,
        action="append",
        help="tell of this node, and of failovers that it has to do with; several with commas",
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="keep watching the folders, which need not be there yet, and print each event as it happens, "
        "from --since or from now on; with --json an object a line; Ctrl-C ends it",
    )
    args = parser.parse_args(argv)
    if args.since and args.until and args.until < args.since:
        parser.error(f"--until {args.until} lies before --since {args.since}: give a later one")
    if args.follow and (args.html or args.until):
        parser.error("--follow goes on without an end: --html and --until cannot be given with it")
    args.node = frozenset().union(*args.node) if args.node else None
    # a folder that is given twice is read once
    args.folders = list({path.resolve(): path for path in reversed(args.folders)}.values())[::-1]
    return args


def _checked(read: Callable[[], Value]) -> Value:
    try:
        return read()
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def main(argv: Optional[Sequence[str]] = None) -> int:
    args = _arguments(argv)
    if args.follow:
        return _follow(args)
    faults: list[str] = []
    story = _read(args, faults)
    if args.html:
        try:
            args.html.write_text(render(story), encoding="utf-8")
        except OSError as exc:
            faults.append(f"{args.html}: the page could not be written: {exc.strerror or exc}")
    for text in faults:
        _note(text)
    if args.json:
        print(json.dumps(as_json(story), indent=2))
    else:
        show(story, sys.stdout)
    sys.stdout.flush()
    return 1 if faults else 0


def _read(args: argparse.Namespace, faults: list[str]) -> Story:
    window = window_of(args.since, args.until)
    folders = [Folder(path, window.since) for path in args.folders]
    with reading(sum(folder.size() for folder in folders), sys.stderr) as bar:
        for folder in folders:
            folder.progress = bar.add
        diaries = diaries_of(folders, window)
    for folder in folders:
        for text in folder.notes:
            _note(text)
        faults.extend(folder.faults)
    unreadable = sum((folder.unreadable_by for folder in folders), Counter())
    old = sum(folder.old for folder in folders)
    return choose(tell(diaries, sum(unreadable.values()), unreadable, old), window, args.node)


def _follow(args: argparse.Namespace) -> int:
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    following = Following(args.folders, args.since, args.node, _print_json if args.json else Ticker().tell)
    with reading(sum(Folder(path).size() for path in args.folders), sys.stderr) as bar:

        def progress(size: int) -> None:
            bar.add(size)
            if ended:
                raise _Ended

        try:
            faults = following.begin(progress)
        except _Ended:
            return 0
    for text in faults:
        _note(text)
    _note(f"following {count(len(args.folders), 'folder')}; Ctrl-C ends it")
    following.run(lambda: ended)
    return 0


def _print_json(one: Sentence) -> None:
    print(json.dumps({"at": stamp(one.when), "tone": one.tone, "text": one.text}), flush=True)


def _note(text: str) -> None:
    print(f"diagnose.py: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a console that cannot spell a character gets its code
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # who read it has read enough; Python's own flush at exit would complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
