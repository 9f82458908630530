"""What doctor says first: which servers and folders are in use."""

from collections.abc import Iterator, Mapping

from meterport.domain.findings import Finding, ok


class ProfileCheckup:
    def __init__(self, parts: Mapping[str, str]) -> None:
        """`parts`: where each is; nothing secret."""
        self._parts = parts

    def findings(self) -> Iterator[Finding]:
        for part, place in self._parts.items():
            yield ok("profile", f"{part}: {place}")
