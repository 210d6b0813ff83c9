"""Which installation a command speaks to."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stagedoor.settings.settings import Settings


@dataclass
class Installation:
    """`settings_file` is None for the default place. The `obj` of every command's context."""

    settings_file: Path | None

    @property
    def file(self) -> Path:
        """The settings file, which need not be there."""
        from stagedoor.settings.file import default_settings_file

        return self.settings_file or default_settings_file()

    @cached_property
    def settings(self) -> "Settings":
        """Read at the first use, so that `--help` needs no readable file, and `attach` no settings at all.
        Raises SettingsError."""
        from stagedoor.settings.file import load_settings

        return load_settings(self.settings_file)
