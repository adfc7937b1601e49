"""Whatever is measured, and whenever the process dies or a receiver fails: nothing is lost, nothing is paged twice."""

import tempfile
from pathlib import Path
from unittest.mock import patch

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mirubato.database.state import StateStore
from mirubato.errors import StorageFailed
from mirubato.limits import DELIVERY_PAUSE_MS_MAX, FLAP_STABLE_MS
from mirubato.notify.message import Kind, Message, Status
from mirubato.notify.receiver import Answer, Delivered, RetryLater
from tests.alerts.engine_world import STEP_MS, Receiver, World, a_rule, series

SERVICES = ("api", "db", "web")
ACTIVE, CLEAR = 9.0, 0.0


class Killed(BaseException):
    """The process ends here."""


class Fragile(Receiver):
    """Takes the message and lets the process die before it has the answer, when it is told to."""

    kill: bool = False

    async def send(self, message: Message, reference: str) -> Answer:
        answer = await super().send(message, reference)
        if self.kill:
            self.kill = False
            raise Killed
        return answer


class Alerts(RuleBasedStateMachine):
    """One rule over three services, each a group of its own; two receivers."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.world = World(Path(self.directory.name), a_rule(channels=("one", "two")))
        self.receivers = {"one": Fragile(), "two": Fragile()}
        self.world.receivers = dict(self.receivers)
        self.world.restart()
        self.fires = dict.fromkeys(SERVICES, False)
        """What must be true, by the rule's own words: a value above 5, and no data keeps the state."""

    def _tick(self, ms: int = STEP_MS) -> None:
        self.world.tick(ms)
        for service in SERVICES:
            value = (self.world.scripted.values.get("errors") or {}).get(series(service))
            self.fires[service] = self.fires[service] if value is None else value > 5

    @rule(values=st.dictionaries(st.sampled_from(SERVICES), st.sampled_from([ACTIVE, CLEAR])), slots=st.integers(1, 30))
    def measure(self, values: dict[str, float], slots: int) -> None:
        self.world.see(**values)
        self._tick(slots * STEP_MS)

    @rule()
    def the_process_dies(self) -> None:
        self.world.restart()

    @rule(values=st.dictionaries(st.sampled_from(SERVICES), st.sampled_from([ACTIVE, CLEAR])))
    def the_disk_says_no(self, values: dict[str, float]) -> None:
        self.world.see(**values)
        with patch.object(StateStore, "write", side_effect=StorageFailed("full")):
            try:
                self.world.tick()
            except StorageFailed:
                return
        raise AssertionError("a tick did without the disk")

    @rule(name=st.sampled_from(["one", "two"]), after_s=st.sampled_from([None, 0.0, 60.0]))
    def a_receiver_breaks(self, name: str, after_s: float | None) -> None:
        self.receivers[name].answer = RetryLater("broken", after_s)

    @rule(name=st.sampled_from(["one", "two"]))
    def a_receiver_is_well_again(self, name: str) -> None:
        self.receivers[name].answer = Delivered()

    @rule()
    def deliver(self) -> None:
        self.world.deliver()

    @rule(name=st.sampled_from(["one", "two"]))
    @precondition(lambda self: self.world.owed())
    def the_process_dies_with_an_answer_on_its_way(self, name: str) -> None:
        self.receivers[name].kill = True
        try:
            self.world.deliver()
        except Killed:
            self.world.restart()
        self.receivers[name].kill = False

    @invariant()
    def the_state_is_what_the_rule_says(self) -> None:
        firing = {alert.labels["service_name"] for alert in self.world.desk.active()}
        assert firing == {service for service, fires in self.fires.items() if fires}

    @invariant()
    def every_transition_is_in_the_journal(self) -> None:
        """Each follows the one before it, and the last one leads to what is true."""
        now: dict[str, str] = {}
        for entry in reversed(self.world.desk.history(0, self.world.now)):
            service = entry.labels["service_name"]
            assert entry.before == now.get(service, "inactive")
            now[service] = entry.after
        assert {service for service, state in now.items() if state == "firing"} == {
            service for service, fires in self.fires.items() if fires
        }

    def teardown(self) -> None:
        try:
            self._all_is_told()
        finally:
            self.world.state.close(5)
            self.directory.cleanup()

    def _all_is_told(self) -> None:
        """Once nothing changes and the receivers are well, each of them knows what is true."""
        for receiver in self.receivers.values():
            receiver.answer = Delivered()
        self.world.see()
        for wait in (FLAP_STABLE_MS, DELIVERY_PAUSE_MS_MAX, DELIVERY_PAUSE_MS_MAX):
            self._tick(wait)
            for _ in range(20):
                self.world.deliver()
                self.world.now += 1_000
        assert self.world.owed() == {}
        for receiver in self.receivers.values():
            assert told(receiver.got) == {service for service, fires in self.fires.items() if fires}


def told(messages: list[Message]) -> set[str]:
    """The services that a receiver thinks to be on fire, as it heard it; and what must hold of what it heard."""
    pages: dict[str, Message] = {}
    known: dict[str, Message] = {}
    keys: dict[str, set[str]] = {}
    for message in messages:
        if message.id in known:
            assert known[message.id] == message, "a repeat that says something else"
            continue
        known[message.id] = message
        service = message.group_labels["service_name"]
        keys.setdefault(service, set()).add(message.dedup_key)
        if message.status is Status.RESOLVED:
            fired = pages.pop(service, None)
            assert fired is not None, "over, and had never fired"
            assert (fired.thread, fired.alerts[0].id) == (message.thread, message.alerts[0].id)
        elif message.kind is Kind.ALERT:
            assert service not in pages, "paged twice"
            pages[service] = message
        else:
            assert service in pages
    assert all(len(some) == 1 for some in keys.values()), "another key for the same alert"
    return set(pages)


# A failure is not made smaller: with a file and its fsyncs in every step that took more than five minutes.
Alerts.TestCase.settings = settings(max_examples=15, stateful_step_count=30, deadline=None, phases=[Phase.generate])
TestAlerts = Alerts.TestCase
