"""Secrets that are shown once, and told again by their digest.

Form:   `{prefix}_{id}_{secret}`; 12 letters and digits, and 256 random bits in base64url.
Stored: the id and the SHA-256 of the secret, which at that length no guessing finds again.
"""

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass

ID_LETTERS, ID_LENGTH = string.ascii_lowercase + string.digits, 12
SECRET_BYTES = 32
_ID = re.compile(r"[a-z0-9]{12}", re.ASCII)
_TOKEN = re.compile(r"([a-z]+)_([a-z0-9]{12})_([A-Za-z0-9_-]{43})", re.ASCII)
_NOBODYS = hashlib.sha256(secrets.token_bytes(SECRET_BYTES)).hexdigest()


@dataclass(frozen=True)
class Token:
    prefix: str
    id: str
    secret: str

    @classmethod
    def new(cls, prefix: str) -> "Token":
        token_id = "".join(secrets.choice(ID_LETTERS) for _ in range(ID_LENGTH))
        return cls(prefix, token_id, secrets.token_urlsafe(SECRET_BYTES))

    @classmethod
    def read(cls, prefix: str, text: str) -> "Token":
        """From its text; with an empty id, which nothing has, where that is none."""
        said = _TOKEN.fullmatch(text)
        if said is None or said[1] != prefix:
            return cls(prefix, "", "")
        return cls(*said.groups())

    @property
    def text(self) -> str:
        return f"{self.prefix}_{self.id}_{self.secret}"

    @property
    def sha256(self) -> str:
        """Of the secret."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def is_known_as(self, sha256: str | None) -> bool:
        """Compared in any case, so that an id that there is takes no longer than one without."""
        return hmac.compare_digest(self.sha256, sha256 or _NOBODYS)


def is_token_id(text: str) -> bool:
    """Whether there could be a token with it; what is none may be anything, of any characters."""
    return _ID.fullmatch(text) is not None
