"""The order of measurements: A B C, B C A, C A B, … so that no subject always has the same place."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

Subject = TypeVar("Subject")


def rounds(subjects: Sequence[Subject], count: int) -> Iterator[tuple[int, Subject]]:
    """Yield (round, subject), with each subject once in each of `count` rounds."""
    for number in range(count):
        turn = number % len(subjects) if subjects else 0
        for subject in (*subjects[turn:], *subjects[:turn]):
            yield number, subject
