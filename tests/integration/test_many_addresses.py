"""A machine with a thousand addresses on another interface, which change all the time, as a container host has."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.scene import OWNER, Scene
from tests.lab.netns import Host, needs_namespaces, until
from tests.lab.waiting import stays

pytestmark = needs_namespaces
CHANGES_PER_S = 200


@contextmanager
def changing(host: Host) -> Iterator[list[int]]:
    """A bridge with 1,000 addresses, to which one is added or removed 200 times a second; yields the count."""
    names = [f"10.8.{n // 250}.{n % 250 + 1}/16" for n in range(1000)]
    add = "".join(f"address add {name} dev cbr0\n" for name in names)
    host.run("ip", "-batch", "-", input=f"link add cbr0 type bridge\nlink set cbr0 up\n{add}")
    over, count = threading.Event(), [0]
    process = host.popen("ip", "-batch", "-", stdin=subprocess.PIPE, text=True)

    def change() -> None:
        assert process.stdin
        began_s = time.monotonic()
        while not over.wait(0.01):
            while count[0] < (time.monotonic() - began_s) * CHANGES_PER_S:
                verb = ("add", "del")[count[0] % 2]
                process.stdin.write(f"address {verb} 10.7.{count[0] // 2 % 250}.1/32 dev cbr0\n")
                count[0] += 1
            process.stdin.flush()

    thread = threading.Thread(target=change, daemon=True)
    thread.start()
    try:
        yield count
    finally:
        over.set()
        thread.join()
        process.communicate()


def test_orders_are_taken_and_the_lease_is_kept(scene: Scene) -> None:
    scene.start(3, ADDRESS_LEASE="3", CONFLICT_PROBE="0.2")
    scene.lab.node(2).cut()
    with changing(scene.lab.node(3)) as count:
        until(lambda: count[0] > 2 * CHANGES_PER_S)
        for _ in range(3):
            scene.take(3)
            scene.director.restore(2, 3)
        scene.take(3)
        stays(lambda: f"{OWNER}/24" in scene[3].host.addresses(), 7.0)
    assert scene[3].entries("address_lost") == []
    assert scene[3].entries("was_frozen") == []
