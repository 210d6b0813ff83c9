"""The metadata that all tables belong to, and types of columns that they share."""

from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, String
from sqlalchemy.types import TypeEngine

metadata = MetaData()


def make_text_key_type(length: int) -> TypeEngine[Any]:
    """Return a type for text that is sorted and compared byte by byte, whatever the database's locale.

    So names have the same order everywhere, and an index finds names that begin with a prefix.
    """
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def make_integer_type() -> TypeEngine[Any]:
    """Return a type for integers of 64 bits. SQLite's must be called INTEGER to number rows."""
    return BigInteger().with_variant(Integer(), "sqlite")


def make_owner_column() -> Column[str]:
    """Return a column for the user that a row belongs to. Removing the user removes the row."""
    return Column("user_name", ForeignKey("users.name", ondelete="CASCADE"), nullable=False)
