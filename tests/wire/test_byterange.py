import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.wire.http.fields import ByteRange, UnsatisfiableError, parse_range


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-499", 0, 499),
        ("bytes=500-", 500, 999),
        ("bytes=-200", 800, 999),
        ("bytes=-5000", 0, 999),
        ("bytes=900-5000", 900, 999),
        ("bytes=999-", 999, 999),
        (" bytes=1-2 ", 1, 2),
    ],
)
def test_a_range(header: str, first: int, last: int) -> None:
    part = parse_range(header, 1000)
    assert part == ByteRange(first, last, 1000)
    assert part.length == last - first + 1
    assert part.header == f"bytes {first}-{last}/1000"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes=-",
        "bytes=5-4",
        "bytes=0-1,5-6",
        "lines=0-1",
        "bytes=a-b",
        "bytes",
        "bytes=٣-",
    ],
)
def test_what_is_not_understood_counts_as_not_said(header: str | None) -> None:
    assert parse_range(header, 1000) is None


@pytest.mark.parametrize(
    ("header", "size"),
    [("bytes=1000-", 1000), ("bytes=2000-3000", 1000), ("bytes=0-", 0), ("bytes=-0", 9)],
)
def test_a_range_behind_the_end(header: str, size: int) -> None:
    with pytest.raises(UnsatisfiableError):
        parse_range(header, size)


@given(
    st.one_of(
        st.text(),
        st.text().map("bytes={}".format),
        st.from_regex(r"bytes=[0-9]*-[0-9]*", fullmatch=True),
    ),
    st.integers(0),
)
def test_no_header_leads_outside_the_file(header: str, size: int) -> None:
    try:
        part = parse_range(header, size)
    except UnsatisfiableError:
        return
    if part is not None:
        assert 0 <= part.first <= part.last < size
