#!/usr/bin/env python3
"""Holds vector files of keyfold's envelope format version 1 to a decoder written from docs/format.md alone.

Prints a line for each vector that does not give what it expects, and then the counts. Exits with 0 where every
vector gives it, else with 1. Needs Python 3.10 or later, and its package cryptography.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # leave no __pycache__ beside the vectors

from constants import KIND_DATA_KEY, KIND_MESSAGE, Refused  # noqa: E402
from reading import Candidate, Question, read  # noqa: E402
from wraps import Kek  # noqa: E402

VECTORS = Path(__file__).resolve().parent.parent / "envelope-v1"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="vector files; all of envelope-v1 if none is named")
    files: list[Path] = parser.parse_args().files or vector_files()
    opened = refused = wrong = 0
    for path in files:
        file = json.loads(path.read_text(encoding="utf-8"))
        for vector in file["vectors"]:
            expected = vector["expect"]
            found = answer(file["keks"], vector)
            if found != expected:
                wrong += 1
                print(f"{path.name}: {vector['id']}: expected {shown(expected)}, found {shown(found)}")
            elif "code" in expected:
                refused += 1
            else:
                opened += 1
    print(f"{opened} valid opened, {refused} hostile refused, {wrong} wrong, in {len(files)} files")
    return 0 if wrong == 0 and opened + refused > 0 else 1


def vector_files() -> list[Path]:
    return sorted(path for path in VECTORS.glob("*.json") if path.name != "schema.json")


def answer(keks: dict[str, Kek], vector: dict[str, Any]) -> dict[str, Any]:
    """What the decoder finds, in the form of a vector's `expect`."""
    try:
        plaintext, context = read(question_of(keks, vector))
    except Refused as refusal:
        return {"code": refusal.code}
    return {"plaintext": plaintext.hex(), "context": context}


def question_of(keks: dict[str, Kek], vector: dict[str, Any]) -> Question:
    candidates = [
        Candidate(
            kek=keks[one["kek"]],
            pairs=one["pairs"],
            owner=one["owner"],
            companion=None if one["companion"] is None else keks[one["companion"]],
            last_version=one["lastVersion"],
        )
        for one in vector["candidates"]
    ]
    envelope: str = vector["envelope"]
    return Question(
        envelope=envelope if vector["encoding"] == "text" else bytes.fromhex(envelope),
        context=vector["context"],
        authorize=vector["authorize"],
        aad=bytes.fromhex(vector["aad"] or ""),
        kind=KIND_DATA_KEY if vector["operation"] == "decrypt-data-key" else KIND_MESSAGE,
        range=None if vector["range"] is None else tuple(vector["range"]),
        candidates=candidates,
        environment=vector["environment"],
    )


def shown(answer: dict[str, Any]) -> str:
    """Short enough for a line."""
    if "code" in answer:
        return answer["code"]
    plaintext = answer["plaintext"]
    start = plaintext[:16] + ("..." if len(plaintext) > 16 else "")
    return f"{len(plaintext) // 2} bytes, {start}, of the context {ascii(answer['context'])[:100]}"


if __name__ == "__main__":
    sys.exit(main())
