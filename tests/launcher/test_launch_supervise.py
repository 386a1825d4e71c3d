"""The supervisor, event by event, without a process and without a clock."""

from __future__ import annotations

import itertools
import signal

import pytest

from distrib.launcher.messages import Exited, Failed, Hello, Order
from distrib.launcher.report import tell_cause, tell_outcome, what_happened
from distrib.launcher.supervise import (
    FAREWELL_S,
    OUTSIDE_GRACE_S,
    SETTLE_S,
    Action,
    Event,
    Finish,
    KillAll,
    Lost,
    Outcome,
    Say,
    Signalled,
    StarterEnded,
    Supervisor,
    Tell,
    Tick,
)


def started(num_ranks: int = 3, **options: float) -> Supervisor:
    """A supervisor whose ranks have all said hello."""
    supervisor = Supervisor(num_ranks, **options)
    for rank in range(num_ranks):
        assert supervisor.handle(Hello(rank, 100 + rank, 200 + rank, "h", "n"), 1.0) == []
    return supervisor


def run(supervisor: Supervisor, *events: tuple[float, Event]) -> list[Action]:
    """All actions of a sequence of events."""
    return [action for at, event in events for action in supervisor.handle(event, at)]


def orders(actions: list[Action]) -> list[tuple[tuple[int, ...], str, list[int]]]:
    """Who is told what."""
    return [
        (a.ranks, a.order.name, [number for _, number in a.order.steps])
        for a in actions
        if isinstance(a, Tell)
    ]


def outcome_of(actions: list[Action]) -> Outcome:
    """The one outcome of a job."""
    finishes = [action for action in actions if isinstance(action, Finish)]
    assert len(finishes) == 1
    return finishes[0].outcome


def test_all_ranks_end_well() -> None:
    actions = run(
        started(),
        *((2.0, Exited(rank, 0)) for rank in range(3)),
        (2.1, StarterEnded(0)),
    )
    assert outcome_of(actions).code == 0
    assert tell_outcome(outcome_of(actions), 3) == ""


def test_first_failure_is_the_cause_and_ends_the_others() -> None:
    supervisor = started()
    actions = run(supervisor, (2.0, Failed(1, 3)))
    assert actions[0] == Say(cause=Failed(1, 3))
    assert orders(actions) == [((0, 2), "end", [signal.SIGTERM, signal.SIGKILL])]
    actions = run(
        supervisor, (2.1, Exited(0, 143)), (2.2, Failed(2, 1, exception="OSError")), (2.3, Tick())
    )
    assert orders(actions) == [((0, 1, 2), "bye", [])]
    outcome = outcome_of(run(supervisor, (2.4, StarterEnded(3))))
    assert outcome.code == 3
    assert [failed.rank for failed in outcome.also_failed] == [2]


def test_ranks_that_do_not_end_are_killed_in_time() -> None:
    supervisor = started(grace_s=2.0)
    run(supervisor, (5.0, Failed(0, 1)))
    due = supervisor.next_deadline()
    assert due is not None
    assert 7.0 < due < 9.0
    assert KillAll() in run(supervisor, (due, Tick()))
    assert outcome_of(run(supervisor, (due + FAREWELL_S, Tick()))).code == 1


def test_a_watcher_that_vanishes_counts_as_killed() -> None:
    supervisor = started()
    assert run(supervisor, (2.0, Lost(2))) == []
    actions = run(supervisor, (2.0 + SETTLE_S, Tick()))
    assert isinstance(actions[0], Say)
    assert supervisor.outcome.cause == Failed(2, 137, signal=9)


def test_a_report_that_comes_after_the_death_is_still_the_cause() -> None:
    supervisor = started()
    run(supervisor, (2.0, Lost(2)), (2.05, Failed(2, 1, exception="KeyError")), (2.5, Tick()))
    assert supervisor.outcome.cause is not None
    assert supervisor.outcome.cause.exception == "KeyError"


@pytest.mark.parametrize(("code", "expected"), [(5, 5), (-9, 137), (0, 1)])
def test_mpi_ends_and_ranks_are_missing(code: int, expected: int) -> None:
    supervisor = started()
    actions = run(
        supervisor,
        (2.0, Exited(0, 0)),
        (2.0, StarterEnded(code, "no slots")),
        (2.0 + SETTLE_S, Tick()),
    )
    outcome = outcome_of(actions)
    assert (outcome.code, outcome.silent) == (expected, (1, 2))
    text = tell_outcome(outcome, 3)
    assert "ranks 1-2 of 3" in text
    assert "no slots" in text


def test_mpi_abort_kills_all_watchers_before_its_code_is_known() -> None:
    supervisor = started()
    run(supervisor, *((2.0, Lost(rank)) for rank in range(3)), (2.8, Tick()))
    actions = run(supervisor, (2.9, StarterEnded(5)), (2.9 + SETTLE_S, Tick()))
    assert outcome_of(actions).code == 5


def test_ctrl_c_climbs_from_int_to_kill() -> None:
    supervisor = started()
    actions = run(supervisor, (2.0, Signalled(signal.SIGINT)))
    steps = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
    assert orders(actions) == [((0, 1, 2), "end", steps)]
    again = run(supervisor, (2.2, Signalled(signal.SIGINT)))
    assert orders(again) == [((0, 1, 2), "end", [signal.SIGKILL])]
    done = run(supervisor, *((2.3, Exited(rank, 130)) for rank in range(3)), (2.4, StarterEnded(1)))
    assert outcome_of(done).code == 130


def test_sigterm_leaves_time_for_a_checkpoint() -> None:
    supervisor = started(1)
    actions = run(supervisor, (2.0, Signalled(signal.SIGTERM)))
    told = [action for action in actions if isinstance(action, Tell)]
    assert told[0].order.steps[-1] == (OUTSIDE_GRACE_S, signal.SIGKILL)
    done = run(supervisor, (9.0, Failed(0, 75)), (9.1, StarterEnded(75)))
    assert outcome_of(done).code == 75


def test_ctrl_c_before_any_rank_is_there() -> None:
    supervisor = Supervisor(2)
    run(supervisor, (0.1, Signalled(signal.SIGINT)))
    late = run(supervisor, (0.2, Hello(0, 1, 2, "h", "n")))
    assert orders(late) == [((0,), "end", [signal.SIGTERM, signal.SIGKILL])]
    assert KillAll() in run(supervisor, (0.1 + SETTLE_S, Tick()))


def test_user_signal_reaches_late_ranks_too() -> None:
    supervisor = Supervisor(1)
    run(supervisor, (0.1, Signalled(signal.SIGUSR1)))
    late = supervisor.handle(Hello(0, 1, 2, "h", "n"), 0.2)
    assert late == [Tell((0,), Order("signal", ((0.0, signal.SIGUSR1),)))]


def test_foreign_and_repeated_messages_change_nothing() -> None:
    supervisor = started(2)
    nonsense: list[Event] = [
        Hello(9, 1, 1, "h", "n"),
        Hello(0, 666, 666, "evil", "n"),
        Failed(-1, 1),
        Exited(7, 0),
    ]
    assert run(supervisor, *((2.0, event) for event in nonsense)) == []
    assert supervisor.outcome.hellos[0].pid == 100


def test_every_order_of_events_ends() -> None:
    events: list[Event] = [
        Failed(0, 3),
        Exited(1, 0),
        Lost(1),
        StarterEnded(9),
        Signalled(signal.SIGTERM),
    ]
    for order in itertools.permutations(events):
        supervisor = started(2)
        actions = run(supervisor, *((2.0 + 0.01 * i, event) for i, event in enumerate(order)))
        for _ in range(10):
            due = supervisor.next_deadline()
            if supervisor.phase == "done" or due is None:
                break
            actions += supervisor.handle(Tick(), due)
        assert outcome_of(actions).code != 0, order


def test_report_names_rank_exception_line_and_host() -> None:
    failed = Failed(
        1,
        1,
        exception="ValueError",
        text="bad\nsecond line",
        where="train.py:3 in step",
        traceback="Traceback\n  x\n",
    )
    outcome = Outcome(1, failed, hellos={1: Hello(1, 42, 41, "node7", "n")}, seconds=2.5)
    outcome.also_failed = [
        Failed(0, 1, exception="ValueError", text="bad", where="train.py:3 in step")
    ]
    outcome.ended = {2: Exited(2, 143), 3: Exited(3, 0)}
    text = tell_outcome(outcome, 4)
    assert "rank 1 of 4 failed: ValueError: bad, at train.py:3 in step" in text
    assert "host node7, pid 42" in text
    assert "rank 0 failed in the same way" in text
    assert "rank 2 was ended" in text
    assert tell_cause(failed, 4) == "[rank 1] Traceback\n[rank 1]   x\n"
    assert tell_cause(failed, 1) == "Traceback\n  x\n"


def test_report_of_signals() -> None:
    assert "out of memory" in what_happened(Failed(0, 137, signal=9, out_of_memory=True))
    assert what_happened(Failed(0, 139, signal=11)) == "killed by SIGSEGV"
    assert what_happened(Failed(0, 6, where="a.py:1")) == "exited with code 6, at a.py:1"
