"""The API's operations over the store, for an administrator at the gateway's machine."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from inspect import iscoroutine
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from stagedoor.admin.service import AdminService, read_policy
from stagedoor.api.call import NO_APPS, AppSource, Call, DeniedError, FileAnswer
from stagedoor.api.handlers import find_handler
from stagedoor.api.last_sessions import SessionCache
from stagedoor.authz.roles import ROOT
from stagedoor.authz.step_up import NO_STEP_UP, StepUpRules
from stagedoor.model.errors import RefusedError, StagedoorError
from stagedoor.settings.settings import Settings
from stagedoor.wire.api.inputs import Input
from stagedoor.wire.api.operations import BY_NAME, MAX_PAGE
from stagedoor.wire.api.port import NOTHING

_PAGE = 1_000_000


@dataclass(frozen=True, slots=True)
class StoreAdministration:
    """An `Administration` over an opened store, with all rights."""

    service: AdminService
    settings: Settings
    apps: AppSource = NO_APPS
    check_keys: Callable[[Sequence[str]], None] = lambda lines: None
    step_up: StepUpRules = NO_STEP_UP

    @property
    def is_shared(self) -> bool:
        """Return whether gateways on several machines share the store."""
        return self.service.database.shared

    def call(
        self,
        name: str,
        path: Mapping[str, str] = NOTHING,
        query: Mapping[str, str] = NOTHING,
        body: Input | None = None,
    ) -> Any:
        """Perform an operation, as `Administration` says."""
        operation = BY_NAME[name]
        try:
            filters = msgspec.convert(query, operation.filters, strict=False)
        except msgspec.ValidationError as error:
            raise RefusedError(str(error)) from None
        call = Call(
            self.service,
            self.settings,
            cache(partial(read_policy, self.service)),
            ROOT,
            SessionCache(self.service.database),
            path,
            filters,
            body,
            MAX_PAGE if operation.waits else _PAGE,
            None,
            self.apps,
            self.check_keys,
            self.step_up,
        )
        try:
            answer = find_handler(name)(call)
            return asyncio.run(answer) if iscoroutine(answer) else answer
        except DeniedError as error:
            raise RefusedError(str(error)) from None

    def open_file(self, name: str, path: Mapping[str, str]) -> BinaryIO:
        """Open a file, as `Administration` says."""
        # Imported here, because only recordings are files.
        from stagedoor.recording.folder import open_to_read

        answer: FileAnswer = self.call(name, path)
        try:
            return open_to_read(answer.path)
        except OSError as error:
            raise StagedoorError(f"cannot read {answer.path}: {error.strerror}") from None

    def list_all(
        self, name: str, query: Mapping[str, str] = NOTHING, limit: int | None = None
    ) -> Iterator[Any]:
        """Yield the items of a list, as `Administration` says."""
        yield from islice(self.call(name, query=query).items, limit)
