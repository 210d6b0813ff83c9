"""`stagedoor apply`: its files and their mistakes, what it prints, and its exit codes."""

import json
from pathlib import Path

import pytest

from stagedoor.admin.apply.files import MAX_FILE_BYTES, parse_set, read_texts
from stagedoor.model.errors import RefusedError
from tests.cli.conftest import Desk

TOML = """\
set = "platform"

[[users]]
name = "bob"
groups = ["dev"]

[[grants]]
subject = "group:dev"
app = "app*"
environment = "staging"
"""
MORE = """\
# More grants.
[[grants]]
subject = "group:dev"
app = "db"

[[grants]]
subject = "group:dev"
app = "wiki"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "access"
    made.mkdir()
    (made / "access.toml").write_text(TOML)
    return made


def test_a_diff_exits_as_diff_does_and_says_who_gains(alice: Desk, folder: Path) -> None:
    diff = alice.run("apply", str(folder), "--diff")
    assert diff.exit_code == 1 or isinstance(diff.exception, SystemExit)
    assert diff.stdout.splitlines() == [
        "+ user bob",
        "+ bob in group dev",
        "+ grant group:dev app* in staging: enter files",
        "bob gains enter, files for app* in staging",
    ]
    assert diff.stderr == "Set platform: would be 3 added.\n"
    assert alice.notes("apply", str(folder)) == "Set platform: 3 added.\n"
    assert alice.notes("apply", str(folder), "--diff") == "Set platform: nothing to change.\n"
    (folder / "access.toml").write_text(TOML.replace('"staging"', '"production"'))
    document = json.loads(alice.run("apply", str(folder), "--diff", "--json").stdout)
    assert document["applied"] is False
    assert document["kept"] == 1
    assert document["rights"] == [
        {
            "users": ["bob"],
            "gains": [
                {"app": "app*", "environment": "production", "permissions": ["enter", "files"]}
            ],
            "losses": [],
        }
    ]
    pruned = alice.out("apply", str(folder), "--prune", "--prune-at-most", "50")
    assert "bob loses enter, files for app* in staging" in pruned
    (folder / "access.toml").write_text("users = 1")
    with pytest.raises(RefusedError) as e:
        alice.out("apply", str(folder), "--diff")
    assert e.value.exit_code == 2


def test_a_hand_is_sent_to_the_file(alice: Desk, folder: Path) -> None:
    alice.out("apply", str(folder))
    with pytest.raises(RefusedError, match=r"change it in access\.toml and run `stagedoor apply`"):
        alice.out("grant", "remove", "1")


def test_all_problems_are_said_with_their_lines(alice: Desk, folder: Path) -> None:
    alice.out("user", "group", "alice", "--add", "dev")
    (folder / "more.toml").write_text(
        '[[users]]\nname = "alice"\n\n[[grants]]\nsubject = "user:carol"\napp = "db"\n'
    )
    result = alice.run("apply", str(folder))
    assert result.stderr.splitlines() == [
        "more.toml:1: users[0]: user alice is there already and belongs to no set; --adopt takes it over",
        "more.toml:4: grants[0]: there is no user carol",
    ]
    assert "2 mistakes; nothing was changed" in str(result.exception)
    assert [user["name"] for user in alice.json("user", "list")] == ["alice"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "x.toml",
            MORE.replace("app = ", "ap = "),
            r"x\.toml:4: .*there is no key `ap`; did you mean `app`",
        ),
        ("x.toml", MORE.replace('"wiki"', "7"), r"x\.toml:8: grants\[1\]\.app: it must be text"),
        (
            "x.toml",
            MORE.replace('"wiki"', '"Wiki"'),
            r"x\.toml:6: grants\[1\]: 'Wiki' is not a pattern",
        ),
        (
            "x.toml",
            MORE + 'resume = "soon"',
            r"x\.toml:9: grants\[1\]: resume: 'soon' is not a duration",
        ),
        ("x.toml", MORE + "expires = 2030-01-01T00:00:00", r"x\.toml:9: .*offset from UTC"),
        ("x.toml", MORE + "expires = = 1", r"x\.toml:9: this is not valid TOML"),
        ("x.toml", MORE.replace("wiki", "db"), r"x\.toml:6: .*declared twice; see x\.toml:2"),
        (
            "x.toml",
            'grant = []\nset = "platform"',
            r"x\.toml:1: .*no key `grant`; did you mean `grants`",
        ),
        ("x.toml", 'set = "other"', r"x\.toml:1: set is 'other', and 'platform'"),
        (
            "x.json",
            '{"grants": [\n{"subject": "dev",\n"app": "db"}]}',
            r"x\.json:2: grants\[0\]: 'dev' does not say who",
        ),
        (
            "x.json",
            '{"grants": [{},\n{"subject": [],\n"app": "db"}]}',
            r"x\.json:.*grants\[0\]: `subject` is missing",
        ),
        (
            "x.json",
            '{"users": [{"name": "a,{",\n"groups": [],\n"groups": ["x"]}]}',
            r"x\.json: the key 'groups' is there twice",
        ),
        (
            "x.json",
            '{"users":\n [{"name": "\\u001b[2J"}]}',
            r"x\.json:2: users\[0\]: '\\x1b\[2J' is not a user name",
        ),
        ("x.json", "{\n,", r"x\.json:2: this is not valid JSON"),
        ("x.json", "[" * 100_000, r"x\.json: "),
        ("x.toml", '"\\u001b[2J" = 1', r"x\.toml: there is no key `\N{REPLACEMENT CHARACTER}\[2J`"),
        ("x.toml", "\na" + ".a" * 20_000 + " = 1", r"x\.toml:2: a key has more than 16 parts"),
        ("x.toml", "x = {b = 1, 'a'" + ' . "a"' * 17 + " = 1}", r"x\.toml:1: a key has more than"),
        ("x.toml", "#" * (MAX_FILE_BYTES + 1), r"x\.toml has more than"),
    ],
)
def test_a_mistake_is_said_with_file_line_and_key(
    folder: Path, name: str, text: str, message: str
) -> None:
    (folder / name).write_text(text)
    with pytest.raises(RefusedError, match=message) as e:
        parse_set(read_texts(folder))
    assert str(e.value).isprintable()


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_many_problems_are_found_in_one_reading(suffix: str) -> None:
    """Each had the whole file read again: the wrong folder took hours of the gateway's processor."""
    grants = [{"subject": f"user:u{n}", "app": f"app{n}"} for n in range(10_000)]
    text = (
        json.dumps({"set": "many", "grants": grants}, indent=1)
        if suffix == "json"
        else 'set = "many"\n'
        + "".join(f'[[grants]]\nsubject = "{g["subject"]}"\napp = "{g["app"]}"\n' for g in grants)
    )
    declared = parse_set({f"x.{suffix}": text})
    lines = [declared.describe_problem(row, "app: no") for row in declared.rows]
    assert len(set(lines)) == len(grants)
    number = text.splitlines().index(next(s for s in text.splitlines() if '"app9999"' in s)) + 1
    assert lines[-1] == f"x.{suffix}:{number}: grants[9999]: app: no"


def test_hidden_files_and_others_are_left_out_and_links_are_followed(folder: Path) -> None:
    """A volume of Kubernetes has links to a hidden folder."""
    (folder / "..data").mkdir()
    (folder / "..data" / "more.toml").write_text(MORE)
    (folder / "more.toml").symlink_to(folder / "..data" / "more.toml")
    (folder / "README.md").write_text("Access.")
    (folder / "teams").mkdir()
    (folder / "teams" / "data.json").write_text('{"groups": [{"name": "x", "members": ["bob"]}]}')
    declared = parse_set(read_texts(folder))
    assert [row.owner.file for row in declared.rows if row.owner] == [
        *("access.toml",) * 3,
        *("more.toml",) * 2,
        "teams/data.json",
    ]


def test_a_folder_without_files_or_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"no \.toml or \.json file"):
        parse_set(read_texts(tmp_path))
    (tmp_path / "a.toml").write_text(MORE)
    with pytest.raises(RefusedError, match="--set"):
        parse_set(read_texts(tmp_path))
    assert parse_set(read_texts(tmp_path), "platform").name == "platform"
