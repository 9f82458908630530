"""Where a Delta table of the tests lies: in a folder, or in an S3 store; and how to damage it."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import obstore
import pytest
from obstore.store import S3Store

from meterport.sources.table_files import TableFiles
from meterport.sources.table_folder import TableFolder
from meterport.sources.table_store import TableStore
from tests.brokers import Store

BUCKET = "exports"


class File(Protocol):
    """What a test does to a file behind the product's back; a Path can it all."""

    def read_bytes(self) -> bytes: ...

    def write_bytes(self, data: bytes, /) -> object: ...

    def unlink(self) -> None: ...

    def exists(self) -> bool: ...


class Place(Protocol):
    @property
    def files(self) -> TableFiles: ...

    @property
    def staging(self) -> Path:
        """The folder in which staging folders appear."""

    @property
    def uri(self) -> str:
        """As other programs name it, with the options beside it."""

    @property
    def options(self) -> Mapping[str, str]: ...

    def at(self, path: str) -> File: ...


class Killed(BaseException):
    """Nothing in the product catches it, as nothing catches a kill."""


@dataclass(frozen=True)
class FolderPlace:
    staging: Path

    @property
    def files(self) -> TableFiles:
        return TableFolder(self.staging)

    @property
    def uri(self) -> str:
        return str(self.staging)

    @property
    def options(self) -> Mapping[str, str]:
        return {}

    def at(self, path: str) -> File:
        return self.staging / path


@dataclass(frozen=True)
class StorePlace:
    uri: str
    store: Store
    staging: Path

    @property
    def files(self) -> TableFiles:
        return TableStore(self.uri, self.store.options, staging=self.staging)

    @property
    def options(self) -> Mapping[str, str]:
        return self.store.options | {"allow_http": "true"}

    def at(self, path: str) -> File:
        return _StoredFile(self.store, self.uri.removeprefix(f"s3://{BUCKET}/") + f"/{path}")


def new_store_place(store: Store, staging: Path) -> StorePlace:
    return StorePlace(f"s3://{BUCKET}/readings-{uuid.uuid4().hex}", store, staging)


@dataclass(frozen=True)
class _StoredFile:
    store: Store
    key: str

    def read_bytes(self) -> bytes:
        return bytes(obstore.get(self._bucket(), self.key).bytes())

    def write_bytes(self, data: bytes, /) -> object:
        return obstore.put(self._bucket(), self.key, data)

    def unlink(self) -> None:
        obstore.delete(self._bucket(), self.key)

    def exists(self) -> bool:
        try:
            obstore.head(self._bucket(), self.key)
        except FileNotFoundError:
            return False
        return True

    def _bucket(self) -> S3Store:
        config: Any = self.store.options
        return S3Store(BUCKET, config=config, client_options={"allow_http": True})


@contextmanager
def killed_after(removals: int) -> Iterator[None]:
    """The clean-up ends before its next removal of a file, without a chance to say so."""
    unlink, delete = Path.unlink, obstore.delete
    left = [removals]

    def count() -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1

    def unlinked(path: Path, missing_ok: bool = False) -> None:
        count()
        unlink(path, missing_ok=missing_ok)

    def deleted(*which: Any) -> None:
        count()
        delete(*which)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "unlink", unlinked)
        patched.setattr(obstore, "delete", deleted)
        yield
