"""Which files are staged by default, and why the others are not."""

from huggingface_hub.utils._paths import filter_repo_objects
from hypothesis import given
from hypothesis import strategies as st

from staging.hub import HubFile
from staging.selection import Selection, select

PATHS = [
    ".gitattributes",
    "config.json",
    "metal/model.bin",
    "model-00001-of-00001.safetensors",
    "original/consolidated.00.pth",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "vae/diffusion_pytorch_model.bin",
    "vae/diffusion_pytorch_model.safetensors",
    "voice/embedding.pth",
]
FILES = [HubFile(path, 1, "0" * 40) for path in PATHS]


def selected(selection: Selection) -> set[str]:
    return {file.path for file in select(FILES, selection)[0]}


def test_defaults_leave_out_vendor_folders_and_duplicated_weights() -> None:
    left_out = {file.path: file.reason for file in select(FILES, Selection())[1]}
    assert left_out == {
        "metal/model.bin": "matches an ignored pattern",
        "original/consolidated.00.pth": "matches an ignored pattern",
        "pytorch_model.bin": "the same weights are there as safetensors",
        "pytorch_model.bin.index.json": "the same weights are there as safetensors",
        "vae/diffusion_pytorch_model.bin": "the same weights are there as safetensors",
    }


def test_every_file_is_either_selected_or_skipped() -> None:
    for selection in (Selection(), Selection(allow=("*.json",)), Selection(ignore=()), Selection(duplicates=True)):
        kept, skipped = select(FILES, selection)
        assert sorted([file.path for file in kept] + [file.path for file in skipped]) == PATHS


def test_patterns_match_across_folders_as_on_the_hub() -> None:
    assert selected(Selection(allow=("*.safetensors",))) == {
        "model-00001-of-00001.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    }


def test_everything_can_be_had() -> None:
    assert selected(Selection(ignore=(), duplicates=True)) == set(PATHS)


PATTERNS = st.lists(st.text("ab*?[]!/.\\", max_size=6), max_size=3)


@given(st.lists(st.text("ab/.\\", min_size=1, max_size=6)), PATTERNS, PATTERNS)
def test_patterns_mean_what_they_mean_to_huggingface_hub(paths: list[str], allow: list[str], ignore: list[str]) -> None:
    files = [HubFile(path, 1, "0" * 40) for path in dict.fromkeys(paths)]
    kept, _ = select(files, Selection(tuple(allow), tuple(ignore), duplicates=True))
    theirs = filter_repo_objects([file.path for file in files], allow_patterns=allow or None, ignore_patterns=ignore)
    assert [file.path for file in kept] == list(theirs)
