"""`make demo`: three workers and the bundled master on this machine, a node that dies, and the story of it.

No root: the addresses are simulated. Exit code 0 only if the logs tell exactly one takeover and one return.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "demo"
NODES = (1, 2, 3)
NETWORK = "1, 2\n2, 1, 3\n3, 2\n"
LIMIT_S = 45.0
"""For everything up to the story."""
SEEN_S = 2.0
"""For each part of the story, so that there is something to see in it."""
KEPT = {
    *("PATH", "SYSTEMROOT", "HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"),
    *("LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH"),
}
"""What processes get of this one's environment: nothing that would set up a worker, and no proxy."""


class DemoError(Exception):
    """Something did not happen in time, or not as it should; the text says what."""


class Demo:
    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._url = ""
        self._end_s = time.monotonic() + LIMIT_S

    def run(self) -> None:
        """Raises DemoError where the story is not right."""
        say("The master and nodes 1, 2 and 3 start.")
        self._start_master()
        for node in NODES:
            self._start_worker(node)
        self._wait("all three nodes to be alive", lambda state: len(state["active"]) == len(NODES))

        time.sleep(SEEN_S)
        say("Node 2 is killed, as by a power cut. Its neighbors are nodes 1 and 3.")
        self._processes["node 2"].kill()
        self._processes["node 2"].wait()
        state = self._wait(
            "a neighbor to take node 2's address", lambda state: "2" in state["recovery_mapper"]
        )
        holder = state["recovery_mapper"]["2"]["recovery_node"]
        say(f"Node {holder} has taken node 2's address. A moment later node 2 is back.")
        time.sleep(SEEN_S)
        self._start_worker(2)
        self._wait(
            "the address to be given back",
            lambda state: "2" in state["active"] and "2" not in state["recovery_mapper"],
        )
        time.sleep(SEEN_S)
        say("The address is node 2's again. Everything stops; this is what the logs tell:\n")
        self.stop()
        self._tell()

    def stop(self) -> None:
        """End every process, gently. The master is frozen before (where there is no such signal: ended), or it would
        have the address of the worker that ends first taken by one that is still there.
        """
        workers = [process for name, process in self._processes.items() if name != "master"]
        if "master" in self._processes:
            self._processes["master"].send_signal(getattr(signal, "SIGSTOP", signal.SIGTERM))
        for process in workers:
            process.terminate()
        for process in workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _start_master(self) -> None:
        FOLDER.mkdir(parents=True)
        (FOLDER / "network_config.txt").write_text(NETWORK, encoding="utf-8")
        with open(FOLDER / "master.log", "w", encoding="utf-8") as log:
            command = ["-m", "master", "serve", "--env-file", os.devnull, "--port", "0"]
            master = self._start("master", command, {}, stdout=subprocess.PIPE, stderr=log)
        line = master.stdout.readline() if master.stdout else ""
        if not line.startswith("listening on "):
            raise DemoError(f"the master did not start; {FOLDER / 'master.log'} says why")
        self._url = line.split()[-1]

    def _start_worker(self, node: int) -> None:
        ours = {
            "NODE_ID": str(node),
            "MASTER_URL": self._url,
            "NETWORK_CONFIG": str(FOLDER / "network_config.txt"),
            "VIP_BACKEND": "simulated",
            "LOG_DIR": str(_folder(node)),
            "LOG_CONSOLE": "0",
            "PING_INTERVAL": "0.5",
        }
        self._start(f"node {node}", ["client.py", "--env-file", os.devnull], ours)

    def _start(
        self, name: str, command: list[str], env: dict[str, str], **more: Any
    ) -> subprocess.Popen[str]:
        env = {variable: value for variable, value in os.environ.items() if variable in KEPT} | env
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=env, text=True, **more)
        self._processes[name] = process
        return process

    def _wait(self, what: str, true: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        # never through a proxy of the environment
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < self._end_s:
            for name, process in self._processes.items():
                if name != "node 2" and process.poll() is not None:
                    raise DemoError(f"{name} ended with {process.returncode}")
            try:
                with opener.open(f"{self._url}/json", timeout=5) as answer:
                    state: dict[str, Any] = json.load(answer)
            except (OSError, http.client.HTTPException) as exc:
                raise DemoError(f"the master does not answer: {exc}") from exc
            if true(state):
                return state
            time.sleep(0.05)
        raise DemoError(f"waited in vain for {what}; the logs are in {FOLDER}")

    def _tell(self) -> None:
        page = FOLDER / "story.html"
        command = [sys.executable, "diagnose.py", *(str(_folder(node)) for node in NODES)]
        try:
            subprocess.run([*command, "--html", str(page)], cwd=ROOT, check=True, timeout=10)
            told = subprocess.check_output([*command, "--json"], cwd=ROOT, timeout=10)
        except subprocess.SubprocessError as exc:
            raise DemoError(f"diagnose.py cannot tell the story: {exc}") from exc
        failovers = json.loads(told)["failovers"]
        attempts = [attempt for failover in failovers for attempt in failover["attempts"]]
        released = [attempt["released"] for attempt in attempts if attempt["outcome"] == "taken"]
        if [failover["node"] for failover in failovers] != [2] or len(released) != 1 or not released[0]:
            raise DemoError(f"the story should be one takeover and one return, and is {failovers}")
        print(f"\nThe same as a picture: {page}")


def _folder(node: int) -> Path:
    return FOLDER / f"node{node}"


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` ends the processes then too
    shutil.rmtree(FOLDER, ignore_errors=True)
    demo = Demo()
    try:
        demo.run()
    except DemoError as exc:
        print(f"The demo failed: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        demo.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
