"""The engine over a real state.db: who is told what, and when; the clock is the test's."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from mirubato.alerts.quiet import parse_quiet_hours
from mirubato.alerts.rules import NoData, Rule
from mirubato.alerts.telling import Habits
from mirubato.errors import BadField, StorageFailed
from mirubato.limits import FLAP_STABLE_MS, NEW_GROUPS_PER_TICK_MAX, SERIES_MISSED_MS_MAX
from mirubato.model.labels import STALE_NAN, Labels
from mirubato.notify.message import Kind, Message, Status
from tests.alerts.engine_world import MINUTE_MS, STEP_MS, a_rule, series, without_condition, world

HOUR_MS = 60 * MINUTE_MS


def told(messages: list[Message]) -> list[tuple[str, str]]:
    """Kind and status of each."""
    return [(message.kind.value, message.status.value) for message in messages]


FIRES, OVER, REPEAT = ("alert", "firing"), ("alert", "resolved"), ("repeat", "firing")


def test_fire_and_resolve(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        assert one.tick(api=1) == []
        (fired,) = one.tick(api=9)
        assert told([fired]) == [FIRES]
        assert (fired.title, fired.severity, fired.condition) == ("Errors: api", "critical", "q > 5")
        assert fired.alerts[0].value == "9"
        assert one.tick(api=9) == []
        (over,) = one.tick(api=0)
        assert told([over]) == [OVER]
        assert (over.group, over.dedup_key, over.thread) == (fired.group, fired.dedup_key, fired.thread)
        assert over.alerts[0].id == fired.alerts[0].id
        assert over.alerts[0].ends_ms - over.alerts[0].starts_ms == 2 * STEP_MS
        assert [(entry.before, entry.after) for entry in one.desk.history(0, one.now)] == [
            ("firing", "inactive"),
            ("inactive", "firing"),
        ]
        assert one.desk.active() == []


def test_pending_goes_on_over_a_restart_and_nothing_is_told_twice(tmp_path: Path) -> None:
    with world(tmp_path, a_rule(for_ms=MINUTE_MS)) as one:
        assert one.tick(api=9) == []
        assert one.desk.active()[0].state == "pending"
        one.restart()
        assert one.tick(2 * STEP_MS) == []
        (fired,) = one.tick(2 * STEP_MS)
        assert told([fired]) == [FIRES]
        one.restart()
        assert one.tick() == []
        assert one.desk.active()[0].firing_since_ms == fired.at_ms
        assert told(one.tick(api=0)) == [OVER]
        one.restart()
        assert one.tick() == []


def test_a_rule_without_a_condition_keeps_its_alerts_while_the_clients_come_back(tmp_path: Path) -> None:
    with world(tmp_path, without_condition()) as one:
        assert told(one.tick(api=1)) == [FIRES]
        one.now += 30_000
        one.restart()  # away for 30 s: as long again, what is not found is not over
        one.see()
        assert one.tick() == []
        assert told(one.tick(2 * STEP_MS)) == [OVER]


@pytest.mark.parametrize(
    ("no_data", "states"),
    [(NoData.KEEP, ["firing", "firing"]), (NoData.OK, []), (NoData.ALERT, ["no_data", "no_data"])],
)
def test_no_data(tmp_path: Path, no_data: NoData, states: list[str]) -> None:
    with world(tmp_path, a_rule(no_data=no_data)) as one:
        one.tick(api=9, web=9)
        one.see()
        one.tick()
        assert sorted(alert.state for alert in one.desk.active()) == states


def test_data_that_never_came_and_data_that_stops_are_missed(tmp_path: Path) -> None:
    with world(tmp_path, a_rule(no_data=NoData.ALERT, for_ms=STEP_MS)) as one:
        one.see()
        assert one.tick() == []
        (nothing,) = one.tick()
        assert (nothing.title, nothing.alerts[0].value) == ("Errors", "no data")
        (over,) = one.tick(api=1, web=1)
        assert told([over]) == [OVER]
        one.restart()  # what was seen stays known
        one.see(api=1)
        one.tick()
        (missed,) = one.tick()
        assert (missed.title, missed.alerts[0].value) == ("Errors: web", "no data")
        (gone,) = one.tick(SERIES_MISSED_MS_MAX)
        assert told([gone]) in ([OVER], [REPEAT])
        one.tick(10 * STEP_MS)
        one.tick(10 * STEP_MS)
        assert one.desk.active() == []


def test_an_error_changes_nothing(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        one.tick(api=9)
        one.scripted.values["errors"] = None
        assert one.tick() == []
        assert one.desk.active()[0].state == "firing"


def test_a_rule_that_is_gone_is_over(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        one.tick(api=9)
        one.book.set()
        assert told(one.tick()) == [OVER]
        assert one.tick() == []


def test_nothing_is_forgotten_when_the_disk_says_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(tmp_path) as one:
        with monkeypatch.context() as broken:

            def full(*_: object) -> None:
                raise StorageFailed("full")

            broken.setattr(type(one.state), "write", full)
            one.see(api=9)
            one.now += STEP_MS
            with pytest.raises(StorageFailed):
                one.engine.tick(one.now)
        assert one.desk.active() == []
        assert told(one.tick()) == [FIRES]


def test_repeats_stop_when_acknowledged(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        one.tick(api=9)
        assert one.tick(4 * HOUR_MS - STEP_MS) == []
        assert told(one.tick()) == [REPEAT]
        assert told(one.tick(4 * HOUR_MS)) == [REPEAT]
        assert one.desk.acknowledge("errors", "ann", "on it") == 1
        newest = list(one.made().values())[-1]
        assert (newest.status, newest.title) == (Status.ACKNOWLEDGED, "Errors: api, acknowledged by ann")
        one.restart()
        assert one.desk.active()[0].acknowledged_by == "ann"
        assert one.tick(5 * HOUR_MS) == []
        assert told(one.tick(api=0)) == [OVER]
        (again,) = one.tick(api=9)
        assert again.alerts[0].status is Status.FIRING
        assert one.desk.acknowledge("nothing", "ann", "") == 0


def test_a_silence_holds_and_what_it_held_is_told_after_it(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        made = one.desk.add_silence({"matchers": ["service_name=api"], "duration": "1h", "createdBy": "ann"})
        (web,) = one.tick(api=9, web=9)
        assert web.title == "Errors: web"
        assert one.desk.active()[0].silenced_by == [made["id"]]
        assert one.desk.silences()[0]["holds_count"] == 1
        one.restart()
        assert one.tick(44 * MINUTE_MS) == []
        (notice,) = one.tick(MINUTE_MS)
        assert (notice.kind, notice.title) == (Kind.NOTICE, "a silence ends in 14m 45s; it holds back 1 alerts")
        assert one.tick() == []
        (after,) = one.tick(15 * MINUTE_MS)
        assert (after.title, after.alerts[0].note) == ("Errors: api", "was silenced until now")
        assert one.desk.silences()[0]["status"]["state"] == "expired"


def test_what_a_silence_held_and_is_over_is_not_told(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        made = one.desk.add_silence({"matchers": 'alertname=~"Err.*"', "duration": "2h", "author": "ann"})
        assert one.tick(api=9) == []
        assert one.tick(api=0) == []
        assert one.tick(api=9) == []
        assert one.desk.expire_silence(made["id"])
        assert told(one.tick()) == [FIRES]
        assert not one.desk.expire_silence("nobody")


def test_a_resolve_comes_through_a_silence(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        one.tick(api=9)
        one.desk.add_silence({"matchers": ["service_name=api"], "duration": "2h"})
        assert told(one.tick(api=0)) == [OVER]


BAD_SILENCES = [
    ({}, "matchers"),
    ({"matchers": []}, "matchers"),
    ({"matchers": ["a=b"]}, "endsAt"),
    ({"matchers": ["a=b"], "duration": "soon"}, "duration"),
    ({"matchers": ["a=b"], "endsAt": "yesterday"}, "endsAt"),
    ({"matchers": ["a=b"], "endsAt": "2001-01-01T00:00:00Z"}, "endsAt"),
    ({"matchers": ["a=b"], "startsAt": "2031-01-01T00:00:00Z", "endsAt": "2030-01-01T00:00:00Z"}, "endsAt"),
    ({"matchers": ['a=~"("'], "duration": "1h"}, "matchers"),
    ({"matchers": ['a=~".*"'], "duration": "1h"}, "matchers"),
    ({"matchers": [{"name": "a"}], "duration": "1h"}, "matchers"),
    ({"matchers": ["a=b"], "duration": "1h", "comment": 5}, "comment"),
    ({"matchers": ["a=b"], "duration": "1h", "id": "nobody"}, "id"),
]


@pytest.mark.parametrize(("body", "field"), BAD_SILENCES)
def test_a_bad_silence_says_which_field(tmp_path: Path, body: dict[str, object], field: str) -> None:
    with world(tmp_path) as one, pytest.raises(BadField) as refused:
        one.desk.add_silence(body)
    assert refused.value.field == field


def test_a_group_waits_and_then_speaks_of_all(tmp_path: Path) -> None:
    habits = Habits(group_wait_ms=MINUTE_MS, group_by=("alertname",))
    with world(tmp_path, habits=habits) as one:
        assert one.tick(api=9) == []
        assert one.tick(api=9, web=9) == []
        (both,) = one.tick(MINUTE_MS)
        assert (both.firing, both.group_labels) == (2, {"alertname": "Errors"})
        (fewer,) = one.tick(api=0, web=9)
        assert (fewer.status, fewer.firing, fewer.resolved) == (Status.FIRING, 1, 1)
        assert told(one.tick(web=0)) == [OVER]


def test_what_is_over_before_its_group_spoke_is_not_told(tmp_path: Path) -> None:
    with world(tmp_path, habits=Habits(group_wait_ms=MINUTE_MS)) as one:
        assert one.tick(api=9) == []
        assert one.tick(api=0) == []
        assert one.tick(10 * MINUTE_MS) == []


def test_a_flood_is_one_message(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        one.scripted.values["errors"] = {series(f"s{number}"): 9.0 for number in range(3000)}
        messages = one.tick()
        assert len(messages) == NEW_GROUPS_PER_TICK_MAX + 1
        assert sum(message.firing for message in messages) == 3000
        flood = max(messages, key=lambda message: message.firing)
        assert len(flood.alerts) + flood.more == flood.firing
        one.see()
        one.scripted.values["errors"] = {series(f"s{number}"): 0.0 for number in range(3000)}
        over = one.tick()
        assert {message.group for message in over} == {message.group for message in messages}
        assert one.engine.memory.groups == {}


def test_flapping_is_damped_from_the_fourth_change_on(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        assert [told(one.tick(MINUTE_MS, api=value)) for value in (9, 0, 9)] == [[FIRES], [OVER], [FIRES]]
        assert "flaps" in list(one.made().values())[-1].alerts[0].note
        assert [one.tick(MINUTE_MS, api=value) for value in (0, 9, 0, 9, 0)] == [[]] * 5
        one.restart()
        assert one.tick(FLAP_STABLE_MS - STEP_MS) == []
        assert told(one.tick()) == [OVER]


def test_a_severe_alert_keeps_warnings_about_the_same_down(tmp_path: Path) -> None:
    rules = a_rule("Warn", metric="error_rate", severity="warning"), a_rule("Crit", metric="error_rate")
    with world(tmp_path, *rules) as one:
        one.see("warn", api=9, web=9)
        one.see("crit", api=9, web=1)
        assert sorted(message.title for message in one.tick()) == ["Crit: api", "Warn: web"]
        one.see("crit", api=1, web=1)
        messages = {message.title: message for message in one.tick()}
        assert (messages["Crit: api"].status, messages["Warn: api"].status) == (Status.RESOLVED, Status.FIRING)
        assert messages["Warn: api"].alerts[0].note == "was inhibited until now"


def test_quiet_hours_end_with_one_digest(tmp_path: Path) -> None:
    windows = parse_quiet_hours('Mon-Sun 08:00-09:00 UTC {severity!="critical"}')
    rules = a_rule(severity="warning"), a_rule("Crit")
    with world(tmp_path, *rules, habits=Habits(windows=windows)) as one:
        assert one.tick(api=9, web=9, db=0) == []
        one.see("crit", api=9)
        assert [message.title for message in one.tick()] == ["Crit: api"]
        assert one.tick(api=9, web=0, db=9) == []
        one.restart()
        (digest,) = one.tick(HOUR_MS)
        assert (digest.kind, digest.title) == (Kind.DIGEST, "3 alerts fired, 2 of them still do")
        assert [alert.status for alert in digest.alerts] == [Status.FIRING, Status.FIRING, Status.RESOLVED]
        assert one.tick() == []
        assert sorted(message.title for message in one.tick(api=0, db=0)) == ["Errors: api", "Errors: db"]


def test_a_channel_for_each_rule(tmp_path: Path) -> None:
    rules = a_rule(channels=("one", "two", "one")), a_rule("Other", channels=())
    with world(tmp_path, *rules) as one:
        one.see("errors", api=9)
        one.see("other", api=9)
        one.tick()
        assert sorted((receiver, message.title) for (_, receiver), message in one.made().items()) == [
            ("one", "Errors: api"), ("one", "Other: api"), ("two", "Errors: api"),
        ]  # fmt: skip
        assert one.desk.messages(0, one.now) == {"errors": 1, "other": 1}


def test_two_series_that_differ_in_name_only_are_an_error_of_their_rule(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        both: dict[Labels, float] = {(("__name__", name), ("x", "1")): 9.0 for name in ("a", "b")}
        one.scripted.values["errors"] = both
        assert one.tick() == []
        assert [rule for rule, _ in one.scripted.failed] == ["errors"]


def test_a_defect_in_one_rule_is_its_own(tmp_path: Path) -> None:
    with world(tmp_path, a_rule(), a_rule("Other")) as one:
        one.see(api=9)
        one.see("other", api=9, web=9)
        good = one.engine.joined.labels_of

        def bad(rule: Rule, labels: Labels, value: float) -> Mapping[str, str]:
            if rule.name == "Other" and ("service_name", "web") in labels:
                raise ZeroDivisionError
            return good(rule, labels, value)

        one.engine.joined = replace(one.engine.joined, labels_of=bad)
        assert [message.title for message in one.tick()] == ["Errors: api"]
        assert one.scripted.failed == [("other", "ZeroDivisionError")]
        one.engine.joined = replace(one.engine.joined, labels_of=good)
        assert sorted(message.title for message in one.tick()) == ["Other: api", "Other: web"]
        assert len(one.desk.history(0, one.now)) == 3


def test_alerts_are_series(tmp_path: Path) -> None:
    with world(tmp_path, a_rule(for_ms=STEP_MS)) as one:
        one.tick(api=9)
        labels = (("alertname", "Errors"), ("service_name", "api"), ("severity", "critical"))
        pending = (("__name__", "ALERTS"), ("alertname", "Errors"), ("alertstate", "pending"), *labels[1:])
        firing = (("__name__", "ALERTS"), ("alertname", "Errors"), ("alertstate", "firing"), *labels[1:])
        state = (("__name__", "ALERTS_FOR_STATE"), *labels)
        since = one.now
        assert {(one_.labels, one_.value) for one_ in one.written} == {(pending, 1.0), (state, since // 1000)}
        one.written.clear()
        one.tick()
        ended = [one_ for one_ in one.written if repr(one_.value) == repr(STALE_NAN)]
        assert [one_.labels for one_ in ended] == [pending]
        assert {one_.labels for one_ in one.written} == {pending, firing, state}
        one.written.clear()
        one.tick(api=0)
        assert {one_.labels for one_ in one.written} == {firing, state}


def test_missed_slots_are_counted(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        one.tick()
        one.tick(4 * STEP_MS)
        assert one.engine.missed == 3
        assert one.engine.next_ms(one.now + 1) == one.now + STEP_MS
