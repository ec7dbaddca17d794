"""Sums of products as matrix products, and reductions of what was only repeated."""

from __future__ import annotations

import numpy as np

from ..graph import Graph, Node

__all__ = ["run"]


def run(graph: Graph) -> bool:
    """Batches of matrices that share their right factor become one product of all rows."""

    def rule(node: Node) -> Node | None:
        if node.op is not np.matmul or node.shape is None:
            return None
        x, y = node.args
        if not (isinstance(x, Node) and isinstance(y, Node)) or x.shape is None or y.shape is None:
            return None
        if len(x.shape) > 2 and len(y.shape) == 2:
            rows = int(np.prod(x.shape[:-1]))
            flat = Node(np.reshape, (x, (rows, x.shape[-1])), None, (rows, x.shape[-1]), x.dtype, line=node.line)
            product = Node(np.matmul, (flat, y), None, (rows, y.shape[1]), node.dtype, line=node.line)
            product.formula = flat.formula = node.formula
            return node.like(np.reshape, product, node.shape)
        return None

    return graph.rewrite(rule)
