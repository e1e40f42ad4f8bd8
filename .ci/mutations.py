"""Mistakes that can be made in a file: statements left out, conditions turned round, limits off by one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
_CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}


class Mutant(NamedTuple):
    """``old`` stands at a place of ``file``; ``new`` takes it. Who passes none of ``lines`` cannot notice."""

    file: str
    lines: range
    start: int
    end: int
    old: str
    new: str

    def applied(self, text: bytes) -> bytes:
        return text[: self.start] + self.new.encode() + text[self.end :]

    def __str__(self) -> str:
        old, new = (" ".join(text.split())[:90] for text in (self.old, self.new))
        return f"{self.file}:{self.lines.start}: {old}  ->  {new}"


def mutants_of(file: str, text: bytes) -> Iterator[Mutant]:
    """All that can be made of a file."""
    begins = [0]
    for line in text.splitlines(keepends=True):
        begins.append(begins[-1] + len(line))
    for node, new in _walk(ast.parse(text), None):
        start = begins[node.lineno - 1] + node.col_offset
        end = begins[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        lines = range(node.lineno, (node.end_lineno or 0) + 1)
        yield Mutant(file, lines, start, end, text[start:end].decode(), new)


def _walk(node: ast.AST, parent: ast.AST | None) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    if isinstance(node, ast.stmt):
        yield from ((node, new) for new in _statement(node))
    if isinstance(node, ast.expr):
        yield from ((node, f"({new})") for new in _expression(node, parent))
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "exc", "cause") or isinstance(
            node, ast.JoinedStr
        ):
            continue  # no behaviour, or words of a message
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child, node)


def _statement(node: ast.stmt) -> Iterator[str]:
    match node:
        case (
            ast.Expr(value=ast.Call())
            | ast.AugAssign()
            | ast.Raise()
            | ast.Continue()
            | ast.Break()
            | ast.Delete()
        ):
            yield "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "pass"
        case ast.Return(value=ast.Constant(value=None | False | 0 | "") | None):
            yield "pass"
        case ast.Return():
            yield "return None"


def _expression(node: ast.expr, parent: ast.AST | None) -> Iterator[str]:
    turned = isinstance(parent, ast.If | ast.While | ast.IfExp) and node is parent.test
    if turned or (isinstance(parent, ast.comprehension) and node in parent.ifs):
        yield f"not ({ast.unparse(node)})"
        turned = True
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARED:
            if not (turned and isinstance(op, ast.Eq | ast.NotEq | ast.Is | ast.IsNot | ast.In | ast.NotIn)):
                yield ast.unparse(ast.Compare(left, [_COMPARED[type(op)]()], [right]))
        case ast.BoolOp(op=op, values=values):
            yield ast.unparse(ast.BoolOp(ast.And() if isinstance(op, ast.Or) else ast.Or(), values))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _COMPUTED and not _words(left, right):
            yield ast.unparse(ast.BinOp(left, _COMPUTED[type(op)](), right))
        case ast.Constant(value=bool() as value):
            yield repr(not value)
        case ast.Constant(value=int() | float() as value):
            yield repr(value + 1)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in _CALLED:
            yield ast.unparse(ast.Call(ast.Name(_CALLED[name]), args, keywords))


def _words(*nodes: ast.expr) -> bool:
    """Whether text is put together: in other words it is another message."""
    return any(
        isinstance(n, ast.JoinedStr) or (isinstance(n, ast.Constant) and isinstance(n.value, str))
        for n in nodes
    )
