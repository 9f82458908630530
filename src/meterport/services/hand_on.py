"""Jobs whose message was lost, or whose worker died: tell a worker again."""

from datetime import timedelta

from meterport.ports import Dispatcher, JobArchive

SINCE = timedelta(seconds=2)
"""A job that young was told of when it was accepted."""


def hand_on(*, archive: JobArchive, dispatcher: Dispatcher) -> None:
    stranded = archive.stranded(since=SINCE)
    if stranded:
        dispatcher.remind(stranded)
