"""Answers are the official ones."""

import pytest

from mirubato.otlp.signals import Signal, response


@pytest.mark.parametrize("signal", Signal)
def test_full_success_is_an_empty_message(signal: Signal) -> None:
    assert response(signal, 0, "").SerializeToString() == b""


@pytest.mark.parametrize(
    ("signal", "field"),
    [
        (Signal.METRICS, "rejected_data_points"),
        (Signal.TRACES, "rejected_spans"),
        (Signal.LOGS, "rejected_log_records"),
    ],
)
@pytest.mark.parametrize(("rejected", "message"), [(3, "why"), (0, "a warning"), (2, "")])
def test_partial_success(signal: Signal, field: str, rejected: int, message: str) -> None:
    partial = response(signal, rejected, message).partial_success
    assert getattr(partial, field) == rejected
    assert partial.error_message == message
