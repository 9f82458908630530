"""Imports a file in a process of its own: what a hostile one does to its reader ends that alone.

Polars panics on some damaged Parquet files, and others ask for more memory than there is.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryFile

import structlog
from anyio import fail_after, run_process

from meterport.domain.access import Access
from meterport.domain.errors import ImportRefused, MeterportError
from meterport.services.import_options import Said
from meterport.services.receive_readings import error_of, words_of
from meterport.web.errors import internal_error

LONGEST_S = 3600.0

log = structlog.get_logger()


class ImportProcess:
    """`environment`: the settings, as a process of ours reads them."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        program: Sequence[str] = (sys.executable, "-m", "meterport", "receive"),
        longest_s: float = LONGEST_S,
    ) -> None:
        self._environment = environment
        self._program = program
        self._longest_s = longest_s

    async def __call__(self, path: Path, said: Said, access: Access) -> dict[str, object]:
        """The report. Raises what the import raised; a process that is left behind is killed."""
        try:
            # Not by a pipe, which breaks where the process ends before it has read it.
            with TemporaryFile(dir=path.parent) as words, fail_after(self._longest_s):
                words.write(json.dumps(words_of(said, access)).encode())
                words.seek(0)
                ended = await run_process(
                    [*self._program, str(path)],
                    stdin=words,
                    stdout=PIPE,
                    stderr=None,
                    check=False,
                    env=self._environment,
                )
        except TimeoutError as error:
            raise ImportRefused(
                f"the import took longer than {self._longest_s:g} seconds; send smaller files"
            ) from error
        if ended.returncode < 0:
            log.warning("import_crashed", signal=-ended.returncode)
            raise ImportRefused(
                "the process that read the file did not survive it: it is damaged, or too large "
                "for this machine; it can be sent again without harm"
            )
        return _report(ended.stdout)


def _report(printed: bytes) -> dict[str, object]:
    try:
        said = json.loads(printed)
    except ValueError:
        raise internal_error() from None  # its log has the cause
    if "error" in said:
        raise _error(said["error"])
    report: dict[str, object] = said["report"]
    return report


def _error(said: Mapping[str, str]) -> MeterportError:
    return error_of(said) or internal_error()
