"""The application on a real port in this process: quick to start, and imports without a process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from anyio import to_thread

from meterport.domain.access import Access
from meterport.services.import_options import Said
from meterport.services.receive_readings import receive_readings
from meterport.web.app import create_app
from meterport.web.protocol import Protocol
from meterport.web.readings import Inbox
from tests import make
from tests.chaos.harness import wait_until

WORK_EVERY_S = 0.2


@contextmanager
def live(home: make.Home) -> Iterator[str]:
    """The address; jobs are run by a thread. All of it is stopped when the block ends."""
    app = create_app(home.services, home.settings)
    app.state.inbox = Inbox(partial(_imported, home))
    how: dict[str, Any] = {"lifespan": "off", "log_config": None, "timeout_graceful_shutdown": 5}
    config = uvicorn.Config(app, port=0, http=Protocol, **how)
    server = uvicorn.Server(config)
    over = threading.Event()
    threads = [
        threading.Thread(target=server.run),
        threading.Thread(target=_work, args=(home, over)),
    ]
    leave = home.services.presence.announce("worker-of-the-test")
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        app.state.watch.stop()
        over.set()
        for thread in threads:
            thread.join()
        leave()


def _work(home: make.Home, over: threading.Event) -> None:
    while not over.wait(WORK_EVERY_S):
        home.work()


async def _imported(home: make.Home, path: Path, said: Said, access: Access) -> dict[str, object]:
    s = home.services
    importing = partial(
        receive_readings,
        path,
        said,
        access,
        source=s.source,
        store=s.readings,
        catalog=s.catalog,
        audit=s.audit,
    )
    return await to_thread.run_sync(importing)
