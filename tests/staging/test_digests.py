"""Digests and checksums: the same however the bytes are cut, saved and restored."""

import hashlib
import zlib

from hypothesis import given
from hypothesis import strategies as st

from staging.checksum import Checksum, best_checksum
from staging.hashing import FileDigest, can_restore
from staging.hub import HubFile

CRC32 = Checksum("CRC32", 32, 0xEDB88320, zlib.crc32)


def lfs(content: bytes) -> HubFile:
    return HubFile("m.safetensors", len(content), "0" * 40, hashlib.sha256(content).hexdigest())


@given(st.binary(max_size=4096), st.lists(st.integers(0, 64), max_size=4))
def test_a_digest_can_be_saved_and_restored_at_any_block(content: bytes, cuts: list[int]) -> None:
    buffer = memoryview(bytearray(content))
    digest, done = FileDigest(lfs(content)), 0
    for cut in sorted({min(cut * 64, len(content) // 64 * 64) for cut in cuts}):
        digest.update(buffer[done:cut])
        done = cut
        state = digest.state()
        if can_restore(state):
            digest = FileDigest(lfs(content), state, done)
    digest.update(buffer[done:])
    assert digest.mismatch() is None
    assert digest.sha256() == hashlib.sha256(content).hexdigest()


def test_a_flipped_bit_is_seen_by_either_digest() -> None:
    content = b"weights" * 1000
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    for file in (lfs(content), HubFile("config.json", len(content), blob)):
        for bad, expected in ((False, None), (True, "differs")):
            data = bytearray(content)
            data[500] ^= bad
            digest = FileDigest(file)
            digest.update(memoryview(data))
            assert (digest.mismatch() is None) == (expected is None)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_checksums_of_parts_give_that_of_the_whole(left: bytes, right: bytes) -> None:
    for checksum in (CRC32, best_checksum()):
        one, two, both = (checksum.update(memoryview(data), 0) for data in (left, right, left + right))
        assert checksum.combine(one, two, len(right)) == both
        assert checksum.update(memoryview(right), one) == both


def test_checksums_are_written_as_s3_writes_them() -> None:
    assert CRC32.encode(zlib.crc32(b"123456789")) == "y/Q5Jg=="
    assert CRC32.header == "x-amz-checksum-crc32"
    if best_checksum().bits == 64:
        assert best_checksum().update(memoryview(b"123456789"), 0) == 0xAE8B14860A799888
