"""A sealed text is opened by the same key for the same purpose, and by no other."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.keys.files import KeyFileError
from stagedoor.keys.sealing import KEY_BYTES, SealingKey, load_or_create_sealing_key

KEY = SealingKey(bytes(KEY_BYTES))
OTHER = SealingKey(bytes([1]) * KEY_BYTES)


@given(st.binary(max_size=500), st.text(max_size=20))
def test_only_the_same_key_and_purpose_open_it(data: bytes, purpose: str) -> None:
    sealed = KEY.seal(purpose, data)
    assert KEY.open(purpose, sealed) == data
    assert KEY.open(purpose + "x", sealed) is None
    assert OTHER.open(purpose, sealed) is None
    assert KEY.seal(purpose, data) != sealed


@given(st.text(max_size=100), st.integers(0, 59), st.integers(1, 255))
def test_anything_else_is_nothing(text: str, at: int, change: int) -> None:
    assert KEY.open("p", text) is None
    sealed = bytearray(KEY.seal("p", b"0123456789abcdef").encode())
    at %= len(sealed)
    sealed[at] = (sealed[at] + change) % 256
    assert KEY.open("p", sealed.decode("latin-1")) in (None, b"0123456789abcdef")


def test_the_file_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "sign_in_key"
    sealed = load_or_create_sealing_key(file).seal("p", b"x")
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_or_create_sealing_key(file).open("p", sealed) == b"x"
    file.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_or_create_sealing_key(file)
    file.chmod(0o600)
    file.write_bytes(b"short")
    with pytest.raises(KeyFileError, match="is not 32 bytes"):
        load_or_create_sealing_key(file)
