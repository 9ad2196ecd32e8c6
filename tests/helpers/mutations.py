"""Damage that strangers and disks do to files, drawn by a seed: to bytes, JSON, TOML, genotypes and safetensors."""

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

Mutator = Callable[[bytes, Random], bytes]

NUMBERS = (
    "0", "-1", "1", "1.5", "-0.0", "1e999", "-1e999", "1e308", "-1e308", "1e-320", "1000000001",
    "9223372036854775808",
    "18446744073709551616", "1000000000000000000", "-1e38", "3e38", "9" * 400, "9" * 4301, "1" * 100_000,
)  # fmt: skip

STRINGS = (
    '""', '"x"', '"\\u0000"', '"\\u001b[2J\\u001b]0;title\\u0007"', '"\\ud800"', '"\\u202e"', '"../../etc/passwd"',
    '"/etc/passwd"', '"<script>alert(1)</script>"', '"none"', '"sep_conv_3x3"', '"~nobody-has-this-name/x"',
    f'"{"x" * 300}"', f'"{"x" * 500_000}"', f'"{"é" * 100_000}"',
)  # fmt: skip

JSON_VALUES = (
    *NUMBERS, *STRINGS, "NaN", "Infinity", "-Infinity", "null", "true", "false", "[]", "{}", "[[]]", '{"a": 1, "a": 2}',
    "[" * 900 + "]" * 900, "[" * 100_000, '{"a":' * 300 + "1" + "}" * 300, '{"a":' * 50_000, "[0" + ",0" * 50_000 + "]",
    "[" + "[]," * 50_000 + "[]]", "{" + ",".join(f'"{i}": {{}}' for i in range(20_000)) + "}",
)  # fmt: skip

TOML_VALUES = (
    *NUMBERS, *("2", "3", "8", "16", "100", "200", "1024", "4096", "1e-3", "0.5", '"cpu"', '"imagenet"') * 4,
    *(text for text in STRINGS if "\\ud800" not in text), "inf", "-inf", "nan", "true", "false", "[]", "{}",
    "1979-05-27T07:32:00Z", "07:32:00", "0x" + "f" * 5000, "0b1", '[1, "a", [2.0]]', "[" * 900 + "]" * 900,
    "[" * 20_000, "{a=" * 900 + "1" + "}" * 900, "'''\n\n'''", '["none", ["none"]]', "{a.b = 1}", "1_000_000_000_000",
)  # fmt: skip


LIKELY = {
    int: (0, 1, 2, 3, 100, 10**6, 2**31, 10**18, 2**63 - 1),
    float: (0.0, 1.0, 0.5, 1e-300, 1e-9, 1e30, -1.5, 7.25),
    str: (
        "",
        "x",
        "none",
        "skip_connect",
        "normal",
        "darts",
        "<b>&\"'",
        "\x1b[31mred",
        "\u202eright to left",
        "$x_1$",
    ),
    bool: (True, False),
}
"""Values that pass for honest ones at first sight, by type."""


def mutate_bytes(content: bytes, chance: Random) -> bytes:
    """One to four accidents: bits flip, pieces are lost, doubled, moved, cut off, or overwritten."""
    spoiled = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(spoiled) + 1)
        end = min(len(spoiled), start + chance.choice((1, 3, 40, 1000)))
        piece = bytes(spoiled[start:end])
        match chance.randrange(8):
            case 0:
                for _ in range(chance.randint(1, 8)):
                    if spoiled:
                        spoiled[chance.randrange(len(spoiled))] ^= 1 << chance.randrange(8)
            case 1:
                del spoiled[start:end]
            case 2:
                spoiled[start:start] = piece * chance.choice((1, 2, 500))
            case 3:
                del spoiled[start:end]
                place = chance.randrange(len(spoiled) + 1)
                spoiled[place:place] = piece
            case 4:
                del spoiled[start:]
            case 5:
                spoiled[start:end] = chance.randbytes(end - start)
            case 6:
                insert = (
                    b"\0",
                    b"\x1b[31m",
                    b"\xff\xfe",
                    b"\xed\xa0\x80",
                    b"\n",
                    b'"',
                    b"[" * 2000,
                    b"{" * 2000,
                    b"9" * 5000,
                )
                spoiled[start:start] = chance.choice(insert)
            case 7:
                spoiled[start:start] = bytes([chance.randrange(256)]) * chance.choice((1, 10_000, 300_000))
    return bytes(spoiled)


def mutate_json(content: bytes, chance: Random) -> bytes:
    """Values, keys and items of a JSON document are replaced, lost, doubled or moved; sometimes bytes too."""
    if chance.random() < 0.2:
        return mutate_bytes(content, chance)
    try:
        document: Any = {"it": json.loads(content)}
    except ValueError:  # it was damaged before
        return mutate_bytes(content, chance)
    raw: list[str] = []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if chance.random() < 0.5:
            _mutate_leaf(document, chance)
        else:
            _mutate_tree(document, chance, raw)
    return _filled(json.dumps(document["it"], ensure_ascii=chance.random() < 0.5), raw)


def mutate_json_lines(content: bytes, chance: Random) -> bytes:
    """Some lines of many are damaged as JSON, lost, doubled or exchanged."""
    if chance.random() < 0.2:
        return mutate_bytes(content, chance)
    lines = content.split(b"\n")
    for _ in range(chance.randint(1, 3)):
        number = chance.randrange(len(lines))
        match chance.randrange(6):
            case 0:
                del lines[number]
            case 1:
                lines[number:number] = [lines[number]] * chance.choice((1, 50))
            case 2:
                other = chance.randrange(len(lines))
                lines[number], lines[other] = lines[other], lines[number]
            case _ if lines[number].startswith(b"{") and lines[number].endswith(b"}"):
                lines[number] = mutate_json(lines[number], chance)
            case _:
                lines[number] = chance.choice((b"\0", b"[]", b"1", b'{"kind": "test"}', b'{"kind": 1}'))
        lines = lines or [b""]
    return b"\n".join(lines)


def mutate_toml(content: bytes, chance: Random) -> bytes:
    """Values and keys of settings are replaced, lines lost, doubled or moved; sometimes bytes too."""
    if chance.random() < 0.3:
        return mutate_bytes(content, chance)
    lines = content.decode().split("\n")
    for _ in range(chance.randint(1, 3)):
        number = chance.randrange(len(lines))
        key = lines[number].partition("=")[0].strip() or "a"
        match chance.randrange(10):
            case 0:
                del lines[number]
            case 1:
                lines.insert(number, lines[number])
            case 2:
                lines.insert(chance.randrange(len(lines)), lines.pop(number))
            case 3:
                lines[number] = ".".join("a" * chance.choice((3, 900, 30_000))) + " = 1"
            case 4:
                lines[number] = f"[{'.'.join('a' * chance.choice((3, 900, 30_000)))}]"
            case 5:
                lines[number] = chance.choice(
                    ("[[search]]", "[search]", "[]", "search = 3", "search.epochs = 3", "\x00")
                )
            case _:
                lines[number] = f"{key} = {chance.choice(TOML_VALUES)}"
        lines = lines or [""]
    return "\n".join(lines).encode()


def mutate_darts_text(content: bytes, chance: Random) -> bytes:
    """Words, numbers and brackets of a genotype's text are exchanged for others; sometimes bytes are damaged."""
    if chance.random() < 0.3:
        return mutate_bytes(content, chance)
    words = re.findall(r"\w+|'[^']*'|\s+|.", content.decode())
    others = (
        "(" * 150, "[" * 5000, "-" * 20_000 + "1", "range(10**9)", "range(2, 1000000000)", "9" * 5000,
        "__import__('os')", "*a", "**a", "lambda: 0", "'\\x1b[2J'", "'\\ud800'", "f'{a}'", "b'a'", "1e999", "...",
        "(yield)", "None", "True", "a" * 50_000, "a.b.c", "'x' " * 500, "not " * 5000, "\\", "\n", "#", '"""',
        "\0", "1j",
    )  # fmt: skip
    for _ in range(chance.randint(1, 4)):
        number = chance.randrange(len(words))
        match chance.randrange(4):
            case 0:
                words[number] = chance.choice(others)
            case 1:
                words[number : number + chance.choice((1, 5))] = []
            case 2:
                words[number:number] = words[number : number + 8] * chance.choice((1, 300))
            case 3:
                other = chance.randrange(len(words))
                words[number], words[other] = words[other], words[number]
        words = words or [" "]
    return "".join(words).encode()


def mutate_safetensors(content: bytes, chance: Random) -> bytes:
    """The header's JSON, its stated length, the words in it, or the numbers are damaged."""
    length = int.from_bytes(content[:8], "little")
    header, numbers = content[8 : 8 + length], content[8 + length :]
    match chance.randrange(8):
        case 0:
            return mutate_bytes(content, chance)
        case 1:
            header = mutate_json(header, chance)
        case 2:
            fields = json.loads(header)
            words = fields.setdefault("__metadata__", {"about": "{}"})
            key = chance.choice(list(words))
            words[key] = mutate_json(words[key].encode(), chance).decode("utf-8", "replace")
            header = json.dumps(fields).encode()
        case 3:
            fields = json.loads(header)
            one, other = (
                chance.choice([name for name in fields if name != "__metadata__"]) for _ in range(2)
            )
            fields[one]["dtype"] = chance.choice(("F16", "F64", "I64", "BOOL", "F8_E4M3", "BF16", "U8", "X"))
            fields[other]["shape"] = chance.choice(([], [0], [2**62, 2**62, 0], [-1], [1, 1, 1, 1], [2**64]))
            header = json.dumps(fields).encode()
        case 4:
            claimed = chance.choice((0, 1, length - 1, length + 1, 10**9, 2**63 - 1, 2**64 - 1))
            return claimed.to_bytes(8, "little") + header + numbers
        case 5:
            start = chance.randrange(len(numbers))
            piece = numbers[start : start + 400]
            numbers = (
                numbers[:start]
                + chance.choice((chance.randbytes, bytes))(len(piece))
                + numbers[start + 400 :]
            )
        case 6:
            numbers = mutate_bytes(numbers, chance)
        case 7:
            numbers = b"\xff" * len(numbers)  # NaN in every type of float
    return len(header).to_bytes(8, "little") + header + numbers


def _mutate_leaf(document: Any, chance: Random) -> None:
    """Exchange one value for another of its type."""
    leaves = [(holder, key) for holder, key in _places(document) if type(holder[key]) in LIKELY]
    if leaves:
        holder, key = chance.choice(leaves)
        holder[key] = chance.choice(LIKELY[type(holder[key])])


def _mutate_tree(document: Any, chance: Random, raw: list[str]) -> None:
    """Change one place of a tree. Texts that json would not write are kept in `raw`, and a mark in their place."""
    holder, key = chance.choice(list(_places(document)))
    match chance.randrange(8):
        case 0 if isinstance(holder, list):
            del holder[key]
        case 0 if len(holder) > 1:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder[key:key] = [holder[key]] * chance.choice((1, 2, 300))
        case 2:
            holder[key] = {"inner": holder[key]}
        case 3:
            holder[key] = [holder[key]]
        case 4 if isinstance(holder, dict) and key != "it":
            name = json.loads(chance.choice(STRINGS))
            holder[name] = holder.pop(key)
        case _:
            raw.append(chance.choice(JSON_VALUES))
            holder[key] = f"@raw{len(raw) - 1}@"


def _places(tree: Any) -> Any:
    """Every (dict or list, key or index) of a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(items):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _filled(text: str, raw: list[str]) -> bytes:
    for number, value in enumerate(raw):
        text = text.replace(f'"@raw{number}@"', value)
    return text.encode("utf-8", "surrogatepass")
