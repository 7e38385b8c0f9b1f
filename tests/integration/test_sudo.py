"""The sudo backend with the real sudo, as a user made for the test, in a namespace."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import textwrap
from pathlib import Path

import pytest

from network.netlink import arp_filter
from tests.lab import users
from tests.lab.netns import Lab, needs_namespaces, until
from tests.lab.users import PASSWORD, made_up_user
from tests.lab.waiting import PATIENCE_S

pytestmark = [
    needs_namespaces,
    pytest.mark.skipif(users.why_not() is not None, reason=str(users.why_not())),
]

DRIVER = textwrap.dedent("""
    import json, sys, time
    from ipaddress import IPv4Address, IPv4Interface, IPv4Network
    from pathlib import Path
    from types import SimpleNamespace
    from network.choose import open_network, resolve
    from network.base import Vip, NetworkError
    password, allowed = json.loads(sys.stdin.readline())
    allowed = allowed and tuple(map(IPv4Network, allowed))
    events = []
    net = open_network(SimpleNamespace(
        vip_backend="auto", node_id=3, interface=None, address_lease_s=10, log_dir=Path(), password=password,
        allowed_networks=allowed,
    ))
    vip = Vip(2, IPv4Interface("10.9.0.2/24"), "eth0")
    client = IPv4Address("10.9.0.100")
    def took(act):
        began = time.perf_counter()
        act()
        return (time.perf_counter() - began) * 1000
    def events_by(limit_s=3):
        end_s = time.monotonic() + limit_s
        while not events and time.monotonic() < end_s:
            time.sleep(0.01)
        return [type(event).__name__ for event in events]
    for line in sys.stdin:
        began = time.monotonic()
        try:
            answer = {"value": eval(line)}
        except NetworkError as exc:
            answer = {"error": str(exc)}
        print(json.dumps({**answer, "took_s": time.monotonic() - began}, default=str), flush=True)
""")


class Worker:
    """A process of the user's, in node 3's namespace, that evaluates what it is told."""

    def __init__(self, host, user, password, allowed=None, capabilities=""):
        env = {"PATH": os.environ["PATH"], "PASSWORD": "from the environment", "MASTER_TOKEN": "token"}
        self.process = host.popen(
            *user.argv(user.python, "-B", "-c", DRIVER, capabilities=capabilities),
            cwd=user.project,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.tell(json.dumps([password, allowed]))

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self, expression):
        self.tell(expression)
        return json.loads(self.process.stdout.readline())

    def value(self, expression):
        answer = self.answer(expression)
        assert "error" not in answer, answer
        return answer["value"]

    def error(self, expression):
        return self.answer(expression)["error"]


def processes(lab):
    """The command lines of what runs in node 3's namespace, by pid."""
    found = {}
    for pid in lab.node(3).pids():
        try:
            found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def helpers(lab):
    """The helpers by pid; a child that one starts has its command line until it executes its own program."""
    found = {
        pid: line
        for pid, line in processes(lab).items()
        if "helper.py" in line and not line.startswith("sudo")
    }
    return {pid: line for pid, line in found.items() if parent(pid) not in found}


def parent(pid):
    """The pid of the process that started this one; None where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


@pytest.fixture
def lab():
    with Lab(nodes=(3,)) as lab:
        yield lab


@pytest.fixture(scope="module")
def asked():
    """A user whom sudo asks for a password."""
    with made_up_user("ALL=(root) ALL") as user:
        yield user


def test_with_a_password(lab, asked):
    host = lab.node(3)
    worker = Worker(host, asked, PASSWORD)
    assert worker.value("resolve('auto')")[0] == "sudo"
    assert worker.value("(net.backend, net.start(events.append))")[0] == "sudo"
    worker.value("net.watch(frozenset({client, vip.ip.ip}))")
    worker.value("(net.hold(vip), net.announce('eth0', vip.ip.ip), net.renew(vip))")
    assert host.addresses() == ["10.9.0.3/24", "10.9.0.2/24"]
    assert "eth0:f3.2" in host.sh("ip -4 addr show dev eth0")
    assert lab.client.answers("10.9.0.2")
    assert worker.value("[a.owner for a in net.addresses() if a.interface == 'eth0']") == [None, 2]
    worker.value("(events.clear(), net.probe('eth0', client))")
    assert "ArpSeen" in worker.value("events_by()")
    assert worker.value("net.last_seen('eth0', client).mac") == lab.client.mac
    host.sh("ip addr del 10.9.0.2/24 dev eth0")
    assert "no longer on eth0" in worker.error("net.renew(vip)")
    worker.value("(net.hold(vip), net.release(vip))")
    assert host.addresses() == ["10.9.0.3/24"]


@pytest.mark.skipif(arp_filter.missing() is not None, reason=str(arp_filter.missing()))
def test_the_helper_filters_an_owner_s_probes(lab, asked):
    host = lab.node(3)
    worker = Worker(host, asked, PASSWORD)
    worker.value("(net.start(events.append), net.hold(vip))")
    worker.value("net.filter_probes(frozenset({('eth0', vip.ip.ip, '02:fc:00:00:00:02')}))")
    until(lambda: "02:fc:00:00:00:02 " in host.sh("nft list ruleset"))
    worker.value("net.filter_probes(frozenset())")
    until(lambda: host.sh("nft list ruleset") == "")


def test_the_password_stands_nowhere_and_the_helper_apart(lab, asked):
    worker = Worker(lab.node(3), asked, PASSWORD)
    worker.value("net.start(events.append)")
    seen = 0
    for pid in processes(lab):
        if pid == worker.process.pid:
            continue
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    text = file.read()
            except (FileNotFoundError, ProcessLookupError):  # nft, which the helper runs for a moment
                continue
            seen += bool(text)
            for secret in (PASSWORD.encode(), b"from the environment", b"MASTER_TOKEN"):
                assert secret not in text
    assert seen >= 3  # sudo and the helper
    sessions = {os.getsid(pid) for pid in helpers(lab)}
    assert sessions
    assert os.getsid(worker.process.pid) not in sessions


def test_a_wrong_password_is_tried_once(lab, asked):
    worker = Worker(lab.node(3), asked, "Pa55word")
    reason = worker.error("net.start(events.append)")
    assert "sudo refused the password" in reason and "PASSWORD_FILE" in reason
    assert "Pa55word" not in reason
    assert "1 incorrect password attempt" in asked.sudo_log.read_text()
    for order in ("net.hold(vip)", "net.probe('eth0', client)", "net.release(vip)"):
        answer = worker.answer(order)
        assert answer["error"] == reason
    assert worker.value("net.last_seen('eth0', client).mac") is None
    worker.value("net.watch(frozenset())")
    assert len(worker.value("net.addresses()")) == 2
    assert helpers(lab) == {}


@contextlib.contextmanager
def sudoers(user, text):
    """One more file of rules for a user."""
    rule = users.SUDOERS / f"{user.name}-too"
    rule.write_text(text)
    rule.chmod(0o440)
    try:
        yield
    finally:
        rule.unlink()


def test_a_wrong_password_is_tried_once_where_sudo_asks_but_once(lab, asked):
    asked.sudo_log.unlink(missing_ok=True)
    with sudoers(asked, f"Defaults:{asked.name} passwd_tries=1\n"):
        worker = Worker(lab.node(3), asked, "Pa55word")
        reason = worker.error("net.start(events.append)")
        assert "sudo refused the password" in reason
        worker.value("setattr(net, '_again_s', net._again_s - 60)")
        assert worker.error("net.hold(vip)") == reason
    assert asked.sudo_log.read_text().count("incorrect password attempt") == 1


def test_a_lecture_that_does_not_end_its_line(lab, asked):
    lecture = asked.project.parent / "lecture"
    lecture.write_text("We trust you. ")
    with sudoers(asked, f"Defaults:{asked.name} lecture=always, lecture_file={lecture}\n"):
        worker = Worker(lab.node(3), asked, PASSWORD)
        worker.value("(net.start(events.append), net.hold(vip))")
    assert "10.9.0.2/24" in lab.node(3).addresses()


def test_without_a_password_where_sudo_asks(lab, asked):
    worker = Worker(lab.node(3), asked, None)
    reason = worker.error("net.start(events.append)")
    assert "a password is required" in reason and "PASSWORD_FILE" in reason


@pytest.mark.parametrize("password", [None, PASSWORD], ids=["none given", "one given"])
def test_passwordless_sudo(lab, asked, password):
    with sudoers(asked, f"{asked.name} ALL=(root) NOPASSWD: ALL\n"):
        worker = Worker(lab.node(3), asked, password)
        worker.value("(net.start(events.append), net.hold(vip))")
    assert "10.9.0.2/24" in lab.node(3).addresses()


def test_a_user_whom_sudo_does_not_serve(lab):
    with made_up_user(None, "b") as user:
        worker = Worker(lab.node(3), user, PASSWORD)
        assert "not in the sudoers file" in worker.error("net.start(events.append)")


def test_where_sudo_fails_the_missing_capability_is_named(lab, asked):
    """With CAP_NET_ADMIN alone, as of a unit that forgot the other one."""
    worker = Worker(lab.node(3), asked, None, capabilities="+net_admin")
    reason = worker.error("net.start(events.append)")
    assert reason.startswith("this process lacks CAP_NET_RAW, and sudo did not start the helper (")
    assert worker.error("net.hold(vip)") == reason


def test_the_helper_checks_for_itself(lab, asked):
    worker = Worker(lab.node(3), asked, PASSWORD, allowed=["10.9.0.0/25"])
    worker.value("net.start(events.append)")
    assert "not in a network allowed" in worker.error("net.hold(vip)")
    narrow = "Vip(2, IPv4Interface('10.9.0.2/25'), 'eth0')"
    worker.value(f"net.hold({narrow})")
    assert lab.node(3).addresses() == ["10.9.0.3/24", "10.9.0.2/25"]
    assert "not on this machine" in worker.error("net.announce('eth0', client)")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_helper_ends_with_its_parent(lab, asked, how):
    worker = Worker(lab.node(3), asked, PASSWORD)
    worker.value("(net.start(events.append), net.hold(vip))")
    assert len(helpers(lab)) == 1
    worker.process.send_signal(how)
    worker.process.wait(PATIENCE_S)
    until(lambda: helpers(lab) == {} and processes(lab) == {}, 3)
    assert "10.9.0.2/24" in lab.node(3).addresses()


def test_what_stops_the_worker_leaves_the_helper_to_release(lab, asked):
    worker = Worker(lab.node(3), asked, PASSWORD)
    worker.value("(net.start(events.append), net.hold(vip))")
    for pid in processes(lab):
        if pid != worker.process.pid:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid, number)
    worker.value("net.release(vip)")
    assert lab.node(3).addresses() == ["10.9.0.3/24"]
    worker.value("net.close()")
    until(lambda: helpers(lab) == {}, 3)


def test_a_helper_that_was_killed_is_started_anew(lab, asked):
    worker = Worker(lab.node(3), asked, PASSWORD)
    worker.value("(net.start(events.append), net.watch(frozenset({client})))")
    (pid,) = helpers(lab)
    os.kill(pid, signal.SIGKILL)
    assert "helper ended" in until(lambda: worker.answer("net.hold(vip)").get("error"))
    worker.value("setattr(net, '_again_s', net._again_s - 60)")
    worker.value("net.hold(vip)")
    assert "10.9.0.2/24" in lab.node(3).addresses()
    worker.value("(events.clear(), net.probe('eth0', client))")
    assert "ArpSeen" in worker.value("events_by()")


def test_a_helper_that_hangs_is_given_up(lab, asked):
    worker = Worker(lab.node(3), asked, PASSWORD)
    worker.value("net.start(events.append)")
    (pid,) = helpers(lab)
    os.kill(pid, signal.SIGSTOP)
    answer = worker.answer("net.hold(vip)")
    os.kill(pid, signal.SIGCONT)
    assert "did not answer" in answer["error"]


def test_with_ambient_capabilities_no_sudo_is_needed(lab, asked):
    worker = Worker(lab.node(3), asked, None, capabilities="+net_admin,+net_raw")
    worker.value("(net.start(events.append), net.watch(frozenset({client})))")
    assert worker.value("net.backend") == "netlink"
    worker.value("(net.hold(vip), net.announce('eth0', vip.ip.ip), net.probe('eth0', client))")
    assert "ArpSeen" in worker.value("events_by()")
    assert lab.node(3).addresses() == ["10.9.0.3/24", "10.9.0.2/24"]
