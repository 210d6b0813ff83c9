"""Every message on the page of symptoms is one that somebody can see: ours are in the source."""

import re

from tests.docs.pages import ROOT

PAGE = ROOT / "docs/how-to/troubleshooting.md"
OPENSSH = {
    "Could not resolve hostname app01.ssh",
    "Host key verification failed",
    "Permission denied (publickey)",
    "Not allowed at this time",
}


def test_every_message_is_one_that_the_program_says() -> None:
    source = "\n".join(
        file.read_text(encoding="utf-8") for file in (ROOT / "src/stagedoor").rglob("*.py")
    )
    symptoms = re.findall(r"^\| (.+?) \|", PAGE.read_text(encoding="utf-8"), re.M)
    messages = {text for symptom in symptoms for text in re.findall(r"`([^`]+)`", symptom)}
    assert len(messages) > 20
    for message in messages - OPENSSH:
        for part in message.split("…"):
            assert part.strip() in source, message
