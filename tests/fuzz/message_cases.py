"""Messages sent to a running server: every call has to end in time, with a status that says what a caller may know."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import hypothesis
from google.protobuf import message_factory
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from grpc_service.errors import RULES
from tests.fuzz.findings import Findings, FoundError
from tests.fuzz.messages import METHODS, Served, ValidMessages, any_request
from tests.fuzz.mutations import mutated

CALL_S = 20.0  # what takes longer twice hangs; once, it may be the machine that stood still
EXAMPLES_AT_ONCE = 1000  # hypothesis remembers what it has drawn
REQUEST_IDS = ("a-request", "", "two words", "x" * 5000, "'; drop")
Call = tuple[str, list[bytes], tuple[tuple[str, str], ...]]


class HungError(FoundError):
    """A call did not end in time."""


class Caller:
    """Makes calls of raw bytes, and judges how they end.

    Parameters
    ----------
    channel : grpc.Channel
    served : Served
    """

    def __init__(self, channel: grpc.Channel, served: Served) -> None:
        self._channel = channel
        self._served = served

    def call(self, name: str, messages: Sequence[bytes], metadata: Sequence[tuple[str, str]] = ()) -> str:
        """Make a call.

        Returns
        -------
        str
            "OK" or the reason of its error.

        Raises
        ------
        FoundError
        """
        method = METHODS[name]
        sides = ("stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming))
        call = getattr(self._channel, "_".join(sides))(name)
        request: Any = iter(messages) if method.client_streaming else messages[0]
        kind = message_factory.GetMessageClass(method.output_type)
        try:
            reply = call(request, timeout=CALL_S, metadata=tuple(metadata))
            for raw in reply if method.server_streaming else (reply,):
                for status in _statuses(kind.FromString(raw)):
                    self._judge(status)
        except grpc.RpcError as error:
            return self._judge_end(error)
        return "OK"

    def _judge_end(self, error: Any) -> str:
        raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
        if raw is None and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise HungError(f"did not end within {CALL_S:g} s")
        if raw is None:
            raise FoundError(f"{error.code().name} without a reason: {error.details()}")
        status = status_pb2.Status.FromString(raw)
        if (status.code, status.message) != (error.code().value[0], error.details()):
            raise FoundError(f"two statuses: {error.code().name} {error.details()!r} and {status!r}")
        return self._judge(status)

    def _judge(self, status: status_pb2.Status) -> str:
        infos = [detail for detail in status.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
        if len(infos) != 1:
            raise FoundError(f"{len(infos)} reasons: {status!r}")
        info = error_details_pb2.ErrorInfo()
        infos[0].Unpack(info)
        rule = RULES.get(info.reason)
        if rule is None or rule.code.value[0] != status.code:
            raise FoundError(f"{info.reason} with code {status.code}: {status.message}")
        said = str(status)
        for leak in self._served.leaks:
            if leak in said:
                raise FoundError(f"{info.reason} says too much, {leak!r}: {status.message}")
        return info.reason


def _statuses(message: Message) -> Iterator[status_pb2.Status]:
    """Find the errors inside of a reply."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for each in value if field.is_repeated else (value,):
            if isinstance(each, status_pb2.Status):
                yield each
            elif isinstance(each, Message):  # and no key of a map
                yield from _statuses(each)


def mutated_call(seed: int, number: int, names: Sequence[str], served: Served) -> Call:
    """Make a call of mutated bytes, now and then of whole ones: always the same one by its seed and number."""
    rng = random.Random(f"message {seed} {number}")
    valid = ValidMessages(rng, served)
    name = names[number % len(names)]
    messages = valid.of(METHODS[name])
    if rng.random() < 0.9:
        others = valid.of(METHODS[rng.choice(names)])
        messages = [mutated(rng, one, others) if rng.random() < 0.7 else one for one in messages]
    metadata = (("x-request-id", rng.choice(REQUEST_IDS)),) if rng.random() < 0.1 else ()
    return name, messages, metadata


def fuzz_messages(
    served: Served, seed: int, cases: int, folder: Path, *, names: Sequence[str] = tuple(METHODS), threads: int = 4
) -> Findings:
    """Send mutated bytes of valid messages, by several callers at once.

    Parameters
    ----------
    served : Served
    seed, cases : int
    folder : Path
        For what is found.
    names : sequence of str
        Of methods.
    threads : int
        Callers.

    Returns
    -------
    Findings
    """
    findings = Findings(folder)
    with grpc.insecure_channel(served.address) as channel, ThreadPoolExecutor(threads) as executor:
        caller = Caller(channel, served)

        def run(number: int) -> None:
            _one(caller, findings, *mutated_call(seed, number, names, served))

        for _ in executor.map(run, range(cases)):
            pass
    return findings


def fuzz_structured(
    served: Served, seed: int, cases: int, folder: Path, *, names: Sequence[str] = tuple(METHODS)
) -> Findings:
    """Send messages of any fields and values, as hypothesis draws them; otherwise as `fuzz_messages`."""
    findings = Findings(folder)
    each = -(-cases // len(names))
    with grpc.insecure_channel(served.address) as channel:
        caller = Caller(channel, served)
        for name in names:
            for round_ in range(-(-each // EXAMPLES_AT_ONCE)):
                count = min(EXAMPLES_AT_ONCE, each - round_ * EXAMPLES_AT_ONCE)
                _draw(caller, findings, name, served, f"{seed} {name} {round_}", count)
    return findings


def _draw(caller: Caller, findings: Findings, name: str, served: Served, seed: str, count: int) -> None:
    def run(messages: list[bytes]) -> None:
        _one(caller, findings, name, messages, ())

    drawn = hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )(hypothesis.given(any_request(name, served))(run))
    hypothesis.seed(seed)(drawn)()


def _one(
    caller: Caller, findings: Findings, name: str, messages: list[bytes], metadata: Sequence[tuple[str, str]]
) -> None:
    kind = name.rsplit("/", 1)[1]
    try:
        try:
            outcome = caller.call(name, messages, metadata)
        except HungError:
            outcome = caller.call(name, messages, metadata)
        findings.note(kind, outcome)
    except FoundError as found:
        findings.find(kind, b"\n--\n".join(messages), str(found))
