"""Keys of an envelope and the MAC of its header (docs/format.md, "Keys of an envelope")."""

import hashlib
import hmac
from dataclasses import dataclass

from constants import DECRYPTION_FAILED, LABEL_KEYS, SECRET_BYTES, Refused
from parse import Header


@dataclass(frozen=True)
class EnvelopeKeys:
    content_key: bytes
    header_key: bytes


def derive_keys(dek: bytes, header: Header, digest: bytes) -> EnvelopeKeys:
    """Refuses a DEK of zeros."""
    if dek == bytes(SECRET_BYTES):
        raise Refused(DECRYPTION_FAILED, "a DEK of zeros")
    okm = hmac.digest(dek, LABEL_KEYS + header.immutable + digest + b"\x01", hashlib.sha512)
    return EnvelopeKeys(content_key=okm[:32], header_key=okm[32:])


def check_mac(keys: EnvelopeKeys, header: Header) -> None:
    mac = hmac.digest(keys.header_key, header.before_mac, hashlib.sha256)
    if not hmac.compare_digest(mac, header.mac):
        raise Refused(DECRYPTION_FAILED, "the MAC does not hold")
