"""The payload and ranges of it (docs/format.md, "Payload")."""

import hashlib

import constants as c
from constants import DECRYPTION_FAILED, Refused
from parse import Header
from wraps import open_gcm


class Payload:
    """Segments of a payload, whose number and sizes follow from its length."""

    def __init__(self, content_key: bytes, header: Header, digest: bytes, aad: bytes, payload: bytes) -> None:
        self.content_key = content_key
        self.aad = header.immutable + digest + hashlib.sha256(aad).digest()
        self.payload = payload
        self.segment_bytes = 2**header.exponent
        self.stride = self.segment_bytes + c.TAG_BYTES
        self.count = -(-len(payload) // self.stride)
        last_bytes = len(payload) - (self.count - 1) * self.stride
        if not 1 <= self.count <= c.MAX_SEGMENTS:
            raise Refused(DECRYPTION_FAILED, "number of segments")
        if last_bytes < c.TAG_BYTES + (1 if self.count > 1 else 0):
            raise Refused(DECRYPTION_FAILED, "length of the payload")
        if header.kind == c.KIND_DATA_KEY and len(payload) != c.SECRET_BYTES + c.TAG_BYTES:
            raise Refused(DECRYPTION_FAILED, "length of a data key")
        self.plaintext_bytes = len(payload) - self.count * c.TAG_BYTES

    def segment(self, i: int) -> bytes:
        last = i == self.count - 1
        iv = bytes(7) + i.to_bytes(4, "big") + bytes([last])
        return open_gcm(self.content_key, iv, self.payload[i * self.stride : (i + 1) * self.stride], self.aad)

    def whole(self) -> bytes:
        return b"".join(self.segment(i) for i in range(self.count))

    def range(self, start: int, end: int | None) -> bytes:
        """ "Ranges": opens only the segments that hold [start, end), and the last where the range reaches the end."""
        last = self.count - 1
        reaches_end = end is None or end >= self.plaintext_bytes
        stop = self.plaintext_bytes if end is None or reaches_end else end
        if start >= self.plaintext_bytes:
            self.segment(last)
            return b""
        first = start // self.segment_bytes
        final = max(first, (stop - 1) // self.segment_bytes)
        opened = b"".join(self.segment(i) for i in range(first, final + 1))
        if reaches_end and final != last:
            self.segment(last)
        offset = first * self.segment_bytes
        return opened[start - offset : stop - offset]
