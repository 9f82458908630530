"""Walk the audit log, and tell the first entry that is not what was written.

Memory: one page of entries, however many there are.
"""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from meterport.domain.audit import Fault, Head, Verdict, digest_of
from meterport.ports.audit import Audit

CHANGED_SET = "names meters that are not those that were written"


def verify_audit(audit: Audit, *, expected: Head | None = None) -> Verdict:
    """`expected`: a head that was noted earlier; without it nobody sees that the end is gone."""
    head, fault = _walked(audit, expected)
    faults = [each for each in (fault, *_wrong_sets(audit)) if each is not None]
    return Verdict(head, min(faults, key=lambda each: each.seq, default=None))


def _walked(audit: Audit, expected: Head | None) -> tuple[Head, Fault | None]:
    head = Head()
    for entry in audit.entries():
        fault = entry.fault(head)
        if fault is not None:
            return head, fault
        if expected is not None and entry.seq == expected.seq and entry.head != expected:
            return head, Fault(entry.seq, "is not the one that was noted")
        head = entry.head
    if expected is not None and head.seq < expected.seq:
        return head, Fault(head.seq + 1, f"is missing, as are all up to the noted {expected.seq}")
    return head, None


def _wrong_sets(audit: Audit) -> Iterator[Fault]:
    absent = audit.first_without_set()
    if absent is not None:
        yield Fault(absent, CHANGED_SET)
    for sha256, members in groupby(audit.sets(), key=itemgetter(0)):
        if digest_of(smart_meter_id for _, smart_meter_id in members) != sha256:
            first = audit.first_with(sha256)
            if first is not None:
                yield Fault(first, CHANGED_SET)
