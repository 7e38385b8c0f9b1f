"""Reads the logs of one or several nodes back and tells what happened: outages, failovers, slow pings."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from story.episodes import as_json
from story.page import render
from story.reading import Folder
from story.terminal import show
from story.timeline import Diary, tell

EPILOG = """\
Give the LOG_DIR of each worker; one without its neighbours' logs tells half of a failover. Rotated
and gzipped files are read too. Lines that do not fit the format are counted. Exit code: 0, or 1
where a folder or a file in it could not be read, or the page could not be written; the story of
the others is told all the same."""


def _arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
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
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> int:
    args = _arguments(argv)
    faults: list[str] = []
    notes: list[str] = []
    diaries: list[Diary] = []
    unreadable = 0
    # a folder that is given twice is read once
    for path in {path.resolve(): path for path in args.folders}.values():
        folder = Folder(path)
        diary = Diary(str(path), folder.number)
        diary.read(folder.items())
        diaries.append(diary)
        unreadable += folder.unreadable
        faults.extend(folder.faults)
        notes.extend(folder.notes)
    story = tell(diaries, unreadable)
    if args.html:
        try:
            args.html.write_text(render(story), encoding="utf-8")
        except OSError as exc:
            faults.append(f"{args.html}: the page could not be written: {exc.strerror or exc}")
    for text in notes + faults:
        print(f"diagnose.py: {text}", file=sys.stderr)
    if args.json:
        print(json.dumps(as_json(story), indent=2))
    else:
        show(story, sys.stdout)
    sys.stdout.flush()
    return 1 if faults else 0


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
