"""The files of `deploy` name what there is: commands, settings, paths, ports; and they are as strict as they say."""

import configparser
import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml

from mirubato.cli import _parser
from mirubato.config import Config, describe, load
from mirubato.limits import SHUTDOWN_S_MAX
from tests.access.people import add_token
from tests.support.doors import SERVICES
from tests.support.gateways import running
from tests.support.requests import fresh, gauge, metrics, number

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and "grafana" not in path.parts)
SETTINGS = {variable for _, variable, *_ in describe()}
COLLECTOR = ROOT / ".cache" / "collector" / "otelcol"
COMMANDS = {"gateway", "token", "health", "backup", "restore", "doctor"}


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def yaml_of(name: str) -> list[Any]:
    return list(yaml.safe_load_all(text_of(name)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_variables_are_settings(path: Path) -> None:
    named = set(re.findall(r"\bMIRUBATO_[A-Z0-9_]+", path.read_text(encoding="utf-8")))
    of_others = {name for name in named if name.startswith(("MIRUBATO_COLLECTOR_", "MIRUBATO_GATEWAY_"))}
    assert {name.removesuffix("_FILE") for name in named - of_others} <= SETTINGS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_commands_are_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for line in re.findall(r"(?:-- |/)?\bmirubato ((?:token|health|gateway|backup|restore|doctor)\b[^`\n\"]*)", text):
        words = [word for word in line.split() if not word.startswith("(")]
        parsed = _parser().parse_args(words)
        assert callable(parsed.run), line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_paths_are_there(path: Path) -> None:
    for named in re.findall(r"\bdeploy/[\w./-]+\w", path.read_text(encoding="utf-8")):
        assert (ROOT / named).exists() or named == "deploy/admin_token", named


def test_ports_are_the_defaults() -> None:
    defaults = {Config().grpc_port, Config().otlp_http_port, Config().web_port}
    assert {
        int(port) for port in re.findall(r"^EXPOSE (.*)$", text_of("Dockerfile"), re.MULTILINE)[0].split()
    } == defaults
    gateway = yaml_of("compose.yaml")[0]["services"]["gateway"]
    assert {int(port.rpartition(":")[2]) for port in gateway["ports"]} == defaults
    service, workload = yaml_of("kubernetes/mirubato.yaml")
    assert {port["port"] for port in service["spec"]["ports"]} == defaults
    container = workload["spec"]["template"]["spec"]["containers"][0]
    assert {port["containerPort"] for port in container["ports"]} == defaults


DOCKERFILE = [line for line in text_of("Dockerfile").splitlines() if line and not line.startswith("#")]


class TestDockerfile:
    def test_nobody_is_root_and_the_last_stage_is_small(self) -> None:
        last = DOCKERFILE[max(index for index, line in enumerate(DOCKERFILE) if line.startswith("FROM")) :]
        assert re.fullmatch(r"FROM python:3\.[0-9]+-slim", last[0])
        assert "USER 10001:10001" in last
        assert not any("pip install" in line or "apt" in line for line in last)

    def test_images_are_pinned_and_instructions_known(self) -> None:
        """The rules of hadolint that matter here: DL3006, DL3007, DL3025, DL3042."""
        images = [line.split()[1] for line in DOCKERFILE if line.startswith("FROM")]
        assert all(":" in image and not image.endswith(":latest") for image in images)
        for line in DOCKERFILE:
            if line.startswith(("CMD", "ENTRYPOINT")):
                json.loads(line.split(" ", 1)[1])
        assert "--no-cache-dir" in text_of("Dockerfile")

    def test_the_health_check_and_the_settings_are_ours(self) -> None:
        text = text_of("Dockerfile")
        assert 'CMD ["mirubato", "health"]' in text
        given = dict(re.findall(r"(MIRUBATO_\w+)=(\S+)", text))
        config = load(environ=given)
        assert (config.host, config.data_dir) == ("0.0.0.0", Path("/data"))

    def test_what_is_copied_is_what_the_package_is_built_from(self) -> None:
        kept = {line[1:] for line in text_of("Dockerfile.dockerignore").splitlines() if line.startswith("!")}
        assert {"src", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "page"} <= kept
        assert [name for name in kept if not (ROOT / name).exists()] == []


def test_compose() -> None:
    (compose,) = yaml_of("compose.yaml")
    services = compose["services"]
    assert {name: service.get("profiles") for name, service in services.items()} == {
        "gateway": None,
        "grafana": ["grafana"],
        "collector": ["collector"],
    }
    gateway = services["gateway"]
    assert (ROOT / "deploy" / gateway["build"]["context"] / gateway["build"]["dockerfile"]).resolve().is_file()
    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"]
    assert "MIRUBATO_COLLECTOR_TOKEN" in (ROOT / "collector-config.yaml").read_text(encoding="utf-8")


def test_grafana_of_compose_asks_as_ours_does() -> None:
    ours = yaml_of("grafana/provisioning/datasources/mirubato.yaml")[0]["datasources"][0]
    there = yaml_of("compose-grafana.yaml")[0]["datasources"][0]
    assert (there["type"], there["uid"], there["jsonData"]["httpMethod"]) == ("prometheus", ours["uid"], "POST")
    assert there["url"].removeprefix("http://gateway:4319") == ours["url"].removeprefix("http://127.0.0.1:4319")


def test_kubernetes() -> None:
    service, workload = yaml_of("kubernetes/mirubato.yaml")
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert workload["spec"]["replicas"] == 1
    assert service["spec"]["selector"] == workload["spec"]["template"]["metadata"]["labels"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["terminationGracePeriodSeconds"] > SHUTDOWN_S_MAX
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    claims = {claim["metadata"]["name"] for claim in workload["spec"]["volumeClaimTemplates"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]} | claims
    environ = {entry["name"]: entry["value"] for entry in container["env"]}
    assert (
        load(environ={name: value for name, value in environ.items() if not name.endswith("_FILE")}).host == "0.0.0.0"
    )


def test_the_probes_of_kubernetes_are_open(tmp_path: Path) -> None:
    _, workload = yaml_of("kubernetes/mirubato.yaml")
    container = workload["spec"]["template"]["spec"]["containers"][0]
    with running(tmp_path, admin_token="x" * 24) as one:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert one.get(container[probe]["httpGet"]["path"]).status_code == 200


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text_of("systemd/mirubato.service"))
    return parser


def test_the_unit_is_hardened() -> None:
    service = unit()["Service"]
    assert service["ProtectSystem"] == "strict"
    assert service["NoNewPrivileges"] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    assert service["User"] == "mirubato"
    assert int(service["TimeoutStopSec"]) > SHUTDOWN_S_MAX
    assert service["Environment"] == f"MIRUBATO_DATA_DIR=/var/lib/{service['StateDirectory']}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "mirubato.service"
    path.write_text(text_of("systemd/mirubato.service").replace("/opt/mirubato/bin/mirubato", "/bin/true"), "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    scored = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert scored.returncode == 0, scored.stdout[-500:]


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_proxies_lead_to_our_ports(name: str) -> None:
    text = text_of(f"proxy/{name}")
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", text)) == {str(Config().grpc_port), str(Config().web_port)}
    assert all(service.startswith("opentelemetry.proto.collector.") for service in SERVICES.values())
    assert "/opentelemetry.proto.collector." in text
    assert text.count("{") == text.count("}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@pytest.mark.slow
@pytest.mark.skipif(not COLLECTOR.is_file(), reason="no collector here: scripts/collector builds one")
def test_a_real_collector_sends_with_its_token(tmp_path: Path) -> None:
    name, ports = fresh("through"), (free_port(), free_port())
    with running(tmp_path / "data") as one:
        text, reader = add_token(one, "ingest"), add_token(one, "read")
        environment = os.environ | {
            "MIRUBATO_COLLECTOR_GRPC": f"127.0.0.1:{ports[0]}",
            "MIRUBATO_COLLECTOR_HTTP": f"127.0.0.1:{ports[1]}",
            "MIRUBATO_COLLECTOR_DATA_DIR": str(tmp_path / "queue"),
            "MIRUBATO_GATEWAY_GRPC": f"127.0.0.1:{one.gateway.ports['grpc_port']}",
            "MIRUBATO_COLLECTOR_TOKEN": text,
        }
        command = [str(COLLECTOR), "--config", str(ROOT / "collector-config.yaml")]
        with (tmp_path / "collector.log").open("wb") as log:
            collector = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            send(ports[0], metrics(gauge(name, number(7.0))).SerializeToString())
            until_there(one.url("web_port"), reader, name)
        finally:
            collector.terminate()
            collector.wait(20)


def send(port: int, body: bytes) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        export = channel.unary_unary(f"/{SERVICES['metrics']}/Export", bytes, bytes)
        export(body, timeout=30, wait_for_ready=True)


def until_there(url: str, token: str, name: str) -> None:
    deadline = time.monotonic() + 30
    found: list[Any] = []
    while not found:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        reply = httpx.get(
            f"{url.rstrip('/')}/api/prometheus/api/v1/query", params={"query": name}, headers={"x-api-key": token}
        )
        found = reply.json()["data"]["result"]
    assert found[0]["value"][1] == "7"
