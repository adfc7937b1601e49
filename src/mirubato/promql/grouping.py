"""Which rows belong together: by the labels that an aggregation keeps, or that a binary operator matches on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mirubato.model.labels import NAME, Labels
from mirubato.model.samples import Int64s


@dataclass(frozen=True, slots=True)
class Groups:
    """The group of each row, and what the groups are called."""

    of: Int64s
    labels: Sequence[Labels]

    def rows(self) -> list[Int64s]:
        """The rows of each group, rising."""
        if not self.labels:
            return []
        order = np.argsort(self.of, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.of, minlength=len(self.labels)))[:-1])


def grouped(
    labels: Iterable[Labels], key: Callable[[Labels], Labels], known: dict[Labels, int] | None = None
) -> Groups:
    """Number the keys in the order in which they come; `known` are keys that have a number already."""
    numbers: dict[Labels, int] = {} if known is None else known
    of = [numbers.setdefault(key(one), len(numbers)) for one in labels]
    return Groups(np.array(of, np.int64), list(numbers))


def keeping(names: Sequence[str]) -> Callable[[Labels], Labels]:
    """`by` and `on`: only these labels."""
    wanted = frozenset(names)
    if not wanted:
        return lambda _: ()
    if len(wanted) == 1:
        return partial(_only, next(iter(wanted)))
    return lambda labels: tuple([pair for pair in labels if pair[0] in wanted])


def _only(wanted: str, labels: Labels) -> Labels:
    for pair in labels:
        if pair[0] == wanted:
            return (pair,)
    return ()


def dropping(names: Sequence[str]) -> Callable[[Labels], Labels]:
    """`without` and `ignoring`: all but these and the metric name."""
    unwanted = frozenset((*names, NAME))
    return lambda labels: tuple([pair for pair in labels if pair[0] not in unwanted])


def is_name(name: str) -> bool:
    """Whether a label may have this name: any text; bytes in a string that are not UTF-8 read as U+FFFD."""
    return bool(name) and "\ufffd" not in name


def with_label(labels: Labels, name: str, value: str) -> Labels:
    """The same with one label set; an empty value takes it away."""
    kept = [pair for pair in labels if pair[0] != name]
    return tuple(sorted([*kept, (name, value)])) if value else tuple(kept)
