"""The two versions of a request, each with its own way to name series: what the decoder reads both by."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from mirubato.errors import BadRequest, TooLarge
from mirubato.limits import REMOTE_WRITE_ENTRIES_MAX
from mirubato.model.seams import PointRefused
from mirubato.remote_write import remote_write_pb2 as wire
from mirubato.remote_write.metadata import COUNTER, HISTOGRAM, NOT_TOLD, SUMMARY, family_name
from mirubato.remote_write.series import Key, Known

_ENTRY_BYTES_MIN = 2

M = TypeVar("M", bound=Message)

TimeSeries = wire.TimeSeries | wire.SymbolSeries


class Told(NamedTuple):
    """What was told of a metric, as it came."""

    name: bytes
    type: int
    unit: bytes
    help: bytes


class Request(Protocol):
    """A request of either version."""

    tells: bool
    """Whether series come with metadata and starts."""

    @property
    def timeseries(self) -> Sequence[TimeSeries]: ...

    def key(self, labelled: Any) -> Key:
        """What names a series, or what an exemplar has for labels; PointRefused where that cannot be read."""
        ...

    def metrics(self) -> Iterator[Told]:
        """What is told of metrics apart from series."""
        ...

    def told(self, known: Known, series: Any) -> Told | None:
        """What is told of the metric of a series, the first time in this request; PointRefused as for keys."""
        ...

    def counts(self, known: Known, series: Any) -> bool:
        """Whether a series counts up from its start, if it has one."""
        ...


class Version1:
    """A prometheus.WriteRequest: labels are messages, metadata stands beside the series, there are no starts."""

    tells = False

    def __init__(self, body: bytes) -> None:
        """BadRequest or TooLarge where it cannot be taken at all."""
        self._request = _parsed(wire.WriteRequest, body)
        self.timeseries: Sequence[wire.TimeSeries] = self._request.timeseries
        _check(body, self.timeseries, len(self._request.metadata))

    def key(self, labelled: wire.TimeSeries | wire.Exemplar) -> Key:
        """See Request."""
        return tuple(labelled.labels)

    def metrics(self) -> Iterator[Told]:
        """See Request."""
        for one in self._request.metadata:
            yield Told(one.metric_family_name, one.type, one.unit, one.help)

    def told(self, _known: Known, _series: wire.TimeSeries) -> Told | None:
        """See Request."""
        return None

    def counts(self, _known: Known, _series: wire.TimeSeries) -> bool:
        """See Request."""
        return False


class Version2:
    """An io.prometheus.write.v2.Request: texts are places in a table of symbols, each series has its metadata."""

    tells = True

    def __init__(self, body: bytes) -> None:
        """BadRequest or TooLarge where it cannot be taken at all."""
        request = _parsed(wire.Request, body)
        self.timeseries: Sequence[wire.SymbolSeries] = request.timeseries
        _check(body, self.timeseries, 0)
        self._symbols = list(request.symbols)
        self._types: dict[tuple[str, bytes], int] = {}

    def key(self, labelled: wire.SymbolSeries | wire.SymbolExemplar) -> Key:
        """See Request."""
        try:
            return tuple(map(self._symbols.__getitem__, labelled.labels_refs))
        except IndexError as error:
            raise PointRefused("invalid", "labels_refs beyond the symbols of the request") from error

    def metrics(self) -> Iterator[Told]:
        """See Request."""
        return iter(())

    def told(self, known: Known, series: wire.SymbolSeries) -> Told | None:
        """See Request."""
        if not series.metadata or (known.name, series.metadata) in self._types:
            return None
        self._types[known.name, series.metadata] = NOT_TOLD
        try:
            metadata = wire.SymbolMetadata.FromString(series.metadata)
            unit, help_ = self._symbols[metadata.unit_ref], self._symbols[metadata.help_ref]
        except (DecodeError, IndexError) as error:
            raise PointRefused("invalid", f"metadata that cannot be read: {error}") from error
        self._types[known.name, series.metadata] = metadata.type
        if not (metadata.type or unit or help_):
            return None
        name = family_name(known.name, metadata.type, native=bool(series.histograms))
        return Told(name.encode(), metadata.type, unit, help_)

    def counts(self, known: Known, series: wire.SymbolSeries) -> bool:
        """See Request."""
        type_ = self._types[known.name, series.metadata] if series.metadata else NOT_TOLD
        return type_ in {COUNTER, HISTOGRAM} or (type_ in {NOT_TOLD, SUMMARY} and not known.quantile)


def _parsed(kind: type[M], body: bytes) -> M:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise BadRequest(f"not a {kind.DESCRIPTOR.name} of remote write: {error}") from error


def _check(body: bytes, timeseries: Sequence[TimeSeries], told: int) -> None:
    """Refuse what has too much in it, or nothing: the fields of one version are unknown ones to the other."""
    if not timeseries and body and not told:
        raise BadRequest("a request without time series: is it the message that `proto` in its Content-Type names?")
    if len(body) < _ENTRY_BYTES_MIN * REMOTE_WRITE_ENTRIES_MAX:
        return  # there is no need to count
    entries = len(timeseries) + told
    for series in timeseries if entries <= REMOTE_WRITE_ENTRIES_MAX else ():
        entries += len(series.samples) + len(series.histograms) + len(series.exemplars)
    if entries > REMOTE_WRITE_ENTRIES_MAX:
        raise TooLarge(f"{entries} series, samples and others in one request, more than {REMOTE_WRITE_ENTRIES_MAX}")
