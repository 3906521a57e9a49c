"""Reads the fact lists in `facts/`: tables, groups and pairs, plain text that a person can check.

- `NAME.table`: a header line, then one line per entity; `-` marks a cell that is not asked.
- `NAME.groups`: `value: key key key`.
- `NAME.pairs`: `key=value` items, many to a line.

Lines that begin with `#` are remarks.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "facts"

Pairs = list[tuple[str, str]]
"""(key, value) in the order of the file."""


def lines_of(path: Path) -> list[str]:
    """The lines of a data file without remarks and empty lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def read_table(name: str, key: str, value: str) -> Pairs:
    """Two columns of a table, without the rows where one of them is `-`.

    Raises:
        ValueError: the table has no such column, or a line has too many or too few cells.
    """
    path = FOLDER / name
    header, *rows = [line.split() for line in lines_of(path)]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(
                f"{path.name}: {' '.join(row)!r} has {len(row)} cells, the header has {len(header)}"
            )
    if key not in header or value not in header:
        raise ValueError(f"{path.name}: no column {key!r} or {value!r} (columns: {', '.join(header)})")
    at_key, at_value = header.index(key), header.index(value)
    return [(row[at_key], row[at_value]) for row in rows if "-" not in (row[at_key], row[at_value])]


def read_groups(name: str) -> Pairs:
    """(key, value) for every key of every group."""
    pairs: Pairs = []
    for line in lines_of(FOLDER / name):
        value, keys = line.split(":", 1)
        pairs += [(key, value.strip()) for key in keys.split()]
    return pairs


def read_pairs(name: str) -> Pairs:
    """The `key=value` items of a file."""
    items = [item.split("=", 1) for line in lines_of(FOLDER / name) for item in line.split()]
    return [(key, value) for key, value in items]


def sums() -> Pairs:
    """Sums of two digits from 1 to 9, written with 加."""
    return [(f"{a}加{b}", str(a + b)) for a in range(1, 10) for b in range(1, 10)]


def products() -> Pairs:
    """Products of two digits from 2 to 9, written with 乘."""
    return [(f"{a}乘{b}", str(a * b)) for a in range(2, 10) for b in range(2, 10)]


def read_facts(source: str) -> Pairs:
    """The pairs named by the `facts` line of a relation.

    Args:
        source: `NAME.table KEY -> VALUE`, `NAME.groups`, `NAME.pairs`, `NAME.pairs reversed`,
            `NAME.pairs both`, `sums` or `products`.
    Raises:
        ValueError: the source is none of these.
    """
    name, *rest = source.split()
    if name.endswith(".table") and len(rest) == 3 and rest[1] == "->":
        return read_table(name, rest[0], rest[2])
    if name.endswith(".groups") and not rest:
        return read_groups(name)
    if name.endswith(".pairs") and rest in ([], ["reversed"], ["both"]):
        pairs = read_pairs(name)
        backwards = [(value, key) for key, value in pairs]
        return {"": pairs, "reversed": backwards, "both": pairs + backwards}[" ".join(rest)]
    if source == "sums":
        return sums()
    if source == "products":
        return products()
    raise ValueError(f"facts {source!r}: not a table, groups, pairs, sums or products")
