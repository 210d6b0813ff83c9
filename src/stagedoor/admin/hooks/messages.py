"""The messages of hooks about access requests, and their body for each kind of hook. Pure.

Approvers read the requester's reason in chats. So each body has it in a place where nothing is interpreted as
a link, a mention or markup.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from stagedoor.model.access_request import REQUEST_PENDING_S, RequestState, show_period
from stagedoor.model.event import Event, EventKind
from stagedoor.model.units import DAY_S
from stagedoor.wire.oneline import to_one_line
from stagedoor.wire.rfc3339 import show_milliseconds

EVENTS = ("request.make", "request.approve", "request.deny")
_MAX_TEXT = 2000
"""The longest text of a request: 50 apps, and a reason of 300 characters."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `type` is the event's action; `url` leads to the request, None without a WebShell."""

    type: str
    at: float
    text: str
    url: str | None = None
    fields: Mapping[str, object] | None = None


def make_message(event: Event, site: str | None) -> Message | None:
    """Return the message about an event, or None if there is none. `site` is the WebShell's URL."""
    fields = event.fields
    action, number = fields.get("action"), fields.get("request")
    if event.kind is not EventKind.POLICY_CHANGED or action not in EVENTS:
        return None
    url = None if site is None else f"{site}/requests/{number}"
    by = (event.identity or "").removesuffix(" (request)")
    text = to_one_line(_describe(fields, str(action), by), _MAX_TEXT)
    data = {
        "request": number,
        "user": fields.get("user"),
        "apps": str(fields.get("apps") or "").split(", "),
        "reason": fields.get("reason"),
        "lasts_s": fields.get("lasts_s"),
        "state": fields.get("state"),
        "break_glass": fields.get("break_glass"),
        "by": by,
        "url": url,
    }
    return Message(str(action), event.at, text, url, data)


def _describe(fields: Mapping[str, object], action: str, by: str) -> str:
    user, apps, number = fields.get("user"), fields.get("apps"), fields.get("request")
    lasts_s = fields.get("lasts_s")
    period = show_period(float(lasts_s)) if isinstance(lasts_s, int | float) else "a time"
    is_approved = fields.get("state") == RequestState.APPROVED.value
    if action == "request.make":
        if fields.get("break_glass"):
            does = "uses break-glass for"
        else:
            does = "has, approved at once," if is_approved else "asks for"
        return f"{user} {does} {apps}, {period}: {fields.get('reason')}"
    request = f"Request {number} of {user} for {apps}"
    if action == "request.deny":
        return f"{request} is denied by {by}"
    return f"{request} is approved by {by}" + ("" if is_approved else "; more approvals are needed")


def is_over(event: Event, now: float) -> bool:
    """Return whether a message about the event would be too late to be useful.

    A pending request lapses; an old decision is no news.
    """
    is_pending = event.fields.get("state") == RequestState.PENDING.value
    return now - event.at > (REQUEST_PENDING_S if is_pending else DAY_S)


def make_json(message: Message) -> bytes:
    """Return the body for programs, as Standard Webhooks recommends it."""
    return _encode(
        {
            "type": message.type,
            "timestamp": show_milliseconds(message.at),
            "data": {**(message.fields or {}), "text": message.text},
        }
    )


def make_slack(message: Message) -> bytes:
    """Return the body of a Slack message. In `plain_text` nothing is a link or a mention."""
    blocks: list[dict[str, object]] = [
        {"type": "section", "text": {"type": "plain_text", "text": message.text, "emoji": False}}
    ]
    if message.url is not None:
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": f"<{message.url}>"}})
    # Notifications show `text`, in which Slack requires these three characters to be escaped.
    text = message.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _encode({"text": text, "blocks": blocks, "unfurl_links": False})


def make_teams(message: Message) -> bytes:
    """Return an Adaptive Card. In a `TextRun` nothing is Markdown."""
    body: list[object] = [
        {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": message.text}]}
    ]
    card: dict[str, object] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    if message.url is not None:
        card["actions"] = [
            {"type": "Action.OpenUrl", "title": "Open the request", "url": message.url}
        ]
    kind = "application/vnd.microsoft.card.adaptive"
    return _encode({"type": "message", "attachments": [{"contentType": kind, "content": card}]})


def make_feishu(message: Message) -> bytes:
    """Return a `post` of Feishu or Lark, whose tag `text` has no markup."""
    line: list[dict[str, object]] = [{"tag": "text", "text": message.text}]
    if message.url is not None:
        line.append({"tag": "a", "text": f" {message.url}", "href": message.url})
    content = {"post": {"zh_cn": {"title": "Stagedoor", "content": [line]}}}
    return _encode({"msg_type": "post", "content": content})


def make_mail(message: Message, id_: str, sender: str, to: tuple[str, ...]) -> EmailMessage:
    """Return a mail in plain text. Its Message-ID is the same at each attempt."""
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Subject"] = to_one_line(f"Stagedoor: {message.text}", 150)
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.at, UTC))
    mail["Message-ID"] = f"<{id_}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no mailing list or absence answers
    mail.set_content(f"{message.text}\n" + (f"\n{message.url}\n" if message.url else ""))
    return mail


BODIES: Mapping[str, Callable[[Message], bytes]] = {
    "json": make_json,
    "slack": make_slack,
    "teams": make_teams,
    "feishu": make_feishu,
}


def _encode(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
