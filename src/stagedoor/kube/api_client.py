"""A client that paces its requests to the API, limits their time, and repeats them if the API asks it to."""

import asyncio
import copy
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from stagedoor.kube import answers
from stagedoor.kube.answers import ApiRequest
from stagedoor.kube.http import Http, HttpRequest, KubeAnswer
from stagedoor.kube.pace import PATIENT_S, URGENT_LIMIT_S, Bucket, Limits, parse_retry_after
from stagedoor.kube.wire import NoApiAnswerError
from stagedoor.model.cluster import Object

T = TypeVar("T")


class ApiClient:
    """A client that sends requests and counts them.

    `tally` has the requests by verb, kind and status (0: no answer).
    """

    def __init__(
        self,
        http: Http,
        limits: Limits,
        bucket: Bucket,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a client. `clock` is monotonic, in seconds."""
        self.http = http
        self.limits = limits
        self.tally: Counter[tuple[str, str, int]] = Counter()
        self.clock = clock
        self._bucket: Bucket | None = bucket
        self._is_patient = False
        self._large = asyncio.Semaphore(1)
        """One large answer at a time, to limit the memory."""
        self._room = asyncio.Semaphore(limits.in_flight)

    def with_priority(self) -> "ApiClient":
        """Return a client for urgent requests, which are not paced and time out soon."""
        twin = copy.copy(self)
        twin.limits = replace(self.limits, request_s=URGENT_LIMIT_S, patience_s=0.0)
        twin._bucket, twin._room = None, asyncio.Semaphore(self.limits.in_flight)
        return twin

    def with_patience(self) -> "ApiClient":
        """Return a client for large lists, one at a time, which wait up to PATIENT_S for other requests."""
        twin = copy.copy(self)
        twin._is_patient, twin._room = True, self._large
        return twin

    async def pace(self) -> None:
        """Wait until the next request may be sent."""
        if self._bucket is None:
            return
        patient_until = self.clock() + (PATIENT_S if self._is_patient else 0.0)
        while self.clock() < patient_until:
            wait_s = self._bucket.take_patiently(self.clock())
            if not wait_s:
                return
            await asyncio.sleep(wait_s)
        if (wait_s := self._bucket.take(self.clock())) > 0:
            await asyncio.sleep(wait_s)

    async def request_object(self, operation: ApiRequest, request: HttpRequest) -> Object:
        """Send a request, and return the object in the answer. Raises ClusterError."""
        return decode_answer(operation, await self.answer(operation, request), dict[str, Any])

    async def answer(
        self, operation: ApiRequest, request: HttpRequest, limit_s: float | None = None
    ) -> KubeAnswer:
        """Send a request, repeating it if the API asks for that, and return a successful answer.

        Raises ClusterError.
        """
        patient_until = self.clock() + self.limits.patience_s
        while True:
            answer = await self._send_once(operation, request, limit_s or self.limits.request_s)
            if answer.status < 300:
                return answer
            error = answers.refusal(operation, answer, answer.body)
            if answer.retry_after is None or not error.retry:
                raise error
            # client-go retries after the same answers: 429, and 5xx with the header.
            wait_s = parse_retry_after(answer.retry_after, self.limits.patience_s)
            if self.clock() + wait_s >= patient_until:
                raise error
            if self._bucket is not None and answer.status == 429:
                self._bucket.pause(self.clock() + wait_s)
            await asyncio.sleep(wait_s * (1 + 0.25 * random.random()))  # noqa: S311  # jitter

    async def _send_once(
        self, operation: ApiRequest, request: HttpRequest, limit_s: float
    ) -> KubeAnswer:
        await self.pace()
        async with self._room:
            try:
                answer = await self.http.send(request, limit_s)
            except NoApiAnswerError as error:
                self.tally[operation.verb, operation.what, 0] += 1
                raise answers.report_no_answer(operation, str(error)) from None
        self.tally[operation.verb, operation.what, answer.status] += 1
        return answer


def encode_json(value: Object) -> bytes:
    """Encode an object as JSON."""
    return msgspec.json.encode(value)


def decode_answer(operation: ApiRequest, answer: KubeAnswer, as_type: type[T]) -> T:
    """Decode the body of a successful answer. Raises ClusterError if it cannot come from an API server."""
    if "json" not in answer.content_type:
        raise answers.report_not_kubernetes(operation, answer)
    try:
        return msgspec.json.decode(answer.body, type=as_type)
    except msgspec.DecodeError as error:
        raise answers.report_no_answer(
            operation, f"the body is not valid Kubernetes JSON: {error}"
        ) from None
