"""Evaluates what the client sends: a table of nodes that refer to each other, with functions as values."""

from __future__ import annotations

import inspect

from tests.services.earth.values import EarthError


class Expression:
    """One expression.

    A node that holds no argument of an enclosing function is worked out once, however many others refer to it.
    """

    def __init__(self, body, functions, context):
        self.body, self.nodes, self.root = body, body["values"], body["result"]
        self.functions, self.context = functions, context
        self.done, self.open = {}, {}

    def value(self):
        return self.named(self.root, {})

    def named(self, name, scope):
        if name not in self.nodes:
            raise EarthError(f"Invalid expression: no value named '{name}'.")
        if self.is_open(name):
            return self.of(self.nodes[name], scope)
        if name not in self.done:
            self.done[name] = self.of(self.nodes[name], {})
        return self.done[name]

    def is_open(self, name):
        """Whether a node needs arguments of a function around it."""
        if name not in self.open:
            self.open[name] = bool(self.arguments(self.nodes[name]))
        return self.open[name]

    def arguments(self, node):
        match node:
            case {"argumentReference": name}:
                return {name}
            case {"valueReference": name}:
                return self.arguments(self.nodes[name])
            case {"functionDefinitionValue": {"body": body, "argumentNames": names}}:
                return self.arguments(self.nodes[body]) - set(names)
            case dict():
                return set().union(*(self.arguments(each) for each in node.values())) if node else set()
            case list():
                return set().union(*(self.arguments(each) for each in node)) if node else set()
        return set()

    def of(self, node, scope):  # noqa: PLR0911 - one for each kind of node
        match node:
            case {"constantValue": value}:
                return value
            case {"valueReference": name}:
                return self.named(name, scope)
            case {"argumentReference": name}:
                return scope[name]
            case {"arrayValue": {"values": values}}:
                return [self.of(value, scope) for value in values]
            case {"dictionaryValue": {"values": values}}:
                return {key: self.of(value, scope) for key, value in values.items()}
            case {"functionDefinitionValue": {"argumentNames": names, "body": body}}:
                return lambda *given: self.named(body, {**scope, **dict(zip(names, given, strict=True))})
            case {"functionInvocationValue": {"functionName": "Image.changeProj", "arguments": given}}:
                return self.moved(scope=scope, **given)
            case {"functionInvocationValue": {"functionName": name} as call}:
                return self.called(name, {k: self.of(v, scope) for k, v in call.get("arguments", {}).items()})
        raise EarthError(f"emulator: a node with {sorted(node)} is not emulated")

    def moved(self, input, srcProj, dstProj, scope):
        """Work an image out on the ground that the pixels of a request come from."""
        if scope:
            raise EarthError("emulator: changeProj within a function is not emulated")
        source, target = (self.of(each, scope) for each in (srcProj, dstProj))
        return Expression(self.body, self.functions, self.context.moved(source, target)).of(input, {})

    def called(self, name, given):
        function = self.functions.get(name)
        if function is None:
            raise EarthError(f"emulator: the function {name} is not emulated")
        known = inspect.signature(function).parameters
        unknown = set(given) - set(known)
        if unknown:
            raise EarthError(f"emulator: {sorted(unknown)} of {name} is not emulated")
        if "context" in known:
            given = {**given, "context": self.context}
        return function(**given)
