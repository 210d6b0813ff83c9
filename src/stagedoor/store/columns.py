"""What the tables share: the collection that they belong to, and kinds of columns."""

from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, String
from sqlalchemy.types import TypeEngine

metadata = MetaData()


def text_key(length: int) -> TypeEngine[Any]:
    """Text that is sorted and compared byte by byte, whatever language a database was made for.

    So names come in one order everywhere, and an index finds what begins with a prefix.
    """
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def whole_number() -> TypeEngine[Any]:
    """64 bits. SQLite's only integer has them, and must be called INTEGER to number rows."""
    return BigInteger().with_variant(Integer(), "sqlite")


def owner() -> Column[str]:
    """Of a user, and gone with them."""
    return Column("user_name", ForeignKey("users.name", ondelete="CASCADE"), nullable=False)
