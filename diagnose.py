"""Reads the logs of one or several nodes back and says what happened: failovers, outages, slow pings."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from analysis.follow import Follower
from analysis.formatting import count, visible
from analysis.model import as_json
from analysis.page import render
from analysis.reader import Folder
from analysis.selection import parse_nodes, parse_time, select
from analysis.sentences import Sentence
from analysis.timeline import read, tell

try:
    from analysis.terminal import print_event, show
except ModuleNotFoundError as exc:
    if (exc.name or "").partition(".")[0] == "analysis":
        raise  # not a library: a part of this program itself is missing
    requirements = Path(__file__).absolute().parent / "requirements.txt"
    install = f"{shlex.quote(sys.executable)} -m pip install -r {shlex.quote(str(requirements))}"
    sys.exit(f"diagnose.py: the library {exc.name} is not installed; install it with: {install}")

EPILOG = """\
Give the LOG_DIR of each worker, and the folder of master.log where there is one. Folders of one node,
such as archives, are read as one log. Rotated and gzipped files are read too.

TIME is such as 2026-11-24T22:47, "2026-11-24 22:47:01.123+0000" or 22:47, or how long ago, such as
2h or 30m; without an offset it is this machine's local time.

Exit code: 0, or 1 where a folder or a file in it could not be read, or the page could not be
written; the story of the others is printed all the same. 2 for a wrong call."""


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    now = datetime.now().astimezone()

    def when(text: str) -> float:
        return parse_time(text, now).timestamp()

    parser = argparse.ArgumentParser(
        prog="diagnose.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders", metavar="LOGDIR", nargs="+", type=Path, help="folder with ping.log and comms.log"
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="write the story as one web page")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    for option, default, which in (
        ("--since", -math.inf, "from then on"),
        ("--until", math.inf, "up to then"),
    ):
        parser.add_argument(
            option, metavar="TIME", type=when, default=default, help=f"show what happened {which}"
        )
    parser.add_argument(
        "--node",
        metavar="N",
        type=parse_nodes,
        action="append",
        help="show this node, and the failovers that it has to do with; several with commas",
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="keep watching the folders, which need not exist yet, and print each event as it happens, "
        "from --since or from now on; with --json an object a line; Ctrl-C ends it",
    )
    args = parser.parse_args(argv)
    if args.until < args.since:
        parser.error("--until lies before --since: give a later one")
    if args.follow and (args.html or args.until < math.inf):
        parser.error("--follow has no end: --html and --until cannot be given with it")
    args.node = frozenset().union(*args.node) if args.node else None
    # a folder that is given twice is read once
    args.folders = list({path.resolve(): path for path in reversed(args.folders)}.values())[::-1]
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    args = _arguments(argv)
    if args.follow:
        return _follow(args)
    folders = [Folder(path) for path in args.folders]
    story = select(tell(read(folders), args.since, args.until), args.node)
    faults = [fault for folder in folders for fault in folder.faults]
    if args.html:
        try:
            args.html.write_text(render(story), encoding="utf-8")
        except OSError as exc:
            faults.append(f"{visible(str(args.html))}: the page could not be written: {exc.strerror or exc}")
    for text in [*(note for folder in folders for note in folder.notes), *faults]:
        _note(text)
    if args.json:
        for text in story.faults:
            _note(text)
        print(json.dumps(as_json(story), indent=2))
    else:
        show(story, sys.stdout)
    sys.stdout.flush()
    return 1 if faults else 0


def _follow(args: argparse.Namespace) -> int:
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    # the times of lines are whole milliseconds, rounded down
    since = args.since if args.since > -math.inf else time.time() - 0.001
    follower = Follower(args.folders, _print_json if args.json else print_event, since, args.node)
    for text in follower.begin():
        _note(f"{text}; waiting")
    _note(f"following {count(len(args.folders), 'folder')}; Ctrl-C ends it")
    follower.run(lambda: ended)
    return 0


def _print_json(one: Sentence) -> None:
    at = datetime.fromtimestamp(round(one.at, 3)).astimezone().isoformat(timespec="milliseconds")
    print(json.dumps({"at": at, "tone": one.tone, "text": one.text}), flush=True)


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
        # its reader has read enough; Python's own flush at exit would complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
