"""Functions of labels, and of the order of series. Source: prometheus, promql/functions.go."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cmp_to_key
from typing import Any

import numpy as np

from mirubato.errors import BadQuery, QueryError
from mirubato.model.labels import Labels
from mirubato.model.matchers import capturing
from mirubato.promql.grouping import is_name, with_label
from mirubato.promql.values import Vector, merged

_REFERENCE = re.compile(r"\$(?:\$|(?P<plain>[0-9A-Za-z_]+)|\{(?P<braced>[0-9A-Za-z_]+)\})")


def label_replace(vector: Vector, target: str, template: str, source: str, pattern: str) -> Vector:
    """Set `target` to `template`, filled from the groups of `pattern`, where it matches the whole of `source`."""
    try:
        regex = capturing(f"^(?s:{pattern})$")
    except BadQuery as error:
        raise QueryError(f"invalid regular expression in label_replace(): {pattern}") from error
    _check_name(target, "invalid destination label name in label_replace()")
    names = [_replaced(labels, target, template, source, regex) for labels in vector.labels]
    return merged(replace(vector, labels=names))


def _replaced(labels: Labels, target: str, template: str, source: str, regex: Any) -> Labels:
    match = regex.search(dict(labels).get(source, ""))
    return labels if match is None else with_label(labels, target, _expanded(template, match))


def _expanded(template: str, match: Any) -> str:
    """`$1`, `${1}`, `$name` as Go's Regexp.Expand: the longest name counts, and a group that is not there is empty."""

    def group(reference: re.Match[str]) -> str:
        name = reference["plain"] or reference["braced"]
        if name is None:
            return "$"
        try:
            return match.group(int(name) if name.isdigit() else name) or ""
        except (IndexError, KeyError):
            return ""

    return _REFERENCE.sub(group, template)


def label_join(vector: Vector, target: str, separator: str, sources: Sequence[str]) -> Vector:
    """Set `target` to the values of `sources`, joined."""
    for source in sources:
        _check_name(source, "invalid source label name in label_join()")
    _check_name(target, "invalid destination label name in label_join()")
    names = []
    for labels in vector.labels:
        given = dict(labels)
        names.append(with_label(labels, target, separator.join(given.get(source, "") for source in sources)))
    return merged(replace(vector, labels=names))


def _check_name(name: str, message: str) -> None:
    if not is_name(name):
        raise QueryError(f"{message}: {name}")


def by_value(vector: Vector, *, descending: bool) -> Vector:
    """Rows by their value at the first step, NaN last; for instant queries, where rows stay in order."""
    floats = vector.floats()
    floats = floats.take(floats.present.any(axis=1))
    values = floats.values[:, 0] * (-1.0 if descending else 1.0)
    return floats.take(np.argsort(values, kind="stable"))


def by_label(vector: Vector, names: Sequence[str], *, descending: bool) -> Vector:
    """Rows by these labels in natural order (`a2` before `a10`), then by all labels."""

    def compare(first: int, second: int) -> int:
        one, other = dict(vector.labels[first]), dict(vector.labels[second])
        for name in names:
            left, right = one.get(name, ""), other.get(name, "")
            if left != right:
                return -1 if natural_less(left, right) else 1
        return -1 if vector.labels[first] < vector.labels[second] else 1

    order = sorted(range(len(vector)), key=cmp_to_key(compare), reverse=descending)
    return vector.take(np.array(order, np.int64))


_CHUNKS = re.compile(r"(\d+|\D+)")


def natural_less(left: str, right: str) -> bool:
    """Whether one string comes before another, numbers within them by their size (facette/natsort)."""
    lefts, rights = _CHUNKS.findall(left), _CHUNKS.findall(right)
    for at, one in enumerate(lefts):
        if at >= len(rights):
            return False
        other = rights[at]
        if one == other:
            continue
        if one.isdigit() and other.isdigit() and int(one) != int(other):
            return int(one) < int(other)
        return str(one) < str(other)
    return len(lefts) < len(rights)
