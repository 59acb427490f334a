"""Tables with one column a concept and attribute, as Qualtrics exports them: which column is which."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from emoscale.concepts.columns import ATTRIBUTE, CONCEPT, RATER, RATER_IDS, find, is_one_of
from emoscale.errors import InputError, suggest
from emoscale.names import canonical
from emoscale.system.user_tables import UserTable, bare, is_empty, short, to_number

_OF_QUALTRICS = (
    "StartDate EndDate Status IPAddress Progress Finished RecordedDate RecipientLastName RecipientFirstName "
    "RecipientEmail ExternalReference LocationLatitude LocationLongitude DistributionChannel UserLanguage"
)
_NO_RATINGS = {bare(name) for name in (*_OF_QUALTRICS.split(), "Duration (in seconds)", *RATER_IDS)}
_IMPORT_ID = '{"ImportId"'
_DIVIDERS = (" - ", "_", ".", ":", "|", "/", "-", " ")
_FEWEST = 2
_SHOWN = 3

Pair = tuple[str, str]


@dataclass(frozen=True)
class WideColumns:
    """What the columns of a wide table hold.

    Parameters
    ----------
    rater : int or None
        The column that names the raters; None where only its rows do.
    pairs : dict of int to (str, str)
        Concept and attribute by column.
    header_lines : int
        Lines of the body that belong to the header.
    how : str
        What was taken for what.
    """

    rater: int | None
    pairs: dict[int, Pair]
    header_lines: int
    how: str


def read_wide_columns(
    table: UserTable, names: Collection[str], known: tuple[Collection[str], Collection[str]]
) -> WideColumns:
    """Find concept and attribute of every column.

    Parameters
    ----------
    table : UserTable
    names : collection of str
        Concepts of the study, as far as they are known.
    known : (collection of str, collection of str)
        Names that usually are concepts', and attributes'.

    Raises
    ------
    InputError
        If the columns are no combinations of concepts and attributes.
    """
    lines = _header_lines(table)
    rater = _rater_column(lines)
    columns = [i for i, name in enumerate(table.header) if i != rater and bare(name) not in _NO_RATINGS]
    pairs = next((pairs for pairs in _pairings(table, lines, columns) if _is_grid(pairs)), None)
    if pairs is None:
        raise InputError(_no_layout(table, [table.header[i] for i in columns]))
    swapped, sure = _is_swapped(lines, pairs, names, known)
    if swapped:
        pairs = [(second, first) for first, second in pairs]
    concepts, attributes = (list(dict.fromkeys(kind)) for kind in zip(*pairs, strict=True))
    how = (
        f"one column a concept and attribute: {len(concepts)} concepts ({_some(concepts)}) and {len(attributes)} "
        f"attributes ({_some(attributes)})"
    )
    if not sure:
        how += "; if these are the wrong way round, list the concepts in concepts.names"
    return WideColumns(rater, dict(zip(columns, pairs, strict=True)), len(lines) - 1 + _import_lines(table), how)


def has_two_header_lines(table: UserTable) -> bool:
    """Whether the first two lines begin as those do that name concept and attribute of each column."""
    if not table.rows:
        return False
    first, second = table.header[0], table.rows[0][1][0]
    below: dict[str, tuple[str, ...]] = {"": (*RATER, *ATTRIBUTE, *CONCEPT)}
    below |= dict.fromkeys(map(bare, CONCEPT), (*RATER, *ATTRIBUTE))
    below |= dict.fromkeys(map(bare, ATTRIBUTE), (*RATER, *CONCEPT))
    return is_one_of(second, below.get(bare(first), ()))


def _header_lines(table: UserTable) -> list[list[str]]:
    lines = [table.header]
    if table.rows:
        _, second = table.rows[0]
        words = [cell for cell in second if not is_empty(cell)]
        if words and sum(to_number(cell, table.decimal) is None for cell in words) * 2 > len(words):
            lines.append(second)
    return lines


def _import_lines(table: UserTable) -> int:
    """Whether Qualtrics' third line, of import ids, follows the two of the header."""
    return sum(any(cell.startswith(_IMPORT_ID) for cell in row) for _, row in table.rows[1:2])


def _rater_column(lines: list[list[str]]) -> int | None:
    for names in (RATER, RATER_IDS):
        for line in reversed(lines):
            if found := find(line, names):
                return found[0]
    return None


def _pairings(table: UserTable, lines: list[list[str]], columns: list[int]) -> Iterator[list[Pair]]:
    if len(lines) > 1:
        filled = _filled(lines[0])
        yield [(filled[i], lines[1][i]) for i in columns]
        yield from _splits([lines[1][i] for i in columns])
    if table.labels:
        yield from _splits([table.labels[i] for i in columns])
    yield from _splits([table.header[i] for i in columns])


def _filled(line: list[str]) -> list[str]:
    """Give cells that a spreadsheet merged with the one at their left its text."""
    filled: list[str] = []
    for cell in line:
        filled.append(cell or (filled[-1] if filled else ""))
    return filled


def _splits(texts: Sequence[str]) -> Iterator[list[Pair]]:
    for divider in _DIVIDERS:
        parts = [[part.strip() for part in text.split(divider)] for text in texts]
        if len({len(one) for one in parts}) == 1:
            varying = [column for column in zip(*parts, strict=True) if len(set(column)) > 1]
            if len(varying) == 2:
                yield list(zip(*varying, strict=True))
        if all(divider in text for text in texts):
            yield [_two(text.split(divider, 1)) for text in texts]
            yield [_two(text.rsplit(divider, 1)) for text in texts]


def _two(parts: list[str]) -> Pair:
    return parts[0].strip(), parts[1].strip()


def _is_grid(pairs: list[Pair]) -> bool:
    if not pairs or not all(first and second for first, second in pairs):
        return False
    firsts, seconds = ({canonical(name) for name in kind} for kind in zip(*pairs, strict=True))
    different = {(canonical(first), canonical(second)) for first, second in pairs}
    return min(len(firsts), len(seconds)) >= _FEWEST and len(firsts) * len(seconds) == len(pairs) == len(different)


def _is_swapped(
    lines: list[list[str]], pairs: list[Pair], names: Collection[str], known: tuple[Collection[str], Collection[str]]
) -> tuple[bool, bool]:
    """Whether the attribute comes first, and whether that is sure."""
    corner = [line[0] for line in lines]
    if is_one_of(corner[0], ATTRIBUTE) or is_one_of(corner[-1], CONCEPT):
        return True, True
    if is_one_of(corner[0], CONCEPT) or is_one_of(corner[-1], ATTRIBUTE):
        return False, True
    firsts, seconds = ({canonical(name) for name in kind} for kind in zip(*pairs, strict=True))
    for concepts, attributes in ((names, ()), known):
        usual_concepts, usual_attributes = ({canonical(name) for name in kind} for kind in (concepts, attributes))
        as_it_is = len(firsts & usual_concepts) + len(seconds & usual_attributes)
        swapped = len(seconds & usual_concepts) + len(firsts & usual_attributes)
        if as_it_is != swapped:
            return swapped > as_it_is, True
    return False, False


def _no_layout(table: UserTable, names: list[str]) -> str:
    near = suggest(CONCEPT[0], table.header)
    return (
        f"{table.path}, line 1: no column {CONCEPT[0]!r}{near}, and the columns ({_some(names)}) are not one a concept "
        f"and attribute; name columns {RATER[0]!r} and {CONCEPT[0]!r}, one row for both, or all like joy_valence"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(short, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
