"""Files through the WebShell, over real HTTP, into a real shell by real sftp and out of it."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import pytest

from stagedoor.model.permission import Permission
from tests import forks
from tests.fixtures.gateway import Gateway
from tests.pace import allow
from tests.waiting import wait_until
from tests.web.mover import MIB, Answer, Mover, Sent, content, digest, digest_of

SETTINGS = """
[web]
addresses = ["127.0.0.1:0"]

[[shells.local]]
app = "app01"

[[shells.local]]
app = "app02"

[[shells.local]]
app = "closed"

[[shells.local]]
app = "secret"
"""
LARGE = 128 * MIB
END_S = allow(40.0)
"""Less than any wait in vain, and a busy machine's share."""
RSS_BYTES = 64 * MIB
"""The memory that moving a file may cost at most, however large it is."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("files"), SETTINGS) as found:
        found.add_user("dev", "app01")
        found.permit("user:dev", "closed", Permission.ENTER)
        yield found.start()


@pytest.fixture(scope="module")
def mover(gateway: Gateway) -> Mover:
    return Mover(gateway.port("web"))


def peak(gateway: Gateway) -> int:
    """The most memory, in bytes, that a worker has had."""
    (pid,) = gateway.worker_pids()
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) * 1024


def why(answer: Answer) -> str:
    """Return what the person reads: one line."""
    message = str(answer.said["message"])
    assert "\n" not in message
    return message


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Whole files.


@pytest.mark.timeout(600)
def test_a_large_file_goes_up_and_down_byte_for_byte_in_little_memory(
    gateway: Gateway, mover: Mover, tmp_path: Path
) -> None:
    mover.about("")  # the shell runs, and what is loaded once is loaded
    before = peak(gateway)
    sent = Sent(tmp_path, b"large", LARGE)
    answer = mover.pour(sent, mover.offset(sent))
    assert answer is not None
    assert answer.status == 200, answer.body
    expected = digest(content(LARGE))
    assert digest_of(tmp_path / "large") == expected
    assert names(tmp_path) == ["large"]

    line = mover.connect()
    line.request(
        "GET", mover.files(f"path={quote(str(tmp_path))}/large"), headers=mover.headers("GET")
    )
    response = line.getresponse()
    assert response.getheader("content-length") == str(LARGE)
    assert digest(iter(lambda: response.read(MIB), b"")) == expected
    line.close()
    assert peak(gateway) - before < RSS_BYTES


def test_what_was_moved_is_in_the_audit_and_its_content_is_not(
    gateway: Gateway, mover: Mover, tmp_path: Path
) -> None:
    sent = Sent(tmp_path, b"report.txt", 11)
    assert mover.send(sent, b"not to tell").said == {"name": "report.txt"}
    assert mover.get(str(tmp_path / "report.txt")).body == b"not to tell"
    path = str(tmp_path / "report.txt")

    def events() -> list[dict[str, object]]:
        return [e for e in gateway.audit() if (e.get("fields") or {}).get("path") == path]

    wait_until(lambda: len(events()) == 2)
    up, down = events()
    assert up["kind"] == down["kind"] == "channel.file"
    assert up["identity"] == "dev"
    assert up["way"] == "web"
    fields = [event["fields"] for event in (up, down)]
    assert [(f["did"], f["sent"], f["received"], f["whole"]) for f in fields] == [  # type: ignore[index]
        ("transfer", 11, 0, True),
        ("transfer", 0, 11, True),
    ]
    assert "not to tell" not in str(gateway.audit())
    ended = gateway.wait_for(
        lambda line: line["event"] == "session" and line.get("session") == up["session"]
    )
    assert (ended["outcome"], ended["sent"]) == ("closed", 11)


def test_an_empty_file_and_one_that_the_system_makes_up(mover: Mover, tmp_path: Path) -> None:
    assert mover.send(Sent(tmp_path, b"empty", 0), b"").status == 200
    assert (tmp_path / "empty").read_bytes() == b""
    assert mover.get(str(tmp_path / "empty")).body == b""
    assert mover.get("/proc/version").body == Path("/proc/version").read_bytes()


def test_nothing_is_ever_replaced(mover: Mover, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"mine")
    (tmp_path / "b.tar.gz").symlink_to(tmp_path / "nowhere")
    assert mover.send(Sent(tmp_path, b"a.txt", 3), b"two").said == {"name": "a (1).txt"}
    assert mover.send(Sent(tmp_path, b"a.txt", 5), b"three").said == {"name": "a (2).txt"}
    assert mover.send(Sent(tmp_path, b"b.tar.gz", 1), b"x").said == {"name": "b.tar (1).gz"}
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.exists()}
    assert files == {
        "a.txt": b"mine",
        "a (1).txt": b"two",
        "a (2).txt": b"three",
        "b.tar (1).gz": b"x",
    }
    assert not (tmp_path / "nowhere").exists()


def test_names_of_any_language_and_of_none(mover: Mover, tmp_path: Path) -> None:
    for name in (
        "Grüße 你好.txt".encode(),
        b"latin-\xe9.txt",
        b"a%2Fb+c&d.txt",
        b"x" * 255,
        b"-rf",
    ):
        assert mover.send(Sent(tmp_path, name, 2), b"ok").status == 200, name
        path = os.fsencode(tmp_path) + b"/" + name
        assert Path(os.fsdecode(path)).read_bytes() == b"ok"
        answer = mover.get(path)
        assert answer.body == b"ok"
        assert unquote_to_bytes(mover.about(path).said["path"]) == path
        quoted = answer.headers["content-disposition"].partition("filename*=UTF-8''")[2]
        assert unquote_to_bytes(quoted).decode() == name.decode("utf-8", "replace")


def test_links_are_followed_as_sftp_does(mover: Mover, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"real")
    (tmp_path / "to-file").symlink_to("file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "to-folder").symlink_to("folder")
    assert mover.get(str(tmp_path / "to-file")).body == b"real"
    assert mover.send(Sent(tmp_path / "to-folder", b"f", 1), b"1").status == 200
    assert (tmp_path / "folder" / "f").read_bytes() == b"1"
    assert mover.about(str(tmp_path / "to-folder")).said["shown"] == str(tmp_path / "folder")


def test_a_folder_is_listed_with_names_of_any_bytes(mover: Mover, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a b").write_bytes(b"four")
    (tmp_path / "link").symlink_to("sub")
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff\n")).write_bytes(b"")
    about = mover.ask("POST", mover.files(f"path={quote(str(tmp_path))}&list=")).said
    listed = [(entry["name"], entry["shown"], entry["folder"]) for entry in about["entries"]]
    assert listed == [
        ("sub", "sub", True),
        ("a%20b", "a b", False),
        ("link", "link", False),
        ("%FF%0A", "\\xff\\x0a", False),
    ]
    assert about["entries"][1]["size"] == 4
    assert "entries" not in mover.about(str(tmp_path)).said
    for number in range(1100):
        (tmp_path / "sub" / f"{number}").touch()
    many = mover.ask("POST", mover.files(f"path={quote(str(tmp_path / 'sub'))}&list=")).said
    assert len(many["entries"]) == 1000


def test_the_home_folder_is_where_it_begins(mover: Mover) -> None:
    home = mover.about("").said
    assert home["kind"] == "folder"
    assert home["shown"] == str(forks.home())
    assert mover.about("~").said == home == mover.about("~/").said


# Cut lines.


def test_an_upload_that_is_cut_ten_times_goes_on(mover: Mover, tmp_path: Path) -> None:
    chance = random.Random(3)
    sent = Sent(tmp_path, b"cut", 24 * MIB + 7)
    for cut in sorted(chance.sample(range(1, sent.size), 10)):
        at = mover.offset(sent)
        assert at <= cut
        mover.pour(sent, at, until=cut)
        assert not (tmp_path / "cut").exists()
    answer = mover.pour(sent, mover.offset(sent))
    assert answer is not None
    assert answer.status == 200, answer.body
    assert digest_of(tmp_path / "cut") == digest(content(sent.size))
    assert names(tmp_path) == ["cut"]


def test_a_download_that_is_cut_ten_times_goes_on(mover: Mover, tmp_path: Path) -> None:
    chance = random.Random(4)
    size = 12 * MIB + 5
    (tmp_path / "cut").write_bytes(b"".join(content(size)))
    os.utime(tmp_path / "cut", (1_700_000_000, 1_700_000_000))
    query = mover.files(f"path={quote(str(tmp_path))}/cut")
    got, tag = b"", ""
    for cut in [*sorted(chance.sample(range(1, size), 10)), size]:
        line = mover.connect()
        more = {"Range": f"bytes={len(got)}-", "If-Range": tag} if got else {}
        line.request("GET", query, headers={**mover.headers("GET"), **more})
        response = line.getresponse()
        assert response.status == (206 if got else 200)
        tag = response.getheader("etag") or ""
        got += response.read(cut - len(got))
        line.close()
    assert got == (tmp_path / "cut").read_bytes()


def test_a_file_that_has_changed_is_given_from_its_beginning(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"0123456789")
    os.utime(file, (1_700_000_000, 1_700_000_000))
    tag = mover.get(str(file)).headers["etag"]
    assert mover.get(str(file), Range="bytes=3-5", If_Range=tag).body == b"345"
    assert mover.get(str(file), Range="bytes=-2").body == b"89"
    assert mover.get(str(file), Range="bytes=4-").headers["content-range"] == "bytes 4-9/10"
    assert mover.get(str(file), Range="bytes=0-1,3-4").status == 200
    beyond = mover.get(str(file), Range="bytes=10-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */10")
    assert b"10 bytes" in beyond.body
    file.write_bytes(b"abcdefghij")
    os.utime(file, (1_700_000_001, 1_700_000_001))
    changed = mover.get(str(file), Range="bytes=3-5", If_Range=tag)
    assert (changed.status, changed.body) == (200, b"abcdefghij")
    # One that may change again within the second in which it did cannot go on later.
    file.write_bytes(b"fresh")
    os.utime(file, (time.time() + 60, time.time() + 60))
    assert "etag" not in mover.get(str(file)).headers


def test_what_is_not_wanted_any_more_is_removed(mover: Mover, tmp_path: Path) -> None:
    sent = Sent(tmp_path, b"never", 10 * MIB)
    mover.pour(sent, mover.offset(sent), until=3 * MIB)
    assert sent.part.exists()
    path = mover.files(sent.query, "/upload")
    assert mover.ask("DELETE", path).status == 200
    assert names(tmp_path) == []
    assert mover.ask("DELETE", path).status == 200


# What cannot be done, in one clear line.


def test_what_is_no_file_is_told(mover: Mover, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    began = time.monotonic()
    assert "not a regular file" in why(mover.get(str(tmp_path / "pipe")))
    assert "not a regular file" in why(mover.get("/dev/zero"))
    assert mover.about(str(tmp_path / "pipe")).said["kind"] == "other"
    assert time.monotonic() - began < END_S, "nobody writes into it, and nobody waits for that"
    assert "is a folder" in why(mover.get(str(tmp_path)))
    missing = mover.get(str(tmp_path / "missing"))
    assert (missing.status, why(missing)) == (404, f"there is no {tmp_path}/missing in the shell")
    nowhere = mover.send(Sent(tmp_path / "no", b"f", 1), b"1")
    assert (nowhere.status, why(nowhere)) == (404, f"there is no {tmp_path}/no in the shell")
    assert "is not a folder" in why(mover.send(Sent(Path("/etc/passwd"), b"f", 1), b"1"))


def test_what_is_not_allowed_is_told(mover: Mover) -> None:
    # Modes of sysfs hold for root as well.
    secret = next(Path("/sys/bus").glob("*/drivers_probe"), None)
    if secret is None:
        pytest.skip("there is no /sys/bus here")
    unreadable = mover.get(str(secret))
    assert unreadable.status in (403, 500)
    assert "drivers_probe" in why(unreadable)
    unwritable = mover.send(Sent(Path("/sys"), b"f", 1), b"1")
    assert (unwritable.status, why(unwritable)) == (403, "you may not write /sys/f in the shell")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "stagedoor-test", folder], capture_output=True
    )
    if made.returncode != 0:
        pytest.skip("only root may mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_told_before_and_in_the_middle(mover: Mover, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small") as folder:
        before = mover.begin(Sent(folder, b"f", 9 * MIB))
        assert (before.status, "there is no room for f" in why(before)) == (507, True)
        sent = Sent(folder, b"g", 3 * MIB)
        assert mover.offset(sent) == 0
        (folder / "other").write_bytes(bytes(2 * MIB))
        middle = mover.pour(sent, 0)
        assert middle is not None
        assert (middle.status, "there is no room for g" in why(middle)) == (507, True)
        assert not (folder / "g").exists()


def test_more_or_less_than_was_announced_is_no_file(mover: Mover, tmp_path: Path) -> None:
    sent = Sent(tmp_path, b"f", 3)
    assert mover.offset(sent) == 0
    assert mover.patch(sent, 0, b"four").status == 400
    assert mover.patch(sent, 0, b"tw").status == 400
    assert mover.patch(sent, 3, b"").status == 409, "nothing is left out in the middle"
    assert not (tmp_path / "f").exists()
    assert mover.patch(sent, 0, b"yes").status == 200


# Attacks.


def test_only_a_page_of_ours_can_ask(mover: Mover, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"mine")
    cookie = {"Cookie": mover.cookie}
    get = mover.files(f"path={quote(str(tmp_path))}/f")
    upload = mover.files(f"{Sent(tmp_path, b'evil', 1).query}&at=0", "/upload")
    ours = mover.origin
    for marks in (
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Referer": f"{ours}/app/app01"},
        {"Sec-Fetch-Site": "none"},
        {"Referer": f"{ours}.evil.example/app"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    ):
        assert mover.ask("GET", get, headers={**cookie, **marks}, plain=True).status == 403, marks
        for method, path in (
            ("POST", get),
            ("POST", upload),
            ("PATCH", upload),
            ("DELETE", upload),
        ):
            answer = mover.ask(method, path, b"x", {**cookie, **marks}, plain=True)
            assert answer.status == 403, (method, marks)
    # What a page of ours sends with GET says nothing of what else it may ask for.
    same = {**cookie, "Sec-Fetch-Site": "same-origin", "Referer": f"{ours}/app/app01"}
    assert mover.ask("POST", upload, b"", same, plain=True).status == 403
    assert mover.ask("GET", get, headers=same, plain=True).status == 200
    by_referer = {**cookie, "Referer": f"{ours}/app/app01"}
    assert mover.ask("GET", get, headers=by_referer, plain=True).status == 200
    assert names(tmp_path) == ["f"]


def test_whoever_is_nobody_or_has_no_grant_moves_nothing(gateway: Gateway, mover: Mover) -> None:
    port = gateway.port("web")
    bare = mover.headers("GET") | {"Cookie": ""}
    path = "/api/files/app01?path=/etc/passwd"
    assert mover.ask("GET", path, headers=bare, plain=True).status == 401
    forged = mover.headers("GET") | {"Cookie": mover.cookie[:-4] + "AAAA"}
    assert mover.ask("GET", path, headers=forged, plain=True).status == 401
    assert "no grant" in why(Mover(port, "secret").about("/etc/passwd"))
    assert "is not granted to" in why(Mover(port, "closed").about("/etc/passwd"))
    assert Mover(port, "no/../such").about("/").status in (403, 404)


def test_a_file_is_kept_and_never_shown(mover: Mover, tmp_path: Path) -> None:
    name = b'<script>alert(1)</script>";x="\r\nSet-Cookie: a=b.html'.replace(b"/", b"")
    path = os.fsencode(tmp_path) + b"/" + name
    Path(os.fsdecode(path)).write_bytes(b"<script>top.bad=1</script>")
    headers = mover.get(path).headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("sandbox;")
    assert "set-cookie" not in headers
    disposition = headers["content-disposition"]
    assert disposition.startswith('attachment; filename="')
    assert disposition.count('"') == 2
    assert not re.search(r"[^\x20-\x7e]", disposition)


def test_names_and_paths_that_are_none(mover: Mover, tmp_path: Path) -> None:
    for name in (b"", b".", b"..", b"../up", b"a/b", b"a\0b", b"x" * 256):
        assert mover.begin(Sent(tmp_path, name, 1)).status == 400, name
    for path in (b"/etc\0/passwd", b"/" + b"x" * 4096):
        assert mover.about(path).status == 400
    for field in ("size=-1", "size=1e3", "size=9999999999999999999", "id=../../x", "id="):
        query = f"{Sent(tmp_path, b'f', 1).query}&{field}"
        assert mover.ask("POST", mover.files(query, "/upload")).status == 400, field
    assert list(tmp_path.parent.glob("up*")) == []


# A person who has to leave, and one who is slow.


def granted(gateway: Gateway, app: str) -> int:
    """Add a grant, and return its number once a gateway that runs knows it."""
    gateway.command("grant", "add", "user:dev", app)
    listed = gateway.command("grant", "list", "--json").stdout
    return int(next(row["id"] for row in json.loads(listed) if row["app"] == app))


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        (("change", "--without", "files"), b"moving files through the page into or out of app02"),
        (("remove",), b"no grant"),
    ],
)
def test_who_loses_his_grant_loses_the_file_in_its_middle(
    gateway: Gateway, tmp_path: Path, taken: tuple[str, ...], said: bytes
) -> None:
    """Or what of it is about files: the terminal beside it goes on then."""
    grant = granted(gateway, "app02")
    mover = Mover(gateway.port("web"), "app02")
    sent = Sent(tmp_path, b"f", 64 * MIB)
    at = mover.offset(sent)
    (tmp_path / "down").write_bytes(b"".join(content(32 * MIB)))
    down = mover.connect()
    down.request(
        "GET", mover.files(f"path={quote(str(tmp_path))}/down"), headers=mover.headers("GET")
    )
    reading = down.getresponse()
    assert len(reading.read(MIB)) == MIB
    line = mover.connect()
    mover.put_head(line, sent, at)
    line.send(next(content(MIB)))
    wait_until(lambda: sent.part.exists() and sent.part.stat().st_size > 0)
    before = len(gateway.lines)
    began = time.monotonic()
    gateway.command("grant", *taken, str(grant))
    answer = line.getresponse()
    assert answer.status == 403
    assert said in answer.read()
    got = MIB
    try:
        while piece := reading.read1(MIB):
            got += len(piece)
    except OSError:
        pass
    assert time.monotonic() - began < END_S
    assert got < 32 * MIB
    down.close()
    line.close()

    def revoked() -> int:
        return sum(line.get("outcome") == "revoked" for line in gateway.lines[before:])

    wait_until(lambda: revoked() == 2)
    assert not (tmp_path / "f").exists()
    assert said.decode() in why(mover.begin(sent))
    gateway.command("grant", "remove", str(grant), check=taken[0] != "remove")


def shell_pid(gateway: Gateway) -> int:
    """The process of the shell app01, as its folder records it."""
    (state,) = [
        path for path in gateway.data_dir.rglob("state.json") if "app01" in str(path.parent)
    ]
    return int(json.loads(state.read_text())["pid"])


def test_a_slow_disk_holds_the_upload_back(gateway: Gateway, mover: Mover, tmp_path: Path) -> None:
    sent = Sent(tmp_path, b"slow", 48 * MIB)
    at = mover.offset(sent)
    before = peak(gateway)
    line = mover.connect()
    line.putrequest("PATCH", mover.files(f"{sent.query}&at={at}", "/upload"))
    for name, value in mover.headers("PATCH").items():
        line.putheader(name, value)
    line.putheader("Content-Length", str(sent.size))
    line.endheaders()
    pieces = content(sent.size)
    line.send(next(pieces))
    wait_until(lambda: sent.part.exists() and sent.part.stat().st_size > 0)
    shell = shell_pid(gateway)
    os.kill(shell, signal.SIGSTOP)
    try:
        assert line.sock is not None
        line.sock.settimeout(3)
        taken = 0
        rest = b""
        try:
            for rest in pieces:
                while rest:
                    count = line.sock.send(rest)
                    taken += count
                    rest = rest[count:]
        except TimeoutError:
            pass
        assert taken < 24 * MIB, "more than buffers hold"
    finally:
        os.kill(shell, signal.SIGCONT)
    line.sock.settimeout(60)
    line.sock.sendall(rest)
    for piece in pieces:
        line.sock.sendall(piece)
    assert line.getresponse().status == 200
    line.close()
    assert digest_of(tmp_path / "slow") == digest(content(sent.size))
    assert peak(gateway) - before < RSS_BYTES


def test_a_slow_line_holds_the_download_back(
    gateway: Gateway, mover: Mover, tmp_path: Path
) -> None:
    size = 64 * MIB
    with (tmp_path / "big").open("wb") as file:
        for piece in content(size):
            file.write(piece)
    before = peak(gateway)
    with socket.create_connection(("127.0.0.1", mover.port)) as line:
        head = "".join(f"{name}: {value}\r\n" for name, value in mover.headers("GET").items())
        path = mover.files(f"path={quote(str(tmp_path))}/big")
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{mover.port}\r\n{head}\r\n".encode())
        assert line.recv(100).startswith(b"HTTP/1.1 200")
        at = len(gateway.lines)
        # The next one is served while it waits, and little is held for it.
        assert mover.get("/proc/version").status == 200
        assert peak(gateway) - before < RSS_BYTES
    ended = gateway.wait_for(
        lambda line: line["event"] == "session" and line["outcome"] == "downstream_lost", after=at
    )
    assert ended["received"] < 24 * MIB
