"""What `meterport export --server` does: ask a service for an export, and bring its file."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

from meterport.client import Client, MeterportRefused
from meterport.domain.errors import ServiceUnavailable
from meterport.export_targets import STDOUT, Brought, Targets, Wanted, percent_bar, written
from meterport.services.choose_meters import ALL


def run(
    server: str, key: str | None, wanted: Wanted, targets: Targets, *, as_json: bool
) -> str | None:
    """As export_here.run. Raises MeterportRefused with the service's own code and sentence."""
    targets.check()
    try:
        client = Client(server, key=key)
    except ValueError as error:
        raise ServiceUnavailable(f"--server {server}: {error}") from error
    try:
        return _run(client, wanted, targets, as_json=as_json)
    except (OSError, HTTPException) as error:
        raise ServiceUnavailable(f"{server} does not answer: {error}") from error


def _run(client: Client, wanted: Wanted, targets: Targets, *, as_json: bool) -> str | None:
    export = client.submit(_fields(wanted))
    with _called_off_if_left(client, export["id"]), percent_bar() as tell:
        export = client.wait_for(
            export["id"], told=lambda now: tell(now.get("progress", {}).get("percent", 0))
        )
    target = targets.file or Path(export["file"]["filename"])
    targets.check([str(target)])
    _bring(client, export["id"], target)
    if targets.manifest is not None:
        with written(targets.manifest) as sink:
            client.manifest(export["id"], sink)
    if STDOUT in (target, targets.manifest):
        return None
    file, gaps, request = export["file"], export["gaps"], export["request"]
    brought = Brought(
        target,
        export["id"],
        request["format"],
        request["compression"],
        file["rows"],
        file["size_bytes"],
        file["sha256"],
        export.get("source_version"),
        gaps["intervals_expected"],
        gaps["intervals_present"],
    )
    return brought.told("no readings in this period", as_json=as_json)


def _fields(wanted: Wanted) -> dict[str, object]:
    meters = list(wanted.meters)
    who: Mapping[str, object] = {"smart_meter_ids": ALL if ALL in meters else meters}
    if len(meters) == 1 and ALL not in meters:
        who = {"smart_meter_id": meters[0]}
    words = {name: word for name, word in wanted.words.items() if word is not None}
    return {
        **who,
        "start": wanted.start,
        "end": wanted.end,
        "format": wanted.format,
        "compression": wanted.compression,
        **words,
    }


def _bring(client: Client, export_id: str, target: Path) -> None:
    """By way of a temporary file where what came cannot be taken back."""
    with written(target) as sink:
        if sink.seekable():
            client.fetch(export_id, sink)
            return
        with tempfile.TemporaryFile() as whole:
            client.fetch(export_id, whole)
            whole.seek(0)
            shutil.copyfileobj(whole, sink)


@contextmanager
def _called_off_if_left(client: Client, export_id: str) -> Iterator[None]:
    """Nobody waits for the file any more."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(MeterportRefused, OSError, HTTPException):
            client.cancel(export_id)
        raise
