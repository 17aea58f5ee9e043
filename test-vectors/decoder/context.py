"""Key contexts: their rules, canonical bytes and digest (docs/format.md, "Key context")."""

import hashlib

from constants import (
    LABEL_CONTEXT,
    MAX_NAME_CODE_POINTS,
    MAX_PAIRS,
    MAX_VALUE_CODE_POINTS,
)

Context = dict[str, str]


def field(data: bytes) -> bytes:
    """`u16 length ‖ data`."""
    return len(data).to_bytes(2, "big") + data


def check_context(context: Context) -> None:
    """Raises ValueError where a context breaks the rules. A Python string is a list of code points."""
    if not 1 <= len(context) <= MAX_PAIRS:
        raise ValueError("number of pairs")
    for name, value in context.items():
        check_text(name, MAX_NAME_CODE_POINTS)
        check_text(value, MAX_VALUE_CODE_POINTS)
        if name.startswith("keyfold:"):
            raise ValueError("reserved name")


def check_text(text: str, max_code_points: int) -> None:
    if not 1 <= len(text) <= max_code_points:
        raise ValueError("length of a name or value")
    if "\0" in text:
        raise ValueError("U+0000")
    text.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, which is a ValueError


def sorted_names(context: Context) -> list[str]:
    """Names in the order that numbers the pairs: by their UTF-8 bytes."""
    return sorted(context, key=lambda name: name.encode("utf-8"))


def canonical_bytes(context: Context) -> bytes:
    pairs = (
        field(name.encode("utf-8")) + field(context[name].encode("utf-8"))
        for name in sorted_names(context)
    )
    return bytes([len(context)]) + b"".join(pairs)


def context_digest(context: Context) -> bytes:
    return hashlib.sha256(LABEL_CONTEXT + canonical_bytes(context)).digest()


def bitmap_of(context: Context, names: list[str]) -> int:
    """The bitmap of a set of pairs; bit i is the i-th name in sorted order. Raises ValueError for a name it lacks."""
    order = sorted_names(context)
    return sum(1 << order.index(name) for name in set(names))


def covered_context(context: Context, bitmap: int) -> Context:
    """The context of just the covered pairs."""
    return {
        name: context[name]
        for i, name in enumerate(sorted_names(context))
        if bitmap >> i & 1
    }
