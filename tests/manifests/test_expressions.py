"""Conditions: what they find is what plain three-valued logic finds, and nothing else is run."""

from __future__ import annotations

import operator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.inspection.expressions import ExpressionError, read_condition

ROWS = [
    {"n": 0, "a.x": 0.2, "a.y": 1.0, "t": "alpha", "b": True, "l": [1.0]},
    {"n": 1, "a.x": 0.6, "a.y": None, "t": "beta", "b": False, "l": None},
    {"n": 2, "a.x": None, "a.y": -2.0, "t": None, "b": True, "l": [2.0]},
    {"n": 3, "a.x": 0.9, "a.y": 0.5, "t": "alphabet", "b": None, "l": []},
]
SCHEMA = pa.schema(
    [
        ("n", pa.int64()),
        ("a.x", pa.float64()),
        ("a.y", pa.float64()),
        ("t", pa.string()),
        ("b", pa.bool_()),
        ("l", pa.list_(pa.float32())),
    ]
)
TABLE = pa.Table.from_pylist(ROWS, SCHEMA)


def found(text: str) -> list[int]:
    return read_condition(text, SCHEMA).rows(TABLE)["n"].to_pylist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a.x < 0.6", [0]),
        ("a.x <= 0.6 and a.y > 0", [0]),
        ("0.5 < a.x < 1", [1, 3]),
        ("a.x * 10 - 1 > 4 or t == 'alpha'", [0, 1, 3]),
        ("abs(a.y) >= 1", [0, 2]),
        ("-a.y == 2", [2]),
        ("a.x / 0 > 1", [0, 1, 3]),
        ("n in (1, 3)", [1, 3]),
        ("t in ['beta']", [1]),
        ("t in ()", []),
        ("startswith(t, 'alpha')", [0, 3]),
        ("contains(t, 'bet')", [1, 3]),
        ("b", [0, 2]),
        ("b == False", [1]),
        ("l is not None", [0, 2, 3]),
        ("  \n a.x > 0.8  ", [3]),
        ("t != 'ä'", [0, 1, 3]),
    ],
)
def test_conditions_find_their_rows(text: str, rows: list[int]) -> None:
    assert found(text) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a.x < 0.6 or a.x >= 0.6", [0, 1, 3]),
        ("not a.x < 0.6", [1, 3]),
        ("not b", [1]),
        ("n not in (0, 1)", [2, 3]),
        ("t not in ('beta', 'alpha')", [3]),
        ("not contains(t, 'bet')", [0]),
        ("a.x + a.y != 7", [0, 3]),
        ("a.x is None", [2]),
        ("a.x + a.y is None", [1, 2]),
        ("a.x is None or a.x > 0.8", [2, 3]),
    ],
)
def test_missing_is_never_true(text: str, rows: list[int]) -> None:
    assert found(text) == rows


@pytest.mark.parametrize(
    ("text", "column", "told"),
    [
        ("a.x < 0.6 and a.z > 1", 15, "no column a.z; did you mean a."),
        ("  a.x <", 8, "cannot be read"),
        ("", 1, "cannot be read"),
        ("a.x", 1, "compare it with something"),
        ("t < 5", 5, "is a number, but is compared with a text"),
        ("a.x == None", 8, "write 'is None'"),
        ("l == 1", 1, "is a list"),
        ("b < True", 1, "no order"),
        ("a.x is 5", 8, "'is' goes with None only"),
        ("n in 5", 6, "in brackets"),
        ("n in (1, 'a')", 10, "is a text, but has to be a number"),
        ("open('x')", 1, "functions abs, startswith, contains only"),
        ("t.upper() == 'A'", 1, "functions abs"),
        ("abs(n, 1) > 0", 1, "abs takes 1 value"),
        ("startswith(t, t)", 15, "a text in quotes"),
        ("(lambda: 1)() == 1", 2, "functions abs"),
        ("n ** 9 > 1", 1, "BinOp is not part of a condition"),
        ("[x for x in t]", 1, "ListComp is not part"),
        ("t == f'{n}'", 6, "JoinedStr is not part"),
        ("t[0] == 'a'", 1, "Subscript is not part"),
        ("t == 'ä' and zz == 1", 14, "no column zz"),
        ("a.x < 1\nand zz == 1", None, "cannot be read"),
        (f"n < {'9' * 400}", 5, "beyond 64-bit floats"),
        ("n == 1j", 6, "no number"),
        ("not " * 90 + "b", None, "nested deeper"),
        ("-" * 1500 + "n > 1", None, ""),
        ("(" * 900 + "b" + ")" * 900, None, "cannot be read"),
        ("b and " * 500 + "b", None, "longer than"),
        ("b\0", None, "cannot be read"),
    ],
)
def test_what_is_no_condition_is_refused_with_its_place(
    text: str, column: int | None, told: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        found(text)
    assert told in str(caught.value)
    if column is not None:
        assert f"column {column}:" in str(caught.value)


WORDS = (
    "a.x a.y n t b l and or not in is None True ( ) [ ] , < <= == != > + - * / ** . 1 0.5 'al' "
    "abs( startswith( contains( __class__ __import__ lambda : if else await := { } @ ~ %"
)
words = st.sampled_from(WORDS.split())


@settings(max_examples=300, deadline=None)
@given(st.lists(words, max_size=14).map(" ".join) | st.text(max_size=30))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        rows = found(text)
    except ExpressionError as error:
        assert 0 <= error.column <= len(text) + 1
        return
    assert set(rows) <= {0, 1, 2, 3}


numbers = st.recursive(
    st.sampled_from(["n", "a.x", "a.y", "2", "0.5"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-*"), inner).map(" ".join).map("({})".format)
        | inner.map("abs({})".format)
    ),
    max_leaves=4,
)
truths = st.recursive(
    st.tuples(numbers, st.sampled_from(["<", "<=", ">", "==", "!="]), numbers).map(" ".join)
    | st.just("b")
    | numbers.map("{} is None".format),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join).map("({})".format)
        | inner.map("(not {})".format)
    ),
    max_leaves=6,
)


class Cell:
    """A value that may be missing, with the logic of three values in plain Python."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def compared(self, other: Cell, op: Any) -> Cell:
        both = self.value, other.value
        return Cell(None if None in both else op(*both))

    def __add__(self, other: Cell) -> Cell:
        return self.compared(other, operator.add)

    def __sub__(self, other: Cell) -> Cell:
        return self.compared(other, operator.sub)

    def __mul__(self, other: Cell) -> Cell:
        return self.compared(other, operator.mul)

    def __abs__(self) -> Cell:
        return Cell(None if self.value is None else abs(self.value))


def reference(text: str, row: dict[str, Any]) -> bool | None:
    """Evaluate a condition that this test made, three-valued, without pyarrow."""
    import ast

    def value(node: ast.expr) -> Any:
        match node:
            case ast.Constant():
                return Cell(node.value)
            case ast.Name() | ast.Attribute():
                return Cell(row[ast.unparse(node)])
            case ast.Call():
                return abs(value(node.args[0]))
            case ast.BinOp():
                names = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
                return names[type(node.op)](value(node.left), value(node.right))
            case ast.UnaryOp():
                inner = value(node.operand).value
                return Cell(None if inner is None else not inner)
            case ast.BoolOp():
                parts = [value(part).value for part in node.values]
                ends = isinstance(node.op, ast.Or)
                if any(part is ends for part in parts):
                    return Cell(ends)
                return Cell(None if None in parts else not ends)
            case ast.Compare(ops=[ast.Is()]):
                return Cell(value(node.left).value is None)
            case ast.Compare():
                names = {
                    ast.Lt: operator.lt,
                    ast.LtE: operator.le,
                    ast.Gt: operator.gt,
                    ast.Eq: operator.eq,
                    ast.NotEq: operator.ne,
                }
                left, right = value(node.left), value(node.comparators[0])
                return left.compared(right, names[type(node.ops[0])])
        raise AssertionError(ast.dump(node))

    return value(ast.parse(text, mode="eval").body).value


@settings(max_examples=200, deadline=None)
@given(truths)
def test_conditions_agree_with_three_valued_logic_row_by_row(text: str) -> None:
    assert found(text) == [row["n"] for row in ROWS if reference(text, row) is True]
