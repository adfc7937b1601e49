"""Requests that share a commit -> one batch and an outcome each: decode, then admit."""

from collections.abc import Sequence
from dataclasses import dataclass

from mirubato.errors import MirubatoError, Refused
from mirubato.model.samples import Batch
from mirubato.model.seams import Outcome, StreamState
from mirubato.otlp.admission import TimeBounds, admit
from mirubato.otlp.columns import Decoded
from mirubato.otlp.decoder import Decoder


@dataclass(frozen=True, slots=True)
class Intake:
    """Decoder and rules, joined; `prepare` is what the writer thread calls."""

    decoder: Decoder
    state: StreamState
    bounds: TimeBounds

    def prepare(self, bodies: Sequence[bytes], now: int) -> tuple[Batch, Sequence[Outcome | Exception]]:
        """One batch of all requests; a request that cannot be decoded gets its error and does not hurt the others."""
        decoded: list[Decoded] = []
        answers: list[Outcome | MirubatoError | None] = []
        for body in bodies:
            try:
                decoded.append(self.decoder.decode(body))
                answers.append(None)
            except Refused as refused:
                answers.append(refused)
        batch, outcomes = admit(decoded, self.state, self.bounds, now)
        taken = iter(outcomes)
        return batch, [next(taken) if answer is None else answer for answer in answers]
