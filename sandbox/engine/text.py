"""Choosing words: the next token is the one whose output row fits the decayed sum of the embeddings so far.

That is no transformer, but it depends on the prompt, the tokenizer and the weights alone: other weights give another
answer, the same weights always the same one.
"""

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from sandbox.engine.model import Model

_DECAY = np.float32(0.7)
_BLOCK = 16_384
_RECENT = 12
_SHORTEST, _LONGEST = 8, 48


class TextModel:
    """A model that can answer.

    Args:
        model: The loaded weights and tokenizer.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._tokenizer = Tokenizer.from_str(model.tokenizer_json.decode())
        self._allowed = self._printable()
        self._lock = threading.Lock()

    def encode(self, text: str) -> list[int]:
        """Tokens of a text."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text of some tokens."""
        text: str = self._tokenizer.decode(ids)
        return text

    @property
    def chat_template(self) -> str | None:
        """The tokenizer's chat template; base models have none."""
        template = self._model.tokenizer_config.get("chat_template")
        return str(template) if template else None

    def render_chat(self, template: str, messages: list[dict[str, Any]]) -> str:
        """The prompt that a chat becomes.

        Raises:
            jinja2.TemplateError: The template refuses the messages.
        """
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = json.dumps
        names = {name: value for name, value in self._model.tokenizer_config.items() if name.endswith("_token")}
        tokens = {name: value["content"] if isinstance(value, dict) else value for name, value in names.items()}
        rendered: str = environment.from_string(template).render(
            messages=messages, add_generation_prompt=True, **{"bos_token": "", "eos_token": "", **tokens}
        )
        return rendered

    def generate(self, prompt: list[int], limit: int) -> Iterator[tuple[int, str | None]]:
        """Choose tokens one by one.

        Args:
            prompt: Tokens of the prompt.
            limit: Most tokens.

        Yields:
            Each token, and why the answer ends with it: None, ``stop`` or ``length``.
        """
        state = np.zeros(self._model.embedding.shape[1], np.float32)
        for token in prompt[-256:]:
            state = _DECAY * state + self._embedding(token)
        chosen: list[int] = []
        while True:
            token = self._next(state, chosen[-_RECENT:])
            chosen.append(token)
            state = _DECAY * state + self._embedding(token)
            ends = len(chosen) >= _LONGEST or (len(chosen) >= _SHORTEST and token % 11 == 0)
            reason = "stop" if ends else "length" if len(chosen) >= limit else None
            yield token, reason
            if reason:
                return

    def _embedding(self, token: int) -> npt.NDArray[np.float32]:
        row: npt.NDArray[np.float32] = self._model.embedding.rows(token, token + 1)[0]
        return row

    def _next(self, state: npt.NDArray[np.float32], recent: list[int]) -> int:
        norm = float(np.linalg.norm(state)) or 1.0
        direction = state / np.float32(norm)
        best, best_score = int(self._allowed[0]), -np.inf
        count = self._model.output.shape[0]
        with self._lock:  # a large vocabulary is widened block by block: not many times at once
            for start in range(0, count, _BLOCK):
                scores = self._model.output.rows(start, min(start + _BLOCK, count)) @ direction
                ids = self._allowed[(self._allowed >= start) & (self._allowed < start + _BLOCK)]
                ids = ids[~np.isin(ids, recent)]
                if len(ids):
                    place = int(np.argmax(scores[ids - start]))
                    if scores[ids[place] - start] > best_score:
                        best, best_score = int(ids[place]), float(scores[ids[place] - start])
        return best

    def _printable(self) -> npt.NDArray[np.int64]:
        """Tokens whose text is made of visible characters: never a special one, never half of a character."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=False)
        known = self._model.output.shape[0]
        ids = [number for number in vocabulary.values() if number < known]
        texts = self._tokenizer.decode_batch([[number] for number in ids])
        words = [number for number, text in zip(ids, texts, strict=True) if len(text.strip()) > 1 and _visible(text)]
        return np.array(sorted(words) or sorted(ids), np.int64)


def _visible(text: str) -> bool:
    return text.isprintable() and "\ufffd" not in text and any(character.isalpha() for character in text)
