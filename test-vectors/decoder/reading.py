"""The eight steps of reading an envelope, in their order (docs/format.md, "Reading")."""

from dataclasses import dataclass

import constants as c
from constants import DECRYPTION_FAILED, INVALID_ARGUMENT, INVALID_CONTEXT, Refused
from context import Context, bitmap_of, check_context, context_digest
from keys import EnvelopeKeys, check_mac, derive_keys
from parse import Header, Wrap, decode_text, parse_envelope
from payload import Payload
from wraps import Kek, Place, unwrap


@dataclass(frozen=True)
class Candidate:
    """What the router names for the context."""

    kek: Kek
    pairs: list[str]
    owner: str
    companion: Kek | None
    last_version: int | None

    @property
    def public_key(self) -> bool:
        return self.kek.get("algorithm") == "RSA-OAEP-256"


@dataclass(frozen=True)
class Question:
    """What a caller asks. `authorize` is what the caller's function answers, None without one."""

    envelope: bytes | str  # str is the text form
    context: Context | None
    authorize: bool | None
    aad: bytes
    kind: int
    range: tuple[int, int | None] | None
    candidates: list[Candidate]
    environment: str


def read(question: Question) -> tuple[bytes, Context]:
    """The plaintext and its context, or Refused."""
    check_arguments(question)
    envelope = question.envelope
    header, payload = parse_envelope(decode_text(envelope) if isinstance(envelope, str) else envelope)  # 1
    context = choose_context(question, header)
    digest = context_digest(context)
    if header.pair_count != len(context):  # 2
        raise failed("pair count")
    matched = match(header.wraps, question.candidates, context)  # 3
    check_cover(header)  # 4
    if header.policy == c.POLICY_ANY:
        check_any(matched)  # 5
    keys = open_keys(header, matched, context, digest, question.environment)  # 6 and 7
    if header.kind != question.kind:  # 8
        raise failed("kind")
    opened = Payload(keys.content_key, header, digest, question.aad, payload)
    plaintext = opened.whole() if question.range is None else opened.range(*question.range)
    return plaintext, context


def failed(why: str) -> Refused:
    return Refused(DECRYPTION_FAILED, why)


def check_arguments(question: Question) -> None:
    """The caller's own arguments, before anything of the envelope."""
    if question.context is None and question.authorize is None:
        raise Refused(INVALID_ARGUMENT, "neither a context nor authorize")
    if len(question.aad) > c.MAX_AAD_BYTES:
        raise Refused(INVALID_ARGUMENT, "additional data")
    if question.range is not None:
        start, end = question.range
        if start < 0 or (end is not None and end < start):
            raise Refused(INVALID_ARGUMENT, "range")
    if question.context is not None:
        try:
            check_context(question.context)
        except ValueError as error:
            raise Refused(INVALID_CONTEXT, str(error)) from error


def choose_context(question: Question, header: Header) -> Context:
    if question.context is not None:
        if header.embedded is not None and header.embedded != question.context:
            raise failed("the embedded context is another")
        return question.context
    if header.embedded is None:
        raise Refused(INVALID_ARGUMENT, "no context to authorize")
    if question.authorize is not True:
        raise failed("authorize refuses")
    return header.embedded


def match(wraps: list[Wrap], candidates: list[Candidate], context: Context) -> list[tuple[Candidate, Kek]]:
    """Step 3. For each wrap its candidate, and the KEK that opens it: the candidate's own or its companion."""
    matched: list[tuple[Candidate, Kek]] = []
    for slot, wrap in enumerate(wraps):
        if wrap.role == c.ROLE_COMPANION:
            continue
        companion = wraps[slot + 1] if slot + 1 < len(wraps) and wraps[slot + 1].role == c.ROLE_COMPANION else None
        fitting = [one for one in candidates if fits(one, wrap, companion, context)]
        if not fitting:
            raise failed("a wrap equals no candidate")
        matched.append((fitting[0], fitting[0].kek))
        if fitting[0].companion is not None:
            matched.append((fitting[0], fitting[0].companion))
    return matched


def fits(candidate: Candidate, wrap: Wrap, companion: Wrap | None, context: Context) -> bool:
    if not is_of(wrap, candidate.kek):
        return False
    if not set(candidate.pairs) <= set(context) or bitmap_of(context, candidate.pairs) != wrap.bitmap:
        return False
    if candidate.last_version is not None and wrap.key_version > candidate.last_version:
        return False
    if (wrap.key_version == 0) != (wrap.provider in ("aws-kms", "azure-keyvault")):
        return False  # a key version that the provider does not have ("Key ids")
    if companion is None or candidate.companion is None:
        return companion is None and candidate.companion is None
    return is_of(companion, candidate.companion)


def is_of(wrap: Wrap, kek: Kek) -> bool:
    return (wrap.provider, wrap.key_id) == (kek["provider"], kek["keyId"])


def check_cover(header: Header) -> None:
    """Step 4: every pair is covered exactly once. A companion covers nothing of its own."""
    covered = 0
    for wrap in header.wraps:
        if wrap.role == c.ROLE_COMPANION:
            continue
        if covered & wrap.bitmap:
            raise failed("a pair is covered twice")
        covered |= wrap.bitmap
    if covered != (1 << header.pair_count) - 1:
        raise failed("a pair is not covered")


def check_any(matched: list[tuple[Candidate, Kek]]) -> None:
    """Step 5, "Policies"."""
    candidates = [candidate for candidate, _ in matched]
    kinds = {candidate.kek["provider"] == c.MANAGED for candidate in candidates}
    owners = {candidate.owner for candidate in candidates}
    if len(kinds) > 1 or len(owners) > 1 or any(candidate.public_key for candidate in candidates):
        raise failed("any is not allowed here")


def open_keys(
    header: Header, matched: list[tuple[Candidate, Kek]], context: Context, digest: bytes, environment: str
) -> EnvelopeKeys:
    """Steps 6 and 7. The KEKs of vector files fail with DECRYPTION_FAILED only, so no failure goes before another."""

    def secret(slot: int) -> bytes:
        candidate, kek = matched[slot]
        place = Place(header, slot, context, digest, candidate.owner, environment)
        return unwrap(kek, header.wraps[slot], place)

    def keys_under(dek: bytes) -> EnvelopeKeys:
        keys = derive_keys(dek, header, digest)
        check_mac(keys, header)
        return keys

    slots = range(len(header.wraps))
    if header.policy == c.POLICY_ALL:
        dek = bytes(c.SECRET_BYTES)
        for slot in slots:
            dek = bytes(x ^ y for x, y in zip(dek, secret(slot), strict=True))
        return keys_under(dek)
    for slot in slots:
        try:
            return keys_under(secret(slot))
        except Refused:
            continue  # the next slot is tried
    raise failed("no wrap opens")
