"""What somebody asks of their own account (`token create app01 --expires 8h`), as a value. Pure.

The words are those of the `stagedoor` command, without the user's name: everybody is here for themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stagedoor.wire.oneline import is_word

MAX_WORDS = 64
EXPIRES = "--expires"
COMMENT = "--comment"
JSON = "--json"
OTHERS = "--others"
FROM_STDIN = "--password-stdin"
"""As of `stagedoor user password`."""
_VALUED = frozenset({EXPIRES, COMMENT})


@dataclass(frozen=True, slots=True)
class CommandForm:
    """How a command is written: `usage` is what follows its name, for people; the number of its arguments,
    and its options."""

    usage: str = ""
    least: int = 0
    most: int = 0
    options: frozenset[str] = frozenset()


_LIST = CommandForm("[--json]", options=frozenset({JSON}))
FORMS: Mapping[str, CommandForm] = {
    "account": _LIST,
    "token list": _LIST,
    "token create": CommandForm(
        "[APP…] [--expires 30d] [--json]", most=MAX_WORDS, options=frozenset({EXPIRES, JSON})
    ),
    "token revoke": CommandForm("ID", 1, 1),
    "key list": _LIST,
    "key challenge": CommandForm(),
    "key add": CommandForm("[--comment NAME] <SIGNATURE", options=frozenset({COMMENT})),
    "key remove": CommandForm("FINGERPRINT", 1, 1),
    "passkey list": _LIST,
    "passkey add": CommandForm(),
    "passkey remove": CommandForm("ID", 1, 1),
    "sign-in list": _LIST,
    "sign-in end": CommandForm("ID… | --others", most=MAX_WORDS, options=frozenset({OTHERS})),
    "password": CommandForm("[--password-stdin]", options=frozenset({FROM_STDIN})),
}
"""By name. `passkey add` is there to say where that is done."""
ACCOUNT_HELP = """\
What you sign in by, if you came by a password or a sign-in of yours:
  ssh {at} account                       your tokens, keys, passkeys and sign-ins
  ssh {at} account --json                the same for scripts
  ssh {at} token create [APP…]           a token for these apps (--expires 8h)
  ssh {at} token revoke ID
  ssh {at} key challenge | ssh-keygen -Y sign -n key@stagedoor -f KEY | ssh {at} key add
  ssh {at} key remove FINGERPRINT
  ssh {at} passkey remove ID
  ssh {at} sign-in end ID                or --others
  ssh -t {at} password                   change it
"""
NOUNS = frozenset(name.partition(" ")[0] for name in FORMS)


@dataclass(frozen=True, slots=True)
class AccountCommand:
    """`options` has the value of an option that takes one, and nothing for others."""

    name: str
    arguments: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CommandError:
    """Why it is no command: one line, which repeats nothing that may be secret, and the forms that are."""

    why: str
    forms: tuple[str, ...]


def parse_command(words: Sequence[str]) -> AccountCommand | CommandError | None:
    """None for what is about no account."""
    if not words or words[0] not in NOUNS:
        return None
    noun = words[0]
    name = noun if noun in FORMS else " ".join(words[:2])
    form = FORMS.get(name)
    if form is None:
        return _wrong(f"{noun} needs a word that says what to do", noun)
    given = _options(list(words[len(name.split()) :]), form)
    if isinstance(given, str):
        return _wrong(given, noun)
    arguments, options = given
    if noun == "password" and arguments:
        return _wrong(
            "a password is never written behind the command, where others can read it", noun
        )
    if not form.least <= len(arguments) <= form.most:
        return _wrong(f"{name} takes {_number(form)}", noun)
    if name == "sign-in end" and bool(arguments) == (OTHERS in options):
        return _wrong("name sign-ins, or give --others, and only one of these", noun)
    return AccountCommand(name, arguments, options)


def forms_of(noun: str) -> tuple[str, ...]:
    """`token create [APP…] …`, all of them."""
    return tuple(
        f"{name} {form.usage}".strip()
        for name, form in FORMS.items()
        if name.partition(" ")[0] == noun
    )


def _options(
    words: list[str], form: CommandForm
) -> tuple[tuple[str, ...], Mapping[str, str]] | str:
    """The arguments, and the options with their values; or what is wrong."""
    arguments: list[str] = []
    options: dict[str, str] = {}
    if len(words) > MAX_WORDS:
        return f"more than {MAX_WORDS} words"
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("--"):
            if not is_word(word):
                return "an argument has characters that no name has"
            arguments.append(word)
            continue
        if name not in form.options:
            return "an option is not known"
        if name not in _VALUED and equals:
            return f"{name} takes no value"
        if name in _VALUED and not equals:
            if not words:
                return f"{name} needs a value"
            value = words.pop(0)
        options[name] = value
    return tuple(arguments), options


def _number(form: CommandForm) -> str:
    if form.most == 0:
        return "no argument"
    return f"one argument: {form.usage}"


def _wrong(why: str, noun: str) -> CommandError:
    return CommandError(why, forms_of(noun))
