"""Wraps: what binds one to its place, and how each provider's KEK opens it (docs/format.md, "Wraps")."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import constants as c
from constants import DECRYPTION_FAILED, Refused
from context import Context, canonical_bytes, covered_context, field
from parse import Header, Wrap

Kek = dict[str, Any]
"""A KEK of a vector file, as schema.json describes it."""

ALGORITHM_BYTES = {  # table of "Wrapped bytes"
    ("aws-kms", "kms"): 1,
    ("gcp-kms", "kms"): 1,
    ("azure-keyvault", "RSA-OAEP-256"): 1,
    ("azure-keyvault", "A256GCM"): 2,
    ("azure-keyvault", "A256KW"): 3,
}


@dataclass(frozen=True)
class Place:
    """What a wrap's binding is made of beside the wrap itself."""

    header: Header
    slot: int
    context: Context
    digest: bytes  # contextDigest
    owner: str  # of the matched candidate
    environment: str


def failed(why: str) -> Refused:
    return Refused(DECRYPTION_FAILED, why)


def open_gcm(key: bytes, iv: bytes, sealed: bytes, aad: bytes) -> bytes:
    """AES-256-GCM; `sealed` is the ciphertext followed by its tag."""
    try:
        return AESGCM(key).decrypt(iv, sealed, aad)
    except InvalidTag as error:
        raise failed("a tag does not hold") from error


def wrap_binding(
    purpose: int, policy: int, number: int, bitmap: int, slot: int, role: int, salt: bytes, digest: bytes
) -> bytes:
    """ "Wrap binding": 71 bytes."""
    return (
        c.LABEL_WRAP
        + bytes([c.SUITE, purpose, policy, number])
        + bitmap.to_bytes(2, "big")
        + bytes([slot, role])
        + salt
        + digest
    )


def binding_in_envelope(wrap: Wrap, place: Place) -> bytes:
    header = place.header
    return wrap_binding(
        header.kind, header.policy, len(header.wraps), wrap.bitmap, place.slot, wrap.role, header.salt, place.digest
    )


def lease_binding(wrap: Wrap, place: Place, lease_salt: bytes) -> bytes:
    """Purpose 3: tied to a scope instead of a place in an envelope."""
    scope = (
        c.LABEL_SCOPE
        + bytes([c.PURPOSE_LEASE_KEY])
        + field(wrap.provider.encode("utf-8"))
        + field(wrap.key_id.encode("utf-8"))
        + field(place.owner.encode("utf-8"))
        + field(place.environment.encode("utf-8"))
        + field(canonical_bytes(covered_context(place.context, wrap.bitmap)))
    )
    digest = hashlib.sha256(scope).digest()
    return wrap_binding(c.PURPOSE_LEASE_KEY, 0, 0, 0, 0, 0, lease_salt, digest)


def unwrap(kek: Kek, wrap: Wrap, place: Place) -> bytes:
    """The secret of a wrap, 32 bytes, or DECRYPTION_FAILED."""
    binding = binding_in_envelope(wrap, place)
    if wrap.provider == c.MANAGED:
        return unwrap_managed(kek, wrap, binding)
    if wrap.role == c.ROLE_LEASED:
        return unwrap_leased(kek, wrap, place, binding)
    return unwrap_cloud(kek, wrap, wrap.wrapped, binding)


def unwrap_managed(kek: Kek, wrap: Wrap, binding: bytes) -> bytes:
    """ "managed": salt(16) ‖ IV(12) ‖ ciphertext(32) ‖ tag(16) under a subkey of SP 800-108 in counter mode."""
    key = kek["versions"].get(str(wrap.key_version))
    if key is None:
        raise failed("the KEK has no such version")
    salt, iv, sealed = wrap.wrapped[:16], wrap.wrapped[16:28], wrap.wrapped[28:]
    fixed = bytes.fromhex(wrap.key_id) + wrap.key_version.to_bytes(4, "big") + salt
    message = b"\0\0\0\x01" + c.LABEL_KEK + b"\0" + fixed + (256).to_bytes(4, "big")
    subkey = hmac.digest(bytes.fromhex(key), message, hashlib.sha256)
    return open_gcm(subkey, iv, sealed, binding)


def unwrap_leased(kek: Kek, wrap: Wrap, place: Place, binding: bytes) -> bytes:
    """ "Leased wraps": the cloud opens the lease key, and the lease key opens the secret."""
    wrapped = wrap.wrapped
    tail_bytes = c.IV_BYTES + c.SECRET_BYTES + c.TAG_BYTES
    lease_key_bytes = int.from_bytes(wrapped[16:18], "big")
    if len(wrapped) != c.SALT_BYTES + 2 + lease_key_bytes + tail_bytes:
        raise failed("the parts of a leased wrap do not fill it")
    salt, wrapped_lease_key, tail = wrapped[:16], wrapped[18:-tail_bytes], wrapped[-tail_bytes:]
    lease_key = unwrap_cloud(kek, wrap, wrapped_lease_key, lease_binding(wrap, place, salt))
    return open_gcm(lease_key, tail[: c.IV_BYTES], tail[c.IV_BYTES :], binding)


def unwrap_cloud(kek: Kek, wrap: Wrap, wrapped: bytes, binding: bytes) -> bytes:
    """ "Clouds": one algorithm byte, then what the cloud's own key opens. Its result is 32 bytes."""
    algorithm: str = kek["algorithm"]
    if wrapped[:1] != bytes([ALGORITHM_BYTES[wrap.provider, algorithm]]):
        raise failed("algorithm byte")
    ciphertext, b = wrapped[1:], hashlib.sha256(binding).digest()
    if algorithm == "kms":
        secret = ask_kms(kek, wrap.key_version, ciphertext, b)
    elif algorithm == "A256GCM":
        if len(ciphertext) != c.IV_BYTES + c.SECRET_BYTES + c.TAG_BYTES:
            raise failed("length of an A256GCM wrap")
        iv, sealed = ciphertext[: c.IV_BYTES], ciphertext[c.IV_BYTES :]
        secret = open_gcm(bytes.fromhex(kek["key"]), iv, sealed, b)
    else:
        opened = open_rsa(kek, ciphertext) if algorithm == "RSA-OAEP-256" else open_aes_kw(kek, ciphertext)
        secret = opened[:-32]
        if not hmac.compare_digest(opened[-32:], b):
            raise failed("B does not hold")
    if len(secret) != c.SECRET_BYTES:
        raise failed("a secret that is not 32 bytes")
    return secret


def ask_kms(kek: Kek, key_version: int, ciphertext: bytes, b: bytes) -> bytes:
    """A KMS that only it can play: it answers what the vector file lists, for the version that it lists."""
    if key_version == kek["keyVersion"]:
        for answer in kek["answers"]:
            if (answer["ciphertext"], answer["b"]) == (ciphertext.hex(), b.hex()):
                return bytes.fromhex(answer["secret"])
    raise failed("wrong ciphertext or context")


def open_rsa(kek: Kek, ciphertext: bytes) -> bytes:
    """RSA-OAEP-256 of RFC 7518 §4.3: SHA-256 for OAEP and for MGF1, an empty label."""
    key = serialization.load_pem_private_key(kek["privateKey"].encode("ascii"), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("the vector file's key is not an RSA key")
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    try:
        return key.decrypt(ciphertext, oaep)
    except ValueError as error:
        raise failed("RSA-OAEP-256") from error


def open_aes_kw(kek: Kek, ciphertext: bytes) -> bytes:
    """AES key wrap, RFC 3394."""
    try:
        return keywrap.aes_key_unwrap(bytes.fromhex(kek["key"]), ciphertext)
    except (keywrap.InvalidUnwrap, ValueError) as error:
        raise failed("A256KW") from error
