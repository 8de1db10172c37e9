"""Codes of agents that a message may repeat without permission: documented sets, so that none of them can carry a text.

Error codes and guardrail rules are those of ag-ui-adk and of the sample application; interrupt reasons those of the
AG-UI documentation (https://docs.ag-ui.com/concepts/interrupts) and of ag-ui-adk; event types those of the protocol
(https://docs.ag-ui.com/concepts/events).
"""

from __future__ import annotations

RUN_ERRORS = frozenset(
    {
        "AGENT_ERROR",
        "APPROVAL_PENDING",
        "BACKGROUND_EXECUTION_ERROR",
        "EXECUTION_ERROR",
        "EXECUTION_TIMEOUT",
        "INSTANCE_LOST",
        "INSTANCE_STOPPING",
        "INTERRUPT_RESUME_REQUIRED",
        "NO_RESULT",
        "NO_TOOL_RESULTS",
        "PENDING_TOOL_CALLS",
        "RUN_TIMEOUT",
        "SESSION_LOOKUP_ERROR",
        "TOOL_RESULT_BUFFER_ERROR",
        "TOOL_RESULT_PROCESSING_ERROR",
        "UNKNOWN_INTERRUPT",
    }
)
INTERRUPT_REASONS = frozenset(
    {
        "approval",
        "confirmation",
        "human_approval",
        "input_required",
        "policy_hold",
        "tool_call",
        "upload_required",
    }
)
GUARDRAIL_RULES = frozenset(
    {
        "card_number",
        "off_topic",
        "personal_data",
        "prompt_injection",
        "refund_approval",
        "refund_limit",
        "session_budget",
        "tool_budget",
    }
)
EVENT_TYPES = frozenset(
    {
        "ACTIVITY_DELTA",
        "ACTIVITY_SNAPSHOT",
        "CUSTOM",
        "MESSAGES_SNAPSHOT",
        "META",
        "RAW",
        "REASONING_ENCRYPTED_VALUE",
        "REASONING_END",
        "REASONING_MESSAGE_CHUNK",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_MESSAGE_START",
        "REASONING_START",
        "RUN_ERROR",
        "RUN_FINISHED",
        "RUN_STARTED",
        "STATE_DELTA",
        "STATE_SNAPSHOT",
        "STEP_FINISHED",
        "STEP_STARTED",
        "TEXT_MESSAGE_CHUNK",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "TEXT_MESSAGE_START",
        "THINKING_END",
        "THINKING_START",
        "THINKING_TEXT_MESSAGE_CONTENT",
        "THINKING_TEXT_MESSAGE_END",
        "THINKING_TEXT_MESSAGE_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_CHUNK",
        "TOOL_CALL_END",
        "TOOL_CALL_RESULT",
        "TOOL_CALL_START",
    }
)
