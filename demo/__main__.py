"""`make demo`: three workers and the bundled master on this machine, a node that dies, and the story of it.

No root: the addresses are simulated. Exit code 0 only if the logs tell exactly one takeover and one return.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "demo"
NODES = (1, 2, 3)
LIMIT_S = 15.0


class DemoError(Exception):
    """Something did not happen in time, or not as it should; the text says what."""


class Demo:
    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._url = ""

    def run(self) -> None:
        """Raises DemoError where the story is not right."""
        say("The master starts, and node 1, 2 and 3.")
        self._start_master()
        for node in NODES:
            self._start_worker(node)
        self._wait("all three nodes to be alive", lambda state: len(state["active"]) == len(NODES))

        say("Node 2 is killed, as by a power cut. Its neighbours are node 1 and 3.")
        self._processes["node 2"].kill()
        self._processes["node 2"].wait()
        state = self._wait("a neighbour to take node 2's address", lambda state: _holder(state))
        say(f"Node {_holder(state)} has taken node 2's address. A moment later node 2 is back.")
        time.sleep(2)  # so that there is something to see in the story
        self._start_worker(2)
        self._wait(
            "the address to be given back", lambda state: "2" in state["active"] and not _holder(state)
        )
        say("The address is node 2's again. Everything stops; this is what the logs tell:\n")
        self.stop()
        self._tell()

    def stop(self) -> None:
        """End every process, gently first."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start_master(self) -> None:
        FOLDER.mkdir(parents=True)
        with open(FOLDER / "master.log", "w", encoding="utf-8") as log:
            command = [sys.executable, "-m", "demo.master", "--port", "0", "--dead-after", "2"]
            master = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        self._processes["master"] = master
        line = master.stdout.readline() if master.stdout else ""
        if not line.startswith("listening on "):
            raise DemoError(f"the master did not start; {FOLDER / 'master.log'} says why")
        self._url = line.split()[-1]

    def _start_worker(self, node: int) -> None:
        ours = {
            "NODE_ID": str(node),
            "MASTER_URL": self._url,
            "VIP_BACKEND": "simulated",
            "LOG_DIR": str(_folder(node)),
            "LOG_CONSOLE": "0",
            "PING_INTERVAL": "0.5",
        }
        # an empty variable counts as unset, so that no .env and no setting of the caller's gets in
        others = dict.fromkeys(
            ("MASTER_TOKEN", "MASTER_TOKEN_FILE", "NETWORK_CONFIG", "ALLOWED_NETWORKS"), ""
        )
        self._processes[f"node {node}"] = subprocess.Popen(
            [sys.executable, "client.py", "--env-file", os.devnull],
            cwd=ROOT,
            env={**os.environ, **others, **ours},
            text=True,
        )

    def _wait(self, what: str, true: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        end_s = time.monotonic() + LIMIT_S
        while time.monotonic() < end_s:
            for name, process in self._processes.items():
                if name != "node 2" and process.poll() is not None:
                    raise DemoError(f"{name} ended with {process.returncode}")
            # never through a proxy of the environment
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{self._url}/json", timeout=5) as answer:
                state: dict[str, Any] = json.load(answer)
            if true(state):
                return state
            time.sleep(0.05)
        raise DemoError(f"waited {LIMIT_S:g} s in vain for {what}; the logs are in {FOLDER}")

    def _tell(self) -> None:
        page = FOLDER / "story.html"
        folders = [str(_folder(node)) for node in NODES]
        command = [sys.executable, "diagnose.py", *folders]
        subprocess.run([*command, "--html", str(page)], cwd=ROOT, check=True)
        told = subprocess.run([*command, "--json"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        failovers = json.loads(told.stdout)["failovers"]
        if len(failovers) != 1:
            raise DemoError(f"the story has {len(failovers)} failovers instead of one")
        (failover,) = failovers
        if (failover["disconnected_node"], failover["outcome"]) != (2, "taken") or not failover["released"]:
            raise DemoError(f"the story should be one takeover and one return, and is {failover}")
        print(f"\nThe same as a picture: {page}")


def _holder(state: dict[str, Any]) -> Optional[str]:
    """The node that holds node 2's address, None: none does."""
    case = state["recovery_mapper"].get("2")
    return case["recovery_node"] if case else None


def _folder(node: int) -> Path:
    return FOLDER / f"node{node}"


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    shutil.rmtree(FOLDER, ignore_errors=True)
    demo = Demo()
    try:
        demo.run()
    except DemoError as exc:
        print(f"The demo failed: {exc}", file=sys.stderr)
        return 1
    finally:
        demo.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
