"""The inbox: order, the bound for orders, and events of which one stands for many."""

from __future__ import annotations

import threading
import time

from connection.messages import OrderReceived
from network.base import AddressesChanged, LinkUp
from worker.inbox import ORDERS, Inbox, Stop


def order(number):
    return OrderReceived(None, "restore", f'["restore",{number}]'.encode(), None, 0.0)


def test_messages_come_in_their_order_and_none_at_the_limit():
    inbox = Inbox()
    began_s = time.monotonic()
    assert inbox.get(0.05) is None
    assert time.monotonic() - began_s >= 0.05
    assert inbox.put_order(order(1), 0.01)
    inbox.put("a signal")
    inbox.put_event(LinkUp("eth0"))
    assert [inbox.get(0) for _ in range(3)] == [order(1), "a signal", LinkUp("eth0")]


def test_an_order_too_many_waits_for_one_that_is_taken():
    inbox = Inbox()
    assert all(inbox.put_order(order(n), 0.01) for n in range(ORDERS))
    assert not inbox.put_order(order(ORDERS), 0.02)
    inbox.put("what is no order always has room")
    threading.Timer(0.05, inbox.get, (0,)).start()
    assert inbox.put_order(order(ORDERS), 5)
    taken = [inbox.get(0) for _ in range(ORDERS + 1)]
    assert [one.data for one in taken if isinstance(one, OrderReceived)] == list(range(1, ORDERS + 1))


def test_the_last_of_a_connection_that_is_over_are_taken_beyond_the_bound():
    inbox = Inbox()
    assert all(inbox.put_order(order(n), 0) for n in range(3 * ORDERS))
    assert [inbox.get(0).data for _ in range(3 * ORDERS)] == list(range(3 * ORDERS))
    assert all(inbox.put_order(order(n), 0.01) for n in range(ORDERS))
    assert not inbox.put_order(order(ORDERS), 0.01)


def test_changes_of_addresses_are_one_message_until_it_is_taken():
    inbox = Inbox()
    for _ in range(1000):
        inbox.put_event(AddressesChanged("eth0"))
    inbox.put_event(LinkUp("eth0"))
    assert [inbox.get(0) for _ in range(3)] == [AddressesChanged("eth0"), LinkUp("eth0"), None]
    inbox.put_event(AddressesChanged("eth0"))
    assert inbox.get(0) == AddressesChanged("eth0")


def test_a_stop_overtakes_the_orders_that_wait():
    inbox = Inbox()
    assert all(inbox.put_order(order(n), 0.01) for n in range(ORDERS))
    inbox.put(Stop("SIGTERM"))
    assert inbox.get(0) == Stop("SIGTERM")
