"""TLS on all three ports, with the exporters of OpenTelemetry's SDK and their headers; renewal without a restart."""

import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
import trustme
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader

from mirubato.cli import main
from mirubato.errors import ConfigError
from mirubato.gateway.composer import Gateway
from tests.access.people import add_token
from tests.support.gateways import Running, config, running
from tests.support.requests import fresh

SOON_S = 20


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def write_pair(authority: trustme.CA, directory: Path) -> dict[str, Path]:
    """A certificate for this machine, in the files that the settings name."""
    issued = authority.issue_cert("localhost", "127.0.0.1")
    files = {"tls_cert": directory / "cert.pem", "tls_key": directory / "key.pem"}
    chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
    for path, content in ((files["tls_cert"], chain), (files["tls_key"], issued.private_key_pem.bytes())):
        draft = path.with_suffix(".new")
        draft.write_bytes(content)
        draft.replace(path)
    return files


@pytest.fixture
def one(authority: trustme.CA, tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "data", **write_pair(authority, tmp_path)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def roots(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("roots") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(autouse=True)
def no_other_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """`requests` prefers these to what an exporter says (psf/requests#3829)."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def exporter(one: Running, kind: str, roots: Path, text: str) -> MetricExporter:
    if kind == "grpc":
        credentials = grpc.ssl_channel_credentials(roots.read_bytes())
        endpoint = f"https://localhost:{one.gateway.ports['grpc_port']}"
        return GrpcExporter(endpoint, credentials=credentials, headers={"authorization": f"Bearer {text}"})
    url = f"https://localhost:{one.gateway.ports['otlp_http_port']}/v1/metrics"
    return HttpExporter(url, certificate_file=str(roots), headers={"x-api-key": text})


def https(one: Running, roots: Path) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(roots))
    return httpx.Client(base_url=f"https://localhost:{one.gateway.ports['web_port']}", verify=context)


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_the_exporters_of_the_sdk(one: Running, roots: Path, kind: str) -> None:
    sender, reader, name = add_token(one, "ingest"), add_token(one, "read"), fresh("sdk")
    provider = MeterProvider([PeriodicExportingMetricReader(exporter(one, kind, roots, sender), 3_600_000)])
    provider.get_meter("test").create_counter(name).add(5)
    assert provider.force_flush(20_000)
    provider.shutdown()
    with https(one, roots) as client:
        found = client.get(
            "/api/prometheus/api/v1/query", params={"query": f"{name}_total"}, headers={"x-api-key": reader}
        )
    assert found.json()["data"]["result"][0]["value"][1] == "5"


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_an_exporter_with_the_wrong_token(
    one: Running, roots: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    add_token(one, "ingest")
    provider = MeterProvider([PeriodicExportingMetricReader(exporter(one, kind, roots, "wrong"), 3_600_000)])
    provider.get_meter("test").create_counter(fresh("sdk")).add(5)
    provider.force_flush(20_000)
    provider.shutdown()
    assert any("UNAUTHENTICATED" in line or "401" in line for line in caplog.text.splitlines())


def test_no_port_speaks_without(one: Running) -> None:
    for port in ("web_port", "otlp_http_port"):
        with pytest.raises(httpx.RemoteProtocolError):
            one.http.get(f"http://127.0.0.1:{one.gateway.ports[port]}/-/healthy")


@pytest.mark.parametrize("port", ["web_port", "otlp_http_port", "grpc_port"])
def test_old_versions_are_not_spoken(one: Running, port: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", one.gateway.ports[port]), 10) as plain:
        context.set_alpn_protocols(["h2", "http/1.1"])
        with context.wrap_socket(plain) as wrapped:
            assert wrapped.version() in ("TLSv1.2", "TLSv1.3")


def serial(port: int) -> str:
    """Which certificate a port shows."""
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=10)


def test_a_renewed_certificate_is_shown_without_a_restart(one: Running, authority: trustme.CA, tmp_path: Path) -> None:
    ports = [one.gateway.ports[name] for name in ("web_port", "otlp_http_port", "grpc_port")]
    before = serial(ports[0])
    write_pair(authority, tmp_path)
    deadline = time.monotonic() + SOON_S
    while any(serial(port) == before for port in ports):
        assert time.monotonic() < deadline, "the new certificate is not shown"
        time.sleep(0.05)
    assert len({serial(port) for port in ports}) == 1


def test_a_pair_that_does_not_fit_is_not_taken(
    one: Running, authority: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = one.gateway.ports["web_port"]
    before = serial(port)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(write_pair(authority, other)["tls_cert"], tmp_path / "cert.pem")
    tls = one.gateway._tls
    assert tls is not None
    deadline = time.monotonic() + SOON_S
    while "is not used" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert serial(port) == before


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tls_cert": "cert.pem"}, "go together"),
        ({"tls_key": "key.pem"}, "go together"),
        ({"tls_cert": "gone.pem", "tls_key": "key.pem"}, "cannot be used"),
        ({"tls_cert": "key.pem", "tls_key": "cert.pem"}, "cannot be used"),
    ],
)
def test_files_that_cannot_be_used(authority: trustme.CA, tmp_path: Path, settings: dict[str, str], told: str) -> None:
    write_pair(authority, tmp_path)
    files = {name: tmp_path / file for name, file in settings.items()}
    with pytest.raises(ConfigError, match=told):
        Gateway(config(tmp_path / "data", **files))
    assert not (tmp_path / "data").exists()


def test_the_commands_speak_tls_too(
    one: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIRUBATO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MIRUBATO_TLS_CERT", str(tmp_path / "cert.pem"))
    monkeypatch.setenv("MIRUBATO_TLS_KEY", str(tmp_path / "key.pem"))
    text = add_token(one, "read")
    assert main(["health"]) == 0
    assert main(["query", "1"]) == 1
    monkeypatch.setenv("MIRUBATO_TOKEN", text)
    capsys.readouterr()
    assert main(["query", "1"]) == 0
    assert capsys.readouterr().out == "1\n"
