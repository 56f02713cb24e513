"""Billable metric expressions: arithmetic over an event's properties, as far as the tests need Lago's language."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, DecimalException

_OPERATORS: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
}
_ROUNDINGS = {"round": ROUND_HALF_UP, "ceil": ROUND_CEILING, "floor": ROUND_FLOOR}


class ExpressionError(ValueError):
    """The expression cannot be evaluated for this event; the message is the one Lago answers with."""

    def __init__(self, reason: str) -> None:
        """Take the evaluator's reason."""
        super().__init__(f"expression_evaluation_failed: {reason}")


def evaluate(expression: str, properties: Mapping[str, object]) -> Decimal:
    """Return the value of `event.properties.a + 2`-like arithmetic with + - * / and round, ceil and floor."""
    try:
        return _value(ast.parse(expression, mode="eval").body, properties)
    except (SyntaxError, DecimalException) as error:
        raise ExpressionError(f"Failed to parse expression: {expression}") from error


def _value(node: ast.expr, properties: Mapping[str, object]) -> Decimal:
    match node:
        case ast.Constant(value=int() | float() as number):
            return Decimal(str(number))
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="event"), attr="properties"), attr=name):
            return _property(name, properties)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, properties)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            return _OPERATORS[type(operator)](_value(left, properties), _value(right, properties))
        case ast.Call(func=ast.Name(id=name), args=[argument, *digits], keywords=[]) if name in _ROUNDINGS:
            places = int(_value(digits[0], properties)) if digits else 0
            return _value(argument, properties).quantize(Decimal(1).scaleb(-places), rounding=_ROUNDINGS[name])
        case _:
            raise ExpressionError(f"Unsupported expression: {ast.unparse(node)}")


def _property(name: str, properties: Mapping[str, object]) -> Decimal:
    if name not in properties:
        raise ExpressionError(f"Variable: {name} not found")
    try:
        return Decimal(str(properties[name]))
    except DecimalException as error:
        raise ExpressionError(f"Variable: {name} is not a number") from error
