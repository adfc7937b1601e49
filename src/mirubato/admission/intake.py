"""Requests that share a commit -> one batch and an outcome each: decode, then admit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from mirubato.admission.columns import Decoded
from mirubato.admission.rules import TimeBounds, admit
from mirubato.errors import MirubatoError, Refused
from mirubato.model.samples import Batch
from mirubato.model.seams import Outcome, StreamState

Item = TypeVar("Item")


class Encoded(NamedTuple):
    """A framed request, and who decodes it: requests of all protocols wait together."""

    decode: Callable[[bytes], Decoded]
    body: bytes

    def decoded(self) -> Decoded:
        """Its columns; Refused where it cannot be decoded."""
        return self.decode(self.body)


@dataclass(frozen=True, slots=True)
class Intake(Generic[Item]):
    """Decoder and rules, joined; `prepare` is what the writer thread calls."""

    decode: Callable[[Item], Decoded]
    state: StreamState
    bounds: TimeBounds

    def prepare(self, requests: Sequence[Item], now: int) -> tuple[Batch, Sequence[Outcome | Exception]]:
        """One batch of all requests; a request that cannot be decoded gets its error and does not hurt the others."""
        decoded: list[Decoded] = []
        answers: list[Outcome | MirubatoError | None] = []
        for request in requests:
            try:
                decoded.append(self.decode(request))
                answers.append(None)
            except Refused as refused:
                answers.append(refused)
        batch, outcomes = admit(decoded, self.state, self.bounds, now)
        taken = iter(outcomes)
        return batch, [next(taken) if answer is None else answer for answer in answers]
