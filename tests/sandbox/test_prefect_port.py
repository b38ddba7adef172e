"""Two sandboxes that start at the same time do not take each other's Prefect server for their own."""

import socket

from sandbox.prefect_server import reserved_port


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_port_is_had_by_one_at_a_time() -> None:
    wanted = free()
    with reserved_port(wanted) as first, reserved_port(wanted) as second:
        assert first == wanted
        assert second not in (0, wanted)
    with reserved_port(wanted) as again:
        assert again == wanted


def test_a_port_where_something_listens_is_passed_over() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = int(other.getsockname()[1])
        with reserved_port(taken) as chosen:
            assert chosen not in (0, taken)
