"""Finds where a module depends on the order of hashes: built-in `hash(`, and walks through sets.

Both change with PYTHONHASHSEED, so that two runs of one seed would differ. A set is what is written
as one (a literal, a comprehension, `set(...)`, an operation on one), and what the module annotates
or assigns as one: a name within its function, `self.name` within its class. What another module
makes is not seen.

`__hash__` may call `hash`: dictionaries need it, and they keep the order of insertion.
"""

import ast
import re


def set_walks(name: str, tree: ast.Module) -> list[str]:
    """Where this module depends on the order of hashes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            node.body = [
                inner
                for inner in node.body
                if not (isinstance(inner, ast.FunctionDef) and inner.name == "__hash__")
            ] or [ast.Pass()]
    visitor = _SetWalks(name)
    visitor.visit(tree)
    return visitor.broken


#: Calls whose result does not depend on the order of what they are given.
ORDER_FREE = {"all", "any", "frozenset", "len", "max", "min", "set", "sorted", "sum"}
#: Calls that walk through what they are given, in its order.
ORDER_BOUND = {"dict", "enumerate", "filter", "iter", "list", "map", "reversed", "tuple", "zip"}


class _SetWalks(ast.NodeVisitor):
    """One walk over a module; `broken` is what it found."""

    def __init__(self, name: str) -> None:
        self.broken: list[str] = []
        self._name = name
        self._names: list[set[str]] = [set()]
        self._attributes: list[set[str]] = [set()]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """A class has attributes of its own."""
        attributes: set[str] = set()
        for inner in ast.walk(node):
            if isinstance(inner, ast.AnnAssign) and _is_set_annotation(inner.annotation):
                match inner.target:
                    case ast.Attribute(value=ast.Name(id="self"), attr=attribute):
                        attributes.add(attribute)
                    case ast.Name(id=attribute):
                        attributes.add(attribute)
        self._attributes.append(attributes)
        self.generic_visit(node)
        self._attributes.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """A function has names of its own."""
        names = {
            argument.arg
            for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            if argument.annotation is not None and _is_set_annotation(argument.annotation)
        }
        self._names.append(names)
        for inner in ast.walk(node):
            match inner:
                case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                    if _is_set_annotation(annotation):
                        names.add(name)
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    if self._is_set(value):
                        names.add(name)
        self.generic_visit(node)
        self._names.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - the name that ast calls

    def visit_For(self, node: ast.For) -> None:
        """The loop."""
        self._walked(node.iter)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp | ast.DictComp) -> None:
        """Comprehensions that keep the order of what they walk through."""
        for part in node.generators:
            self._walked(part.iter)
        self.generic_visit(node)

    visit_DictComp = visit_ListComp  # noqa: N815 - the name that ast calls

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        """As a list, unless the call around it is free of order (`visit_Call` steps over those)."""
        for part in node.generators:
            self._walked(part.iter)
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        """Unpacking."""
        self._walked(node.value)
        self.generic_visit(node)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        """Delegation."""
        self._walked(node.value)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Built-in `hash`, and calls that walk through their arguments."""
        match node.func:
            case ast.Name(id="hash"):
                self._mark(node, "built-in hash() differs from process to process")
            case ast.Name(id=name) if name in ORDER_BOUND:
                for argument in node.args:
                    self._walked(argument)
            case ast.Attribute(attr="join" | "extend" | "fromkeys"):
                for argument in node.args:
                    self._walked(argument)
            case ast.Name(id=name) if name in ORDER_FREE:
                for argument in node.args:
                    if isinstance(argument, ast.GeneratorExp):
                        for part in argument.generators:
                            self.generic_visit(part)
                        self.visit(argument.elt)
                    else:
                        self.visit(argument)
                for keyword in node.keywords:
                    self.visit(keyword.value)
                return
        self.generic_visit(node)

    def _walked(self, node: ast.expr) -> None:
        if self._is_set(node):
            self._mark(node, "the order of a set depends on hashing: sort it")

    def _mark(self, node: ast.expr, what: str) -> None:
        self.broken.append(f"{self._name}:{node.lineno}: {what}")

    def _is_set(self, node: ast.expr) -> bool:
        match node:
            case ast.Set() | ast.SetComp() | ast.Call(func=ast.Name(id="set" | "frozenset")):
                return True
            case ast.Name(id=name):
                return any(name in names for names in self._names)
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                return any(name in attributes for attributes in self._attributes)
            case ast.BinOp(
                left=left, op=ast.BitAnd() | ast.BitOr() | ast.BitXor() | ast.Sub(), right=right
            ):
                return any(self._is_set(side) or _is_keys(side) for side in (left, right))
            case ast.Call(
                func=ast.Attribute(
                    value=value,
                    attr="union" | "intersection" | "difference" | "symmetric_difference" | "copy",
                )
            ):
                return self._is_set(value)
            case ast.IfExp(body=body, orelse=orelse):
                return self._is_set(body) or self._is_set(orelse)
        return False


def _is_keys(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and (
        isinstance(node.func, ast.Attribute) and node.func.attr in {"keys", "items"}
    )


def _is_set_annotation(node: ast.expr) -> bool:
    return bool(re.match(r"(set|frozenset|Set|AbstractSet|MutableSet)\b", ast.unparse(node)))
