"""The metadata that all tables belong to, and the columns and values that they share."""

from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, Row, String, Text
from sqlalchemy.types import TypeEngine

from stagedoor.model.access_set import Owner
from stagedoor.model.target import Target
from stagedoor.wire.target import parse_login

metadata = MetaData()


def make_text_key_type(length: int) -> TypeEngine[Any]:
    """Return a type for text that is sorted and compared byte by byte, whatever the database's locale.

    So names have the same order everywhere, and an index can find names by their prefix.
    """
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def make_integer_type() -> TypeEngine[Any]:
    """Return a type for 64-bit integers. In SQLite it must be called INTEGER so that it can number rows."""
    return BigInteger().with_variant(Integer(), "sqlite")


def make_owner_column() -> Column[str]:
    """Return a column for the user that a row belongs to. The row is removed together with the user."""
    return Column("user_name", ForeignKey("users.name", ondelete="CASCADE"), nullable=False)


def make_set_columns() -> tuple[Column[str], Column[str]]:
    """Return the columns for the access set that a row belongs to, and for the file that declares it.

    They exist since version 19. Older programs leave both empty.
    """
    return Column("owner_set", String(64)), Column("owner_file", Text)


def find_owner(row: Row[Any]) -> Owner | None:
    """Return the access set in a row, or None."""
    return None if row.owner_set is None else Owner(row.owner_set, row.owner_file)


def load_target(text: str) -> Target:
    """Return the target that a row names, by its host name or its login name."""
    target = parse_login(text)
    assert target is not None, "it was written from a Target"
    return target
