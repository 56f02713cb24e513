"""What is said of each cause: a title, what was seen, and what to change so that it stops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.core.kinds import Cause


@dataclass(frozen=True, slots=True)
class CauseText:
    """The words for one cause."""

    title: str
    """The cause in a few words."""
    seen: str
    """What was seen, as a sentence without its end; the evidence follows it."""
    next_step: str
    """What to change, mostly in LiteLLM."""


CAUSE_TEXTS: Mapping[Cause, CauseText] = {
    Cause.NOTHING_ARRIVED: CauseText(
        "No event arrived in the whole window",
        "Lago got no event of this code in the window, nor near it",
        'Check that LiteLLM has success_callback: ["lago"] and LAGO_API_EVENT_CODE, LAGO_API_BASE and '
        "LAGO_API_KEY: with a variable missing the callback sends nothing.",
    ),
    Cause.NOTHING_IN_COMMON: CauseText(
        "Spend logs and events have nothing in common",
        "Calls have no events, and events of the same subscriptions no calls",
        "Check LAGO_API_BASE and LAGO_API_KEY (is it another organization's?) and DATABASE_URL: both must be of one "
        "gateway.",
    ),
    Cause.SILENCE: CauseText(
        "Lago received nothing for a while",
        "Between two instants no event at all reached Lago, while calls ended whose subscriptions usually have events",
        "The callback makes one attempt and never repeats it, so an outage of Lago, or of the network between, "
        "loses every event. Backfill; alert on Lago's availability.",
    ),
    Cause.RUSH: CauseText(
        "Events lost in busy minutes",
        "Minutes with far more calls than usual lost a far greater share of events than the others",
        "LiteLLM gives up a callback after 20 seconds, and under load they queue. Add gateway replicas or "
        "workers, or spread the load; backfill.",
    ),
    Cause.USER_OUTSIDE_THE_BODY: CauseText(
        "The user is named where the callback does not look",
        "Only these senders' events are lost, while other senders' events arrive in the same minutes",
        "With LAGO_API_CHARGE_BY=end_user_id the callback takes user in the request body only, while the spend "
        "log also takes the header x-litellm-end-user-id and, on /v1/messages, metadata.user_id. Have these "
        "callers send user in the body, or charge by key, team or user.",
    ),
    Cause.CALL_TYPE_NOT_SENT: CauseText(
        "A call type has no events",
        "None of the calls of these types has an event",
        "LiteLLM's callback fails on some answers (speech) or is not called (some streams). Upgrade LiteLLM, or "
        "keep backfilling.",
    ),
    Cause.CACHE_HITS_NOT_SENT: CauseText(
        "Cache hits have no events",
        "None of the window's cache hits has an event",
        "If cache hits are free for your customers, set RECONCILE_BILL_CACHE_HITS=false.",
    ),
    Cause.EVENT_WITHOUT_TOKENS: CauseText(
        "Events without their tokens",
        "The event exists but lacks the property that is billed, by call type",
        "LiteLLM's callback writes token counts for chat and embeddings only. The report names those that "
        "RECONCILE_TOP_UP=true completes; for new traffic prefer chat completions where you can.",
    ),
    Cause.PROPERTY_NEVER_SENT: CauseText(
        "No event carries the property that is billed",
        "The billable metric sums a property that no event of its code has",
        "Correct the metric's field_name in Lago, or what the sender sends: LiteLLM's callback sends "
        "prompt_tokens, completion_tokens, total_tokens and response_cost.",
    ),
    Cause.PART_OF_THE_TOKENS: CauseText(
        "Only a part of the tokens is billed",
        "The event bills exactly one side of what was used",
        "Compare RECONCILE_METER and the metric's field_name: one counts the total, the other a part.",
    ),
    Cause.COUNTED_OTHERWISE: CauseText(
        "A sender counts otherwise than LiteLLM",
        "Calls have events of other counts beside them, or as many events lack a call as calls lack one, by payer",
        "Compare such a call with its event: RECONCILE_METER must count what the sender does, or the sender be "
        "corrected. Send and credit nothing of these before.",
    ),
    Cause.REPEATED_TRANSACTION_ID: CauseText(
        "A transaction id was used for another content",
        "The event of this id says other than the spend log, by call type",
        "The sender reuses ids, or RECONCILE_ID_TEMPLATE is not how it makes them.",
    ),
    Cause.WRONG_CHARGE_BY: CauseText(
        "Gateway and job charge by different values",
        "The event names the value of another column of the same spend log",
        "Set LAGO_API_CHARGE_BY here as the gateway has it, or correct it there.",
    ),
    Cause.SHARED_KEY: CauseText(
        "LiteLLM logs the wrong user for shared keys",
        "Lago has these keys' calls under several subscriptions, the spend logs under one",
        "LiteLLM 1.60 to 1.90 keeps a key's first end user. Upgrade to 1.100 or later, set "
        "user_api_key_cache_ttl: 0, or charge by key, team or user. These are never sent.",
    ),
    Cause.NO_SUBSCRIPTION_IN_EVENT: CauseText(
        "Events name no subscription",
        "The event is in Lago under no subscription, by call type",
        "LiteLLM before 1.44.18 sent external_customer_id, which Lago ignores: upgrade. Else the sender leaves "
        "the subscription empty.",
    ),
    Cause.BLANKS_AROUND_THE_NAME: CauseText(
        "Events name a subscription with blanks around it",
        "The event's subscription begins or ends with a blank or a line break, and LiteLLM logs no user so",
        "LiteLLM strips user for its spend log, and its callback sends it as it came: let callers send it without.",
    ),
    Cause.NO_USER: CauseText(
        "Requests name nobody to charge",
        "The spend log names nobody, by call type",
        "Have callers send user in the body, or charge by key, team or user, which every request has.",
    ),
    Cause.NOT_IN_MAPPING_FILE: CauseText(
        "The mapping file lacks them",
        "The mapping file does not name their source",
        "Add these sources to RECONCILE_MAPPING_FILE.",
    ),
    Cause.TIME_ZONE: CauseText(
        "Times are off by a time zone",
        "Events of equal content lie at one constant distance from their calls",
        "LiteLLM before 1.61 stores local time: set RECONCILE_SOURCE_TIME_ZONE (and RECONCILE_SOURCE_UTC_SINCE "
        "after an upgrade).",
    ),
    Cause.LATE_EVENT: CauseText(
        "Events came late",
        "An event of equal content came after the time that RECONCILE_LATE allows",
        "Find what delays them; if such delays are usual, raise RECONCILE_LATE.",
    ),
    Cause.OTHER_MODEL_NAME: CauseText(
        "The model has another name in Lago",
        "An event of equal quantities at the same time names another model",
        "Add the pairs that mean one model to RECONCILE_ALIAS_FILE.",
    ),
    Cause.RESTART: CauseText(
        "The gateway stopped before it wrote its spend logs",
        "Bursts of events that no spend log explains, no longer than the gateway keeps its spend logs in memory",
        "Spend logs wait up to 30 seconds in memory: SIGTERM loses them before LiteLLM 1.90, SIGKILL always. "
        "Upgrade, and raise terminationGracePeriodSeconds.",
    ),
    Cause.REPEATED_REQUEST_ID: CauseText(
        "Several calls share one request id",
        "LiteLLM's daily tables count more requests than there are spend logs",
        "A provider that repeats response ids (some self-hosted servers) leaves one spend log for several calls. "
        "Have it make ids unique. Lago is right here.",
    ),
    Cause.SPEND_LOGS_GONE: CauseText(
        "Spend logs are gone",
        "LiteLLM's daily tables count requests of a day, source and model that no spend log is left of",
        "Lengthen LiteLLM's maximum_spend_logs_retention_period or unset disable_spend_logs, and run sooner. Lago is "
        "right here.",
    ),
    Cause.SENT_TWICE: CauseText(
        "One call was sent twice",
        "A second event of the same content follows the first within a minute, by call type",
        "LiteLLM 1.53 to 1.90 sends image, rerank, transcription, moderation and /v1/messages calls twice: "
        "upgrade. Else look for a second sender or a retry with a new id. Credit it in Lago.",
    ),
    Cause.EXCLUDED_SPEND_LOG: CauseText(
        "Lago bills calls that take no part here",
        "The event stands for a spend log that was excluded, by reason",
        "Cache hits: set RECONCILE_BILL_CACHE_HITS as the gateway bills. Health checks and internal calls: keep "
        "them from the callback, or charge by end user.",
    ),
    Cause.UNATTRIBUTED_SPEND_LOG: CauseText(
        "Lago knows the user that the spend log lacks",
        "The event stands for a spend log that names nobody",
        "disable_end_user_cost_tracking blanks the spend log's end user: unset it, or charge by key, team or user.",
    ),
    Cause.UNREADABLE_TIME: CauseText(
        "The event's time cannot be read",
        "Lago lists the event without a readable timestamp",
        "Look at the sender: milliseconds taken for seconds look like this.",
    ),
    Cause.NOT_BILLED: CauseText(
        "Lago does not bill it",
        "Lago took these events and bills none of them",
        "Do what next_step in discrepancies.csv says; do not send them again.",
    ),
    Cause.UNEXPLAINED: CauseText(
        "Unexplained",
        "No pattern fits",
        "Look at single requests with litellm-lago explain REQUEST_ID.",
    ),
}
