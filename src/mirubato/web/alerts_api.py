"""/api/alerts and /api/silences: rules, what became of them, and what is kept quiet. docs/ALERTS.md describes it."""

from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mirubato.alerts.api_rules import FIELDS, masked, rule_from, warnings
from mirubato.alerts.backtest import Backtest, Past, backtest
from mirubato.alerts.book import Entry, RuleBook
from mirubato.alerts.checking import metric_names
from mirubato.alerts.noise import report
from mirubato.alerts.rules import RecordingRule, Rule
from mirubato.alerts.seams import ActiveAlert, AlertsEngine, HistoryEntry
from mirubato.config import parse_duration
from mirubato.errors import (
    BadField,
    BadQuery,
    BadRequest,
    Conflict,
    MirubatoError,
    NotFound,
    QueryError,
    QueryTimeout,
    TooLarge,
    Unavailable,
    code_of,
)
from mirubato.limits import RULE_BODY_BYTES_MAX
from mirubato.model.labels import NAME, format_value
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.model.seams import Selector
from mirubato.promql.literals import duration_text
from mirubato.promql.query import QueryBudget
from mirubato.web.offload import offload
from mirubato.web.parameters import moment_ms
from mirubato.web.times import rfc3339

_STATUS = (
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (BadRequest, 400),
    (BadQuery, 400),
    (QueryTimeout, 503),
    (QueryError, 422),
    (Unavailable, 503),
)
_DAY_MS = 86_400_000
_RANGE_DEFAULT_MS = 7 * _DAY_MS
_RANGE_MAX_MS = 366 * _DAY_MS
# The most urgent first: what stands for a rule with several alerts.
_STATES = ("firing", "no_data", "pending")

Answer = Callable[[Request, Mapping[str, Any]], Any]


class AlertsApi:
    """The routes, and what they answer. All of it waits for disk or queries, so it runs in the pool's threads."""

    def __init__(
        self,
        book: RuleBook,
        engine: AlertsEngine,
        selector: Selector,
        pool: Executor,
        budget: Callable[[], QueryBudget],
        now: Callable[[], int],
        interval_ms: int,
    ) -> None:
        """`budget` makes the bounds of one query; `interval_ms` is how often rules without an own one are evaluated."""
        self._book, self._engine, self._selector = book, engine, selector
        self._pool, self._budget, self._now, self._interval_ms = pool, budget, now, interval_ms

    def routes(self) -> list[Route]:
        """Those of the contract, and PATCH for a change of some fields."""
        return [
            self._route("/api/alerts", GET=self._list, POST=self._create),
            self._route("/api/alerts/backtest", POST=self._backtest),
            self._route("/api/alerts/history", GET=self._history),
            self._route("/api/alerts/noise", GET=self._noise),
            self._route("/api/alerts/{id}", GET=self._one, PUT=self._replace, PATCH=self._patch, DELETE=self._remove),
            self._route("/api/alerts/{id}/test", POST=self._test),
            self._route("/api/alerts/{id}/acknowledge", POST=self._acknowledge),
            self._route("/api/silences", GET=self._silences, POST=self._add_silence),
            self._route("/api/silences/{id}", DELETE=self._expire_silence),
        ]

    def _route(self, path: str, **answers: Answer) -> Route:
        async def answer(request: Request) -> Response:
            try:
                # A HEAD is a GET whose body the server leaves out.
                does = answers["GET" if request.method == "HEAD" else request.method]
                body = await _body(request) if request.method in ("POST", "PUT", "PATCH") else {}
                return _response(await offload(self._pool, does, request, body))
            except MirubatoError as error:
                return refusal(error)

        typed: Callable[[Request], Awaitable[Response]] = answer
        return Route(path, typed, methods=list(answers))

    # --- rules --------------------------------------------------------------------------------------------------------

    def _list(self, _: Request, __: Mapping[str, Any]) -> Any:
        alerts = self._engine.active()
        by_rule: dict[str, list[ActiveAlert]] = {}
        for alert in alerts:
            by_rule.setdefault(alert.rule_id, []).append(alert)
        own = [self._of_entry(entry, by_rule.get(entry.rule.id, [])) for entry in self._book.entries()]
        of_files = [
            self._of_file(rule, by_rule.get(rule.id, []))
            for group in self._book.every_group()
            for rule in group.rules
            if rule.source.startswith("file:")
        ]
        return {
            "rules": own + of_files,
            "templates": [self._of_entry(entry, []) for entry in self._book.templates()],
            "alerts": [_alert(alert) for alert in alerts],
            "problems": [problem._asdict() for problem in self._book.problems()],
        }

    def _create(self, _: Request, body: Mapping[str, Any]) -> Any:
        entry = self._book.add(_settable(body), self._now())
        return self._of_entry(entry, [], warn=True), 201

    def _one(self, request: Request, _: Mapping[str, Any]) -> Any:
        rule_id = request.path_params["id"]
        rule, alerts = self._book.rule(rule_id), self._engine.active(rule_id)
        if rule.source.startswith("file:"):
            return self._of_file(rule, alerts)
        return self._of_entry(self._book.entry(rule_id), alerts, warn=True)

    def _replace(self, request: Request, body: Mapping[str, Any]) -> Any:
        entry = self._book.replace(request.path_params["id"], _settable(body), self._now())
        return self._of_entry(entry, self._engine.active(entry.rule.id), warn=True)

    def _patch(self, request: Request, body: Mapping[str, Any]) -> Any:
        """Some fields; null takes one away."""
        entry = self._book.change(request.path_params["id"], _settable(body), self._now())
        return self._of_entry(entry, self._engine.active(entry.rule.id), warn=True)

    def _remove(self, request: Request, _: Mapping[str, Any]) -> Any:
        self._book.remove(request.path_params["id"])
        return None

    def _of_entry(self, entry: Entry, alerts: Any, *, warn: bool = False) -> dict[str, Any]:
        rule = entry.rule
        shown = {
            "id": rule.id,
            **entry.body,
            "severity": rule.severity,
            "notification_channels": [masked(channel) for channel in rule.channels],
            "enabled": rule.enabled,
            "no_data": rule.no_data,
            "for": duration_text(rule.for_ms),
            "type": "alerting",
            "source": rule.source,
            "group": rule.group,
            "query": rule.query,
            "unit": rule.unit,
            **self._became(rule, alerts),
        }
        if rule.metric:
            shown["window_minutes"] = rule.window_ms / 60_000
        if entry.created_ms:
            shown |= {"created": rfc3339(entry.created_ms), "updated": rfc3339(entry.updated_ms)}
        return shown | ({"warnings": self._warnings(rule)} if warn else {})

    def _of_file(self, rule: Rule | RecordingRule, alerts: Any) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": rule.id,
            "name": rule.name,
            "expr": rule.query,
            "labels": rule.labels,
            "type": "alerting" if isinstance(rule, Rule) else "recording",
            "source": rule.source,
            "line": rule.line,
            "group": rule.group,
            "query": rule.query,
            "enabled": True,
        }
        if isinstance(rule, Rule):
            shown |= {
                "for": duration_text(rule.for_ms),
                "keep_firing_for": duration_text(rule.keep_firing_for_ms),
                "annotations": rule.annotations,
                "severity": rule.severity,
            }
        return shown | self._became(rule, alerts)

    def _became(self, rule: Rule | RecordingRule, alerts: Any) -> dict[str, Any]:
        health = self._engine.health(rule.id)
        told: dict[str, Any] = {"health": "unknown"}
        if health is not None:
            told = {
                "health": "err" if health.error else "ok",
                "last_error": health.error,
                "last_evaluation": rfc3339(health.last_evaluation_ms),
                "evaluation_seconds": health.duration_s,
                "series": health.found,
            }
        if isinstance(rule, Rule):
            states = {alert.state for alert in alerts}
            state = next((one for one in _STATES if one in states), "inactive")
            told |= {"state": state if rule.enabled else "disabled", "alerts": [_alert(alert) for alert in alerts]}
        return told

    def _warnings(self, rule: Rule) -> list[str]:
        names = [rule.metric.partition("{")[0]] if rule.metric and rule.unit == "" else metric_names(rule.query)
        built_in = bool(rule.metric and rule.unit) or rule.metric == "queue_depth"
        return warnings(rule, self._is_known, () if built_in else names)

    def _is_known(self, metric: str) -> bool:
        matcher = Matcher(NAME, MatchOp.EQUAL, metric)
        return bool(self._selector.series((matcher,), self._now() - _RANGE_DEFAULT_MS, self._budget()))

    # --- what became of them ------------------------------------------------------------------------------------------

    def _test(self, request: Request, _: Mapping[str, Any]) -> Any:
        rule = self._book.rule(request.path_params["id"])
        if not isinstance(rule, Rule):
            raise Conflict(f"{rule.name} is a recording rule: it sends nothing")
        results = [{**one, "channel": masked(str(one.get("channel", "")))} for one in self._engine.send_test(rule)]
        return {"ok": bool(results) and all(one.get("ok") for one in results), "results": results}

    def _acknowledge(self, request: Request, body: Mapping[str, Any]) -> Any:
        by, comment = _text(body, "by") or _text(body, "author"), _text(body, "comment")
        count = self._engine.acknowledge(request.path_params["id"], by, comment)
        if not count:
            self._book.rule(request.path_params["id"])
            raise Conflict("nothing of this rule fires")
        return {"acknowledged": count}

    def _history(self, request: Request, _: Mapping[str, Any]) -> Any:
        now, asked = self._now(), dict(request.query_params)
        start, end = moment_ms(asked, "start", now - _DAY_MS, now), moment_ms(asked, "end", now, now)
        entries = self._engine.history(start, end, asked.get("rule") or asked.get("id"))
        return {"start": start / 1000, "end": end / 1000, "history": [_history_entry(entry) for entry in entries]}

    def _noise(self, request: Request, _: Mapping[str, Any]) -> Any:
        now = self._now()
        start = moment_ms(dict(request.query_params), "start", now - _RANGE_DEFAULT_MS, now)
        history, messages = self._engine.history(start, now), self._engine.messages(start, now)
        told = report(history, messages, self._rule_or_none, lambda rule: self._tried(rule, now - start, now))
        return {"start": start / 1000, "end": now / 1000, **told}

    def _rule_or_none(self, rule_id: str) -> Rule | None:
        try:
            rule = self._book.rule(rule_id)
        except NotFound:
            return None
        return rule if isinstance(rule, Rule) else None

    def _tried(self, rule: Rule, range_ms: int, now: int) -> Backtest | None:
        """A report without a suggestion is better than none."""
        try:
            past = Past(range_ms, rule.interval_ms or self._interval_ms, now)
            return backtest(rule, self._selector, past, self._budget())
        except QueryError:
            return None

    def _backtest(self, _: Request, body: Mapping[str, Any]) -> Any:
        """A rule as it would be posted, or `id` of one that is there; `range` (7d) and `step` beside it."""
        range_ms, step_ms = _duration(body, "range", _RANGE_DEFAULT_MS), _duration(body, "step", 0)
        inner = body.get("rule", {key: value for key, value in body.items() if key not in ("range", "step")})
        if not isinstance(inner, Mapping):
            raise BadField("rule", "must be an object")
        rule = self._asked_rule(inner)
        past = Past(range_ms, step_ms or rule.interval_ms or self._interval_ms, self._now())
        return {"name": rule.name, **backtest(rule, self._selector, past, self._budget()).answer()}

    def _asked_rule(self, body: Mapping[str, Any]) -> Rule:
        """One that is there, with changes where fields stand beside its id, or a new one."""
        if "id" not in body:
            return rule_from({"name": "backtest", **body}, "backtest")
        rule = self._book.rule(_text(body, "id"))
        if not isinstance(rule, Rule):
            raise BadField("id", "is that of a recording rule")
        changes = {key: value for key, value in body.items() if key != "id"}
        if not changes:
            return rule
        if rule.source.startswith("file:"):
            known = {"for": duration_text(rule.for_ms), "keep_firing_for": duration_text(rule.keep_firing_for_ms)}
            return rule_from({"name": rule.name, "expr": rule.query, **known, **changes}, rule.id)
        return rule_from({**self._book.entry(rule.id).body, **changes}, rule.id)

    # --- silences -----------------------------------------------------------------------------------------------------

    def _silences(self, _: Request, __: Mapping[str, Any]) -> Any:
        return {"silences": list(self._engine.silences())}

    def _add_silence(self, _: Request, body: Mapping[str, Any]) -> Any:
        return self._engine.add_silence(body), 201

    def _expire_silence(self, request: Request, _: Mapping[str, Any]) -> Any:
        silence = request.path_params["id"]
        if not self._engine.expire_silence(silence):
            raise NotFound(f"there is no silence {silence[:100]!r}")
        return None


def refusal(error: MirubatoError) -> Response:
    """What is wrong as JSON: a code, a sentence, and the field."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 400)
    told = {"code": code_of(error), "message": str(error)}
    if isinstance(error, BadField) and error.field:
        told["field"] = error.field
    return _json(told, status)


async def _body(request: Request) -> Mapping[str, Any]:
    """A JSON object; nothing at all is an empty one."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > RULE_BODY_BYTES_MAX:
            raise TooLarge(f"the body is larger than {RULE_BODY_BYTES_MAX} bytes")
    if not body:
        return {}
    try:
        given = orjson.loads(bytes(body))
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if not isinstance(given, dict):
        raise BadRequest("the body must be a JSON object")
    return given


def _response(answer: Any) -> Response:
    """JSON with its status; None is 204."""
    if answer is None:
        return Response(status_code=204)
    data, status = answer if isinstance(answer, tuple) else (answer, 200)
    return _json(data, status)


def _json(data: Any, status: int) -> Response:
    return Response(orjson.dumps(data), status, media_type="application/json")


def _settable(body: Mapping[str, Any]) -> dict[str, Any]:
    """What may be set, of what GET showed: a client may change one field and send all of it back."""
    return {key: value for key, value in body.items() if key in FIELDS or key not in _SHOWN}


_SHOWN = frozenset(
    (
        "id",
        "type",
        "source",
        "query",
        "unit",
        "health",
        "last_error",
        "last_evaluation",
        "evaluation_seconds",
        "series",
        "state",
        "alerts",
        "created",
        "updated",
        "warnings",
        "line",
    )
)


def _text(body: Mapping[str, Any], field: str) -> str:
    text = body.get(field, "")
    if not isinstance(text, str):
        raise BadField(field, "must be a text")
    return text[:1000]


def _duration(body: Mapping[str, Any], field: str, default: int) -> int:
    text = body.get(field)
    if text is None:
        return default
    try:
        duration = parse_duration(text) if isinstance(text, str) else 0
    except ValueError as error:
        raise BadField(field, str(error)) from error
    if not 0 < duration <= _RANGE_MAX_MS:
        raise BadField(field, "must be a duration such as 7d, of at most a year")
    return duration


def _alert(alert: ActiveAlert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "rule_id": alert.rule_id,
        "state": alert.state,
        "labels": alert.labels,
        "annotations": alert.annotations,
        "value": number(alert.value),
        "active_since": rfc3339(alert.active_since_ms),
        "firing_since": None if alert.firing_since_ms is None else rfc3339(alert.firing_since_ms),
        "silenced_by": alert.silenced_by,
        "acknowledged_by": alert.acknowledged_by,
    }


def _history_entry(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "time": rfc3339(entry.at_ms),
        "alert_id": entry.alert_id,
        "rule_id": entry.rule_id,
        "rule": entry.rule_name,
        "labels": entry.labels,
        "annotations": entry.annotations,
        "from": entry.before,
        "to": entry.after,
        "value": number(entry.value),
    }


def number(value: float) -> float | str:
    """JSON has no NaN and no infinities: those are texts."""
    return value if abs(value) < float("inf") else format_value(value)
