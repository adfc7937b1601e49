"""Child processes that end when their parent does, in whatever way it ends."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from mirubato import clock
from mirubato.errors import MirubatoError

# The kernel closes the pipe when its writer dies, also by SIGKILL; the keeper then ends those who are left.
_KEEPER = 'while read -r pid; do pids="$pids $pid"; done; kill $pids; sleep 4; kill -9 $pids'
_LOG_TAIL_BYTES = 4000


class DemoError(MirubatoError):
    """Something that the demo needs did not start or did not stay; `exit_status` is what the demo ends with."""

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class Children:
    """Starts processes whose output goes to `NAME.log` in `log_directory`, and stops them."""

    def __init__(self, log_directory: Path) -> None:
        self._log_directory = log_directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._keeper = subprocess.Popen(  # noqa: S603 - our own words
            ["/bin/sh", "-c", _KEEPER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> int:
        """Start a process under `name`; its pid. It has a session of its own: Ctrl-C reaches the parent only."""
        with self.log_path(name).open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - the demo's own commands
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        self._processes[name] = process
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(b"%d\n" % process.pid)
        self._keeper.stdin.flush()
        return process.pid

    def check(self) -> None:
        """DemoError, with the end of its log, when a process has ended by itself."""
        for name, process in self._processes.items():
            status = process.poll()
            if status is not None:
                message = f"{name} ended with status {status}; {self.log_path(name)} ends with:\n{self._tail(name)}"
                # 2 is bad usage: options that were passed on and refused.
                raise DemoError(message, exit_status=2 if status == 2 else 1)

    def stop(self, *names: str, patience_s: float) -> None:
        """SIGTERM to the named processes at once (to all, without names); SIGKILL to those left after the patience."""
        stopping = [self._processes.pop(name) for name in names or tuple(self._processes)]
        for process in stopping:
            process.terminate()
        deadline_s = clock.monotonic_s() + patience_s
        for process in stopping:
            try:
                process.wait(max(0.0, deadline_s - clock.monotonic_s()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self, patience_s: float = 5.0) -> None:
        """Stop all processes, and the keeper last."""
        self.stop(patience_s=patience_s)
        self._keeper.kill()
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        self._keeper.wait()

    def log_path(self, name: str) -> Path:
        """The file that holds what the process printed."""
        return self._log_directory / f"{name}.log"

    def _tail(self, name: str) -> str:
        return self.log_path(name).read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").rstrip()
