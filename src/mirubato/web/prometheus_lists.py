"""Endpoints that say what there is: series, labels, label/<name>/values, metadata."""

import re
from collections.abc import Callable, Sequence

from mirubato.errors import BadQuery
from mirubato.model.labels import Labels
from mirubato.model.matchers import Matcher
from mirubato.model.seams import Selector
from mirubato.promql.parser import parse_matchers
from mirubato.promql.query import QueryBudget
from mirubato.web.parameters import Parameters, limit, stretch_ms
from mirubato.web.prometheus_answers import Answer, cut

_ESCAPED_NAME = re.compile(r"(?:[^_]|__|_[0-9a-fA-F]{1,6}_)*")
_ESCAPED_PART = re.compile(r"__|_([0-9a-fA-F]{1,6})_")


class Lists:
    """Labels and families of a selector."""

    def __init__(self, selector: Selector, now: Callable[[], int]) -> None:
        self._selector, self._now = selector, now

    def series(self, parameters: Parameters, budget: QueryBudget) -> Answer:
        """The labels of all series that fulfil any `match[]`."""
        texts, most = parameters.all("match[]"), limit(parameters.single)
        if not texts:
            raise BadQuery("no match[] parameter provided")
        try:
            wanted = list(map(parse_matchers, texts))
        except BadQuery as error:
            raise BadQuery(f'invalid parameter "match[]": {error}') from error
        return cut([dict(labels) for labels in self._matching(wanted, parameters, budget)], most)

    def labels(self, parameters: Parameters, budget: QueryBudget) -> Answer:
        """All label names, or those of the series that fulfil any `match[]`."""
        most, wanted = limit(parameters.single), list(map(parse_matchers, parameters.all("match[]")))
        if not wanted:
            stretch_ms(parameters.single)
            return cut(self._selector.label_names(), most)
        found = self._matching(wanted, parameters, budget)
        return cut(sorted({name for labels in found for name, _ in labels}), most)

    def label_values(self, parameters: Parameters, budget: QueryBudget) -> Answer:
        """All values of the label in the path, or those of the series that fulfil any `match[]`."""
        name, most = unescaped_name(parameters.path["name"]), limit(parameters.single)
        wanted = list(map(parse_matchers, parameters.all("match[]")))
        if not wanted:
            stretch_ms(parameters.single)
            return cut(self._selector.label_values(name), most)
        found = self._matching(wanted, parameters, budget)
        return cut(sorted({value for labels in found for label, value in labels if label == name}), most)

    def _matching(
        self, wanted: Sequence[tuple[Matcher, ...]], parameters: Parameters, budget: QueryBudget
    ) -> Sequence[Labels]:
        """Series that may have samples between `start` and `end`."""
        stretch = stretch_ms(parameters.single)
        # Of what there is, nothing begins later than now (but for clocks that are ahead): then only the start counts.
        end = stretch.end if stretch.end < self._now() else None
        found = [self._selector.series(matchers, stretch.start, budget, end) for matchers in wanted]
        return found[0] if len(found) == 1 else sorted({labels for some in found for labels in some})

    def metadata(self, parameters: Parameters, _: QueryBudget) -> Answer:
        """Type, help and unit of each metric: `metric`, or up to `limit` of them."""
        wanted, most = parameters.text("metric"), _count(parameters, "limit")
        most_each = _count(parameters, "limit_per_metric") or -1
        found: dict[str, list[dict[str, str]]] = {}
        for family in self._selector.families():
            if wanted not in ("", family.name) or (len(found) == most and family.name not in found):
                continue
            entries = found.setdefault(family.name, [])
            if len(entries) != most_each:
                entries.append({"type": family.type.value, "help": family.help, "unit": family.unit})
        return Answer(found)


def _count(parameters: Parameters, name: str) -> int:
    """A whole number; what is below 0, or missing, is no limit."""
    try:
        return int(parameters.text(name) or "-1")
    except ValueError as error:
        raise BadQuery(f"{name} must be a number") from error


def unescaped_name(name: str) -> str:
    """A label name in a path: `U__` begins one that is escaped by the `values` scheme (escaping_schemes.md)."""
    rest = name.removeprefix("U__")
    if rest == name or not _ESCAPED_NAME.fullmatch(rest):
        return name
    try:
        return _ESCAPED_PART.sub(lambda match: chr(int(match[1], 16)) if match[1] else "_", rest)
    except ValueError:
        return name  # beyond Unicode
