"""A digest of what code does, blind to where it stands: a move leaves it as it is.

`python -m benchmarks.shared.digest` prints that of the package, and of all that each script's
stored results come from. Compare what it prints before and after a move.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path


def digest(files: Iterable[Path]) -> str:
    """Return a short digest of the statements at the top of Python files, in any order.

    Comments, docstrings, layout, imports and the names of files do not count, so code can be moved
    from file to file. What is renamed counts, and so does the order inside a class or a function.
    """
    statements = sorted({text for path in files for text in statements_of(path)})
    return hashlib.sha256("\n\n".join(statements).encode()).hexdigest()[:12]


def statements_of(path: Path) -> list[str]:
    """Return the statements at the top of a file, without imports, comments and docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        for block in ("body", "orelse", "finalbody"):
            if isinstance(getattr(node, block, None), list):
                setattr(
                    node,
                    block,
                    [statement for statement in getattr(node, block) if not _silent(statement)],
                )
    return [ast.unparse(node) for node in tree.body]


def _silent(node: ast.stmt) -> bool:
    """Return whether a statement is an import, also below `if TYPE_CHECKING:`, or a bare string."""
    if isinstance(node, ast.If):
        return not node.orelse and all(map(_silent, node.body))
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Import | ast.ImportFrom)


if __name__ == "__main__":
    from benchmarks.shared.store import SCRIPTS, code_state, package_folder

    package = package_folder()
    print("package", digest(package.rglob("[!_]*.py")))
    for script in SCRIPTS:
        for pruned in (True, False):
            state = code_state({"script": script, "pruned": pruned})
            print(script, "pruned" if pruned else "plain", state)
