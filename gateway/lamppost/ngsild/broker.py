"""The write plan against a context broker: live batches, history, newest last; nothing written twice.

Used by direct mode and by the hub's `ngsi-ld` sink. Entities come in normalized form with full IRIs; this file does
not know how they were made. Source: ETSI GS CIM 009 v1.9.1 §5.6 and §6, and the habits of Orion-LD, Scorpio, Stellio.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from lamppost.errors import HubError
from lamppost.ngsild.api import Answer, Api, Unsure
from lamppost.ngsild.credentials import ClientCredentials
from lamppost.ngsild.held import (
    count_instances,
    entry_errors,
    halves,
    holds,
    missing,
    overwritten,
    period,
    veiled,
)
from lamppost.ngsild.memory import Memory, Parts, RememberedWrites
from lamppost.ngsild.plan import (
    Entity,
    Key,
    Plan,
    as_live,
    histories_of,
    history_of,
    instances_of,
    moment,
    name_of,
    plan_writes,
    replays_of,
    requests_of,
)
from lamppost.ngsild.turns import Turns

# All that the hub may take from this package.
__all__ = [
    "Api",
    "Broker",
    "ClientCredentials",
    "Entity",
    "History",
    "Key",
    "Memory",
    "Outcome",
    "Refusal",
    "RememberedWrites",
    "Turns",
    "as_live",
    "instances_of",
    "moment",
]

History = Literal["temporal", "replay", "latest"]
Written = Mapping[str, Mapping[Key, int]]

UPSERT = "/entityOperations/upsert"
QUERY = "/entityOperations/query"
TEMPORAL = "/temporal/entities"

_DONE = frozenset({200, 201, 204})
_NO_TEMPORAL = frozenset({404, 405, 501})
_DIVIDE = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entity that the broker will never take, and the problem details that it gave: for the dead-letter box."""

    entity: Entity
    status: int
    problem: Mapping[str, Any]


@dataclass(slots=True)
class Outcome:
    """What a write did: entities to the current state, instances to the history, and what was not written."""

    live: int = 0
    history: int = 0
    replayed: int = 0
    left_out: int = 0  # instances that history = "latest" does not send
    repeated: int = 0  # instances that were written before
    refused: list[Refusal] = field(default_factory=list)


class Broker:
    """Writes batches to one broker and tenant. Calls may overlap if they have no entity in common, or if one of them
    brings live values: what is the newest is then looked up once more when a request's turn has come. Writers with one
    memory share `turns`.

    `history` is what becomes of samples that are not the newest: "temporal" writes them through the temporal API,
    "replay" writes them live in the order of time with the newest last, "latest" leaves them out.
    """

    def __init__(
        self,
        api: Api,
        memory: Memory,
        *,
        history: History = "temporal",
        turns: Turns | None = None,
    ) -> None:
        self._turns = turns or Turns()
        self._api = api
        self._memory = memory
        self._history = history
        self._alone = bool(api.tenant)  # Scorpio dead-locks where a batch creates the tenant

    async def greet(self, entity: Entity) -> None:
        """Ask for one entity (its id and type), to see that the way is open. Raises HubError `broker.…`."""
        await self._current([entity])

    async def write(self, entities: Sequence[Entity], job: str = "") -> Outcome:
        """Write a batch; returns when the broker has answered for all of it.

        `job` names the batch, the same for every attempt. After an attempt that did not end, what it left in doubt
        is asked of the broker before it is sent again; after refusals, only what was refused is sent again. Raises
        HubError `broker.…`; call again with the same batch and job where `retry` is set.
        """
        identities = list(dict.fromkeys(entity["id"] for entity in entities))
        plan = plan_writes(entities, await self._memory.newest(identities))
        outcome = Outcome(repeated=plan.repeated)
        parts = Parts(self._memory, job, await self._memory.open_job(job) if job else None)
        await self._write_late(plan.late, parts, outcome)
        overtaken = await self._write_live(plan, parts.doubtful, outcome)
        await self._write_late(overtaken, parts, outcome)
        await parts.close(bool(outcome.refused))
        return outcome

    # -- the history -----------------------------------------------------------------------------------------------

    async def _write_late(self, late: Sequence[Entity], parts: Parts, outcome: Outcome) -> None:
        if self._history == "temporal":
            await self._write_history(late, parts, outcome)
        elif self._history == "replay":
            async with self._turns.of(entity["id"] for entity in late):
                await self._replay(late, parts, outcome)
        else:
            outcome.left_out += sum(count_instances(entity) for entity in late)

    async def _write_history(self, late: Sequence[Entity], parts: Parts, outcome: Outcome) -> None:
        for entity in late:
            for history in histories_of(entity):
                part = name_of(history)
                wanted, doubtful = parts.begin(part)
                if wanted:
                    before = len(outcome.refused)
                    await self._append(history, outcome, doubtful)
                    if len(outcome.refused) == before:
                        await parts.end(part)

    async def _append(self, entity: Entity, outcome: Outcome, doubtful: bool) -> None:
        """Add instances to an entity's history; asks what is there whenever it is in doubt."""
        why = Unsure("an earlier attempt did not end")
        for attempt in range(1, self._api.attempts + 1):
            if doubtful:
                rest = await self._missing_history(entity)
                outcome.repeated += count_instances(entity) - count_instances(rest)
                entity = rest
            if not count_instances(entity):
                return None
            try:
                answer = await self._api.post(TEMPORAL, entity)
            except Unsure as doubt:
                doubtful, why = True, doubt
                if attempt < self._api.attempts:
                    await self._api.pause(attempt)
            else:
                return await self._appended(entity, answer, outcome)
        raise _unsure(why)

    async def _appended(self, entity: Entity, answer: Answer, outcome: Outcome) -> None:
        if answer.status in _DONE:
            self._alone = False
            outcome.history += count_instances(entity)
        elif answer.status in _NO_TEMPORAL:
            raise HubError(
                f"the broker has no temporal API: {answer.status}",
                code="broker.no-temporal-api",
                hint='switch its history on, or set history = "replay" or "latest" for this sink',
                retry=True,
            )
        elif answer.status == 413 and (parts := halves(entity)):
            for part in parts:
                await self._append(part, outcome, False)
        else:
            outcome.refused.append(Refusal(entity, answer.status, answer.problem()))

    async def _missing_history(self, entity: Entity) -> Entity:
        after, before = period(entity)
        try:
            answer = await self._api.get(
                f"{TEMPORAL}/{quote(entity['id'], safe='')}",
                timerel="between",
                timeAt=after,
                endTimeAt=before,
                timeproperty="observedAt",
            )
        except Unsure as doubt:
            raise _unsure(doubt) from doubt
        if answer.status == 404:
            return entity
        if answer.status != 200 or not isinstance(answer.body, dict):
            raise _unsure(Unsure(f"its history was answered with {answer.status}"))
        return missing(answer.body, entity)

    async def _replay(self, samples: Sequence[Entity], parts: Parts, outcome: Outcome) -> None:
        """Older samples pass through the current state; what was newer there is put back after them."""
        if not samples:
            return
        current = await self._current(samples)
        for entities in replays_of(samples):
            for request in requests_of(entities):
                part = name_of(request)
                wanted, doubtful = parts.begin(part)
                if wanted:
                    before = len(outcome.refused)
                    left = await self._not_held(request, exactly=True) if doubtful else request
                    outcome.replayed += await self._upsert(left, {}, outcome, exactly=True)
                    if len(outcome.refused) == before:
                        await parts.end(part)
        for request in requests_of(
            [e for late in samples if (e := overwritten(late, current.get(late["id"], {})))]
        ):
            await self._upsert(request, {}, outcome)

    # -- the current state ----------------------------------------------------------------------------------------

    async def _write_live(self, plan: Plan, doubtful: bool, outcome: Outcome) -> list[Entity]:
        """Write what is the newest; what is so no more, because live values came between, is given back."""
        entities: Sequence[Entity] = plan.live
        overtaken: list[Entity] = []
        if doubtful:
            entities, hidden = await self._in_doubt(entities)
            overtaken = [history_of(entity) for entity in hidden]
            left = {entity["id"] for entity in (*entities, *hidden)}
            await self._advance((i for i in plan.written if i not in left), plan.written)
        requests = requests_of(entities)
        if self._alone and requests and len(requests[0]) > 1:
            requests[:1] = [requests[0][:1], requests[0][1:]]
        for request in requests:
            identities = [entity["id"] for entity in request]
            async with self._turns.of(identities):
                now = plan_writes(request, await self._memory.newest(identities))
                outcome.live += await self._upsert(now.live, now.written, outcome)
            overtaken += now.late
            self._alone = False
        return overtaken

    async def _upsert(
        self,
        entities: Sequence[Entity],
        written: Written,
        outcome: Outcome,
        *,
        exactly: bool = False,
    ) -> int:
        """One batch, until each of its entities is written or refused; how many were written."""
        count = 0
        why: object = ""
        for attempt in range(1, self._api.attempts + 1):
            if not entities:
                return count
            left: Sequence[Entity]
            refused: set[str] = set()
            try:
                answer = await self._api.post(UPSERT, list(entities), options="update")
            except Unsure as doubt:
                why, left = doubt.why, await self._left(entities, doubt, exactly=exactly)
            else:
                if answer.status in _DIVIDE:
                    return count + await self._divide(entities, answer, written, outcome, exactly)
                left, refused = self._judge(entities, answer, outcome)
                why = answer.problem()
            landed = {e["id"] for e in entities} - {e["id"] for e in left} - refused
            await self._advance(landed, written)
            count += len(landed)
            entities = left
            if entities and attempt < self._api.attempts:
                await self._api.pause(attempt)
        if not entities:
            return count
        raise HubError(
            f"{len(entities)} entities were not written: {why}",
            code="broker.failing",
            hint=f"see the broker's log for the first of them: {entities[0]['id']}",
            retry=True,
        )

    async def _divide(
        self,
        entities: Sequence[Entity],
        answer: Answer,
        written: Written,
        outcome: Outcome,
        exactly: bool,
    ) -> int:
        """A batch was refused whole: its halves are tried, down to the entity that is at fault."""
        if len(entities) == 1:
            outcome.refused.append(Refusal(entities[0], answer.status, answer.problem()))
            return 0
        middle = len(entities) // 2
        first = await self._upsert(entities[:middle], written, outcome, exactly=exactly)
        return first + await self._upsert(entities[middle:], written, outcome, exactly=exactly)

    def _judge(
        self, entities: Sequence[Entity], answer: Answer, outcome: Outcome
    ) -> tuple[list[Entity], set[str]]:
        """(what has to be sent again, the ids refused for good)."""
        if answer.status in _DONE:
            return [], set()
        if answer.status != 207:
            raise HubError(
                f"the broker answered {answer.status} to a batch: {answer.problem()}",
                code="broker.answer",
                hint="check the URL and the tenant; 404 means that one of them does not exist",
                retry=True,
            )
        by_id = {entity["id"]: entity for entity in entities}
        again: list[Entity] = []
        refused: set[str] = set()
        for identity, status, problem in entry_errors(answer.body):
            entity = by_id.pop(identity, None)
            if entity is None:
                continue
            if status >= 500 or status in (408, 409, 429):
                again.append(entity)
            else:
                refused.add(identity)
                outcome.refused.append(Refusal(entity, status, problem))
        return again, refused

    async def _advance(self, identities: Iterable[str], written: Written) -> None:
        await self._memory.advance(
            {k: at for i in identities for k, at in written.get(i, {}).items()}
        )

    async def _not_held(self, entities: Sequence[Entity], *, exactly: bool = False) -> list[Entity]:
        current = await self._current(entities)
        return [e for e in entities if not holds(current.get(e["id"]), e, exactly=exactly)]

    async def _left(
        self, entities: Sequence[Entity], doubt: Unsure, *, exactly: bool
    ) -> list[Entity]:
        """What an attempt without an answer has not written; where that cannot be seen, the next one finds out."""
        if exactly:
            return await self._not_held(entities, exactly=True)
        left, hidden = await self._in_doubt(entities)
        if hidden:
            raise _unsure(doubt)
        return left

    async def _in_doubt(self, entities: Sequence[Entity]) -> tuple[list[Entity], list[Entity]]:
        """Of what an earlier attempt may have written: (what it has not, what live values hide from sight)."""
        current = await self._current(entities)
        hidden = [e for e in entities if veiled(current.get(e["id"]), e)]
        seen = [e for e in entities if e not in hidden]
        return [e for e in seen if not holds(current.get(e["id"]), e)], hidden

    async def _current(self, entities: Sequence[Entity]) -> dict[str, Entity]:
        """The broker's current state of these entities, by id."""
        held: dict[str, Entity] = {}
        for request in requests_of([{"id": e["id"], "type": e["type"]} for e in entities]):
            try:
                answer = await self._api.post(
                    QUERY, {"type": "Query", "entities": request}, limit=str(len(request))
                )
            except Unsure as doubt:
                raise _unsure(doubt) from doubt
            if answer.status == 404:  # the tenant does not exist yet
                continue
            if answer.status != 200 or not isinstance(answer.body, list):
                raise _unsure(Unsure(f"the query was answered with {answer.status}"))
            held |= {entity["id"]: entity for entity in answer.body}
        return held


def _unsure(doubt: Unsure) -> HubError:
    return HubError(
        f"it is not known what the broker wrote: {doubt.why}",
        code="broker.unsure",
        hint="the batch is asked about and completed at the next attempt",
        retry=True,
    )
