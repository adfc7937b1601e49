"""Which rules made most messages, and the edit that would quiet them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mirubato.alerts.backtest import SHORT_MS, Backtest
from mirubato.alerts.rules import Rule
from mirubato.alerts.seams import HistoryEntry
from mirubato.promql.literals import duration_text

_FIRES = frozenset(("firing", "no_data"))
_RULES_SHOWN = 20
# A back-test costs a query over the whole time.
_RULES_TRIED = 5
# Where more of a rule's alerts than this are short, waiting longer is what helps.
_MOSTLY = 0.5


def fired(history: Sequence[HistoryEntry]) -> dict[str, tuple[int, int]]:
    """Of each rule (id): how often it fired, and how often for less than SHORT_MS; in any order of entries."""
    begun: dict[tuple[str, str], int] = {}
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for entry in sorted(history, key=lambda entry: entry.at_ms):
        key = (entry.rule_id, entry.alert_id)
        if entry.after in _FIRES and entry.before not in _FIRES:
            begun[key] = entry.at_ms
            counts[entry.rule_id][0] += 1
        elif entry.after not in _FIRES and key in begun:
            counts[entry.rule_id][1] += entry.at_ms - begun.pop(key) < SHORT_MS
    return {rule_id: (times, short) for rule_id, (times, short) in counts.items()}


def report(
    history: Sequence[HistoryEntry],
    messages: Mapping[str, int],
    rule_of: Callable[[str], Rule | None],
    try_out: Callable[[Rule], Backtest | None],
) -> dict[str, Any]:
    """The noise report as JSON: rules by messages, most first, the first ones with an edit that would quiet them."""
    counts = fired(history)
    names = {entry.rule_id: entry.rule_name for entry in history}
    loud = Counter({rule_id: messages.get(rule_id, times) for rule_id, (times, _) in counts.items()})
    loud.update({rule_id: count for rule_id, count in messages.items() if rule_id not in counts})
    total = sum(loud.values())
    rules = []
    for place, (rule_id, count) in enumerate(loud.most_common(_RULES_SHOWN)):
        times, short = counts.get(rule_id, (0, 0))
        rule = rule_of(rule_id)
        edit = _edit(rule, times, short, try_out if place < _RULES_TRIED else None) if rule else None
        rules.append(
            {
                "id": rule_id,
                "name": names.get(rule_id, rule.name if rule else ""),
                "messages": count,
                "share": count / total if total else 0.0,
                "fired": times,
                "under_5_minutes": short,
                "edit": edit,
            }
        )
    return {"messages": total, "sentence": _sentence(rules, total), "rules": rules}


def _edit(
    rule: Rule, times: int, short: int, try_out: Callable[[Rule], Backtest | None] | None
) -> dict[str, Any] | None:
    """What to change in a rule that has fired more than once, and what that would have changed."""
    if times < 2:
        return None
    tested = try_out(rule) if try_out else None
    better = tested.better() if tested else None
    if better and tested:
        return {
            "for": duration_text(better.for_ms),
            "why": f"it would have fired {better.fired} instead of {tested.tried.fired} times",
        }
    if short / times > _MOSTLY:
        longer = max(2 * rule.for_ms, SHORT_MS)
        return {"for": duration_text(longer), "why": f"{short} of {times} alerts were over in under 5 minutes"}
    if not rule.keep_firing_for_ms:
        return {"keep_firing_for": "10m", "why": "it comes back again and again: one long alert instead of many"}
    return None


def _sentence(rules: Sequence[Mapping[str, Any]], total: int) -> str:
    """`3 rules made 82 % of 240 messages`."""
    if not total:
        return "no messages"
    some, made = 0, 0
    for some, rule in enumerate(rules, 1):  # noqa: B007  (where it ends is what is told)
        made += rule["messages"]
        if made >= 0.8 * total:
            break
    plural = "rule" if some == 1 else "rules"
    return f"{some} {plural} made {100 * made / total:.0f} % of {total} messages"
