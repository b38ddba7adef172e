"""A byte-level BPE tokenizer of a few hundred English words, and the chat templates, for the sandbox's models."""

import functools
import json

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

_TEXT = """
the of and to in is that for it with as was on by at from are this be or have an which not but they all one
were when we there can more if no time out so up what about its into than them only other new some could these
two may then do first any like my now over such our even most me state after also made many must before back
see through way where get much go well your know should down people year because come good each those work
life being world still house day part water place long little hand high light small large open early young
story paper river ocean garden morning evening winter summer music letter window mountain forest village city
bridge road ship train engine signal measure number figure table result answer question reason method system
model layer weight cache token batch stream server cluster node region bucket object record release version
change order value range point line field frame block branch commit plan watch ready healthy slow fast quiet
bright clear simple careful honest steady narrow wide deep cold warm green blue silver golden distant near
every under above between around against without within during until while again always never often perhaps
together apart forward walks writes reads holds turns carries keeps finds brings leaves begins follows answers
opens closes moves waits rests grows falls rises shines remembers understands describes explains promises
teacher student writer sailor farmer doctor driver painter neighbour friend family child mother father sister
brother stone glass iron copper bread salt honey apple wheat rain snow wind cloud storm star moon sun
"""

WORDS = tuple(_TEXT.split())
"""What the models can say: their output rows favour these words over every other token."""

SPECIAL = {
    "qwen": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    "llama": ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
}
"""Special tokens of each family, in the order of their identifiers."""

_CHAT = {
    "qwen": (
        "{%- for message in messages -%}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
        "'<|im_end|>\\n' }}{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
    ),
    "llama": (
        "{{- bos_token -}}{%- for message in messages -%}{{ '<|start_header_id|>' + message['role'] + "
        "'<|end_header_id|>\\n\\n' + message['content'] + '<|eot_id|>' }}{%- endfor -%}{%- if add_generation_prompt "
        "-%}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif -%}"
    ),
}


@functools.cache
def tokenizer(family: str) -> Tokenizer:
    """The family's tokenizer; the same bytes on every machine."""
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=2,
        show_progress=False,
        special_tokens=list(SPECIAL[family]),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    # Twice each, so that every word becomes one token; in a fixed order, so that merges of equal count do too.
    built.train_from_iterator([f" {word} {word}" for word in sorted(WORDS)], trainer=trainer)
    return built


def word_ids(family: str) -> list[int]:
    """Identifiers of the tokens that are whole words with their leading space."""
    ids = (tokenizer(family).token_to_id("Ġ" + word) for word in sorted(WORDS))
    return [number for number in ids if number is not None]


def bos_eos(family: str) -> tuple[int | None, int]:
    """Identifiers of the first token of a text (None: the family has none) and of the one that ends an answer."""
    special = SPECIAL[family]
    ids = {token: int(tokenizer(family).token_to_id(token) or 0) for token in special}
    return (ids[special[0]], ids["<|eot_id|>"]) if family == "llama" else (None, ids["<|im_end|>"])


def tokenizer_files(family: str, *, max_length: int, chat: bool) -> dict[str, bytes]:
    """The files that a repository carries for its tokenizer.

    Args:
        family: ``qwen`` or ``llama``.
        max_length: Longest text in tokens.
        chat: Whether there is a chat template; base models have none.
    """
    special = SPECIAL[family]
    names = {"eos_token": special[-1], "pad_token": special[0]}
    if family == "llama":
        names = {"bos_token": special[0], "eos_token": special[-1], "pad_token": special[1]}
    config: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        **names,
    }
    if chat:
        config["chat_template"] = _CHAT[family]
    return {
        "tokenizer.json": tokenizer(family).to_str().encode(),
        "tokenizer_config.json": json.dumps(config, indent=2).encode(),
        "special_tokens_map.json": json.dumps(names, indent=2).encode(),
    }
