"""The command line of the long form: what it plays is a function of the seed, and it ends with 1 on any violation."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.chaos import fuzz
from tests.chaos.faults import plan
from tests.chaos.faults_master import Kill
from tests.chaos.run import KINDS, WARM_UP, Run
from tests.lab.netns import why_not

SOAK_S = 20.0
"""Between two restarts of the master."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("what", choices=["all", "faults", "fuzz", "soak"], help="all: faults and fuzz")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--faults", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the number of the first fault")
    parser.add_argument("--only", help="kinds of faults, comma-separated, in place of all")
    parser.add_argument("--loopback", action="store_true", help="no namespaces, though they can be made")
    parser.add_argument("--minutes", type=float, help="of soak (60), of fuzzing each target (10)")
    parser.add_argument("--verbose", action="store_true", help="name each fault before it strikes")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what it set up is taken down then too
    print(f"seed {options.seed}", flush=True)
    good = True
    if options.what in ("all", "faults"):
        only = options.only.split(",") if options.only else [kind.kind for kind in KINDS]
        kinds = [kind for kind in KINDS if kind.kind in only]
        good &= _faults(options, kinds, options.faults)
    if options.what == "soak":
        good &= _faults(options, [Kill], round((options.minutes or 60) * 60 / SOAK_S), SOAK_S)
    if options.what in ("all", "fuzz"):
        good &= _fuzz(options.seed, (options.minutes or 10) * 60)
    print("no violation" if good else f"VIOLATED, with seed {options.seed}", flush=True)
    return 0 if good else 1


def _faults(options: argparse.Namespace, kinds: list, number: int, every_s: float = 0.0) -> bool:
    reason = "asked for" if options.loopback else why_not()
    where = f"on loopback with simulated addresses ({reason})" if reason else "in network namespaces"
    print(f"faults {options.first} to {options.first + number - 1}, {where}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    began_s = time.monotonic()
    warm_up = min(WARM_UP, number // 3)
    run = Run(folder, namespaces=reason is None, warm_up=warm_up, every_s=every_s, verbose=options.verbose)
    run.play(plan(options.seed, kinds, options.first, number))
    print(run.table())
    for kind, times in run.left_out.items():
        print(f"left out, since this machine cannot: {kind}, {times} times")
    for before, after in run.vital:
        print(f"threads, descriptors, kB of memory: {before} after {warm_up} faults, {after} at the end")
    late_s = max((one.late_s for one in run.results), default=0.0)
    took_s = time.monotonic() - began_s
    print(f"{len(run.results)} faults in {took_s:.0f} s; this machine was late by {late_s:.2f} s at most")
    if run.violations:
        print(f"{len(run.violations)} violations, logs in {folder}:")
        print("\n".join(violation.partition("\n")[0] for violation in run.violations))
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _fuzz(seed: int, seconds: float) -> bool:
    good = True
    for name, target in fuzz.TARGETS.items():
        try:
            tried = fuzz.for_a_while(target, seed, seconds)
        except Exception:  # noqa: BLE001 - whatever it is, it is what was looked for
            traceback.print_exc()
            print(f"fuzzing of {name} failed")
            good = False
        else:
            print(f"fuzzing of {name}: {tried} examples in {seconds:.0f} s", flush=True)
    return good
