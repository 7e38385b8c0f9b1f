"""Hosts on a switch, made of network namespaces: real kernels, real ARP, real cables to cut.

    with Lab(nodes=(1, 2, 3)) as lab:
        lab.node(2).cut()
        lab.client.run("ping", "-c1", "10.9.0.2")
        worker = lab.node(3).popen(sys.executable, "client.py", env={...})

Node N is 10.9.0.N/24 with the MAC 02:fc:00:00:00:NN, `lab.master` 10.9.0.10, `lab.client` 10.9.0.100 and
`lab.switch` the namespace with the bridge; each host's card is eth0. Nothing is made in the machine's own
namespace. Leaving the block ends what runs in the namespaces and removes them; what a killed run left
behind is removed by the next.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab.forked import Forked, can_be_forked
from tests.lab.observers import Capture, Holders, Pings, in_namespace
from tests.lab.waiting import PATIENCE_S, until

__all__ = ["Host", "Lab", "in_namespace", "needs_namespaces", "until", "why_not"]

PREFIX = "fwlab"
_numbers = itertools.count(1)


@functools.cache
def why_not() -> str | None:
    """Why there can be no namespaces here; None: there can."""
    if not hasattr(socket, "AF_PACKET") or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    if shutil.which("ip") is None:
        return "network namespaces need the ip command (iproute2)"
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return None if made.returncode == 0 else f"no network namespace can be made here: {made.stderr.strip()}"


needs_namespaces = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def _ip(*args: str) -> str:
    done = subprocess.run(["ip", *args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def _batch(namespace: str, *lines: str) -> None:
    argv = ["ip", "-n", namespace, "-batch", "-"]
    done = subprocess.run(argv, input="\n".join(lines) + "\n", text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{lines}: {done.stderr.strip()}")


def _remove(names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(RuntimeError):
            for pid in _ip("netns", "pids", name).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _ip("netns", "del", name)


def _left_behind() -> Iterator[str]:
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0] if line.split() else ""
        owner = name.split("-")[1] if name.startswith(PREFIX + "-") else ""
        if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
            yield name


@dataclass
class Host:
    """A machine on the switch, or (without `ip`) the switch. `ns` is the namespace's name."""

    ns: str
    port: str
    ip: str
    mac: str
    switch: str
    interface: str = "eth0"
    processes: list[subprocess.Popen[Any] | Forked] = field(default_factory=list)

    def argv(self, *command: str) -> list[str]:
        """`ip netns exec` becomes the command, so that its pid and signals are the command's own."""
        return ["ip", "netns", "exec", self.ns, *command]

    def run(self, *command: str, check: bool = True, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(*command), capture_output=True, text=True, check=False, timeout=PATIENCE_S, **kwargs
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr}{done.stdout}")
        return done

    def popen(self, *command: str, **kwargs: Any) -> subprocess.Popen[Any]:
        process = subprocess.Popen(self.argv(*command), **kwargs)
        self.processes.append(process)
        return process

    def python(
        self, *arguments: str, cwd: Path, env: Mapping[str, str], stdout: int, stderr: int
    ) -> subprocess.Popen[Any] | Forked:
        """`python ARGUMENTS`, its outputs to two descriptors."""
        if not can_be_forked(arguments, env):
            return self.popen(sys.executable, *arguments, cwd=cwd, env=env, stdout=stdout, stderr=stderr)
        self.processes.append(Forked(arguments, cwd, env, stdout, stderr, self.ns))
        return self.processes[-1]

    def sh(self, script: str) -> str:
        return self.run("sh", "-ec", script).stdout

    def pids(self) -> list[int]:
        """What runs in this host's namespace."""
        return [int(pid) for pid in _ip("netns", "pids", self.ns).split()]

    def addresses(self) -> list[str]:
        """This host's IPv4 addresses on its card, the first one first: `10.9.0.2/24`."""
        out = self.run("ip", "-4", "-o", "addr", "show", "dev", self.interface, check=False).stdout
        return [line.split()[3] for line in out.splitlines()]

    def source_for(self, destination: str) -> str:
        """The address that the kernel gives this host's own traffic to `destination`."""
        words = self.run("ip", "-o", "route", "get", destination).stdout.split()
        return words[words.index("src") + 1]

    def cut(self) -> None:
        """Pull the cable: the card stays up and loses its link."""
        _ip("-n", self.switch, "link", "set", "dev", self.port, "down")

    def mend(self) -> None:
        _ip("-n", self.switch, "link", "set", "dev", self.port, "up")

    def down(self) -> None:
        self.run("ip", "link", "set", self.interface, "down")

    def up(self) -> None:
        self.run("ip", "link", "set", self.interface, "up")

    def answers(self, ip: str, within_s: float = 0.5) -> bool:
        """Whether this host gets an answer to one ping from `ip`."""
        with self.pings(ip, every_s=within_s) as pings:
            pings.stop_at_first.set()
            pings.over.wait(within_s)
        return bool(pings.answered)

    def pings(self, ip: str, every_s: float = 0.01) -> Pings:
        return Pings(self.ns, ip, every_s)


class Lab:
    """See the module's docstring. `nodes` are the numbers of the nodes that get a host."""

    def __init__(self, nodes: Iterable[int] = (1, 2, 3)) -> None:
        self._tag = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
        self._switch = f"{self._tag}-sw"
        self._nodes = tuple(nodes)
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Lab:
        _remove(_left_behind())
        try:
            _ip("netns", "add", self._switch)
            _batch(
                self._switch,
                "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                "link set br0 addrgenmode none",
                "link set br0 up",
            )
            for node in self._nodes:
                self.add(f"n{node}", f"10.9.0.{node}", f"02:fc:00:00:00:{node:02x}")
            self.add("master", "10.9.0.10", "02:fc:00:00:01:0a")
            self.add("client", "10.9.0.100", "02:fc:00:00:01:64")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        for host in self.hosts.values():
            for process in host.processes:
                if process.poll() is None:
                    process.kill()
        _remove([*(host.ns for host in self.hosts.values()), self._switch])
        for host in self.hosts.values():
            for process in host.processes:
                process.wait(PATIENCE_S)
                for pipe in (process.stdin, process.stdout, process.stderr):
                    if pipe is not None:
                        pipe.close()

    def add(self, name: str, ip: str | None, mac: str, interface: str = "eth0") -> Host:
        """One more host; `ip` None: its card is up and has no address."""
        host = Host(f"{self._tag}-{name}", name, ip or "", mac, self._switch, interface)
        self.hosts[name] = host
        _ip("netns", "add", host.ns)
        self.plug(host, name, interface, mac)
        if ip is not None:
            _ip("-n", host.ns, "addr", "add", f"{ip}/24", "dev", interface)
        return host

    def plug(self, host: Host, port: str, interface: str, mac: str) -> None:
        """Give a host a (further) card on the switch."""
        _batch(
            self._switch,
            f"link add name {port} type veth peer name {interface} address {mac} netns {host.ns}",
            f"link set dev {port} master br0 addrgenmode none",
            f"link set dev {port} up",
        )
        _batch(
            host.ns, "link set lo up", f"link set {interface} addrgenmode none", f"link set {interface} up"
        )
        # the kernel may take its time to find the link
        until(lambda: _ip("-n", host.ns, "-br", "link", "show", "dev", interface).split()[1] == "UP")

    def node(self, number: int) -> Host:
        return self.hosts[f"n{number}"]

    @property
    def client(self) -> Host:
        return self.hosts["client"]

    @property
    def master(self) -> Host:
        return self.hosts["master"]

    @property
    def switch(self) -> Host:
        return Host(self._switch, "", "", "", self._switch, "br0")

    def capture(self) -> Capture:
        return Capture(self._switch)

    def holders(self, ip: str, every_s: float = 0.02) -> Holders:
        """Who answers for `ip`, asked from a host of its own, so that no other's ARP table is touched."""
        host = self.hosts.get("onlooker") or self.add("onlooker", "10.9.0.250", "02:fc:00:00:01:fa")
        return Holders(host.ns, host.mac, host.ip, ip, every_s)
