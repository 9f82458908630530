"""Forks warm processes of the product: imported already, so at work within milliseconds.

    python -m tests.chaos.zygote [VARIANT] [--layer] [--distributed]

Reads one order a line, as JSON, and answers with the process id of the child that carries it out:
`do` names what (see DO), `data` the data folder, `settings` further ones; `stopped` lets the child
begin with SIGSTOP; `done` is a file that the child makes once its work was acknowledged, with its
peak memory in KiB; `frame_rows` bounds the frames in which the readings are read. With --layer,
`faults` are those of tests/chaos/layer.py; with --distributed PostgreSQL's and the object store's
drivers are warm too.
A VARIANT of tests.chaos.broken spoils the product in all children. Nothing here may use Polars
before the fork: a child whose parent has used it hangs.
"""

import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import meterport.worker
from meterport.bootstrap import connect, prepare
from meterport.cli_backup import backed_up, restored
from meterport.domain.jobs import Lane, Lease
from meterport.importers.options import ImportOptions
from meterport.serve import Server, api_config, bound
from meterport.services.import_readings import import_files
from meterport.services.work_job import Workplace, work_job
from meterport.settings import Settings
from meterport.sources.delta import DeltaSource
from meterport.telemetry import configure_logs
from tests.chaos import broken, layer
from tests.chaos.harness import wait_for_tracer


def worker(settings: Settings, order: Mapping[str, Any]) -> None:
    meterport.worker.run_worker(settings, wake_fd=None, parent=os.getppid(), lanes=tuple(Lane))


def job(settings: Settings, order: Mapping[str, Any]) -> None:
    """Work on one job, and leave."""
    s = connect(settings)
    lease = Lease(f"one-job-{os.getpid()}", settings.job_lease)
    at = Workplace(
        s.jobs,
        s.source,
        s.catalog,
        s.objects,
        lease,
        threading.Event(),
        policy=settings.retry_policy,
    )
    work_job(at)


def import_(settings: Settings, order: Mapping[str, Any]) -> None:
    s = connect(settings)
    import_files(
        [Path(name) for name in order["files"]],
        ImportOptions(),
        source=s.source,
        store=s.readings,
        catalog=s.catalog,
        audit=s.audit,
    )


def api(settings: Settings, order: Mapping[str, Any]) -> None:
    """The API alone, without workers, on the order's port."""
    server = Server(api_config(prepare(settings), settings))
    with bound("127.0.0.1", order["port"]) as listener:
        server.run(sockets=[listener])


def backup(settings: Settings, order: Mapping[str, Any]) -> None:
    backed_up(settings, Path(order["folder"]), as_json=False)


def restore(settings: Settings, order: Mapping[str, Any]) -> None:
    restored(settings, Path(order["folder"]), replace=True, erasures=None)


DO: Mapping[str, Callable[[Settings, Mapping[str, Any]], None]] = {
    "worker": worker,
    "job": job,
    "import": import_,
    "api": api,
    "backup": backup,
    "restore": restore,
}


def main() -> None:
    if "--layer" in sys.argv:
        layer.install()
    if "--distributed" in sys.argv:
        _import_drivers()
    broken.apply(*(word for word in sys.argv[1:] if not word.startswith("--")))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(order)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _import_drivers() -> None:
    """Also the client's description of S3, which takes longest; but no connection is made."""
    import boto3

    import meterport.adapters.object_store
    import meterport.adapters.postgres_dispatch  # noqa: F401

    boto3.client("s3", region_name="us-east-1")


def _child(order: Mapping[str, Any]) -> None:
    code = 1
    try:
        # Its own streams: the parent's are the wire to the test.
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        configure_logs("json", "info")
        if order.get("stopped"):
            wait_for_tracer()
        if "faults" in order:
            layer.begin(order["data"], order["faults"])
        settings = Settings(data=Path(order["data"]), **order.get("settings", {}))
        if "frame_rows" in order:
            _read_in_frames_of(order["frame_rows"])
        DO[order["do"]](settings, order)
        if "done" in order:
            Path(order["done"]).write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
        code = 0
    finally:
        os._exit(code)


def _read_in_frames_of(rows: int) -> None:
    defaults = DeltaSource.__init__.__kwdefaults__
    assert defaults is not None
    defaults["frame_rows"] = rows


if __name__ == "__main__":
    main()
