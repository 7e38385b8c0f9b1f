"""The transition table of an address: what the worker does when an event meets a state.

The events are those of RFC 5227 and of the master; a pair that is not in the table is ignored. An action gets the
address and the monotonic time at which its event was noticed.
"""

from __future__ import annotations

from collections.abc import Callable

from failover.actions import Actions
from failover.states import HOLDING, Event, State, VipState

TABLE: dict[tuple[State, Event], Callable[[Actions, VipState, float], None]] = {
    (State.FREE, Event.RECOVER): Actions.start_probe,
    (State.PROBING, Event.NO_CONFLICT): Actions.take,
    (State.PROBING, Event.CONFLICT): Actions.keep_probing,
    (State.PROBING, Event.SIMULTANEOUS_PROBE): Actions.defer,
    (State.OWNER_ALIVE, Event.NO_CONFLICT): Actions.take,
    (State.OWNER_ALIVE, Event.CONFLICT): Actions.keep_probing,
    (State.OWNER_ALIVE, Event.SIMULTANEOUS_PROBE): Actions.defer,
    (State.OWNER_ALIVE, Event.CONFLICT_WAIT_OVER): Actions.refuse_alive,
    (State.PROBING, Event.RESTORE): Actions.withdraw,
    (State.OWNER_ALIVE, Event.RESTORE): Actions.withdraw,
    (State.PROBING, Event.STOP): Actions.stop,
    (State.OWNER_ALIVE, Event.STOP): Actions.stop,
    (State.HELD, Event.RECOVER): Actions.confirm,
    (State.HELD, Event.RESTORE): Actions.release,
    (State.HELD, Event.CONFLICT): Actions.on_conflict,
    (State.IN_CONFLICT, Event.CONFLICT): Actions.give_up,
    (State.IN_CONFLICT, Event.SIMULTANEOUS_PROBE): Actions.give_up,
    (State.IN_CONFLICT, Event.NO_CONFLICT): Actions.retake,
    (State.IN_CONFLICT, Event.RESTORE): Actions.withdraw,
    (State.HELD, Event.REMOVED): Actions.on_removed,
    (State.LOST, Event.NO_CONFLICT): Actions.take,
    (State.LOST, Event.CONFLICT): Actions.give_up,
    (State.LOST, Event.SIMULTANEOUS_PROBE): Actions.give_up,
    (State.LOST, Event.RESTORE): Actions.withdraw,
    (State.HELD, Event.REVALIDATE): Actions.reverify,
    (State.REVERIFYING, Event.NO_CONFLICT): Actions.resume,
    (State.REVERIFYING, Event.CONFLICT): Actions.on_conflict,
    (State.REVERIFYING, Event.PROBE_FAILED): Actions.wait_for_link,
    (State.REVERIFYING, Event.RECOVER): Actions.confirm,
    (State.REVERIFYING, Event.RESTORE): Actions.release,
    (State.REVERIFYING, Event.REMOVED): Actions.on_removed,
    (State.ADOPTING, Event.NO_CONFLICT): Actions.take,
    (State.ADOPTING, Event.CONFLICT): Actions.discard,
    (State.ADOPTING, Event.SIMULTANEOUS_PROBE): Actions.discard,
    (State.ADOPTING, Event.PROBE_FAILED): Actions.discard,
    **{(state, Event.STOP): Actions.stop for state in State if state is not State.FREE},
    **{(state, Event.CARRIER_LOST): Actions.on_carrier_lost for state in HOLDING},
    (State.ADOPTING, Event.CARRIER_LOST): Actions.discard,
    **{(state, Event.MASTER_LOST): Actions.release_without_master for state in HOLDING},
    **{
        (state, event): Actions.fail
        for event in (Event.PROBE_FAILED, Event.CARRIER_LOST)
        for state in (State.PROBING, State.OWNER_ALIVE, State.IN_CONFLICT, State.LOST)
    },
    **{
        (state, Event.REVALIDATE): Actions.restart_probe
        for state in (
            State.PROBING,
            State.OWNER_ALIVE,
            State.REVERIFYING,
            State.IN_CONFLICT,
            State.LOST,
            State.ADOPTING,
        )
    },
}
