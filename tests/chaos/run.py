"""A run of many faults: on one stage after another, with the worker's threads, descriptors and memory compared."""

from __future__ import annotations

import statistics
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos import faults_link, faults_machine, faults_master
from tests.chaos.faults import Calm, Fault, Step
from tests.chaos.play import Play, Result, Violation
from tests.chaos.stage import Stage

KINDS: tuple[type[Fault], ...] = (Calm, *faults_master.KINDS, *faults_link.KINDS, *faults_machine.KINDS)
WARM_UP = 200
"""Faults after which the worker has met each kind several times, and made what it makes once."""
GROWTH = 0.10
"""Of its memory."""
VIOLATIONS = 10
"""After so many the run is given up."""
RUN_OUT_S = 12.0
"""For which abandoned attempts may last."""
Vital = tuple[int, int, int]


class Run:
    """Plays steps, every `every_s` at the earliest; on a new stage after each violation.

    `vital` has, for each stage that outlived the warm-up, what it was then and what it was in the end.
    """

    def __init__(
        self,
        folder: Path,
        *,
        namespaces: bool = False,
        warm_up: int = WARM_UP,
        every_s: float = 0.0,
        verbose: bool = False,
    ) -> None:
        self.results: list[Result] = []
        self.left_out: Counter[str] = Counter()
        self.violations: list[str] = []
        self.vital: list[tuple[Vital, Vital]] = []
        self._folder = folder
        self._namespaces = namespaces
        self._warm_up = warm_up
        self._every_s = every_s
        self._verbose = verbose
        self._stages = 0

    def play(self, steps: Sequence[Step]) -> None:
        while steps and len(self.violations) < VIOLATIONS:
            self._stages += 1
            with Stage(self._folder / f"stage{self._stages}", namespaces=self._namespaces) as stage:
                steps = self._play_on(stage, steps)

    def _play_on(self, stage: Stage, steps: Sequence[Step]) -> Sequence[Step]:
        """Those that are left after a violation."""
        before: Vital | None = None
        played = 0
        step = steps[0]
        try:
            play = Play(stage)
        except Violation as exc:
            self._violated(stage, step, str(exc))
            return ()
        try:
            for step in steps:
                if step.fault.needs in stage.lacks:
                    self.left_out[step.fault.kind] += 1
                    continue
                if self._verbose:
                    print(step, flush=True)
                due_s = time.monotonic() + self._every_s
                self.results.append(play.play(step))
                played += 1
                if played == self._warm_up:
                    before = stage.vital()
                time.sleep(max(0.0, due_s - time.monotonic()))
            if before:
                self._compare(stage, before)
        except Violation as exc:
            self._violated(stage, step, str(exc))
            return steps[steps.index(step) + 1 :]
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - the run goes on
            # of the harness itself, or of what it cannot make of what it reads
            self._violated(stage, step, traceback.format_exc())
            return steps[steps.index(step) + 1 :]
        return ()

    def _compare(self, stage: Stage, before: Vital) -> None:
        threads, descriptors, memory_kb = before
        end_s = time.monotonic() + RUN_OUT_S
        while True:
            now = stage.vital()
            grown = now[0] > threads or now[1] > descriptors or now[2] > memory_kb * (1 + GROWTH)
            if not grown or time.monotonic() > end_s:
                break
            time.sleep(0.1)
        self.vital.append((before, now))
        if grown:
            raise Violation(
                f"threads, descriptors, kB of memory: {before} after {self._warm_up} faults became {now}\n"
                f"descriptors: {stage.worker.opened()}"
            )

    def _violated(self, stage: Stage, step: Step, complaints: str) -> None:
        lines = [f"{step}", *(f"  {line}" for line in complaints.splitlines())]
        for follow in (stage.comms, stage.pings):
            lines.append(f"  {follow.path.name}, its last lines of the fault's time:")
            lines += [
                f"    {entry.when:%H:%M:%S.%f} {entry.event} {str(dict(entry.fields))[:300]}"
                for entry in follow.read()[-25:]
            ]
        self.violations.append("\n".join(lines))
        print("\n".join(lines), flush=True)

    def table(self) -> str:
        """By kind: how many, how many connections they ended, and how long after each a new one was there."""
        rows = [("kind", "faults", "ends", "median s", "max s")]
        for kind in KINDS:
            results = [one for one in self.results if one.step.fault.kind == kind.kind]
            back = [one.back_s for one in results if one.back_s is not None]
            times = (f"{statistics.median(back):.2f}", f"{max(back):.2f}") if back else ("", "")
            if results:
                rows.append((kind.kind, str(len(results)), str(sum(one.ends for one in results)), *times))
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        return "\n".join(
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
            )
            for row in rows
        )
