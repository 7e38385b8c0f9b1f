"""The transition table of an address: what the worker does when an event meets a state.

The events are those of RFC 5227, of the machine and of the master; a pair that is not in the table is ignored.
"""

from collections.abc import Callable

from failover.actions import Actions
from failover.states import Event, State, VipState

TABLE: dict[tuple[State, Event], Callable[[Actions, VipState, float], None]] = {
    # Free: not held, not ordered.
    (State.FREE, Event.RECOVER): Actions.start_probe,
    # Ordered: the wire is probed before it is taken.
    (State.PROBING, Event.NO_CONFLICT): Actions.take,
    (State.PROBING, Event.CONFLICT): Actions.keep_probing,
    (State.PROBING, Event.OWNER_PROBE): Actions.refuse_starting,
    (State.PROBING, Event.SIMULTANEOUS_PROBE): Actions.defer,
    (State.PROBING, Event.PROBE_FAILED): Actions.fail,
    (State.PROBING, Event.CARRIER_LOST): Actions.fail,
    (State.PROBING, Event.REVALIDATE): Actions.restart_probe,
    (State.PROBING, Event.RESTORE): Actions.withdraw,
    (State.PROBING, Event.STOP): Actions.withdraw_at_stop,
    # Ordered, and its owner answers.
    (State.OWNER_ALIVE, Event.NO_CONFLICT): Actions.take,
    (State.OWNER_ALIVE, Event.CONFLICT): Actions.keep_probing,
    (State.OWNER_ALIVE, Event.CONFLICT_WAIT_OVER): Actions.refuse_alive,
    (State.OWNER_ALIVE, Event.OWNER_PROBE): Actions.refuse_starting,
    (State.OWNER_ALIVE, Event.SIMULTANEOUS_PROBE): Actions.defer,
    (State.OWNER_ALIVE, Event.PROBE_FAILED): Actions.fail,
    (State.OWNER_ALIVE, Event.CARRIER_LOST): Actions.fail,
    (State.OWNER_ALIVE, Event.REVALIDATE): Actions.restart_probe,
    (State.OWNER_ALIVE, Event.RESTORE): Actions.withdraw,
    (State.OWNER_ALIVE, Event.STOP): Actions.withdraw_at_stop,
    # Held.
    (State.HELD, Event.RECOVER): Actions.confirm,
    (State.HELD, Event.RESTORE): Actions.release,
    (State.HELD, Event.CONFLICT): Actions.on_conflict,
    (State.HELD, Event.OWNER_PROBE): Actions.yield_to_owner,
    (State.HELD, Event.REMOVED): Actions.on_removed,
    (State.HELD, Event.REVALIDATE): Actions.reverify,
    (State.HELD, Event.CARRIER_LOST): Actions.on_carrier_lost,
    (State.HELD, Event.MASTER_LOST): Actions.release_without_master,
    (State.HELD, Event.STOP): Actions.stop,
    # Held, after the link or the process was away.
    (State.REVERIFYING, Event.NO_CONFLICT): Actions.resume,
    (State.REVERIFYING, Event.RECOVER): Actions.confirm,
    (State.REVERIFYING, Event.RESTORE): Actions.release,
    (State.REVERIFYING, Event.CONFLICT): Actions.on_conflict,
    (State.REVERIFYING, Event.OWNER_PROBE): Actions.yield_to_owner,
    (State.REVERIFYING, Event.REMOVED): Actions.on_removed,
    (State.REVERIFYING, Event.PROBE_FAILED): Actions.wait_for_link,
    (State.REVERIFYING, Event.REVALIDATE): Actions.restart_probe,
    (State.REVERIFYING, Event.CARRIER_LOST): Actions.on_carrier_lost,
    (State.REVERIFYING, Event.MASTER_LOST): Actions.release_without_master,
    (State.REVERIFYING, Event.STOP): Actions.stop,
    # Removed, since another MAC claimed it.
    (State.IN_CONFLICT, Event.NO_CONFLICT): Actions.retake,
    (State.IN_CONFLICT, Event.CONFLICT): Actions.give_up,
    (State.IN_CONFLICT, Event.SIMULTANEOUS_PROBE): Actions.give_up,
    (State.IN_CONFLICT, Event.OWNER_PROBE): Actions.await_owner,
    (State.IN_CONFLICT, Event.PROBE_FAILED): Actions.fail,
    (State.IN_CONFLICT, Event.CARRIER_LOST): Actions.fail,
    (State.IN_CONFLICT, Event.REVALIDATE): Actions.restart_probe,
    (State.IN_CONFLICT, Event.RESTORE): Actions.withdraw,
    (State.IN_CONFLICT, Event.STOP): Actions.stop,
    # Gone from the interface without an order.
    (State.LOST, Event.NO_CONFLICT): Actions.take,
    (State.LOST, Event.CONFLICT): Actions.give_up,
    (State.LOST, Event.SIMULTANEOUS_PROBE): Actions.give_up,
    (State.LOST, Event.OWNER_PROBE): Actions.yield_lost,
    (State.LOST, Event.PROBE_FAILED): Actions.fail,
    (State.LOST, Event.CARRIER_LOST): Actions.fail,
    (State.LOST, Event.REVALIDATE): Actions.restart_probe,
    (State.LOST, Event.RESTORE): Actions.withdraw,
    (State.LOST, Event.STOP): Actions.stop,
    # Left by an earlier run.
    (State.ADOPTING, Event.NO_CONFLICT): Actions.take,
    (State.ADOPTING, Event.CONFLICT): Actions.discard,
    (State.ADOPTING, Event.OWNER_PROBE): Actions.discard,
    (State.ADOPTING, Event.SIMULTANEOUS_PROBE): Actions.discard,
    (State.ADOPTING, Event.PROBE_FAILED): Actions.discard,
    (State.ADOPTING, Event.CARRIER_LOST): Actions.discard,
    (State.ADOPTING, Event.REVALIDATE): Actions.restart_probe,
    (State.ADOPTING, Event.STOP): Actions.stop,
}
