"""Checks of real servers, over HTTP and TLS; the series that they become; who waits for whom."""

import asyncio
import gc
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mirubato.config import load
from mirubato.errors import ConfigError, StorageFailed
from mirubato.probes.checking import Checker, Result
from mirubato.probes.rounds import Rounds, next_slot, offset_ms
from mirubato.probes.targets import Target, targets_of
from tests.probes.servers import Server, server, server_context, until
from tests.support.gateways import running

TIMEOUT_S = 5.0
ENDS = datetime(2099, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    with server() as one:
        yield one


def checked(url: str, timeout_s: float = TIMEOUT_S) -> Result:
    (target,) = targets_of([url])
    return asyncio.run(Checker(timeout_s, "0").check(target, 1))


class TestHttp:
    @pytest.mark.parametrize("status", [200, 204, 299])
    def test_success(self, plain: Server, status: int) -> None:
        result = checked(f"{plain.url}/{status}")
        assert (result.success, result.status, result.error, result.time_ms) == (True, status, "", 1)
        assert 0 < result.duration_s < TIMEOUT_S
        assert result.certificate_expiry_s is None

    @pytest.mark.parametrize("status", [404, 500, 301])
    def test_another_status(self, plain: Server, status: int) -> None:
        assert checked(f"{plain.url}/{status}").error == f"HTTP {status}"

    def test_a_redirect_is_followed(self, plain: Server) -> None:
        assert checked(f"{plain.url}/to/~204").status == 204

    @pytest.mark.parametrize(
        ("path", "error"),
        [
            ("/to/file:~~~etc~passwd", "redirects to what is no http"),
            ("/loop", "more than 10 redirects"),
            ("/broken", "RemoteProtocolError"),
        ],
    )
    def test_what_does_not_end_well(self, plain: Server, path: str, error: str) -> None:
        result = checked(plain.url + path)
        assert (result.success, result.status) == (False, 0)
        assert result.error.startswith(error)

    def test_a_body_without_end_is_not_read_to_its_end(self, plain: Server) -> None:
        assert checked(f"{plain.url}/endless").success

    def test_time_is_up(self, plain: Server) -> None:
        result = checked(f"{plain.url}/slow", 0.5)
        assert (result.success, result.error) == (False, "no answer within 0.5 s")
        assert result.duration_s >= 0.5

    def test_nobody_is_there(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            result = checked(f"http://127.0.0.1:{taken.getsockname()[1]}/")
        assert result.error.startswith("ConnectError")


class TestTls:
    def test_a_certificate_and_its_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with server(server_context(monkeypatch, tmp_path, not_after=ENDS)) as one:
            result = checked(f"{one.url}/")
        assert (result.success, result.certificate_expiry_s) == (True, ENDS.timestamp())

    def test_one_that_has_ended(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with server(server_context(monkeypatch, tmp_path, not_after=datetime(2001, 1, 1, tzinfo=UTC))) as one:
            self.fails(f"{one.url}/", "expired")

    def test_one_of_another_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with server(server_context(monkeypatch, tmp_path)) as one:
            self.fails(f"{one.url}/".replace("localhost", "127.0.0.1"), "not valid for")

    def test_one_that_nobody_vouches_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with server(server_context(monkeypatch, tmp_path)) as one:
            monkeypatch.delenv("SSL_CERT_FILE")
            self.fails(f"{one.url}/", "unable to get local issuer")

    def test_a_handshake_that_hangs(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            self.fails(f"https://127.0.0.1:{silent.getsockname()[1]}/", "no connection within 0.2 s", 0.4)
            gc.collect()  # what was left open would warn now

    def fails(self, url: str, why: str, timeout_s: float = TIMEOUT_S) -> None:
        result = checked(url, timeout_s)
        assert (result.success, result.status, result.certificate_expiry_s) == (False, 0, None)
        assert why in result.error


class TestTargets:
    def test_names(self) -> None:
        some = targets_of(["https://a.example/x?key=1", "shop=http://me:secret@b.example:81/y?token=t#f"])
        assert [(one.name, one.instance) for one in some] == [
            ("a.example", "https://a.example/x"),
            ("shop", "http://b.example:81/y"),
        ]
        assert str(some[1].url).startswith("http://me:secret@b.example:81/y?token=t")
        assert "secret" not in repr(some)

    @pytest.mark.parametrize("entry", ["shop", "shop=", "file:///etc/passwd", "x=ftp://a/", "http://", "http://a:b:c/"])
    def test_what_is_none(self, entry: str) -> None:
        with pytest.raises(ConfigError, match="MIRUBATO_PROBES"):
            targets_of([entry])

    def test_two_that_could_not_be_told_apart(self) -> None:
        with pytest.raises(ConfigError, match="name=URL") as told:
            targets_of(["http://a/?token=1", "http://a/?token=2"])
        assert "token" not in str(told.value)
        assert len(targets_of(["one=http://a/?token=1", "two=http://a/?token=2"])) == 2

    def test_a_setting(self) -> None:
        config = load(environ={"MIRUBATO_PROBES": "http://a/, b=http://c/", "MIRUBATO_PROBE_INTERVAL": "1m"})
        assert (config.probes, config.probe_interval) == (("http://a/", "b=http://c/"), 60_000)
        assert "http://c/" not in repr(config)


SLOW, FAST = targets_of(["slow=http://slow.example/", "fast=http://fast.example/"])


@dataclass
class World:
    """A clock that only moves when somebody sleeps, and what was checked when."""

    checked: list[tuple[str, int]] = field(default_factory=list)
    hang: asyncio.Event = field(default_factory=asyncio.Event)
    refuses: bool = False

    async def check(self, target: Target, time_ms: int) -> Result:
        self.checked.append((target.name, time_ms))
        if target is SLOW:
            await self.hang.wait()
        return Result(time_ms, True, 0.0, 200, None, "")

    async def write(self, _: Target, __: Result) -> None:
        if self.refuses:
            raise StorageFailed("full")


class TestRounds:
    def test_one_that_hangs_delays_no_other(self) -> None:
        async def play() -> None:
            loop = asyncio.get_running_loop()
            world = World()
            rounds = Rounds([SLOW, FAST], 20, world.check, world.write, lambda: int(loop.time() * 1000))
            await rounds.start()
            while len(world.checked) < 10:
                await asyncio.sleep(0.005)
            assert [name for name, _ in world.checked].count("slow") == 1
            times = [time for name, time in world.checked if name == "fast"]
            assert all((time - offset_ms(FAST, 20)) % 20 == 0 for time in times[1:])
            assert sorted(set(times)) == times
            world.hang.set()
            while rounds.standings[0].checks < 3:
                await asyncio.sleep(0.005)
            assert rounds.standings[0].missed > 3
            await rounds.stop()

        asyncio.run(asyncio.wait_for(play(), 20))

    def test_what_cannot_be_stored_is_counted(self) -> None:
        async def play() -> None:
            world = World(refuses=True)
            rounds = Rounds([FAST], 5, world.check, world.write, lambda: int(asyncio.get_running_loop().time() * 1000))
            await rounds.start()
            while rounds.standings[0].unwritten < 3:
                await asyncio.sleep(0.002)
            await rounds.stop()

        asyncio.run(asyncio.wait_for(play(), 20))

    @pytest.mark.parametrize(("now", "slot"), [(0, 3), (2, 3), (3, 13), (12, 13), (13, 23)])
    def test_slots(self, now: int, slot: int) -> None:
        assert next_slot(now, 3, 10) == slot

    def test_offsets_differ_and_stay(self) -> None:
        some = targets_of([f"http://host{number}/" for number in range(50)])
        offsets = [offset_ms(one, 30_000) for one in some]
        assert offsets == [offset_ms(one, 30_000) for one in some]
        assert max(offsets) - min(offsets) > 15_000


def test_series_and_the_last_results(tmp_path: Path, plain: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(server_context(monkeypatch, tmp_path, not_after=ENDS)) as safe:
        probes = (f"shop={safe.url}/200?token=abc", f"bad={plain.url}/500", f"slow={plain.url}/slow")
        with running(tmp_path / "data", probes=probes, probe_interval=500, probe_timeout=500) as one:
            for _ in until():
                found = one.get("/api/probes").json()["probes"]
                if all(probe["checks"] >= 2 for probe in found) and found[0]["success"]:
                    break
            shop, bad, slow = found
            assert (shop["name"], shop["target"], shop["success"]) == ("shop", f"{safe.url}/200", True)
            assert shop["certificate_expiry"] == ENDS.timestamp()
            assert (bad["success"], bad["status"], bad["error"]) == (False, 500, "HTTP 500")
            assert (slow["success"], slow["status"]) == (False, 0)
            labels = f'{{service_name="shop",instance="{safe.url}/200"}}'
            assert one.value(f"probe_success{labels}") == "1"
            assert one.value(f"probe_http_status_code{labels}") == "200"
            assert float(one.value(f"probe_ssl_earliest_cert_expiry{labels}")) == ENDS.timestamp()
            assert 0 < float(one.value(f"probe_duration_seconds{labels}")) < 1
            assert one.value('probe_success{service_name="bad"}') == "0"
            assert len(one.samples('probe_success{service_name="shop"}').popitem()[1]) >= 2
            assert one.get("/api/dashboard").json()["probes"][0]["name"] == "shop"
            assert "abc" not in one.get("/api/prometheus").text + one.get("/metrics").text
            assert 'mirubato_probes_checks_total{service_name="shop"' in one.get("/metrics").text


def test_no_probes(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        assert one.get("/api/probes").json() == {"probes": []}


def test_a_setting_that_cannot_be_used_opens_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MIRUBATO_PROBES"), running(tmp_path, probes=("nothing",)):
        pass
    assert list(tmp_path.iterdir()) == []
