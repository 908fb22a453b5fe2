"""What a Prefect server does by itself: dead runs are seen, started again, and told of.

Three automations, each kept under its name; only runs of our deployments (tag `epa`) are touched.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from pydantic import SecretStr

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import AutomationCore

TAG = "epa"
WEBHOOK = "epa-webhook"
# A heartbeat comes every 30 s (deploy/prefect.yaml): three are missing.
SILENCE = timedelta(seconds=90)
# At once, the new state would meet a worker that is still busy with the old one, and kill it.
PAUSE = timedelta(seconds=60)
# Starts that a crash may follow and be made good; the third one is the last.
AGAIN_AFTER = ("1", "2")
_OURS = {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}
_RUN = {"prefect.resource.id": "prefect.flow-run.*"}
_EACH = {"prefect.resource.id"}


def zombies() -> AutomationCore:
    """A run that was not heard of for too long, since its machine is gone, counts as crashed."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    seconds = int(SILENCE.total_seconds())
    return AutomationCore(
        name="epa-zombies",
        description=f"A run without a sign of life for {seconds} s is marked Crashed.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match=_RUN,
            match_related=_OURS,
            for_each=_EACH,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(state=StateType.CRASHED, message=f"no heartbeat for {seconds} s")
        ],
    )


def crashed_again() -> AutomationCore:
    """A run that crashed is queued again after a pause, twice at most."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    seconds = int(PAUSE.total_seconds())
    others = ("Scheduled", "AwaitingRetry", "Late", "Pending", "Running", "Completed", "Cancelled")
    return AutomationCore(
        name="epa-crashed-again",
        description=f"A run that crashed is queued again after {seconds} s; "
        f"a run has {len(AGAIN_AFTER) + 1} starts in all.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={"prefect.flow-run.Crashed"},
            expect={f"prefect.flow-run.{name}" for name in others},
            match=_RUN | {"prefect.run-count": list(AGAIN_AFTER)},
            match_related=_OURS,
            for_each=_EACH,
            threshold=1,
            within=PAUSE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.SCHEDULED,
                name="AwaitingRetry",
                message=f"queued again {seconds} s after a crash",
            )
        ],
    )


# tojson: texts of flow runs, which people and errors write, stay texts.
_PAYLOAD = """{
 "text": {{ ("epa: " ~ flow_run.name ~ " " ~ flow_run.state.name) | tojson }},
 "flow_run": {{ flow_run.name | tojson }},
 "id": {{ (flow_run.id | string) | tojson }},
 "state": {{ flow_run.state.name | tojson }},
 "message": {{ (flow_run.state.message or "") | tojson }},
 "tags": {{ flow_run.tags | tojson }}
}"""


def told(block: UUID) -> AutomationCore:
    """A run that failed or crashed is told to the webhook of a block; at least once."""
    from prefect.events.actions import CallWebhook
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    return AutomationCore(
        name=WEBHOOK,
        description="A run that failed or crashed is told to the webhook.",
        trigger=EventTrigger(
            posture=Posture.Reactive,
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            match=_RUN,
            match_related=_OURS,
            for_each=_EACH,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[CallWebhook(block_document_id=block, payload=_PAYLOAD)],
    )


def save_webhook(url: SecretStr) -> UUID:
    """Keep the address in a Prefect block, where it is shown to nobody; the block's id."""
    from prefect.blocks.webhook import Webhook

    block: Any = Webhook(method="POST", url=url).save(WEBHOOK, overwrite=True)
    return cast("UUID", block)  # it is a coroutine in an event loop only


def apply(client: SyncPrefectClient, wanted: AutomationCore) -> str:
    """Create the automation, or change the one of that name; `created`, `changed` or `as it is`."""
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        return "created"
    first, *twins = found
    for twin in twins:
        client.delete_automation(twin.id)
    if _facts(first) == _facts(wanted):
        return "as it is"  # an update would forget the runs it is waiting for
    client.update_automation(first.id, wanted)
    return "changed"


def _facts(automation: Any) -> Any:
    """What an automation says, without what the server adds to it."""
    tree = automation.model_dump(mode="json", include={"description", "enabled", "trigger"})
    actions = [action.model_dump(mode="json") for action in automation.actions]
    return _without_ids({**tree, "actions": actions})


def _without_ids(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: _without_ids(v) for k, v in node.items() if k != "id"}
    if isinstance(node, list):  # most are sets, in any order
        return sorted(map(_without_ids, node), key=repr)
    return node
