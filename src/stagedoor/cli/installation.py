"""Which installation a command speaks to."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stagedoor.settings.file import load_settings
from stagedoor.settings.settings import Settings


@dataclass
class Installation:
    """`settings_file` is None for the default place. The `obj` of every command's context."""

    settings_file: Path | None

    @cached_property
    def settings(self) -> Settings:
        """Read at the first use, so that `--help` needs no readable file. Raises SettingsError."""
        return load_settings(self.settings_file)
