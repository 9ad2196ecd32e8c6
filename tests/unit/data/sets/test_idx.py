"""IDX files, whole and damaged."""

import gzip
import lzma

import pytest
import torch

from xnas.data.sets.idx import idx_bytes, read_idx

ARRAY = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4)
PACK = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", PACK)
def test_an_idx_file_is_read_as_it_was_written(tmp_path, suffix):
    path = tmp_path / f"images-idx3-ubyte{suffix}"
    path.write_bytes(PACK[suffix](idx_bytes(ARRAY)))
    assert read_idx(path).equal(ARRAY)


def test_the_header_is_that_of_the_format():
    assert idx_bytes(ARRAY)[:16].hex() == "00000803000000020000000300000004"


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is not an IDX file of unsigned bytes: it starts with b''; bring the original file"),
        (b"PK\x03\x04rest", r"is not an IDX file of unsigned bytes: it starts with b'PK"),
        (b"\0\0\x0d\x01\0\0\0\0", r"is not an IDX file of unsigned bytes"),
        (idx_bytes(ARRAY)[:9], r"is shorter than its header says"),
        (idx_bytes(ARRAY)[:-1], r"is shorter than its header says, 2 x 3 x 4 bytes; fetch the file again"),
        (idx_bytes(ARRAY) + b"x", r"is longer than its header says, 2 x 3 x 4 bytes"),
    ],
)
def test_a_wrong_idx_file_is_named(tmp_path, suffix, content, message):
    path = tmp_path / f"images{suffix}"
    path.write_bytes(PACK[suffix](content))
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
@pytest.mark.parametrize("damage", [lambda packed: packed[:-6], lambda packed: b"no archive" + packed])
def test_a_damaged_archive_is_named(tmp_path, suffix, damage):
    path = tmp_path / f"images{suffix}"
    path.write_bytes(damage(PACK[suffix](idx_bytes(ARRAY))))
    with pytest.raises(ValueError, match=r"cannot read .*images.*; fetch the file again"):
        read_idx(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*nowhere: No such file.*fetch the file again"):
        read_idx(tmp_path / "nowhere")
