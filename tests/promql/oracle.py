"""Prometheus' own engine as an Engine: a process that speaks JSON (oracle/main.go), built by scripts/prometheus."""

import functools
import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from mirubato.model.histogram import ResetHint
from mirubato.model.labels import Labels, labels_of
from tests.promql.answers import Answer, Question, Series, Value, is_marker
from tests.promql.shapes import Shape

ROOT = Path(__file__).resolve().parents[2]
BUILD_SECONDS = 900


class Oracle:
    """A running oracle; a context manager that ends its process."""

    def __init__(self, binary: str, *arguments: str) -> None:
        self._process = subprocess.Popen([binary, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()

    def clear(self) -> None:
        self._call({"clear": True})

    def load(self, series: Iterable[Series]) -> None:
        self._call({"load": [_written(one) for one in series]})

    def ask(self, question: Question) -> Answer:
        given = self._call(
            {
                "query": question.text,
                "start": question.start,
                "end": question.end,
                "step": question.step,
                "lookback": question.lookback,
            }
        )
        return Answer(
            kind=given.get("kind", ""),
            series=[_read(one) for one in given["series"] or ()],
            text=given.get("text", ""),
            warnings=given["warnings"] or (),
            infos=given["infos"] or (),
            error=given.get("error"),
            refused=given.get("refused", False),
        )

    def parsed(self, text: str) -> tuple[str, str] | str:
        """How Prometheus writes the expression, on one line and over many; or why it is none."""
        given = self._call({"parse": text})
        return str(given["error"]) if "error" in given else (str(given["text"]), str(given["pretty"]))

    def pinned(self, text: str, time: int) -> str:
        """The expression with `@ time` (ms) wherever it can stand; empty where it asks for the time itself."""
        given = self._call({"pin": text, "start": time})
        return str(given.get("text", ""))

    def _call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def _written(series: Series) -> dict[str, Any]:
    return {"labels": dict(series.labels), "samples": [_written_sample(*sample) for sample in series.samples]}


def _written_sample(time: int, value: Value) -> dict[str, Any]:
    if not isinstance(value, Shape):
        return {"t": time, "v": "stale" if is_marker(value) else repr(value)}
    return {
        "t": time,
        "h": {
            "schema": value.schema,
            "count": repr(value.count),
            "sum": "stale" if is_marker(value.sum) else repr(value.sum),
            "zero_count": repr(value.zero_count),
            "zero_threshold": repr(value.zero_threshold),
            "positive": {str(index): repr(count) for index, count in value.positive.items()},
            "negative": {str(index): repr(count) for index, count in value.negative.items()},
            "custom": [repr(bound) for bound in value.custom],
            "hint": int(value.hint or ResetHint.UNKNOWN),
        },
    }


def _read(series: Mapping[str, Any]) -> Series:
    samples = sorted(((one["t"], _value(one)) for one in series["samples"]), key=lambda sample: sample[0])
    return Series(_labels(series["labels"] or {}), samples)


def _labels(labels: Mapping[str, str]) -> Labels:
    return labels_of(labels.items())


def _value(sample: Mapping[str, Any]) -> Value:
    if "v" in sample:
        return float(sample["v"])
    written = sample["h"]
    return Shape(
        schema=written["schema"],
        count=float(written["count"]),
        sum=float(written["sum"]),
        zero_count=float(written["zero_count"]),
        zero_threshold=float(written["zero_threshold"]),
        positive={int(index): float(count) for index, count in written["positive"].items()},
        negative={int(index): float(count) for index, count in written["negative"].items()},
        custom=tuple(float(bound) for bound in written["custom"] or ()),
        hint=ResetHint(written["hint"]),
    )


@functools.cache
def prometheus(what: str) -> str:
    """What scripts/prometheus makes (oracle, server, upstream); skips the test where it cannot be had."""
    only_look = ["--no-build"] if os.environ.get("MIRUBATO_BUILD_PROMETHEUS") == "0" else []
    command = [str(ROOT / "scripts" / "prometheus"), what, *only_look]
    made = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if made.returncode == 3:
        pytest.skip(made.stderr.strip().splitlines()[-1])
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()
