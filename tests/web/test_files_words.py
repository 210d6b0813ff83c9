"""The words of requests for files, whatever they are."""

import re
from email.message import Message
from urllib.parse import quote, unquote_to_bytes

from hypothesis import example, given, settings
from hypothesis import strategies as st

from stagedoor.listeners.web.files.fields import (
    MAX_NAME_BYTES,
    FilesError,
    Upload,
    describe_attachment,
    escape_path,
    make_validators,
    parse_query_fields,
    read_path,
    read_upload,
)

NAMES = st.binary(min_size=1, max_size=MAX_NAME_BYTES).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)


@settings(deadline=None)  # a busy machine is no slow property
@given(st.binary(max_size=300))
@example(b" ")
def test_any_name_makes_a_header_of_one_line_that_says_the_same(path: bytes) -> None:
    header = describe_attachment(path)
    assert re.fullmatch(r"attachment; filename=\"[^\"\\\x00-\x1f\x7f-\uffff]*\"; .*", header)
    assert header.isascii()
    assert header.isprintable()
    message = Message()
    message["content-disposition"] = header
    name = unquote_to_bytes(header.partition("filename*=UTF-8''")[2]).decode()
    assert message.get_filename()
    assert not re.search(r"[/\\\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", name)


@settings(deadline=None)  # a busy machine is no slow property
@given(NAMES, st.integers(0, 99))
def test_names_made_of_a_name_fit_and_stay_in_the_folder(name: bytes, number: int) -> None:
    query = b"folder=/srv/x&size=5&id=0123456789abcdef&name=" + quote(name).encode()
    upload = read_upload(parse_query_fields(query))
    assert upload == Upload(b"/srv/x", name, 5, "0123456789abcdef")
    for path in (upload.part, upload.path(number)):
        folder, _, last = path.rpartition(b"/")
        assert folder == b"/srv/x"
        assert len(last) <= MAX_NAME_BYTES
        assert last not in (b"", b".", b"..")
    assert (upload.path(number) == upload.path()) == (number == 0)


@settings(deadline=None)  # a busy machine is no slow property
@given(st.binary(max_size=200))
def test_any_query_is_fields_or_a_refusal_of_one_line(query: bytes) -> None:
    fields = parse_query_fields(query)
    for parse in (read_path, read_upload):
        refused = None
        try:
            parse(fields)
        except FilesError as error:
            refused = error
        assert refused is None or (refused.status, "\n" in str(refused)) == (400, False)


@settings(deadline=None)  # a busy machine is no slow property
@given(st.binary(max_size=200))
def test_a_path_is_shown_as_one_line(path: bytes) -> None:
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", escape_path(path))


def test_the_home_folder_is_where_sftp_begins() -> None:
    home = [read_path({"path": path}) for path in (b"", b"~", b"~/")]
    assert home == [b"."] * 3
    assert read_path({"path": b"~/a/b"}) == b"a/b"
    assert read_path({"path": b"~//etc/passwd"}) == b"etc/passwd"
    assert read_path({"path": b"~root/x"}) == b"~root/x"


def test_a_name_that_is_taken_keeps_its_ending() -> None:
    def second(name: bytes) -> bytes:
        return Upload(b".", name, 0, "").path(1)

    assert second(b"a.txt") == b"a (1).txt"
    assert second(b"a") == b"a (1)"
    assert second(b".profile") == b".profile (1)"
    assert second(b"a.tar.gz") == b"a.tar (1).gz"


def test_what_may_change_again_within_its_second_has_no_validator() -> None:
    assert make_validators(5, 1000, 1001.9) == {}
    assert make_validators(5, 1000, 900) == {}, "by a clock that is ahead of ours"
    assert make_validators(5, 1000, 1003)["etag"] == '"3e8-5"'
