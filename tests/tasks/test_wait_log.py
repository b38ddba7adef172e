"""What of a wait reaches the log: news, and not every byte."""

from serving.readiness import Phase, Readiness
from tasks.wait import is_news, percent


def at(phase: Phase, message: str, share: float = 0.0, ready: int = 0) -> Readiness:
    return Readiness(False, phase, ready, 2, message, share=share)


def logged(*told: Readiness) -> list[str]:
    last: Readiness | None = None
    lines: list[str] = []
    for one in told:
        if is_news(last, one):
            lines.append(one.message)
            last = one
    return lines


def test_bytes_are_logged_every_tenth_and_states_at_once() -> None:
    fetching = [at(Phase.FETCHING, f"{number}%", number / 100) for number in range(0, 101, 2)]
    assert logged(*fetching) == [f"{number}%" for number in range(0, 101, 10)]
    waits = at(Phase.PENDING_NODE, "waits"), at(Phase.PENDING_NODE, "a node comes"), at(Phase.PULLING, "pulls")
    assert logged(*waits) == ["waits", "a node comes", "pulls"]
    assert logged(at(Phase.WARMING, "graphs 10%"), at(Phase.WARMING, "graphs 20%")) == ["graphs 10%"]
    assert logged(at(Phase.LOADING, "a"), at(Phase.LOADING, "b", ready=1)) == ["a", "b"]


def test_what_was_fetched_moves_the_bar() -> None:
    shown = [percent(at(Phase.FETCHING, "", share)) for share in (0.0, 0.5, 1.0)]
    assert shown == sorted(set(shown))
    assert shown[-1] <= percent(at(Phase.LOADING, ""))
