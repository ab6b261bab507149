"""Conditions on the columns of a table, written by people: ``sync.confidence < 0.6 and not ...``.

The text is parsed with Python's ``ast`` and never evaluated: each node of the few kinds below
becomes a pyarrow expression, everything else is refused with its place.

=================  ==============================================================
comparisons        ``< <= > >= == !=``, chained too; ``in (..)``, ``not in (..)``
missing            ``column is None``, ``column is not None``
logic              ``and or not``
arithmetic         ``+ - * /`` and unary ``-``; numbers are 64-bit floats
functions          ``abs(number)``, ``startswith(text, 'a')``, ``contains(text, 'a')``
literals           numbers, texts, ``True``, ``False``
columns            by name, dots included: ``faces.height_px``
=================  ==============================================================

Missing is never true: a comparison, a function or arithmetic with a missing value is neither true
nor false, and neither is its ``not``; ``x < 5 or y > 2`` holds if one side does. Rows are found
where the whole is true, so a missing value is only found by ``is None``.
"""

from __future__ import annotations

import ast
import difflib
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import pyarrow as pa
import pyarrow.compute as pc

from manifests.errors import SchemaError

_MAX_LETTERS = 2000
_MAX_DEPTH = 60
"""Neither a person's condition; deeper nesting would exhaust the stack of a parser."""


class ExpressionError(SchemaError):
    """A condition cannot be read; the message shows where.

    Args:
        problem: what is wrong.
        text: the condition.
        column: place of the problem in it, from 0.
    """

    def __init__(self, problem: str, text: str, column: int) -> None:
        shown = text if len(text) <= 100 else f"{text[:97]}..."
        super().__init__(f"{shown!r}: column {column + 1}: {problem}")
        self.problem = problem
        self.column = column


class _Kind(Enum):
    NUMBER = "a number"
    TEXT = "a text"
    TRUTH = "true or false"
    LIST = "a list"
    NONE = "None"


@dataclass(frozen=True)
class _Value:
    """A part of the condition as a pyarrow expression, and what its values are."""

    expression: pc.Expression
    kind: _Kind


_COMPARISONS: dict[type[ast.cmpop], Callable] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: dict[type[ast.operator], Callable] = {
    ast.Add: pc.add,
    ast.Sub: pc.subtract,
    ast.Mult: pc.multiply,
    ast.Div: pc.divide,
}
_WITH_TEXT: dict[str, Callable] = {"startswith": pc.starts_with, "contains": pc.match_substring}


@dataclass(frozen=True)
class Condition:
    """A condition that was read.

    Attributes:
        expression: for ``Table.filter``; true, false or null for each row.
        columns: names of the columns it reads, in the order of their first use.
    """

    expression: pc.Expression
    columns: tuple[str, ...]

    def rows(self, table: pa.Table) -> pa.Table:
        """Return the rows for which the condition is true."""
        return table.filter(self.expression)


def read_condition(text: str, schema: pa.Schema) -> Condition:
    """Read a condition on the columns of a table.

    Args:
        text: the condition.
        schema: schema of the table.

    Returns:
        The condition.

    Raises:
        ExpressionError: it is none, or uses what is not there.
    """
    if len(text) > _MAX_LETTERS:
        raise ExpressionError(f"longer than {_MAX_LETTERS} letters", text, 0)
    start = len(text) - len(text.lstrip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        lines = text.strip().splitlines(keepends=True)
        within = sum(len(line) for line in lines[: (error.lineno or 1) - 1]) + (error.offset or 0)
        place = start + within - 1 if error.offset else len(text.rstrip())  # 0: it ends too soon
        raise ExpressionError(f"cannot be read: {error.msg}", text, place) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"cannot be read: {error or 'nested too deep'}", text, 0) from error
    reader = _Reader(text, start, schema)
    value = reader.read(tree.body, 0)
    if value.kind is not _Kind.TRUTH:
        found = f"is {value.kind.value}, but has to be true or false; compare it with something"
        raise ExpressionError(found, text, start)
    return Condition(value.expression, tuple(reader.columns))


class _Reader:
    """Turns the nodes of one condition into expressions."""

    def __init__(self, text: str, start: int, schema: pa.Schema) -> None:
        self._text = text
        self._start = start
        self._schema = schema
        self.columns: dict[str, None] = {}

    def read(self, node: ast.expr, depth: int) -> _Value:
        if depth > _MAX_DEPTH:
            raise self._error(node, f"nested deeper than {_MAX_DEPTH}")
        below = depth + 1
        match node:
            case ast.BoolOp(op=op, values=parts):
                parts_read = [self._of(part, below, _Kind.TRUTH) for part in parts]
                join = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
                joined = parts_read[0]
                for part in parts_read[1:]:
                    joined = join(joined, part)
                return _Value(joined, _Kind.TRUTH)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _Value(pc.invert(self._of(operand, below, _Kind.TRUTH)), _Kind.TRUTH)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return _Value(pc.negate(self._of(operand, below, _Kind.NUMBER)), _Kind.NUMBER)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                sides = [self._of(side, below, _Kind.NUMBER) for side in (left, right)]
                return _Value(_ARITHMETIC[type(op)](*sides), _Kind.NUMBER)
            case ast.Compare():
                return self._comparison(node, below)
            case ast.Call():
                return self._call(node, below)
            case ast.Constant():
                return self._literal(node)
            case ast.Name() | ast.Attribute():
                return self._column(node)
        raise self._error(
            node, f"{type(node).__name__} is not part of a condition; see `shards sample --help`"
        )

    def _of(self, node: ast.expr, depth: int, kind: _Kind) -> pc.Expression:
        value = self.read(node, depth)
        if value.kind is not kind:
            raise self._error(node, f"is {value.kind.value}, but has to be {kind.value}")
        return value.expression

    def _comparison(self, node: ast.Compare, depth: int) -> _Value:
        whole: pc.Expression | None = None
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            part = self._pair(left, op, right, depth)
            whole = part if whole is None else pc.and_kleene(whole, part)
            left = right
        assert whole is not None
        return _Value(whole, _Kind.TRUTH)

    def _pair(self, left: ast.expr, op: ast.cmpop, right: ast.expr, depth: int) -> pc.Expression:
        if isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                raise self._error(right, "'is' goes with None only; write == for values")
            is_missing = self.read(left, depth).expression.is_null()
            return is_missing if isinstance(op, ast.Is) else pc.invert(is_missing)
        first = self.read(left, depth)
        if isinstance(op, ast.In | ast.NotIn):
            found = self._is_in(first, left, right, depth)
            return found if isinstance(op, ast.In) else pc.invert(found)
        second = self.read(right, depth)
        for node, value in ((left, first), (right, second)):
            if value.kind is _Kind.NONE:
                raise self._error(node, "nothing equals None; write 'is None' or 'is not None'")
            if value.kind is _Kind.LIST:
                raise self._error(node, "is a list, which only 'is None' can be asked of")
        if first.kind is not second.kind:
            found = f"is {second.kind.value}, but is compared with {first.kind.value}"
            raise self._error(right, found)
        if first.kind is _Kind.TRUTH and not isinstance(op, ast.Eq | ast.NotEq):
            raise self._error(left, "true and false have no order; write == or !=")
        return _COMPARISONS[type(op)](first.expression, second.expression)

    def _is_in(self, value: _Value, left: ast.expr, right: ast.expr, depth: int) -> pc.Expression:
        if not isinstance(right, ast.Tuple | ast.List | ast.Set):
            raise self._error(right, "'in' takes values in brackets, as ('h264', 'vp9')")
        if value.kind in (_Kind.LIST, _Kind.NONE):
            raise self._error(left, f"is {value.kind.value}, which is in nothing")
        # Built of comparisons, so that a missing value is in no list and out of none.
        found = pc.and_kleene(value.expression == value.expression, pc.scalar(False))
        for item in right.elts:
            same = value.expression == self._of(item, depth, value.kind)
            found = pc.or_kleene(found, same)
        return found

    def _call(self, node: ast.Call, depth: int) -> _Value:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        known = ["abs", *_WITH_TEXT]
        if name not in known:
            raise self._error(node.func, f"there are the functions {', '.join(known)} only")
        num = 1 if name == "abs" else 2
        if len(node.args) != num or node.keywords:
            raise self._error(node, f"{name} takes {num} value{'s' if num > 1 else ''}")
        if name == "abs":
            return _Value(pc.abs(self._of(node.args[0], depth, _Kind.NUMBER)), _Kind.NUMBER)
        text, part = node.args
        if not (isinstance(part, ast.Constant) and isinstance(part.value, str)):
            raise self._error(part, f"{name} looks for a text in quotes")
        found = _WITH_TEXT[name](self._of(text, depth, _Kind.TEXT), pattern=part.value)
        return _Value(found, _Kind.TRUTH)

    def _literal(self, node: ast.Constant) -> _Value:
        value = node.value
        if value is None:
            return _Value(pc.scalar(pa.scalar(None, pa.null())), _Kind.NONE)
        if isinstance(value, bool):
            return _Value(pc.scalar(value), _Kind.TRUTH)
        if isinstance(value, int | float):
            try:
                return _Value(pc.scalar(float(value)), _Kind.NUMBER)
            except OverflowError:
                raise self._error(node, "a number beyond 64-bit floats") from None
        if isinstance(value, str) and value.isprintable():
            return _Value(pc.scalar(value), _Kind.TEXT)
        raise self._error(node, f"{value!r} is no number and no printable text")

    def _column(self, node: ast.expr) -> _Value:
        name = self._dotted(node)
        if name not in self._schema.names:
            near = difflib.get_close_matches(name, self._schema.names, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise self._error(node, f"no column {name}{hint}")
        self.columns.setdefault(name)
        kind = self._schema.field(name).type
        column = pc.field(name)
        if pa.types.is_boolean(kind):
            return _Value(column, _Kind.TRUTH)
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return _Value(column.cast(pa.float64(), safe=False), _Kind.NUMBER)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return _Value(column, _Kind.TEXT)
        return _Value(column, _Kind.LIST)

    def _dotted(self, node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            return f"{self._dotted(node.value)}.{node.attr}"
        if isinstance(node, ast.Name):
            return node.id
        raise self._error(node, "only names of columns have dots")

    def _error(self, node: ast.AST, problem: str) -> ExpressionError:
        # ast counts bytes within a line; a condition may hold other letters and line ends.
        lines = self._text.strip().splitlines(keepends=True)
        line, offset = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        before = "".join(lines[: line - 1])
        within = lines[line - 1].encode()[:offset].decode("utf-8", "replace") if lines else ""
        return ExpressionError(problem, self._text, self._start + len(before) + len(within))
