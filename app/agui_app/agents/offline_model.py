"""`offline/script`: a model for ADK that plays a script instead of asking a service. No key, no network, no chance.

The registered class is found by ADK through the model's name, as any other model; nothing else in the application knows
which model it talks to.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any, ClassVar

from google.adk.flows.llm_flows.context._fencing import OTHER_AGENT_CONTEXT_PREAMBLE
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.models.registry import LLMRegistry
from google.genai import types

from agui_app.agents.script import Call, Script, ScriptError, ToolAnswer, react

AGENT_LABEL = "adk_agent_name"
_NOT_TOOLS = frozenset({"transfer_to_agent", "adk_request_confirmation"})


def last_words(contents: Sequence[types.Content]) -> tuple[str, list[ToolAnswer]]:
    """(what the user said last, tool results since then, oldest first).

    After a transfer ADK retells what other agents did as user text behind a fixed preamble; that is skipped.
    """
    answers: list[ToolAnswer] = []
    for content in reversed(contents):
        texts: list[str] = []
        for part in reversed(content.parts or []):
            response = part.function_response
            if response is not None and response.name not in _NOT_TOOLS:
                answers.append(ToolAnswer(str(response.name), dict(response.response or {})))
            if part.text and not part.thought:
                texts.append(part.text)
        if content.role == "user" and texts and texts[-1] != OTHER_AGENT_CONTEXT_PREAMBLE:
            return " ".join(reversed(texts)), answers[::-1]
    return "", answers[::-1]


def _agent_name(request: LlmRequest) -> str:
    labels = (request.config.labels or {}) if request.config else {}
    name = labels.get(AGENT_LABEL)
    if not name:
        raise ScriptError("the request does not say which agent asks")
    return str(name)


class OfflineModel(BaseLlm):  # type: ignore[misc]
    """Plays the script that `OfflineModel.script` was set to at start."""

    model: str = "offline/script"
    script: ClassVar[Script | None] = None

    @classmethod
    def supported_models(cls) -> list[str]:
        """Name patterns that ADK's registry resolves to this class."""
        return [r"offline/.*"]

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        """One turn: a function call, or text (in chunks when `stream`). Raises ScriptError."""
        script = OfflineModel.script
        if script is None:
            raise ScriptError("no script is loaded")
        words, answers = last_words(llm_request.contents)
        reaction = react(script, _agent_name(llm_request), words, answers)
        usage = types.GenerateContentResponseUsageMetadata(
            prompt_token_count=sum(len(str(c)) for c in llm_request.contents) // 4,
            candidates_token_count=len(str(reaction)) // 4,
        )
        if isinstance(reaction, Call):
            yield LlmResponse(
                content=types.Content(role="model", parts=[_call_part(reaction, llm_request)]), usage_metadata=usage
            )
            return
        if stream:
            for chunk in _chunks(reaction.text, script.words_per_chunk):
                yield LlmResponse(content=_text(chunk), partial=True)
                if script.pause_ms:
                    await asyncio.sleep(script.pause_ms / 1000)
        yield LlmResponse(content=_text(reaction.text), partial=False, usage_metadata=usage)


def _text(text: str) -> types.Content:
    return types.Content(role="model", parts=[types.Part(text=text)])


def _chunks(text: str, words: int) -> list[str]:
    parts = text.split(" ")
    groups = [" ".join(parts[i : i + words]) for i in range(0, len(parts), words)]
    return [group + (" " if i + 1 < len(groups) else "") for i, group in enumerate(groups)]


def _call_part(call: Call, request: LlmRequest) -> types.Part:
    """A call whose id depends on the conversation alone, so that a replay makes the same one."""
    seen: list[Any] = [c.model_dump(mode="json", exclude_none=True) for c in request.contents]
    digest = hashlib.sha256(json.dumps([seen, call.tool, call.arguments], sort_keys=True).encode()).hexdigest()
    return types.Part(
        function_call=types.FunctionCall(id=f"call-{digest[:24]}", name=call.tool, args=dict(call.arguments))
    )


def register(script: Script) -> None:
    """Makes `offline/...` model names play this script."""
    OfflineModel.script = script
    LLMRegistry.register(OfflineModel)
