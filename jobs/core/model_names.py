"""One documented normalisation of model names, so that both sides spell a model alike."""

from __future__ import annotations

from collections.abc import Mapping

# LiteLLM's provider names (litellm.LlmProviders, 1.109), which senders put before a model with a slash.
KNOWN_PROVIDERS = frozenset(
    """
    ai21 ai21_chat aiml aiohttp_openai amazon_nova anthropic anthropic_text assemblyai azure azure_ai azure_text
    baseten bedrock bedrock_mantle black_forest_labs bytez cerebras chutes clarifai cloudflare codestral cohere
    cohere_chat cometapi compactifai custom custom_openai dashscope databricks datarobot deepgram deepinfra
    deepseek elevenlabs empower fal_ai featherless_ai fireworks_ai friendliai galadriel gemini gigachat github
    github_copilot gradient_ai groq heroku hosted_vllm huggingface hyperbolic infinity jina_ai lambda_ai
    langgraph lemonade litellm_proxy llamafile lm_studio maritalk meta_llama minimax mistral moonshot morph
    nebius nlp_cloud novita nscale nvidia_nim nvidia_riva oci ollama ollama_chat oobabooga openai openai_like
    openrouter ovhcloud perplexity petals predibase recraft replicate runwayml sagemaker sagemaker_chat
    sambanova sap scaleway snowflake stability text-completion-codestral text-completion-openai together_ai
    topaz triton v0 vercel_ai_gateway vertex_ai vertex_ai_beta vllm volcengine voyage wandb watsonx watsonx_text
    xai xinference zai
    """.split()
)


def event_model(model: str, provider: str | None) -> str:
    """Return the model as LiteLLM's `lago` callback sends it: the spend log's, less its own provider prefix."""
    return model.removeprefix(f"{provider}/") if provider else model


class ModelNames:
    """Turns a model name into the key that both sides are compared and reported by."""

    def __init__(self, aliases: Mapping[str, str] | None = None) -> None:
        """Take a map from a name as some sender writes it to the name to count it under, in any case or spelling."""
        self._aliases = {_plain(name): _plain(meant) for name, meant in (aliases or {}).items()}

    def key(self, model: str) -> str:
        """Return the name in lower case, less one leading known provider, replaced by its alias if it has one."""
        plain = _plain(model)
        return self._aliases.get(plain, plain)


def _plain(model: str) -> str:
    lowered = model.lower()
    provider, slash, rest = lowered.partition("/")
    return rest if slash and rest and provider in KNOWN_PROVIDERS else lowered
