import io
import json

import pytest

from xnas.io.manifest import FileDigest, WrongManifest, pack_manifest, unpack_manifest

FILES = {"weights.safetensors": b"\0" * 100, "a/b.json": b"{}", 'odd "name"\n.txt': b""}
DIGESTS = {name: FileDigest.of(content) for name, content in FILES.items()}


def unpack(content: bytes) -> dict[str, FileDigest]:
    return unpack_manifest(content, form="xnas-test", version=3, where="manifest.json")


PACKED = pack_manifest(DIGESTS, form="xnas-test", version=3)


def test_a_manifest_tells_what_it_was_made_of_and_is_json() -> None:
    assert unpack(PACKED) == DIGESTS
    assert list(unpack(PACKED)) == list(FILES)
    assert json.loads(PACKED)["a/b.json"]["bytes"] == 2
    assert unpack(pack_manifest({}, form="xnas-test", version=3)) == {}


def test_every_changed_bit_and_every_lost_byte_of_a_manifest_is_noticed() -> None:
    for position in range(len(PACKED)):
        for bit in range(8):
            changed = bytearray(PACKED)
            changed[position] ^= 1 << bit
            with pytest.raises(WrongManifest, match=r"^manifest\.json "):
                unpack(bytes(changed))
        for wrong in (PACKED[:position], PACKED[:position] + PACKED[position + 1 :]):
            with pytest.raises(WrongManifest, match=r"^manifest\.json "):
                unpack(wrong)


def test_a_manifest_of_another_form_or_version_is_named_as_such() -> None:
    for form, version in (("xnas-other", 3), ("xnas-test", 4)):
        with pytest.raises(WrongManifest, match="of another format or version than this xnas reads"):
            unpack(pack_manifest(DIGESTS, form=form, version=version))


@pytest.mark.parametrize(
    "odd",
    [b"", b"[]", b"null", b'{"format": "xnas-test"}', b"[" * 100_000, b"\xff", PACKED + b" "]
    + [
        json.dumps({"format": "xnas-test", "version": 3, **more}).encode()
        for more in ({}, {"sha256": {"bytes": 1, "sha256": "0" * 64}}, {"a": {"bytes": True, "sha256": 1}})
    ],
)
def test_what_is_no_manifest_is_refused_in_one_line(odd: bytes) -> None:
    with pytest.raises(WrongManifest, match=r"^manifest\.json .*$"):
        unpack(odd)


def test_a_file_has_the_digest_of_its_content() -> None:
    content = bytes(range(256)) * 5000
    assert FileDigest.of_file(io.BytesIO(content)) == FileDigest.of(content)
