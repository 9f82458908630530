"""The API alone, as a process to be killed, on one port all the time."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx2

from tests import make
from tests.chaos.harness import Zygote, gone, is_alive, kill, wait_until


class LoneApi:
    def __init__(self, processes: Zygote, home: make.Home) -> None:
        self._processes = processes
        self._home = home
        self.port = _free_port()
        base_url = f"http://127.0.0.1:{self.port}"
        self.http = httpx2.Client(base_url=base_url, trust_env=False, timeout=30)

    def close(self) -> None:
        self.http.close()

    @contextmanager
    def running(self) -> Iterator[int]:
        data = self._home.settings.data
        pid = self._processes.start("api", data, port=self.port)
        wait_until(lambda: self._answers() or not is_alive(pid), every_s=0.002)
        try:
            yield pid
        finally:
            kill(pid)
            gone(pid)

    def _answers(self) -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port
