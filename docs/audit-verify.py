#!/usr/bin/env python3
"""Verifies an exported Stalewatch audit record without Stalewatch: nothing here but Python's standard library.

    stalewatch audit export --format jsonl > audit.jsonl
    python3 audit-verify.py audit.jsonl --checkpoints DATA/audit/checkpoints --key DATA/audit/checkpoint.pub

Prints {"verdict", "first_bad", "last_seq", "last_anchored"}, with "reanchored" where a restored record was accepted, and
exits 0 whole, 2 tampered, 3 truncated, 4 cannot tell.

What is checked: that numbers run from 1 without a gap, that time does not run backwards, that each hash is SHA-256 over
the length-framed version tag, number, previous hash, time, code and canonical bytes, that the searchable columns say what
the canonical bytes say, and that each signed checkpoint (C2SP signed-note, Ed25519) agrees with the record of its number.
Where a record `audit.cut_noticed` says that the end was missing when it was written, checkpoints of what is missing make
the record truncated and not tampered with.
Without --checkpoints a missing end cannot be seen.
"""

import argparse
import base64
import hashlib
import json
import sys

VERSION_TAG = b"stalewatch-audit-v1"
WHOLE, TAMPERED, TRUNCATED, CANNOT_TELL = ("whole", 0), ("tampered", 2), ("truncated", 3), ("cannot_tell", 4)


class CannotTell(Exception):
    """Something needed to tell is missing or cannot be read."""


# --- Ed25519 verification, after RFC 8032, section 6 -------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def add(a, b):
    left, right = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    c, d = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = right - left, d - c, d + c, right + left
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def same(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def decompress(encoded):
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if x2 == 0:
        return None if sign else (0, y, 1, 0)
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * SQRT_M1 % P
    if (x * x - x2) % P:
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = decompress(BASE_Y.to_bytes(32, "little"))


def signed_by(public, message, signature):
    a, r, s = decompress(public), decompress(signature[:32]), int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or a is None or r is None or s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    return same(multiply(s, BASE), add(r, multiply(k, a)))


# --- Checkpoints -------------------------------------------------------------------------------------------------------


def read_key(text):
    """`name+id+base64(algorithm, key)`, as the file checkpoint.pub holds it."""
    name, _, encoded = text.strip().split("+", 2)
    raw = base64.b64decode(encoded)
    if len(raw) != 33 or raw[0] != 1:
        raise CannotTell("the key is not an Ed25519 key")
    return name, raw[1:]


def read_checkpoints(path, key_text):
    name, public = read_key(key_text)
    key_id = hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    with open(path, encoding="utf-8", newline="") as file:
        notes = file.read()
    whole = notes[: notes.rfind("\n\n") + 2] if "\n\n" in notes else ""
    parts = whole.split("\n\n")
    checkpoints = []
    for number in range(len(parts) // 2):
        text, line = parts[2 * number] + "\n", parts[2 * number + 1]
        prefix = f"\u2014 {name} "
        raw = base64.b64decode(line[len(prefix) :]) if line.startswith(prefix) else b""
        if raw[:4] != key_id or not text.startswith(name + "\n") or not signed_by(public, text.encode(), raw[4:]):
            raise CannotTell(f"note {number + 1} in {path} is not signed with this key")
        lines = text.split("\n")
        checkpoints.append((int(lines[1]), base64.b64decode(lines[2])))
    return sorted(checkpoints)


# --- The chain ---------------------------------------------------------------------------------------------------------


def framed(*parts):
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def record_hash(seq, prev, at_us, code, canonical):
    number = lambda value: value.to_bytes(8, "big", signed=True)
    return hashlib.sha256(framed(VERSION_TAG, number(seq), prev, number(at_us), code.encode(), canonical)).digest()


def is_good(row, seq, prev, at_us):
    """Whether this row is the record of number `seq` after one with hash `prev` and time `at_us`."""
    try:
        canonical = base64.b64decode(row["canonical"], validate=True)
        body = json.loads(canonical)
        text = lambda name: body.get(name) if isinstance(body.get(name), str) else None
        return (
            row["seq"] == seq
            and bytes.fromhex(row["prev"]) == prev
            and row["at_us"] >= at_us
            and bytes.fromhex(row["hash"]) == record_hash(seq, prev, row["at_us"], row["code"], canonical)
            and all(row[name] == text(name) for name in ("actor", "target", "scope"))
            and row["record"] == body
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return False


def noticed_cut(body):
    try:
        return [(int(body["last_seq"]), int(body["last_anchored"]), base64.b64decode(body["last_anchored_hash"]))]
    except (KeyError, TypeError, ValueError):
        return []


def cut_before(seq, cuts, checkpoints):
    """Whether a record says that the chain was cut before `seq`, of which it knew one of these checkpoints."""
    return any(ended < seq <= anchored and (anchored, note) in checkpoints for ended, anchored, note in cuts)


def verify(lines, checkpoints):
    prev, at_us, seq, first_bad, last_seq = bytes(32), -(2**63), 0, None, 0
    anchored, differing, cuts, reanchored = {}, [], [], None
    for number, note in checkpoints:
        anchored.setdefault(number, []).append(note)
    for line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            found = row["seq"]
        except (ValueError, KeyError, TypeError) as cause:
            raise CannotTell(f"a line of the export cannot be read: {cause}") from cause
        last_seq = max(last_seq, found)
        if first_bad is not None:
            continue
        if found != seq + 1:
            first_bad = min(seq + 1, found)
        elif not is_good(row, seq + 1, prev, at_us):
            first_bad = found
        else:
            seq, prev, at_us = found, bytes.fromhex(row["hash"]), row["at_us"]
            if any(note != prev for note in anchored.get(seq, [])):
                differing.append(seq)
            if row["code"] == "audit.cut_noticed":
                cuts.extend(noticed_cut(row["record"]))
            elif row["code"] == "audit.reanchored":
                reanchored = seq
    lost = False
    for number in differing:
        if cut_before(number, cuts, checkpoints):
            lost = True
        else:
            first_bad = number if first_bad is None else min(first_bad, number)
    last_anchored = checkpoints[-1][0] if checkpoints else None
    if first_bad is not None:
        verdict = TAMPERED
    elif lost or (last_anchored is not None and last_anchored > last_seq):
        verdict = TRUNCATED
    else:
        verdict = WHOLE
    return verdict, first_bad, last_seq, last_anchored, reanchored


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("export", help="the JSON Lines export, - for standard input")
    parser.add_argument("--checkpoints", help="the checkpoint file of the data folder")
    parser.add_argument("--key", help="the file checkpoint.pub of the data folder, or a copy kept elsewhere")
    asked = parser.parse_args()
    verdict, first_bad, last_seq, last_anchored, reanchored = CANNOT_TELL, None, 0, None, None
    try:
        checkpoints = []
        if asked.checkpoints:
            if not asked.key:
                raise CannotTell("checkpoints prove nothing without --key")
            with open(asked.key, encoding="utf-8") as file:
                checkpoints = read_checkpoints(asked.checkpoints, file.read())
        source = sys.stdin if asked.export == "-" else open(asked.export, encoding="utf-8")
        with source:
            verdict, first_bad, last_seq, last_anchored, reanchored = verify(source, checkpoints)
    except (CannotTell, OSError, ValueError) as cause:
        print(f"cannot tell: {cause}", file=sys.stderr)
    said = {"verdict": verdict[0], "first_bad": first_bad, "last_seq": last_seq, "last_anchored": last_anchored}
    if reanchored is not None:
        said["reanchored"] = reanchored
    print(json.dumps(said))
    return verdict[1]


if __name__ == "__main__":
    sys.exit(main())
