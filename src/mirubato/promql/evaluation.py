"""What a function sees of the evaluation that it is part of."""

from dataclasses import dataclass
from typing import Protocol

from mirubato.model.samples import Float64s, Int64s
from mirubato.model.seams import Budget
from mirubato.promql.annotations import Annotations
from mirubato.promql.expressions import Call, Expr, Paren, StringLiteral, VectorSelector
from mirubato.promql.values import Steps, Value, Vector


class Evaluation(Protocol):
    """What a function may ask of the evaluation that it is part of."""

    steps: Steps
    times: Int64s
    notes: Annotations
    budget: Budget

    def value(self, expr: Expr) -> Value:
        """An expression at each step."""
        ...

    def vector(self, expr: Expr) -> Vector:
        """An expression that is an instant vector."""
        ...

    def scalar(self, expr: Expr) -> Float64s:
        """An expression that is a scalar."""
        ...

    def sample_times(self, selector: VectorSelector) -> Vector:
        """When the samples that a selector shows were taken, in seconds."""
        ...

    def over_range(self, call: Call) -> Vector:
        """A function of a range vector."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """One call in one evaluation."""

    evaluation: Evaluation
    call: Call

    @property
    def name(self) -> str:
        """The function's."""
        return self.call.function.name

    def vector(self, index: int) -> Vector:
        """An argument, evaluated."""
        return self.evaluation.vector(self.call.args[index])

    def scalar(self, index: int) -> Float64s:
        """An argument, evaluated."""
        return self.evaluation.scalar(self.call.args[index])

    def text(self, index: int) -> str:
        """A string argument."""
        return string_of(self.call.args[index])


def string_of(expr: Expr) -> str:
    """The value of a string literal, in parentheses or not."""
    while isinstance(expr, Paren):
        expr = expr.expr
    assert isinstance(expr, StringLiteral)
    return expr.value
