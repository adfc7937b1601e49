"""Steps and budgets; what queries find is tested from outside, in tests/web."""

import pytest

from mirubato.clock import monotonic_s
from mirubato.errors import BadQuery, QueryLimit, QueryTimeout
from mirubato.promql.query import QueryBudget
from mirubato.promql.values import Steps


@pytest.mark.parametrize(
    ("steps", "times"),
    [
        (Steps(0, 0, 1), [0]),
        (Steps(0, 10, 5), [0, 5, 10]),
        (Steps(1, 10, 5), [1, 6]),
        (Steps(0, 4, 5), [0]),
        (Steps(-10, 0, 10), [-10, 0]),
    ],
)
def test_times_of_steps(steps: Steps, times: list[int]) -> None:
    assert steps.times().tolist() == times


def test_11000_steps_are_the_most() -> None:
    assert len(Steps(0, 11_000_999, 1000).times()) == 11_001
    Steps(0, 11_000_999, 1000).check_resolution()
    with pytest.raises(BadQuery, match="exceeded maximum resolution of 11,000 points per timeseries"):
        Steps(0, 11_001_000, 1000).check_resolution()


@pytest.mark.parametrize(("end", "step", "told"), [(10, 0, "zero or negative"), (10, -1, "zero or"), (-1, 1, "end ")])
def test_steps_that_lead_nowhere(end: int, step: int, told: str) -> None:
    with pytest.raises(BadQuery, match=told):
        Steps(0, end, step)


def test_a_budget_names_the_setting() -> None:
    budget = QueryBudget(monotonic_s() + 60, series_max=10, samples_max=100)
    budget.check()
    budget.take_series(10)
    budget.take_samples(60)
    budget.take_samples(40)
    with pytest.raises(QueryLimit, match="more than MIRUBATO_MAX_QUERY_SERIES=10 series"):
        budget.take_series(1)
    with pytest.raises(QueryLimit, match="more than MIRUBATO_MAX_QUERY_SAMPLES=100 samples"):
        budget.take_samples(1)
    with pytest.raises(QueryTimeout, match="MIRUBATO_QUERY_TIMEOUT"):
        QueryBudget(monotonic_s() - 0.001, 10, 100).check()
