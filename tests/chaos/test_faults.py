"""The short form of `make chaos`: one fault of each kind, drawn from a seed, and whether the harness has teeth."""

from __future__ import annotations

import sys

import pytest

from tests.chaos.faults import Calm, Lift, one_of_each, plan
from tests.chaos.run import KINDS, Run
from tests.chaos.stage import Stage
from tests.lab.netns import needs_namespaces

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
SEED = 7
PATIENCE = 0.3
"""Of the range of each fault's time: the short form has little of it."""
ON_LOOPBACK = [kind for kind in KINDS if kind.needs != "namespaces"]
IN_NAMESPACES = [kind for kind in KINDS if kind.needs == "namespaces"]


def played(run: Run, kinds: list, seed: int = SEED) -> None:
    run.play(one_of_each(seed, kinds, patience=PATIENCE))
    assert not run.violations, "\n".join(run.violations)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("half", [0, 1])
def test_one_fault_of_each_kind(tmp_path, half):
    kinds = ON_LOOPBACK[half::2]
    run = Run(tmp_path / "run", warm_up=1)
    played(run, kinds)
    # a machine on which no small disk can be mounted leaves out one
    assert set(run.left_out) <= {kind.kind for kind in kinds if kind.needs == "disk"}
    played_kinds = {result.step.fault.kind for result in run.results}
    assert played_kinds | set(run.left_out) == {kind.kind for kind in kinds}


@needs_namespaces
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_one_fault_of_each_kind_that_needs_namespaces(tmp_path):
    run = Run(tmp_path / "run", namespaces=True)
    played(run, IN_NAMESPACES)
    assert not run.left_out


def test_a_seed_gives_the_same_faults_and_each_by_its_number():
    steps = plan(5, KINDS, 1, 300)
    assert list(map(str, steps)) == list(map(str, plan(5, KINDS, 1, 300)))
    assert str(plan(5, KINDS, 123, 1)[0]) == str(steps[122])
    assert list(map(str, steps)) != list(map(str, plan(6, KINDS, 1, 300)))
    assert {step.fault.kind for step in steps} == {kind.kind for kind in KINDS}


class Unfelt(Calm):
    """Says that it ends a connection, and does not."""

    kind = "unfelt"
    ends = (1, 1)


class Unsaid(Calm):
    """Ends one without a word of it."""

    kind = "unsaid"

    def strike(self, stage: Stage) -> Lift:
        stage.relay.cut()
        return super().strike(stage)


@pytest.mark.parametrize(
    ("kind", "said"), [(Unfelt, "0 connections ended, not 1"), (Unsaid, "1 connections ended, not 0")]
)
def test_a_story_that_is_not_the_fault_s_is_a_violation_that_names_it(tmp_path, capsys, kind, said):
    run = Run(tmp_path / "run")
    run.play(one_of_each(SEED, [kind]))
    (violation,) = run.violations
    assert violation.startswith(f"fault 1: {kind.kind} hold_s=")
    assert said in violation
    assert "comms.log, its last lines" in capsys.readouterr().out
