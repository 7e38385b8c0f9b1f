"""The transition table of an address: what the worker does when an event meets a state.

The events are those of RFC 5227, of the machine and of the master; a pair that is not in the table is ignored.
"""

from collections.abc import Callable

from failover.actions import Actions
from failover.states import HOLDING, TAKING, Event, State, VipState

Action = Callable[[Actions, VipState, float], None]
_GONE = (State.IN_CONFLICT, State.LOST)
_ROWS: tuple[tuple[tuple[State, ...], Event, Action], ...] = (
    ((State.FREE,), Event.RECOVER, Actions.start_probe),
    # Ordered: the wire is probed before it is taken, and its owner may answer.
    (TAKING, Event.NO_CONFLICT, Actions.take),
    (TAKING, Event.CONFLICT, Actions.keep_probing),
    ((State.OWNER_ALIVE,), Event.CONFLICT_WAIT_OVER, Actions.refuse_alive),
    (TAKING, Event.OWNER_PROBE, Actions.refuse_starting),
    (TAKING, Event.SIMULTANEOUS_PROBE, Actions.defer),
    (TAKING, Event.PROBE_FAILED, Actions.fail),
    (TAKING, Event.CARRIER_LOST, Actions.fail),
    (TAKING, Event.RESTORE, Actions.withdraw),
    (TAKING, Event.STOP, Actions.withdraw_at_stop),
    # Held; REVERIFYING after the link or the process was away.
    (HOLDING, Event.RECOVER, Actions.confirm),
    (HOLDING, Event.RESTORE, Actions.release),
    (HOLDING, Event.CONFLICT, Actions.on_conflict),
    (HOLDING, Event.OWNER_PROBE, Actions.yield_to_owner),
    (HOLDING, Event.REMOVED, Actions.on_removed),
    ((State.HELD,), Event.REVALIDATE, Actions.reverify),
    ((State.REVERIFYING,), Event.NO_CONFLICT, Actions.resume),
    ((State.REVERIFYING,), Event.PROBE_FAILED, Actions.wait_for_link),
    (HOLDING, Event.CARRIER_LOST, Actions.lose),
    (HOLDING, Event.MASTER_LOST, Actions.release_without_master),
    ((*HOLDING, *_GONE, State.ADOPTING), Event.STOP, Actions.stop),
    # Removed, since another MAC claimed it, or gone from the interface without an order.
    ((State.IN_CONFLICT,), Event.NO_CONFLICT, Actions.retake),
    ((State.LOST,), Event.NO_CONFLICT, Actions.take),
    (_GONE, Event.CONFLICT, Actions.give_up),
    (_GONE, Event.SIMULTANEOUS_PROBE, Actions.give_up),
    ((State.IN_CONFLICT,), Event.OWNER_PROBE, Actions.await_owner),
    ((State.LOST,), Event.OWNER_PROBE, Actions.yield_lost),
    (_GONE, Event.PROBE_FAILED, Actions.fail),
    (_GONE, Event.CARRIER_LOST, Actions.fail),
    (_GONE, Event.RESTORE, Actions.withdraw),
    ((*TAKING, State.REVERIFYING, *_GONE, State.ADOPTING), Event.REVALIDATE, Actions.restart_probe),
    # Left by an earlier run.
    ((State.ADOPTING,), Event.NO_CONFLICT, Actions.take),
    ((State.ADOPTING,), Event.CONFLICT, Actions.discard),
    ((State.ADOPTING,), Event.OWNER_PROBE, Actions.discard),
    ((State.ADOPTING,), Event.SIMULTANEOUS_PROBE, Actions.discard),
    ((State.ADOPTING,), Event.PROBE_FAILED, Actions.discard),
    ((State.ADOPTING,), Event.CARRIER_LOST, Actions.discard),
)
TABLE = {(state, event): action for states, event, action in _ROWS for state in states}
