"""What LiteLLM's call types are: a name alone decides only where the spend log itself shows no usage.

The names are those of `litellm.types.utils.CallTypes` (1.106 to 1.110) and of functions beside it that log under their
own name. A type that is not here is unknown: with usage it counts as usage and is told, without any it is no inference.
"""

from __future__ import annotations

from enum import StrEnum


class CallClass(StrEnum):
    """What the spend logs of a call type stand for."""

    INFERENCE = "inference"
    """A call that is priced by its tokens."""
    OTHERWISE_PRICED = "otherwise_priced"
    """A call that may be priced by something else than tokens: images, characters, seconds, pages, searches."""
    READING = "reading"
    """Reads or manages what another call made, and may be logged with that call's usage."""
    MANAGEMENT = "management"
    """Files, jobs, containers and the like: no usage of its own, unless its spend log has tokens."""


_INFERENCE = """
    completion text_completion embedding anthropic_messages responses compact_responses create_interaction
    generate_content generate_content_stream pass_through_endpoint llm_passthrough_route
    run_thread run_thread_stream send_message decisions systemone extraction adapter_completion
"""
_OTHERWISE_PRICED = """
    image_generation image_edit image_variation moderation transcription speech rerank search ocr
    create_video video_generation video_remix video_edit video_extension video_create_character
    vector_store_search ingest query run_code code_interpreter_tool call_mcp_tool
    realtime_calls realtime_translation_calls
"""
_READING = """
    get_responses delete_responses cancel_responses list_input_items
    get_interaction delete_interaction cancel_interaction
    vector_store_create vector_store_retrieve vector_store_list vector_store_update vector_store_delete
    vector_store_file_create vector_store_file_list vector_store_file_retrieve vector_store_file_content
    vector_store_file_update vector_store_file_delete
"""
_MANAGEMENT = """
    create_batch retrieve_batch cancel_batch list_batches
    create_file file_retrieve file_delete file_list file_content file_content_streaming
    create_fine_tuning_job cancel_fine_tuning_job list_fine_tuning_jobs retrieve_fine_tuning_job
    get_assistants create_assistants delete_assistant create_thread get_thread add_message get_messages
    video_retrieve video_content video_list video_retrieve_job video_status video_delete video_get_character
    create_container list_containers retrieve_container delete_container list_container_files upload_container_file
    retrieve_container_file retrieve_container_file_content delete_container_file
    create_sandbox delete_sandbox list_mcp_tools
    create_realtime_client_secret create_realtime_transcription_session create_realtime_translation_client_secret
    create_skill list_skills get_skill delete_skill
    create_eval list_evals get_eval update_eval delete_eval cancel_eval
    create_run list_runs get_run cancel_run delete_run
"""
# Spelled unlike all others.
_OWN_SPELLING = {
    "_arealtime": CallClass.INFERENCE,
    "_realtime": CallClass.INFERENCE,
    "_aresponses_websocket": CallClass.INFERENCE,
    "_responses_websocket": CallClass.INFERENCE,
    "a_add_message": CallClass.MANAGEMENT,
}
_NAMES = {
    CallClass.INFERENCE: _INFERENCE,
    CallClass.OTHERWISE_PRICED: _OTHERWISE_PRICED,
    CallClass.READING: _READING,
    CallClass.MANAGEMENT: _MANAGEMENT,
}

CALL_TYPES = {
    prefix + name: call_class for call_class, names in _NAMES.items() for name in names.split() for prefix in ("", "a")
} | _OWN_SPELLING
"""Call type, in its plain and its asynchronous form, to its class."""

READINGS = tuple(name for name, kind in CALL_TYPES.items() if kind is CallClass.READING)
"""The call types that may be logged with another call's usage."""

RESPONSE_MAKERS = ("responses", "aresponses", "create_interaction", "acreate_interaction")
"""The call types that make what a reading reads; made in the background, without usage."""

NOT_INFERENCE = tuple(name for name, kind in CALL_TYPES.items() if kind in (CallClass.READING, CallClass.MANAGEMENT))
"""The call types that read or manage."""
