"""Whether rules make sense before they run: expressions, templates, and recording rules that feed themselves."""

from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from mirubato.alerts.go_templates import TemplateError, parsed
from mirubato.alerts.rules import Group, RecordingRule, Rule
from mirubato.alerts.template_functions import NAMES
from mirubato.errors import BadQuery
from mirubato.model.labels import NAME
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.promql.expressions import (
    Aggregate,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    Paren,
    Subquery,
    Unary,
    VectorSelector,
    type_of,
)
from mirubato.promql.functions import ValueType
from mirubato.promql.parser import parse


def check_expression(text: str) -> Expr:
    """The tree of a rule's expression; BadQuery for one that is none, or whose answer is no vector or scalar."""
    if not text.strip():
        raise BadQuery("the expression is empty")
    expr = parse(text)
    kind = type_of(expr)
    if kind not in (ValueType.VECTOR, ValueType.SCALAR):
        raise BadQuery(f"a rule needs an instant vector or a scalar; this is a {kind.value}")
    return expr


def template_problem(text: str) -> str:
    """Why a template does not parse, or an empty text."""
    try:
        parsed(text, NAMES)
    except (TemplateError, RecursionError) as error:
        return str(error)
    return ""


def selectors(expr: Expr) -> Iterator[VectorSelector]:
    """All selectors of an expression."""
    match expr:
        case VectorSelector():
            yield expr
        case MatrixSelector():
            yield expr.selector
        case Call():
            for arg in expr.args:
                yield from selectors(arg)
        case Binary():
            yield from selectors(expr.lhs)
            yield from selectors(expr.rhs)
        case Aggregate():
            yield from selectors(expr.expr)
            if expr.param is not None:
                yield from selectors(expr.param)
        case Paren() | Unary() | Subquery():
            yield from selectors(expr.expr)


def metric_names(text: str) -> list[str]:
    """The metrics that an expression names, each once, in its order."""
    names = (
        matcher.value
        for selector in selectors(parse(text))
        for matcher in selector.matchers
        if matcher.name == NAME and matcher.op is MatchOp.EQUAL
    )
    return list(dict.fromkeys(names))


def cycles(groups: Sequence[Group]) -> dict[str, str]:
    """Recording rules that read, at the same time, what they make: their ids, and a sentence that names the way.

    `offset` breaks a cycle: what was recorded earlier is there.
    """
    rules = [rule for group in groups for rule in group.rules if isinstance(rule, RecordingRule)]
    made: dict[str, list[RecordingRule]] = {}
    for rule in rules:
        made.setdefault(rule.name, []).append(rule)
    reads = {rule.id: _reads(rule, made) for rule in rules}
    names = {rule.id: rule.name for rule in rules}
    found: dict[str, str] = {}
    while way := _cycle(reads):
        sentence = f"recording rules feed themselves: {' <- '.join(names[one] for one in way)}"
        found.update(dict.fromkeys(way, sentence))
        reads = {one: others - set(way) for one, others in reads.items() if one not in way}
    return found


def _cycle(reads: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(reads).prepare()
    except CycleError as error:
        way: list[str] = error.args[1]
        return way
    return []


def _reads(rule: RecordingRule, made: dict[str, list[RecordingRule]]) -> set[str]:
    """Ids of the recording rules whose series this one selects, but for those of earlier times."""
    return {
        other.id
        for selector in selectors(parse(rule.query))
        if not selector.offset and selector.at is None
        for matcher in selector.matchers
        if matcher.name == NAME
        for name, others in made.items()
        if matcher.matches(name)
        for other in others
        if _may_select(selector.matchers, other)
    }


def _may_select(matchers: Sequence[Matcher], rule: RecordingRule) -> bool:
    """False where a label that the rule sets is not what the selector wants."""
    return all(matcher.matches(rule.labels[matcher.name]) for matcher in matchers if matcher.name in rule.labels)


def without(groups: Sequence[Group], ids: set[str]) -> list[Group]:
    """Groups without some of their rules."""
    return [
        Group(
            group.name,
            group.source,
            [rule for rule in group.rules if rule.id not in ids],
            group.interval_ms,
            group.limit,
        )
        for group in groups
    ]


def enabled(rule: Rule | RecordingRule) -> bool:
    """Recording rules always are."""
    return isinstance(rule, RecordingRule) or rule.enabled
