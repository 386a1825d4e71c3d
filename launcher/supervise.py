"""The life of one job as a pure state machine: (event, now) -> actions; no I/O, no clock.

A rank's watcher reports how its script ended and then waits, so that MPI does not notice the
death and kill the others before anybody knows who was first. The supervisor takes the first
report as the cause, ends the other ranks step by step, and lets the watchers go at the end.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from .messages import Exited, Failed, Hello, Order

SETTLE_S = 0.3  # between a sign of death and its report, which may still be on the way
MASS_DEATH_S = 1.5  # for the code of an MPI that has killed all watchers: MPI_Abort
FAREWELL_S = 1.0  # for mpiexec to end by itself when all ranks have
OUTSIDE_GRACE_S = 30.0  # after a SIGTERM from a scheduler: time for a last checkpoint

_END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class Lost:
    """A watcher's process is gone."""

    rank: int


@dataclass(frozen=True, slots=True)
class StarterEnded:
    """The process that started the ranks (mpiexec, or the only rank's watcher) is gone."""

    code: int  # negative for a signal, as subprocess has it
    output: str = ""


@dataclass(frozen=True, slots=True)
class Signalled:
    """The launcher itself got a signal."""

    number: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = Hello | Failed | Exited | Lost | StarterEnded | Signalled | Tick


@dataclass(frozen=True, slots=True)
class Tell:
    """Send an order to the watchers of these ranks."""

    ranks: tuple[int, ...]
    order: Order


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the user at once that something happened (the cause, or an interruption)."""

    cause: Failed | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class KillAll:
    """End the starter and all of its descendants with SIGKILL."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The job is over: its outcome is complete."""

    outcome: Outcome


Action = Tell | Say | KillAll | Finish


@dataclass(slots=True)
class Outcome:
    """How a job ended: everything that the final message needs."""

    code: int = 0
    cause: Failed | None = None
    starter: StarterEnded | None = None
    interrupted: int = 0
    hellos: dict[int, Hello] = field(default_factory=dict)
    also_failed: list[Failed] = field(default_factory=list)
    ended: dict[int, Exited] = field(default_factory=dict)
    silent: tuple[int, ...] = ()
    segments: set[str] = field(default_factory=set)
    seconds: float = 0.0


class Supervisor:
    """State of one attempt of a job of ``num_ranks`` ranks; feed it with `handle`."""

    def __init__(self, num_ranks: int, *, grace_s: float = 2.0, now: float = 0.0) -> None:
        self.num_ranks = num_ranks
        self.grace_s = grace_s
        self.started = now
        self.phase = "running"  # running, ending, leaving, done
        self.outcome = Outcome()
        self.finished: set[int] = set()
        self.lost: dict[int, float] = {}
        self.deadline: float | None = None
        self.forwarded: list[int] = []  # signals that ranks which are still starting must get too

    # -- what the shell asks ---------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """The time at which a `Tick` is due, or None while nothing is."""
        times = [at + self._patience_s() for at in self.lost.values()]
        if self.deadline is not None:
            times.append(self.deadline)
        return min(times, default=None)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event; return what is to be done, in order."""
        if self.phase == "done":
            return []
        match event:
            case Hello():
                return self._hello(event)
            case Failed():
                return self._failed(event, now)
            case Exited():
                return self._exited(event, now)
            case Lost():
                if event.rank not in self.finished:
                    self.lost.setdefault(event.rank, now)
                return self._tick(now)
            case StarterEnded():
                self.outcome.starter = event
                if self.phase == "running":
                    self.deadline = now + SETTLE_S
                return self._tick(now)
            case Signalled():
                return self._signalled(event.number, now)
            case Tick():
                return self._tick(now)

    # -- events ----------------------------------------------------------------------------

    def _hello(self, event: Hello) -> list[Action]:
        if not 0 <= event.rank < self.num_ranks or event.rank in self.outcome.hellos:
            return []
        self.outcome.hellos[event.rank] = event
        if self.phase in ("ending", "leaving"):  # too late: the job is being ended already
            steps = ((0.0, signal.SIGTERM), (self.grace_s, signal.SIGKILL))
            return [Tell((event.rank,), Order("end", steps))]
        return [Tell((event.rank,), Order("signal", ((0.0, n),))) for n in self.forwarded]

    def _failed(self, event: Failed, now: float) -> list[Action]:
        if not 0 <= event.rank < self.num_ranks or event.rank in self.finished:
            return []
        self._close(event.rank, event.segments)
        if self.phase == "running":
            self.outcome.cause = event
            return [Say(cause=event), *self._end(now, signal.SIGTERM, self.grace_s)]
        self.outcome.also_failed.append(event)
        return self._tick(now)

    def _exited(self, event: Exited, now: float) -> list[Action]:
        if not 0 <= event.rank < self.num_ranks or event.rank in self.finished:
            return []
        self._close(event.rank, event.segments)
        self.outcome.ended[event.rank] = event
        return self._tick(now)

    def _signalled(self, number: int, now: float) -> list[Action]:
        if number not in _END_SIGNALS:
            if len(self.outcome.hellos) < self.num_ranks:
                self.forwarded.append(number)
            return [Tell(self._living(), Order("signal", ((0.0, number),)))]
        again = bool(self.outcome.interrupted)
        self.outcome.interrupted = self.outcome.interrupted or number
        if self.phase == "running":
            name = signal.Signals(number).name
            what = "interrupted" if number == signal.SIGINT else f"got {name}"
            grace_s = self.grace_s if number == signal.SIGINT else OUTSIDE_GRACE_S
            text = f"{what}: ending {self.num_ranks} rank{'s' * (self.num_ranks > 1)}"
            return [Say(text=text), *self._end(now, number, grace_s)]
        if again and self.phase == "ending":
            order = Order("end", ((0.0, signal.SIGKILL),))
            self.deadline = now + 0.5
            return [Tell(self._living(), order)]
        return []

    def _tick(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for rank, at in sorted(self.lost.items(), key=lambda item: item[1]):
            if now >= at + self._patience_s() and self.phase == "running":
                return self._gone_silently(rank, now)
        if self.phase == "ending":
            gone = self.finished | set(self.lost)
            if len(gone) >= self.num_ranks or self.outcome.starter is not None:
                self.lost.clear()
                actions += self._leave(now)
            elif self.deadline is not None and now >= self.deadline:
                self.lost.clear()
                actions += [KillAll(), *self._leave(now)]
        if self.phase == "running":
            if len(self.finished) == self.num_ranks:
                actions += self._leave(now)
            elif self.outcome.starter is not None and self._due(now):
                actions += self._starter_ended_early(now)
        if self.phase == "leaving" and (self.outcome.starter is not None or self._due(now)):
            actions += self._finish(now)
        return actions

    # -- steps -----------------------------------------------------------------------------

    def _patience_s(self) -> float:
        """One watcher that dies is its rank's death; many at once are MPI's doing."""
        return SETTLE_S if len(self.lost) == 1 else MASS_DEATH_S

    def _due(self, now: float) -> bool:
        return self.deadline is not None and now >= self.deadline

    def _living(self) -> tuple[int, ...]:
        return tuple(r for r in sorted(self.outcome.hellos) if r not in self.finished)

    def _close(self, rank: int, segments: tuple[str, ...]) -> None:
        self.finished.add(rank)
        self.lost.pop(rank, None)
        self.outcome.segments.update(segments)

    def _end(self, now: float, number: int, grace_s: float) -> list[Action]:
        self.phase = "ending"
        steps: tuple[tuple[float, int], ...] = ((0.0, int(signal.SIGTERM)),)
        if number == signal.SIGINT:  # a rank inside a collective does not see SIGINT
            steps = ((0.0, number), (grace_s / 2, int(signal.SIGTERM)))
        steps = (*steps, (grace_s, int(signal.SIGKILL)))
        living = self._living()
        self.deadline = now + (grace_s + 1.0 if living else SETTLE_S)
        actions: list[Action] = [Tell(living, Order("end", steps))] if living else []
        return actions + self._tick(now)

    def _gone_silently(self, rank: int, now: float) -> list[Action]:
        """A watcher died without a report: only a SIGKILL (or a power cut) does that."""
        cause = Failed(rank, 128 + signal.SIGKILL, signal=signal.SIGKILL)
        self._close(rank, ())
        self.outcome.cause = cause
        return [Say(cause=cause), *self._end(now, signal.SIGTERM, self.grace_s)]

    def _starter_ended_early(self, now: float) -> list[Action]:
        self.outcome.silent = tuple(r for r in range(self.num_ranks) if r not in self.finished)
        living = self._living()
        self.phase = "ending"
        self.deadline = now
        return [*([Tell(living, Order("bye"))] if living else []), KillAll(), *self._leave(now)]

    def _leave(self, now: float) -> list[Action]:
        self.phase = "leaving"
        self.deadline = now + FAREWELL_S
        return [Tell(tuple(sorted(self.outcome.hellos)), Order("bye"))]

    def _finish(self, now: float) -> list[Action]:
        self.phase = "done"
        self.outcome.seconds = now - self.started
        self.outcome.code = self._code()
        return [KillAll(), Finish(self.outcome)]

    def _code(self) -> int:
        outcome = self.outcome
        if outcome.cause is not None:
            return outcome.cause.code or 1
        if outcome.interrupted:
            own = [event.code for event in outcome.also_failed if not event.signal]
            # A rank that ended itself after a SIGTERM (checkpointed: requeue) has the last word.
            return max(own, default=128 + outcome.interrupted)
        if outcome.silent and outcome.starter is not None:
            code = outcome.starter.code
            return 128 - code if code < 0 else code or 1
        return 0
