"""Prometheus' test language: scripts of `load`, `clear` and `eval`, parsed and run against any Engine.

Source: prometheus, promql/promqltest/README.md. Where a script says nothing of warnings and infos, there may be any.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from mirubato.model.labels import NAME, Labels, labels_of, metric_name
from tests.promql.answers import Answer, Engine, Question, Sample, Series, same_samples
from tests.promql.notation import NotationError, Written, duration_ms, parse_series, unquoted
from tests.promql.shapes import custom_shape

TOLERANCE: Final = 1e-6
MINUTE_MS: Final = 60_000

_LOAD = re.compile(r"load(?:_(?P<custom>with_nhcb))?\s+(?P<interval>\S+)$")
_INSTANT = re.compile(r"eval(?:_(?P<mode>fail|warn|ordered|info))?\s+instant(?:\s+at\s+(?P<at>\S+))?\s+(?P<text>.+)$")
_RANGE = re.compile(
    r"eval(?:_(?P<mode>fail|warn|info))?\s+range\s+from\s+(?P<start>\S+)\s+to\s+(?P<end>\S+)\s+step\s+(?P<step>\S+)"
    r"\s+(?P<text>.+)$"
)
_EXPECT = re.compile(
    r"expect\s+(?P<what>ordered|fail|warn|no_warn|info|no_info)(?:\s+(?P<how>regex|msg):(?P<text>.+))?$"
)
_EXPECT_TIMES = re.compile(r"expect range vector from (?P<start>\S+) to (?P<end>\S+) step (?P<step>\S+)$")
_EXPECT_STRING = re.compile(r"expect string (?P<text>.+)$")
_SCALAR = re.compile(r"[+-]?(?:0x[0-9a-fA-F]+|[0-9.]+(?:e[+-]?\d+)?|[iI]nf|NaN)$")
# These answer otherwise in a range query, and so does what depends on them.
_OF_THE_RANGE = re.compile(r"\b(?:start|end|range|step)\(\)")
_POSITION = re.compile(r" \(\d+:\d+\)$")


@dataclass(frozen=True)
class Clear:
    """Forget all samples."""


@dataclass(frozen=True)
class Load:
    """Add samples, every `interval` ms from 0 on; `custom`: classic histograms as native ones, too."""

    interval: int
    series: Sequence[Written]
    custom: bool

    def stored(self) -> list[Series]:
        found = [Series(one.labels, _samples(one, 0, self.interval)) for one in self.series]
        return found + _converted(found) if self.custom else found


@dataclass(frozen=True)
class Expect:
    """A word of what is expected (`fail`, `no_warn`, ...), and what its text must be or match."""

    what: str
    text: str | None = None
    pattern: str | None = None

    def fits(self, told: str) -> bool:
        if self.text is not None:
            return self.text in (told.strip(), _POSITION.sub("", told))
        return self.pattern is None or re.search(self.pattern, told) is not None


@dataclass
class Eval:
    """A question and what its answer must be."""

    line: int
    question: Question
    expects: list[Expect] = field(default_factory=list)
    series: dict[Labels, Written] = field(default_factory=dict)
    scalar: float | None = None
    string: str | None = None
    times: tuple[int, int] | None = None
    """First time and step of the samples, where an instant query answers a range vector."""

    def wants(self, what: str) -> list[Expect]:
        return [one for one in self.expects if one.what == what]


Command = Clear | Load | Eval


# Reading. -----------------------------------------------------------------------------------------------------------


def parse(text: str) -> list[Command]:
    """The commands of a script; NotationError names the line."""
    lines = ["" if line.strip().startswith("#") else line.strip() for line in text.split("\n")]
    commands: list[Command] = []
    at = 0
    while at < len(lines):
        body = _body(lines, at + 1)
        if lines[at]:
            try:
                commands.append(_command(lines[at], body, at + 1))
            except ValueError as error:
                raise NotationError(f"line {at + 1}: {error}") from error
        at += 1 + (len(body) if lines[at] and lines[at] != "clear" else 0)
    return commands


def _body(lines: Sequence[str], start: int) -> list[str]:
    """What belongs to a command: the lines up to an empty one."""
    end = start
    while end < len(lines) and lines[end] and not re.match(r"(?:eval|load|clear)(?:_\w+)?(?:\s|$)", lines[end]):
        end += 1
    return list(lines[start:end])


def _command(head: str, body: Sequence[str], line: int) -> Command:
    if head == "clear":
        return Clear()
    if match := _LOAD.match(head):
        return Load(duration_ms(match["interval"]), [parse_series(one) for one in body], bool(match["custom"]))
    evaluation = _evaluation(head, line)
    for one in body:
        _expect(evaluation, one)
    return evaluation


def _evaluation(head: str, line: int) -> Eval:
    if match := _INSTANT.match(head):
        question = Question(match["text"], duration_ms(match["at"] or "0"))
    elif match := _RANGE.match(head):
        start, end, step = (duration_ms(match[name]) for name in ("start", "end", "step"))
        question = Question(match["text"], start, end, step)
    else:
        raise NotationError(f"no command: {head!r}")
    return Eval(line, question, [Expect(match["mode"])] if match["mode"] else [])


def _expect(evaluation: Eval, line: str) -> None:
    if match := _EXPECT_TIMES.match(line):
        evaluation.times = (duration_ms(match["start"]), duration_ms(match["step"]))
    elif match := _EXPECT_STRING.match(line):
        evaluation.string = unquoted(match["text"])
    elif match := _EXPECT.match(line):
        text = match["text"].strip() if match["text"] else None
        evaluation.expects.append(
            Expect(match["what"], text if match["how"] == "msg" else None, text if match["how"] == "regex" else None)
        )
    elif _SCALAR.match(line):
        evaluation.scalar = float(int(line, 16)) if "0x" in line else float(line)
    else:
        written = parse_series(line)
        evaluation.series[written.labels] = written


def _samples(written: Written, start: int, interval: int) -> list[Sample]:
    return [(start + at * interval, value) for at, value in enumerate(written.values) if value is not None]


@dataclass
class _Classic:
    """A classic histogram at one time."""

    buckets: dict[float, float] = field(default_factory=dict)
    count: float | None = None
    sum: float = 0.0


def _converted(series: Sequence[Series]) -> list[Series]:
    """`load_with_nhcb`: native histograms with custom buckets, one for each classic one."""
    found: dict[Labels, dict[int, _Classic]] = {}
    for one in series:
        name, _, kind = metric_name(one.labels).rpartition("_")
        if kind not in ("bucket", "count", "sum"):
            continue
        base = labels_of([(NAME, name), *((key, value) for key, value in one.labels if key not in (NAME, "le"))])
        by_time = found.setdefault(base, {})
        for time, value in one.samples:
            assert isinstance(value, float)
            classic = by_time.setdefault(time, _Classic())
            if kind == "bucket":
                classic.buckets[float(dict(one.labels)["le"])] = value
            elif kind == "count":
                classic.count = value
            else:
                classic.sum = value
    return [
        Series(labels, [(time, custom_shape(one.buckets, one.count, one.sum)) for time, one in sorted(times.items())])
        for labels, times in found.items()
    ]


# Running. -----------------------------------------------------------------------------------------------------------


def run(engine: Engine, commands: Sequence[Command]) -> Iterator[tuple[Eval, str | None]]:
    """Each `eval`, and what is wrong with its answer (None: nothing)."""
    engine.clear()
    for command in commands:
        match command:
            case Clear():
                engine.clear()
            case Load():
                engine.load(command.stored())
            case Eval():
                yield command, problem(engine, command)


def problem(engine: Engine, wanted: Eval) -> str | None:
    """What is wrong with the answer to an `eval`, if anything; an instant query is asked as a range query too."""
    answer = engine.ask(wanted.question)
    if wanted.wants("fail") or answer.error is not None:
        return _failure_problem(wanted, answer.error)
    found = _annotation_problem(wanted, answer) or _result_problem(wanted, answer)
    if found or wanted.question.step or wanted.string is not None or wanted.times or wanted.wants("ordered"):
        return found
    return None if _OF_THE_RANGE.search(wanted.question.text) else _range_problem(engine, wanted, answer.kind)


def problem_at(engine: Engine, wanted: Eval, text: str, time: int) -> str | None:
    """The same of another expression at another time (ms) that must have the same value."""
    return problem(engine, replace(wanted, question=Question(text, time)))


def _failure_problem(wanted: Eval, error: str | None) -> str | None:
    if error is None:
        return "it does not fail"
    if not wanted.wants("fail"):
        return f"it fails: {error}"
    return None if all(one.fits(error) for one in wanted.wants("fail")) else f"it fails otherwise: {error}"


def _annotation_problem(wanted: Eval, answer: Answer) -> str | None:
    for what, told in (("warn", answer.warnings), ("info", answer.infos)):
        expects = wanted.wants(what)
        if wanted.wants(f"no_{what}") and told:
            return f"{what}: {told}"
        if expects and not (
            all(any(one.fits(text) for text in told) for one in expects)
            and all(any(one.fits(text) for one in expects) for text in told)
        ):
            return f"{what} expected, told: {list(told)}"
    return None


def _result_problem(wanted: Eval, answer: Answer) -> str | None:
    if answer.kind == "string" or wanted.string is not None:
        return None if answer.text == wanted.string else f"string: {answer.text!r}"
    if answer.kind == "scalar" or wanted.scalar is not None:
        return _scalar_problem(wanted, answer)
    if wanted.wants("ordered") and [one.labels for one in answer.series] != list(wanted.series):
        return f"order: {[dict(one.labels) for one in answer.series]}"
    labels = [one.labels for one in answer.series]
    if answer.kind == "matrix" and labels != sorted(labels):
        return f"not sorted by labels: {labels}"
    start, step = wanted.times or (wanted.question.start, wanted.question.step)
    return _series_problem({key: _samples(one, start, step) for key, one in wanted.series.items()}, answer.series)


def _scalar_problem(wanted: Eval, answer: Answer) -> str | None:
    if answer.kind != "scalar" or wanted.scalar is None:
        return f"{answer.kind} instead of {'scalar' if wanted.scalar is not None else 'series'}: {answer.series}"
    expected: list[Sample] = [(wanted.question.start, wanted.scalar)]
    if same_samples(answer.series[0].samples, expected, TOLERANCE):
        return None
    return f"{answer.series[0].samples} instead of {wanted.scalar}"


def _series_problem(expected: Mapping[Labels, Sequence[Sample]], series: Sequence[Series]) -> str | None:
    found = {one.labels: one.samples for one in series}
    if len(found) < len(series):
        return f"the same labels twice: {[one.labels for one in series]}"
    if missing := [dict(labels) for labels in expected if labels not in found]:
        return f"missing: {missing}, too much: {[dict(labels) for labels in found if labels not in expected]}"
    if unexpected := {labels: samples for labels, samples in found.items() if labels not in expected}:
        return f"too much: {unexpected}"
    for labels, samples in expected.items():
        if not same_samples(found[labels], samples, TOLERANCE):
            return f"{dict(labels)}: {found[labels]} instead of {samples}"
    return None


def _range_problem(engine: Engine, wanted: Eval, kind: str) -> str | None:
    """The same expression over three steps must answer in the middle what it answered by itself."""
    time = wanted.question.start
    answer = engine.ask(Question(wanted.question.text, time - MINUTE_MS, time + MINUTE_MS, MINUTE_MS))
    if answer.error is not None:
        return f"as a range it fails: {answer.error}"
    middle = [Series(one.labels, [sample for sample in one.samples if sample[0] == time]) for one in answer.series]
    if kind == "scalar":
        assert wanted.scalar is not None
        expected: dict[Labels, list[Sample]] = {(): [(time, wanted.scalar)]}
    else:
        expected = {labels: _samples(one, time, 0) for labels, one in wanted.series.items()}
    found = _series_problem(expected, [one for one in middle if one.samples])
    return f"as a range: {found}" if found else None
