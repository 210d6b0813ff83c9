"""The pool of pipes."""

import os
import resource

import pytest

from stagedoor.relay import pipes as pipes_module
from stagedoor.relay.pipes import PipePool


def test_a_pipe_given_back_empty_is_used_again() -> None:
    pool = PipePool(1 << 20, 4)
    first = pool.take()
    assert first is not None
    assert first.size == 1 << 20
    pool.give(first)
    assert pool.take() is first
    pool.give(first)
    pool.close_free()
    assert pool._open == 0


def test_a_pipe_that_still_holds_a_tunnels_bytes_is_never_used_again() -> None:
    pool = PipePool(65536, 1)
    first = pool.take()
    assert first is not None
    os.write(first.write_fd, b"secret")
    first.full = 6
    pool.give(first)
    second = pool.take()
    assert second is not None
    with pytest.raises(BlockingIOError):
        os.read(second.read_fd, 6)
    pool.give(second)
    pool.close_free()


def test_no_more_than_the_limit_are_open() -> None:
    pool = PipePool(65536, 2)
    taken = [pool.take() for _ in range(3)]
    assert [pipe is not None for pipe in taken] == [True, True, False]
    for pipe in taken[:2]:
        assert pipe is not None
        pool.give(pipe)
    pool.close_free()
    assert pool._open == 0


def test_a_smaller_pipe_is_taken_where_the_large_one_is_not_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """EPERM as a user gets it over fs.pipe-max-size or fs.pipe-user-pages-soft; root never does."""
    real = pipes_module.fcntl.fcntl

    def strict(fd: int, command: int, argument: int = 0) -> int:
        if command == pipes_module.fcntl.F_SETPIPE_SZ and argument > 1 << 18:
            raise PermissionError(1, "Operation not permitted")
        return int(real(fd, command, argument))

    monkeypatch.setattr(pipes_module.fcntl, "fcntl", strict)
    pool = PipePool(1 << 20, 1)
    pipe = pool.take()
    assert pipe is not None
    assert pipe.size == 1 << 18
    pool.give(pipe)
    pool.close_free()


def test_without_descriptors_there_is_no_pipe_and_no_error() -> None:
    pool = PipePool(65536, 4)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        assert pool.take() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(lowest)
    assert not pool.is_ready(), "it does not ask the kernel again at every byte"
