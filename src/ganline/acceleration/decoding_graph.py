"""One step of decoding as an ONNX graph made by hand: ONNX Runtime's fused operators, and drawing inside the graph.

    x        float32 [rows, 1, width]       vector of this position
    level    float32 [images, 1, 1]         Phi(z) of this token
    seen     int32 [rows], total int32 [1]  positions before this one; those and this one
    key_i, value_i  float32 [rows, heads, T, width / heads]   read and written in place: bind outputs to the same memory
    token    int32 [images, 1]
    next     float32 [rows, 1, width]       vector of the next position

rows = images, or 2 * images with guidance: conditions first, then "nothing". GroupQueryAttention turns, remembers and
attends in one node; with the residual sums in the norms a block is ten nodes, which is what batch 1 pays for. An int8
cache was a tenth slower; one graph of all T steps and a Loop were not tried (neither shares the caches' memory).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ganline.language.llama import NORM_EPS, Llama
from ganline.language.sections import DrawingConfig

MICROSOFT = "com.microsoft"
OPSETS = {"": 23, MICROSOFT: 1}
IR_VERSION = 11


@dataclass
class BlockArrays:
    """One block in float32; matrices are [inputs, outputs]."""

    norm: np.ndarray
    qkv: np.ndarray
    out: np.ndarray
    norm_after: np.ndarray
    gate: np.ndarray
    up: np.ndarray
    down: np.ndarray


@dataclass
class StepArrays:
    """All that a step multiplies with."""

    blocks: list[BlockArrays]
    norm: np.ndarray
    head: np.ndarray
    """Divided by the temperature."""
    embeddings: np.ndarray
    cos: np.ndarray
    sin: np.ndarray


def arrays_of(llm: Llama, *, temperature: float) -> StepArrays:
    """Copies of the language model's weights."""

    def plain(tensor: torch.Tensor) -> np.ndarray:
        return np.ascontiguousarray(tensor.detach().cpu().float().numpy())

    half = llm.size.width // llm.size.heads // 2
    blocks = []
    for block in llm.model.blocks:
        attention, mlp = block.self_attn, block.mlp
        qkv = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
        blocks.append(
            BlockArrays(
                norm=plain(block.input_layernorm.weight),
                qkv=plain(qkv.T),
                out=plain(attention.o_proj.weight.T),
                norm_after=plain(block.post_attention_layernorm.weight),
                gate=plain(mlp.gate_proj.weight.T),
                up=plain(mlp.up_proj.weight.T),
                down=plain(mlp.down_proj.weight.T),
            )
        )
    return StepArrays(
        blocks=blocks,
        norm=plain(llm.model.norm.weight),
        head=plain(llm.lm_head.weight[: llm.vocab].T / temperature),
        embeddings=plain(llm.model.embed_tokens.weight[: llm.vocab]),
        cos=plain(llm.cos[:, :half]),
        sin=plain(llm.sin[:, :half]),
    )


class Graph:
    """Nodes and constants in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def add(self, op: str, *inputs: str, outputs: int | list[str] = 1, domain: str = "", **attributes: Any) -> Any:
        """The name of a node's output; a list of names where `outputs` is not 1."""
        from onnx import helper

        name = f"{op}_{len(self.nodes)}"
        names = [f"{name}_{i}" for i in range(outputs)] if isinstance(outputs, int) else outputs
        self.nodes.append(helper.make_node(op, list(inputs), names, name=name, domain=domain, **attributes))
        return names[0] if outputs == 1 else names


Multiply = Callable[[Graph, str, str, np.ndarray], str]
"""(graph, x, name of the product, matrix [inputs, outputs]) -> the output's name."""


def multiply_floats(graph: Graph, x: str, name: str, matrix: np.ndarray) -> str:
    return str(graph.add("MatMul", x, graph.constant(name, matrix)))


def step_model(llm: Llama, arrays: StepArrays, drawing: DrawingConfig, multiply: Multiply) -> Any:
    """The onnx.ModelProto of one step."""
    from onnx import TensorProto, helper

    graph, heads, depth = Graph(), llm.size.heads, llm.size.width // llm.size.heads
    logits = add_logits(graph, arrays, heads=heads, multiply=multiply)
    add_drawing(graph, logits, arrays.embeddings, drawing)

    floats, ints = TensorProto.FLOAT, TensorProto.INT32
    vector: Any = ["rows", 1, llm.size.width]
    cache: Any = ["rows", heads, llm.num_tokens, depth]
    inputs = [
        ("x", floats, vector),
        ("level", floats, ["images", 1, 1]),
        ("seen", ints, ["rows"]),
        ("total", ints, [1]),
    ]
    outputs: list[tuple[str, int, Any]] = [("token", ints, ["images", 1]), ("next", floats, vector)]
    for i in range(llm.size.layers):
        for kind in ("key", "value"):
            inputs.append((f"{kind}_{i}", floats, cache))
            outputs.append((f"new_{kind}_{i}", floats, cache))
    made = helper.make_graph(
        graph.nodes,
        "step",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
        list(graph.constants.values()),
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)


def add_logits(graph: Graph, arrays: StepArrays, *, heads: int, multiply: Multiply) -> str:
    """Logits [rows, 1, vocab] of input `x`."""
    cos, sin = graph.constant("cos", arrays.cos), graph.constant("sin", arrays.sin)
    x = "x"
    y = graph.add("RMSNormalization", x, graph.constant("0.norm", arrays.blocks[0].norm), axis=-1, epsilon=NORM_EPS)
    after = [*(block.norm for block in arrays.blocks[1:]), arrays.norm]
    for i, (block, norm) in enumerate(zip(arrays.blocks, after, strict=True)):
        qkv = multiply(graph, y, f"{i}.qkv", block.qkv)
        y, *_ = graph.add(
            "GroupQueryAttention",
            *(qkv, "", "", f"key_{i}", f"value_{i}", "seen", "total", cos, sin),
            outputs=[f"{i}.attention", f"new_key_{i}", f"new_value_{i}"],
            domain=MICROSOFT,
            num_heads=heads,
            kv_num_heads=heads,
            do_rotary=1,
        )
        x, y = add_residual(graph, x, multiply(graph, y, f"{i}.out", block.out), f"{i}.norm_after", block.norm_after)
        up, gate = multiply(graph, y, f"{i}.up", block.up), multiply(graph, y, f"{i}.gate", block.gate)
        silu = graph.add("QuickGelu", gate, domain=MICROSOFT, alpha=1.0)
        down = multiply(graph, graph.add("Mul", silu, up), f"{i}.down", block.down)
        x, y = add_residual(graph, x, down, f"{i + 1}.norm", norm)
    return multiply(graph, y, "head", arrays.head)


def add_residual(graph: Graph, x: str, branch: str, name: str, norm: np.ndarray) -> tuple[str, str]:
    """x + branch, and its norm."""
    total = f"{name}.x"
    normed = graph.add(
        "SkipSimplifiedLayerNormalization",
        *(x, branch, graph.constant(name, norm)),
        outputs=[f"{name}.y", "", "", total],
        domain=MICROSOFT,
        epsilon=NORM_EPS,
    )
    return total, normed[0]


def add_drawing(graph: Graph, logits: str, embeddings: np.ndarray, drawing: DrawingConfig) -> None:
    """language/drawing.py in nodes: outputs `token` and `next`. The temperature is in the logits already."""
    from onnx import TensorProto

    vocab, last = len(embeddings), graph.constant("last", np.array([2], np.int64))
    if drawing.guidance != 1.0:
        told, nothing = graph.add("Split", logits, outputs=2, axis=0, num_outputs=2)
        gap = graph.add(
            "Mul", graph.add("Sub", told, nothing), graph.constant("guidance", np.float32(drawing.guidance))
        )
        logits = graph.add("Add", nothing, gap)
    if drawing.top_k is not None and drawing.top_k < vocab:
        best, _ = graph.add("TopK", logits, graph.constant("k", np.array([drawing.top_k], np.int64)), outputs=2)
        least = graph.add("ReduceMin", best, last, keepdims=1)
        never = graph.constant("never", np.float32(-np.inf))
        logits = graph.add("Where", graph.add("Less", logits, least), never, logits)
    cumulative = graph.add("CumSum", graph.add("Softmax", logits, axis=-1), graph.constant("axis", np.int64(2)))
    whole = graph.add("Gather", cumulative, graph.constant("end", np.array([vocab - 1], np.int64)), axis=2)
    below = graph.add("Less", cumulative, graph.add("Mul", "level", whole))
    graph.add("ReduceSum", graph.add("Cast", below, to=TensorProto.INT32), last, outputs=["token"], keepdims=0)
    table = graph.constant("embeddings", embeddings)
    if drawing.guidance == 1.0:
        graph.add("Gather", table, "token", outputs=["next"])
    else:
        vector = graph.add("Gather", table, "token")
        graph.add("Concat", vector, vector, outputs=["next"], axis=0)
