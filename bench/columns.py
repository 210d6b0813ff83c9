"""What a benchmark's table shows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One measure. `against` names the subject whose value of the same round it is divided by."""

    measure: str
    unit: str
    digits: int
    against: str | None = None


@dataclass(frozen=True)
class Table:
    """`first` heads the column of subjects.

    The plot shows the first column, with a pane for each case; or, where `plot_columns` says so, a
    pane for each column.
    """

    benchmark: str
    title: str
    first: str
    columns: tuple[Column, ...]
    plot_columns: bool = False
