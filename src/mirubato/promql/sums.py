"""Sums that are right: compensated as Prometheus' are, at the price of a plain sum where that is as good.

Source: prometheus, util/kahansum/kahansum.go (Neumaier's variant of Kahan's summation).
"""

import numpy as np

from mirubato.model.samples import Float64s
from mirubato.promql.values import Bools

# A pairwise sum of n values is off by about 1e-16 * log2(n) of the sum of absolute values. Where that sum is at most
# this many times the result, 12 digits are right, and nothing needs compensating.
_CANCELLATION_MAX = 100.0


def add(x: Float64s, total: Float64s, low: Float64s) -> tuple[Float64s, Float64s]:
    """One more value for each sum: the new total, and the new compensation to add to it at the end."""
    grown = total + x
    error = np.where(np.abs(total) >= np.abs(x), (total - grown) + x, (x - grown) + total)
    return grown, np.where(np.isinf(grown), 0.0, low + error)


def suspect(totals: Float64s, sizes: Float64s) -> Bools:
    """Which plain sums need compensating; `sizes` are the sums of absolute values."""
    found: Bools = ~(sizes <= np.abs(totals) * _CANCELLATION_MAX) | ~np.isfinite(totals)
    return found


def table_sum(table: Float64s, mask: Bools) -> Float64s:
    """Compensated sums of the rows of a table, of the cells of a mask, from left to right."""
    total, low = np.zeros(len(table)), np.zeros(len(table))
    for column in range(table.shape[1]):
        grown, error = add(table[:, column], total, low)
        on = mask[:, column]
        total, low = np.where(on, grown, total), np.where(on, error, low)
    return np.where(np.isinf(total), total, total + low)


def table_mean(table: Float64s, mask: Bools) -> Float64s:
    """Means of the rows of a table likewise; where the sum would overflow, the mean is followed value by value."""
    rows = len(table)
    total, low, count = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    gradual = np.zeros(rows, np.bool_)
    for column in range(table.shape[1]):
        x, on = table[:, column], mask[:, column]
        count = count + on
        grown, error = add(x, total, low)
        turned = on & ~gradual & np.isinf(grown) & (count > 1)
        total = np.where(turned, total / np.maximum(count - 1, 1), total)
        low = np.where(turned, low / np.maximum(count - 1, 1), low)
        gradual |= turned
        share = (count - 1) / np.maximum(count, 1)
        mean, mean_low = add(x / np.maximum(count, 1), share * total, share * low)
        total = np.where(on, np.where(gradual, mean, grown), total)
        low = np.where(on, np.where(gradual, mean_low, error), low)
    count = np.maximum(count, 1)
    return np.where(gradual, total + low, total / count + low / count)
