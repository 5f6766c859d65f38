"""Keys: read from the environment, checked before a call, kept out of all that is written."""

import base64
import html
import os
import re
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from fusionchat.errors import UserError

# Shorter "keys" are placeholders for servers that need none, such as EMPTY; they occur in texts.
SHORTEST_KEY = 6
MASK = "[key]"
# Header names under which services expect a secret.
_SECRET_NAME = re.compile(r"auth|key|token|secret|password|cookie", re.IGNORECASE)
# Parameters such as max_tokens or prompt_cache_key are none.
_SECRET_PARAMETER = re.compile(
    r"(api|access|secret|private).?key|passw|secret|authori[sz]|(access|auth|bearer).?token"
    r"|credential",
    re.IGNORECASE,
)


def read_key(variable: str) -> str:
    """The key in an environment variable, without white space around it; "" where there is none.

    Raises a `UserError` that names the variable, never the key, where it cannot be sent.
    """
    key = os.environ.get(variable, "").strip()
    if wrong := _wrong_with(key):
        raise UserError(
            f"environment variable {variable}: the key holds {wrong}; set it to the key alone"
        )
    return key


def _wrong_with(key: str) -> str:
    if any(character.isspace() or not character.isprintable() for character in key):
        return "white space, a line break or a control character"
    if not key.isascii():
        return "a character that is not ASCII"
    if set(key) & set("\"'`\\"):
        return "a quotation mark or backslash"
    return ""


def check_base_url(url: str, name: str = "base URL") -> None:
    """Raise a `UserError` for an address that is none, or that holds a password or query."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        secret = "@" in parts.netloc or bool(parts.query) or bool(parts.fragment)
        _ = parts.port
    except ValueError:
        usable, secret = False, True
    if secret:
        raise UserError(f"{name}: must hold no password or query; use the key's variable")
    if not usable:
        raise UserError(f"{name} {url}: must be http://... or https://...")


def check_headers(headers: Mapping[str, str], name: str = "headers") -> None:
    """Raise a `UserError` for headers that cannot be sent.

    Secrets stand in the environment only: a header that is named like one must name a $VARIABLE.
    """
    for header, value in headers.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_|~-]+", header):
            raise UserError(f"{name}: {header!r} is not the name of a header")
        if not (value.isascii() and value.isprintable()):
            raise UserError(f"{name}: {header}: the value is not printable ASCII")
        if _SECRET_NAME.search(header) and not value.startswith("$"):
            raise UserError(f"{name}: {header}: give a secret as $VARIABLE of the environment")


def check_body(body: Any, name: str = "extra_body") -> None:
    """Raise a `UserError` where further parameters of a request are named like secrets."""
    if isinstance(body, Mapping):
        for key, value in body.items():
            if _SECRET_PARAMETER.search(str(key)):
                raise UserError(
                    f"{name}: {key} is named like a secret, which stands in no config or command; "
                    "use the key's variable, or a header whose value is $VARIABLE"
                )
            check_body(value, name)
    elif isinstance(body, list):
        for item in body:
            check_body(item, name)


def read_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with every value of the form $VARIABLE read from the environment."""
    check_headers(headers)
    values = {name: read_key(v[1:]) if v.startswith("$") else v for name, v in headers.items()}
    if unset := [headers[name][1:] for name, value in values.items() if not value]:
        raise UserError(f"headers: environment variable {unset[0]} is not set")
    return values


def proxy_passwords() -> list[str]:
    """Passwords in the addresses of proxies, which libraries quote in their errors."""
    return [urlsplit(url).password or "" for url in urllib.request.getproxies().values()]


class Redactor:
    """Replaces secrets in texts, however a server or a library has written them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {
            form for secret in secrets if len(secret) >= SHORTEST_KEY for form in _forms(secret)
        }
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)
        self._active = bool(forms)

    def text(self, text: str) -> str:
        """The text without secrets, and without halves of surrogate pairs, which no file takes."""
        text = text.encode("utf-8", "replace").decode()
        return self._pattern.sub(MASK, text) if self._active else text

    def value(self, value: Any) -> Any:
        """The same for all texts in a JSON value, names of fields included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self.text(str(name)): self.value(item) for name, item in value.items()}
        return value


def _forms(secret: str) -> set[str]:
    """A secret as it is, in an address, in HTML, in JSON, in hexadecimal digits, and in base64."""
    data = secret.encode("utf-8", "replace")
    forms = {secret, quote(secret, safe=""), html.escape(secret), secret.replace("/", "\\/")}
    return forms | {data.hex()} | {form for lead in range(3) for form in _base64(data, lead)}


def _base64(data: bytes, lead: int) -> set[str]:
    """What data is in base64 behind so many bytes of something else, as in `user:password`."""
    begin, end = (8 * lead + 5) // 6, 8 * (lead + len(data)) // 6
    plain = base64.b64encode(bytes(lead) + data).decode()[begin:end]
    return {plain, plain.replace("+", "-").replace("/", "_")}
