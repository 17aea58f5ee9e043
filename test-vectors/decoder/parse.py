"""Parsing of an envelope: text form, header, wraps and embedded context (docs/format.md, "Layout", "Text form")."""

import base64
import re
from dataclasses import dataclass

import constants as c
from constants import MALFORMED_ENVELOPE, UNSUPPORTED_VERSION, Refused
from context import Context, canonical_bytes, check_context


@dataclass(frozen=True)
class Wrap:
    provider: str
    key_id: str  # as text: a managed one is 32 lowercase hex digits
    key_version: int
    bitmap: int
    role: int
    wrapped: bytes


@dataclass(frozen=True)
class Header:
    immutable: bytes
    kind: int
    exponent: int
    pair_count: int
    salt: bytes
    policy: int
    wraps: list[Wrap]
    embedded: Context | None
    before_mac: bytes
    mac: bytes


def malformed(why: str) -> Refused:
    return Refused(MALFORMED_ENVELOPE, why)


def decode_text(text: str) -> bytes:
    """ "Text form": base64url with one encoding for each byte string."""
    if len(text) > c.MAX_TEXT_CHARACTERS or not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise malformed("text form")
    if len(text) % 4 == 1:
        raise malformed("length of the text form")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise malformed("unused bits of the text form")
    return data


class Reader:
    """Takes fields from bytes, big-endian, and never past their end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def take(self, length: int) -> bytes:
        if length > len(self.data) - self.offset:
            raise malformed("a field passes the end")
        self.offset += length
        return self.data[self.offset - length : self.offset]

    def uint(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def expect_end(self) -> None:
        if self.offset != len(self.data):
            raise malformed("bytes are left over")


def parse_envelope(envelope: bytes) -> tuple[Header, bytes]:
    """The header, in its one canonical form, and the payload."""
    if envelope[:4] != c.MAGIC:
        raise malformed("magic")
    if len(envelope) < c.FIXED_BYTES:
        raise malformed("fewer than 29 bytes")
    version, suite, kind, exponent, pair_count = envelope[4:9]
    if version != c.VERSION or suite != c.SUITE or kind not in (c.KIND_MESSAGE, c.KIND_DATA_KEY):
        raise Refused(UNSUPPORTED_VERSION, "version, suite or kind")
    if not c.MIN_EXPONENT <= exponent <= c.MAX_EXPONENT:
        raise malformed("segment size exponent")
    if not 1 <= pair_count <= c.MAX_PAIRS:
        raise malformed("pair count")
    header_length = int.from_bytes(envelope[25:29], "big")
    if not c.MIN_HEADER_BYTES <= header_length <= c.MAX_HEADER_BYTES:
        raise malformed("header length")
    if header_length > len(envelope):
        raise malformed("the header is cut")

    before_mac = envelope[: header_length - c.MAC_BYTES]
    reader = Reader(before_mac)
    reader.take(c.FIXED_BYTES)
    policy = reader.uint(1)
    if policy not in (c.POLICY_ALL, c.POLICY_ANY):
        raise malformed("policy")
    wrap_count = reader.uint(1)
    if not 1 <= wrap_count <= c.MAX_WRAPS:
        raise malformed("number of wraps")
    wraps = [parse_wrap(reader, pair_count) for _ in range(wrap_count)]
    check_order(wraps)
    embedded_bytes = reader.take(reader.uint(2))
    reader.expect_end()
    embedded = parse_context(embedded_bytes, pair_count) if embedded_bytes else None
    if kind == c.KIND_DATA_KEY and embedded is None:
        raise malformed("a data key without its context")

    header = Header(
        immutable=envelope[: c.IMMUTABLE_BYTES],
        kind=kind,
        exponent=exponent,
        pair_count=pair_count,
        salt=envelope[9:25],
        policy=policy,
        wraps=wraps,
        embedded=embedded,
        before_mac=before_mac,
        mac=envelope[header_length - c.MAC_BYTES : header_length],
    )
    return header, envelope[header_length:]


def parse_wrap(reader: Reader, pair_count: int) -> Wrap:
    provider_bytes = reader.take(reader.uint(1))
    if not re.fullmatch(rb"[a-z0-9-]{1,%d}" % c.MAX_PROVIDER_BYTES, provider_bytes):
        raise malformed("provider id")
    provider = provider_bytes.decode("ascii")
    managed = provider == c.MANAGED

    key_id_bytes = reader.take(reader.uint(2))
    if managed:
        if len(key_id_bytes) != c.MANAGED_KEY_ID_BYTES:
            raise malformed("managed key id")
        key_id = key_id_bytes.hex()
    else:
        if not re.fullmatch(rb"[\x21-\x7e]{1,%d}" % c.MAX_KEY_ID_BYTES, key_id_bytes):
            raise malformed("key id")
        key_id = key_id_bytes.decode("ascii")

    key_version = reader.uint(4)
    if managed and key_version == 0:
        raise malformed("a managed wrap without a key version")
    bitmap = reader.uint(2)
    if bitmap == 0 or bitmap >> pair_count:
        raise malformed("covered pairs")
    role = reader.uint(1)
    allowed = (c.ROLE_DIRECT, c.ROLE_COMPANION) if managed else (c.ROLE_DIRECT, c.ROLE_LEASED)
    if role not in allowed:
        raise malformed("role")
    wrapped = reader.take(reader.uint(2))
    if not 1 <= len(wrapped) <= c.MAX_WRAPPED_BYTES:
        raise malformed("wrapped bytes")
    if managed and len(wrapped) != c.MANAGED_WRAPPED_BYTES:
        raise malformed("managed wrapped bytes")
    return Wrap(provider, key_id, key_version, bitmap, role, wrapped)


def check_order(wraps: list[Wrap]) -> None:
    """ "Canonical form": the order of wraps, and where companions stand."""
    lowest_before = -1
    before: Wrap | None = None
    for wrap in wraps:
        if wrap.role == c.ROLE_COMPANION:
            if before is None or before.role == c.ROLE_COMPANION or before.bitmap != wrap.bitmap:
                raise malformed("place of a companion")
        else:
            lowest = (wrap.bitmap & -wrap.bitmap).bit_length() - 1
            if lowest <= lowest_before:
                raise malformed("order of wraps")
            lowest_before = lowest
        before = wrap


def parse_context(data: bytes, pair_count: int) -> Context:
    """An embedded context, which must be canonical."""
    reader = Reader(data)
    count = reader.uint(1)
    if count != pair_count:
        raise malformed("number of embedded pairs")
    context: Context = {}
    try:
        for _ in range(count):
            name = reader.take(reader.uint(2)).decode("utf-8")
            context[name] = reader.take(reader.uint(2)).decode("utf-8")
        reader.expect_end()
        check_context(context)
    except ValueError as error:
        raise malformed("embedded context") from error
    if canonical_bytes(context) != data:  # order, and distinct names
        raise malformed("an embedded context that is not canonical")
    return context
