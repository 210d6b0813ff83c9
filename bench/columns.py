"""The layout of a benchmark's table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One measure. With `against`, its ratio to that subject's value of the same round is shown too."""

    measure: str
    unit: str
    digits: int
    against: str | None = None


@dataclass(frozen=True)
class Table:
    """A benchmark's table. `first` is the header of the column of subjects.

    The plot shows the first column, with a pane for each case; with `plot_columns` it has a pane for
    each column.
    """

    benchmark: str
    title: str
    first: str
    columns: tuple[Column, ...]
    plot_columns: bool = False
