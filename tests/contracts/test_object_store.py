"""The laws of an ObjectStore, and how the local folder keeps them when the disk does not."""

import os
import uuid
from pathlib import Path
from threading import Event, Thread

import pytest

from meterport.adapters.local_disk import LocalDisk
from meterport.adapters.local_files import LocalFiles
from meterport.adapters.object_store import StoreFiles
from meterport.domain.errors import FileGenerationFailed, StorageFull
from meterport.domain.exports import StoredObject
from meterport.ports import ObjectStore
from tests.brokers import Store
from tests.contracts.conftest import largest_file, wait_until


def local_files(folder: Path) -> LocalFiles:
    return LocalFiles(folder, LocalDisk([]))


JOB = "0b4ea0ae-64c5-4d2e-8a53-0d5e3ff1a4a7"
FIRST, SECOND = f"{JOB}/1", f"{JOB}/2"
OTHER = "f3b3b0f4-6f7b-4b5e-9d0a-1f0c9a1b2c3d/1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "exports"


@pytest.fixture(params=["local", "s3"])
def objects(request: pytest.FixtureRequest, folder: Path) -> ObjectStore:
    if request.param == "local":
        return local_files(folder)
    store: Store = request.getfixturevalue("s3")
    return StoreFiles(f"s3://exports/{uuid.uuid4().hex}", store.options)


@pytest.fixture
def local(folder: Path) -> LocalFiles:
    return local_files(folder)


def put(objects: ObjectStore, key: str, *parts: bytes) -> None:
    with objects.draft(key) as draft:
        for part in parts:
            draft.write(part)
        draft.publish()


def read(objects: ObjectStore, key: str) -> bytes:
    with objects.open(key) as file:
        return file.read()


def stat(objects: ObjectStore, key: str) -> StoredObject:
    found = objects.stat(key)
    assert found is not None
    return found


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


@pytest.mark.parametrize(
    "parts",
    [(), (b"",), (b"a",), (b"timestamp\n", b"", b"2024\n"), (b"0123456789abcdef" * 65_536,) * 3],
    ids=["none", "empty", "byte", "lines", "3-MiB"],
)
def test_a_published_file_has_the_bytes_that_were_written(
    parts: tuple[bytes, ...], objects: ObjectStore
) -> None:
    put(objects, FIRST, *parts)

    assert read(objects, FIRST) == b"".join(parts)
    assert stat(objects, FIRST).size_bytes == sum(len(part) for part in parts)


def test_a_file_is_invisible_until_it_is_published_whole(objects: ObjectStore) -> None:
    seen: list[StoredObject | None] = []

    with objects.draft(FIRST) as draft:
        for part in (b"first\n", b"second\n"):
            seen.append(objects.stat(FIRST))
            with pytest.raises(FileNotFoundError):
                objects.open(FIRST)
            draft.write(part)
        seen.append(objects.stat(FIRST))
        draft.publish()

    assert seen == [None, None, None]
    assert read(objects, FIRST) == b"first\nsecond\n"


def test_a_file_is_there_before_its_draft_ends(objects: ObjectStore) -> None:
    with objects.draft(FIRST) as draft:
        draft.write(b"whole")
        draft.publish()

        assert read(objects, FIRST) == b"whole"


def test_a_draft_that_is_not_published_leaves_nothing(objects: ObjectStore) -> None:
    with objects.draft(FIRST) as draft:
        draft.write(b"half a fi")

    assert objects.stat(FIRST) is None
    assert list(objects.keys()) == []


def test_a_draft_that_ends_by_an_error_leaves_nothing(objects: ObjectStore) -> None:
    def fail() -> None:
        with objects.draft(FIRST) as draft:
            draft.write(b"half a fi")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()

    assert objects.stat(FIRST) is None
    assert list(objects.keys()) == []


def test_what_was_never_written_is_not_there(objects: ObjectStore) -> None:
    put(objects, OTHER, b"other")

    assert objects.stat(FIRST) is None
    with pytest.raises(FileNotFoundError):
        objects.open(FIRST)


def test_attempts_that_write_side_by_side_do_not_touch_each_other(objects: ObjectStore) -> None:
    with objects.draft(FIRST) as first, objects.draft(SECOND) as second:
        first.write(b"one")
        second.write(b"two")
        first.write(b" one")
        second.publish()
        second_alone = (objects.stat(FIRST), read(objects, SECOND))
        first.publish()

    assert second_alone == (None, b"two")
    assert (read(objects, FIRST), read(objects, SECOND)) == (b"one one", b"two")


def test_an_attempt_that_gives_up_leaves_the_others_file(objects: ObjectStore) -> None:
    with objects.draft(FIRST) as first:
        first.write(b"one")
        put(objects, SECOND, b"two")

    objects.delete(FIRST)

    assert read(objects, SECOND) == b"two"
    assert list(objects.keys()) == [SECOND]


def test_an_attempt_publishes_while_files_of_others_are_removed(objects: ObjectStore) -> None:
    """As when the sweep, or a worker that lost its lease, cleans up after an older attempt."""
    done = Event()

    def clean_up() -> None:
        # Pauses, or this thread holds the interpreter whenever the other could go on.
        while not done.wait(0.001):
            objects.delete(FIRST)

    cleaner = Thread(target=clean_up)
    cleaner.start()
    try:
        for _ in range(200):
            put(objects, SECOND, b"two")
            objects.delete(SECOND)
    finally:
        done.set()
        cleaner.join()

    assert list(objects.keys()) == []


def test_the_keys_name_drafts_and_files(objects: ObjectStore) -> None:
    put(objects, FIRST, b"one")
    put(objects, OTHER, b"other")

    with objects.draft(SECOND) as draft:
        draft.write(b"two")
        wait_until(lambda: SECOND in set(objects.keys()))
        during = sorted(objects.keys())

    assert during == [FIRST, SECOND, OTHER]
    assert sorted(objects.keys()) == [FIRST, OTHER]


def test_a_draft_beside_a_file_is_discarded_alone(objects: ObjectStore) -> None:
    """As an upload that was begun twice, because the store's first answer was lost."""
    put(objects, FIRST, b"one")
    abandoned = objects.draft(FIRST)
    abandoned.__enter__().write(b"half a fi")
    wait_until(lambda: list(objects.drafts()) == [FIRST])

    objects.discard(FIRST)
    objects.discard(SECOND)

    assert list(objects.drafts()) == []
    assert read(objects, FIRST) == b"one"
    abandoned.__exit__(None, None, None)


def test_a_store_that_was_never_used_has_no_keys(objects: ObjectStore) -> None:
    assert list(objects.keys()) == list(objects.drafts()) == []


def test_a_deleted_file_is_gone(objects: ObjectStore) -> None:
    put(objects, FIRST, b"one")

    objects.delete(FIRST)

    assert objects.stat(FIRST) is None
    assert list(objects.keys()) == []


def test_deleting_what_is_not_there_is_no_error(objects: ObjectStore) -> None:
    objects.delete(FIRST)
    put(objects, SECOND, b"two")
    objects.delete(FIRST)

    assert read(objects, SECOND) == b"two"


def test_a_draft_of_a_worker_that_died_can_be_deleted(objects: ObjectStore) -> None:
    abandoned = objects.draft(FIRST)
    draft = abandoned.__enter__()
    draft.write(b"half a fi")
    # An upload to a store is begun by a thread of its own.
    wait_until(lambda: list(objects.keys()) == [FIRST])

    objects.delete(FIRST)

    assert list(objects.keys()) == []
    with pytest.raises(FileGenerationFailed):
        draft.publish()
    assert objects.stat(FIRST) is None
    abandoned.__exit__(None, None, None)


def test_the_fingerprint_stays_while_the_bytes_do(objects: ObjectStore) -> None:
    put(objects, FIRST, b"one")
    before = stat(objects, FIRST)

    read(objects, FIRST)
    put(objects, SECOND, b"two")

    assert stat(objects, FIRST) == before


def test_a_new_file_under_an_old_key_has_another_fingerprint(objects: ObjectStore) -> None:
    put(objects, FIRST, b"one")
    before = stat(objects, FIRST)

    objects.delete(FIRST)
    put(objects, FIRST, b"uno")

    assert stat(objects, FIRST).size_bytes == before.size_bytes
    assert stat(objects, FIRST).fingerprint != before.fingerprint


def test_bytes_changed_in_place_change_the_fingerprint(local: LocalFiles, folder: Path) -> None:
    put(local, FIRST, b"one")
    before = stat(local, FIRST)

    def changed() -> bool:
        # Again until the file system's clock, of some milliseconds, has ticked.
        with (folder / FIRST).open("rb+") as file:
            file.write(b"0n3")
        os.utime(folder / FIRST, (0, 0))
        return stat(local, FIRST).fingerprint != before.fingerprint

    assert wait_until(changed)
    assert stat(local, FIRST).size_bytes == before.size_bytes


def test_publishing_is_a_rename(local: LocalFiles, folder: Path) -> None:
    with local.draft(FIRST) as draft:
        draft.write(b"whole")
        (part,) = [path for path in folder.rglob("*") if path.is_file()]
        inode = part.stat().st_ino
        draft.publish()

    assert (folder / FIRST).stat().st_ino == inode
    assert files(folder) == [FIRST]


def test_nothing_of_an_unpublished_draft_stays_on_the_disk(local: LocalFiles, folder: Path) -> None:
    with local.draft(FIRST) as draft:
        draft.write(b"half a fi")

    assert files(folder) == []


def test_a_job_without_files_leaves_no_folder(local: LocalFiles, folder: Path) -> None:
    put(local, FIRST, b"one")
    put(local, SECOND, b"two")

    local.delete(FIRST)
    left = (folder / JOB).is_dir()
    local.delete(SECOND)

    assert left
    assert not (folder / JOB).exists()


def test_files_of_others_in_the_folder_are_no_keys(local: LocalFiles, folder: Path) -> None:
    put(local, FIRST, b"one")
    (folder / "README").write_text("not ours")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "1").write_text("not ours")

    assert list(local.keys()) == [FIRST]


@pytest.mark.parametrize("change", [b"", b"half a fil", b"half a file and more"])
def test_a_draft_whose_bytes_on_disk_are_others_is_not_published(
    change: bytes, local: LocalFiles, folder: Path
) -> None:
    with local.draft(FIRST) as draft:
        draft.write(b"half a file")
        (part,) = [path for path in folder.rglob("*") if path.is_file()]
        part.write_bytes(change)
        with pytest.raises(FileGenerationFailed, match="bytes on disk"):
            draft.publish()

    assert local.stat(FIRST) is None
    assert files(folder) == []


def test_a_folder_that_cannot_be_made_fails_the_file(tmp_path: Path) -> None:
    (tmp_path / "exports").write_text("a file where the folder should be")
    local = local_files(tmp_path / "exports")

    with pytest.raises(FileGenerationFailed) as failure, local.draft(FIRST):
        pass

    assert failure.value.retryable


def test_a_folder_that_is_a_file_has_no_files(tmp_path: Path) -> None:
    (tmp_path / "exports").write_text("a file where the folder should be")
    local = local_files(tmp_path / "exports")

    local.delete(FIRST)

    assert local.stat(FIRST) is None
    assert list(local.keys()) == []


@pytest.mark.parametrize("place", [".parts", JOB])
def test_a_file_in_the_way_fails_the_file(place: str, local: LocalFiles, folder: Path) -> None:
    folder.mkdir()
    (folder / place).write_text("in the way")

    with pytest.raises(FileGenerationFailed):
        put(local, FIRST, b"one")

    assert files(folder) == [place]


def test_a_full_disk_is_storage_full_and_the_next_file_works(
    local: LocalFiles, folder: Path
) -> None:
    put(local, OTHER, b"other")
    # The kernel's own "no space left on device".
    (folder / ".parts" / FIRST.replace("/", ".")).symlink_to("/dev/full")

    with pytest.raises(StorageFull) as failure:
        put(local, FIRST, b"one")

    assert failure.value.retryable
    assert files(folder) == [OTHER]
    put(local, FIRST, b"one")
    assert read(local, FIRST) == b"one"


def test_a_file_that_may_not_grow_fails_and_leaves_nothing(local: LocalFiles, folder: Path) -> None:
    """The kernel takes the first 1,000 bytes of a write and then refuses the rest."""
    with largest_file(1_000), pytest.raises(FileGenerationFailed) as failure:
        put(local, FIRST, b"x" * 1_500)

    assert "File too large" in failure.value.message
    assert files(folder) == []
