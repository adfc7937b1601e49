"""When a metric was last asked for: a selector that remembers what is selected through it."""

from collections.abc import Collection, Iterable, Sequence

from mirubato.clock import now_ms
from mirubato.limits import COST_SELECTORS_MAX
from mirubato.model.families import PARTS
from mirubato.model.labels import NAME, Family, Labels
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.model.rollups import Use
from mirubato.model.samples import Exemplar
from mirubato.model.seams import Budget, Head, Newest, Selected, Selector


class NotingSelector:
    """Hands all on to another selector; each `select` costs one entry in a dict more."""

    def __init__(self, selector: Selector) -> None:
        self._selector = selector
        self._asked: dict[Matcher, int] = {}

    def uses(self, names: Collection[str]) -> dict[str, int]:
        """When (ms) each of some metrics was asked for since this was called last."""
        asked, self._asked = self._asked, {}
        found: dict[str, int] = {}
        for matcher, at in list(asked.items()):
            exact = matcher.op is MatchOp.EQUAL
            for name in (matcher.value,) if exact else names:
                if name in names and (exact or matcher.matches(name)):
                    found[name] = max(at, found.get(name, 0))
        return found

    def select(
        self, matchers: tuple[Matcher, ...], start: int, end: int, budget: Budget, use: Use = Use.SAMPLES
    ) -> Selected:
        """Samples of the matching series in a window."""
        for matcher in matchers:
            # `{__name__!=""}` and the like ask for everything, and so for nothing in particular.
            if (
                matcher.name == NAME
                and not matcher.matches("any_name_at_all")
                and len(self._asked) < COST_SELECTORS_MAX
            ):
                self._asked[matcher] = now_ms()
        return self._selector.select(matchers, start, end, budget, use)

    def series(
        self, matchers: tuple[Matcher, ...], start: int, budget: Budget, end: int | None = None
    ) -> Sequence[Labels]:
        """Labels of the matching series."""
        return self._selector.series(matchers, start, budget, end)

    def label_names(self) -> list[str]:
        """All label names."""
        return self._selector.label_names()

    def label_values(self, name: str) -> list[str]:
        """All values of a label."""
        return self._selector.label_values(name)

    def families(self) -> list[Family]:
        """All metric families."""
        return self._selector.families()

    def newest(self, matchers: tuple[Matcher, ...] | None, since: int) -> list[Newest]:
        """The newest sample of each series."""
        return self._selector.newest(matchers, since)

    def exemplars(
        self, start: int, end: int, selectors: Sequence[tuple[Matcher, ...]] = ((),)
    ) -> list[tuple[Labels, Exemplar]]:
        """Exemplars in a window."""
        return self._selector.exemplars(start, end, selectors)

    def head(self, most: int) -> Head:
        """What is in memory."""
        return self._selector.head(most)


_ENDS = sorted({end for ends in PARTS.values() for end in ends})


def family_name(name: str, families: Iterable[str]) -> str:
    """The family that a series' name is a part of, or the name."""
    known = set(families)
    for end in _ENDS:
        if name.endswith(end) and name.removesuffix(end) in known:
            return name.removesuffix(end)
    return name
