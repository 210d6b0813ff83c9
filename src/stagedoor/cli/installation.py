"""The installation that a command works on."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stagedoor.settings.settings import Settings


@dataclass
class Installation:
    """An installation, given by its settings file. It is the `obj` of every command's context.

    `settings_file` is None for the default file.
    """

    settings_file: Path | None

    @property
    def file(self) -> Path:
        """The path of the settings file, which need not exist."""
        from stagedoor.settings.file import find_settings_file

        return self.settings_file or find_settings_file()

    @cached_property
    def settings(self) -> "Settings":
        """The settings, read at the first use. Raises SettingsError.

        So `--help` needs no readable file, and `attach` no settings at all.
        """
        from stagedoor.settings.file import load_settings

        return load_settings(self.settings_file)
