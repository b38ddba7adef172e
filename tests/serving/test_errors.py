"""What an error keeps of where it came from."""

import subprocess
import sys
from pathlib import Path

PICKLED = """
import pickle
import tblib.pickling_support
from serving.errors import InputError, StoreError

tblib.pickling_support.install()


def refused():
    raise ValueError("x-amz-security-token: marked-secret")


def told(cause):
    try:
        refused()
    except ValueError as error:
        raise StoreError("It is refused.", fix="Ask.", code="store.refused") from (error if cause else None)


for cause in (True, False):
    try:
        told(cause)
    except StoreError as error:
        kept = pickle.dumps(error)
    assert b"marked-secret" not in kept
    again = pickle.loads(kept)
    assert (str(again), again.fix, again.code) == ("It is refused. Ask.", "Ask.", "store.refused")
try:
    refused()
except ValueError as error:
    assert b"marked-secret" in pickle.dumps(InputError(str(error))), "what is said is kept"
"""


def test_an_error_that_is_kept_tells_its_words_and_not_what_it_came_from() -> None:
    # In a process of its own: what Dask does to exceptions cannot be undone.
    subprocess.run([sys.executable, "-c", PICKLED], check=True, cwd=Path(__file__).parents[2])
