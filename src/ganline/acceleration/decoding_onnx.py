"""The teacher in ONNX Runtime: files written, files opened, images decoded.

A folder holds `step.onnx` and `step.int8.onnx` (decoding_graph.py), `decoder.onnx` (tokens -> pixels) and, where the
tokenizer's decoder multiplies, `decoder.int8.onnx`. The tables that conditions are looked up in lie in the step's file
as tensors that no node reads. Every step runs with its inputs and outputs bound beforehand: nothing is copied, and keys
and values are written where they are read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ganline.acceleration.decoding_graph import arrays_of, multiply_floats, step_model
from ganline.acceleration.decoding_int8 import evened, multiply_int8, peaks_of
from ganline.acceleration.export import EXAMPLES, read_model, traced, write_model
from ganline.acceleration.quantize import MULTIPLYING, quantize_graph
from ganline.errors import BundleError, ConfigError
from ganline.images import to_pixels
from ganline.language.config import HEAD
from ganline.language.drawing import phi
from ganline.language.teacher import MICRO_BATCH, Teacher
from ganline.models.spec import Generator

Form = Literal["onnx", "int8"]
STEP = {"onnx": "step.onnx", "int8": "step.int8.onnx"}
DECODER = {"onnx": "decoder.onnx", "int8": "decoder.int8.onnx"}
STARTS, PROMPTS = "table.starts", "table.prompts"
TABLES = (STARTS, PROMPTS)
FACTS = ("num_tokens", "num_classes", "prompt_dim", "rows_an_image")
ROWS = 16
"""Rows that are decoded together: their keys and values stay in the processor's cache. At batch 64 four times 16 take
a tenth (float32) to a fifth (int8) less time than 64 at once, at width 160; 8 and 32 are slower."""


def export_teacher(
    teacher: Teacher, folder: Path, *, calibration: tuple[torch.Tensor, torch.Tensor | None] | None = None
) -> dict[str, Path]:
    """Write the teacher's files and return them by name. Equal weights give equal bytes.

    `calibration` is noise [n, T] and conditions of images from which the int8 form learns its ranges: a hundred or
    more. Without it there is no int8 form.
    """
    teacher = teacher.eval()
    llm, drawing = teacher.llm, teacher.drawing
    depth = llm.size.width // llm.size.heads
    if depth % HEAD:
        raise ConfigError(
            f"attention heads are {depth} long",
            expected=f"a multiple of {HEAD} in ONNX Runtime",
            remedy="set llm.size.heads",
        )
    folder.mkdir(parents=True, exist_ok=True)
    arrays = arrays_of(llm, temperature=drawing.temperature)
    paths = {"step": folder / STEP["onnx"], "decoder": folder / DECODER["onnx"]}
    write_model(with_tables(step_model(llm, arrays, drawing, multiply_floats), teacher), paths["step"])
    export_decoder(teacher, paths["decoder"])
    if calibration is not None:
        z, condition = calibration
        tokens = teacher.tokens(z, condition)
        starts, rows = teacher.starts(condition, batch=len(z)), rows_an_image(teacher)
        even, peaks = evened(arrays, peaks_of(llm, starts, tokens.repeat(rows, 1)))
        paths["step.int8"] = folder / STEP["int8"]
        write_model(with_tables(step_model(llm, even, drawing, multiply_int8(peaks)), teacher), paths["step.int8"])
        if any(node.op_type in MULTIPLYING for node in read_model(paths["decoder"]).graph.node):
            paths["decoder.int8"] = folder / DECODER["int8"]
            quantize_graph(paths["decoder"], paths["decoder.int8"], {"tokens": tokens.cpu().numpy()})
    return paths


def files_of(folder: Path, form: Form) -> list[Path]:
    """The files that a form consists of: its step and its decoder."""
    decoder = folder / DECODER[form]
    return [folder / STEP[form], decoder if decoder.is_file() else folder / DECODER["onnx"]]


def rows_an_image(teacher: Teacher) -> int:
    return 1 if teacher.drawing.guidance == 1.0 else 2


@torch.no_grad()
def with_tables(model: Any, teacher: Teacher) -> Any:
    """The model with the tables of position 0 and what a reader must know of it."""
    from onnx import helper, numpy_helper

    llm = teacher.llm
    tables = {STARTS: llm.model.embed_tokens.weight[llm.vocab :]}  # the classes, then "nothing"
    if llm.prompt_proj is not None:
        tables[PROMPTS] = llm.prompt_proj.weight.T
    for name, table in tables.items():
        array = np.ascontiguousarray(table.detach().cpu().float().numpy())
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    facts = (llm.num_tokens, llm.num_classes, llm.prompt_dim, rows_an_image(teacher))
    helper.set_model_props(model, {name: str(value) for name, value in zip(FACTS, facts, strict=True)})
    return model


class Decoder(nn.Module):
    """tokens int64 [B, T] -> image uint8 [B, C, H, W]."""

    def __init__(self, tokenizer: Any):
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return to_pixels(self.tokenizer.decode(tokens))


def export_decoder(teacher: Teacher, path: Path) -> None:
    """The tokenizer's decoder as an ONNX file."""
    example, batch = torch.zeros(EXAMPLES, teacher.z_dim, dtype=torch.int64), torch.export.Dim("batch")
    write_model(traced(Decoder(teacher.tokenizer), {"tokens": example}, {"tokens": {0: batch}}, output="image"), path)


def open_teacher(folder: Path, form: Form, *, threads: int = 1) -> OnnxTeacher:
    """An exported teacher. Raises BundleError where the folder has no such form, or a file refers to others.

    `threads` share a batch by images: each decodes its part alone, without waiting for the others at every product.
    Two threads within each product gained a seventh at batch 64, and lost two fifths at batch 1, which stays on one.
    """
    import onnx

    paths = files_of(folder, form)
    for path in paths:
        if not path.is_file():
            raise BundleError(f"{path} does not exist", remedy="run `dvc repro accelerate` in the study's workspace")
    step, decoder = (read_model(path) for path in paths)
    found = {each.key: each.value for each in step.metadata_props}
    if not set(FACTS) <= set(found):
        raise BundleError(
            f"{paths[0]} is no step that ganline exported", remedy="run `dvc repro accelerate` in the study's workspace"
        )
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in step.graph.initializer if each.name in TABLES}
    tables = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    sessions = open_session(without_tables(step)), open_session(decoder)
    return OnnxTeacher(*sessions, tables, facts={name: int(found[name]) for name in FACTS}, threads=threads)


def without_tables(step: Any) -> Any:
    """The model as ONNX Runtime is to see it: of tensors that no node reads it warns."""
    kept = [each for each in step.graph.initializer if each.name not in TABLES]
    del step.graph.initializer[:]
    step.graph.initializer.extend(kept)
    return step


def open_session(model: Any) -> Any:
    """One thread a run: several run at once."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class Lane:
    """Memory of one part of a batch, and a run of every position bound to it."""

    def __init__(self, session: Any, *, images: int, rows: int, num_tokens: int):
        import onnxruntime as ort

        shapes = {each.name: each.shape[1:] for each in session.get_inputs()}
        share = ort.OrtValue.ortvalue_from_numpy  # on the CPU the array's own memory
        self.session, self.runs = session, []
        self.x = [np.zeros((rows, *shapes["x"]), np.float32) for _ in range(2)]
        self.levels = np.zeros((num_tokens, images, 1, 1), np.float32)
        self.tokens = np.zeros((num_tokens, images, 1), np.int32)
        caches = {name: np.zeros((rows, *shape), np.float32) for name, shape in shapes.items() if "_" in name}
        vectors, memory = [share(each) for each in self.x], {name: share(each) for name, each in caches.items()}
        self.kept: list[Any] = [caches, memory, vectors]
        for t in range(num_tokens):
            seen, total = np.full(rows, t, np.int32), np.array([t + 1], np.int32)
            inputs = memory | {"x": vectors[t % 2], "level": share(self.levels[t])}
            inputs |= {"seen": share(seen), "total": share(total)}
            outputs = {f"new_{name}": value for name, value in memory.items()}
            outputs |= {"token": share(self.tokens[t]), "next": vectors[(t + 1) % 2]}
            run = session.io_binding()
            for name, value in inputs.items():
                run.bind_ortvalue_input(name, value)
            for name, value in outputs.items():
                run.bind_ortvalue_output(name, value)
            self.runs.append(run)
            self.kept += [seen, total, inputs, outputs]

    def decode(self, starts: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """Vectors [rows, width] and Phi(z) [images, T] -> tokens int64 [images, T]."""
        for _ in self.steps(starts, levels):
            pass
        return self.tokens[:, :, 0].T.astype(np.int64)

    def steps(self, starts: np.ndarray, levels: np.ndarray) -> Iterator[np.ndarray]:
        """The tokens int32 [images] of each position, when they are drawn."""
        self.x[0][:, 0] = starts
        self.levels[:, :, 0, 0] = levels.T
        for run, tokens in zip(self.runs, self.tokens, strict=True):
            self.session.run_with_iobinding(run)
            yield tokens[:, 0]


class OnnxTeacher(Generator):
    """A step and a decoder in ONNX Runtime on the CPU; conditions as Teacher's."""

    def __init__(
        self, step: Any, decoder: Any, tables: dict[str, torch.Tensor], *, facts: dict[str, int], threads: int
    ):
        super().__init__()
        self.z_dim, self.num_classes, self.prompt_dim = (facts[name] for name in FACTS[:3])
        self.rows_an_image, self.threads, self.micro_batch = facts["rows_an_image"], threads, MICRO_BATCH
        self.step, self.decoder, self.tables = step, decoder, tables
        self.lanes: dict[tuple[int, int], Lane] = {}
        self.lock = threading.Lock()
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def forward(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return self.computed(z, condition)[1].to(z.device)

    def tokens(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """int64 [B, num_tokens]."""
        return self.computed(z, condition, paint=False)[0].to(z.device)

    @torch.inference_mode()
    def computed(
        self, z: torch.Tensor, condition: torch.Tensor | None, *, paint: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and images (none where not to `paint`)."""
        starts, levels = self.starts(condition, batch=len(z)), phi(z.cpu()).numpy()
        parts = np.array_split(np.arange(len(z)), self.num_parts(len(z)))
        results: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0), np.empty(0))] * len(parts)

        def work(worker: int) -> None:
            for i in range(worker, len(parts), self.threads):
                rows = slice(parts[i][0], parts[i][-1] + 1)
                lane = self.lane(worker, len(parts[i]))
                tokens = lane.decode(np.concatenate([each[rows] for each in starts]), levels[rows])
                results[i] = tokens, self.decoder.run(None, {"tokens": tokens})[0] if paint else np.empty(0, np.uint8)

        with self.lock:  # lanes are memory that is written
            if self.pool is None or len(parts) == 1:
                for worker in range(min(self.threads, len(parts))):
                    work(worker)
            else:
                list(self.pool.map(work, range(min(self.threads, len(parts)))))
        tokens, images = zip(*results, strict=True)
        return torch.from_numpy(np.concatenate(tokens)), torch.from_numpy(np.concatenate(images))

    @torch.inference_mode()
    def steps(self, z: torch.Tensor, condition: torch.Tensor | None) -> Iterator[int]:
        """The tokens of one image (z [1, T]), each when it is drawn."""
        starts, levels = self.starts(condition, batch=1), phi(z.cpu()).numpy()
        with self.lock:
            for tokens in self.lane(0, 1).steps(np.concatenate(starts), levels):
                yield int(tokens[0])

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [B, num_tokens] -> image uint8 [B, C, H, W]."""
        return torch.from_numpy(self.decoder.run(None, {"tokens": tokens.cpu().numpy()})[0])

    def num_parts(self, batch: int) -> int:
        """Parts of at most ROWS rows, equally many for each thread."""
        least = -(-batch * self.rows_an_image // ROWS)
        return min(batch, -(-least // self.threads) * self.threads)

    def lane(self, worker: int, images: int) -> Lane:
        if (worker, images) not in self.lanes:
            rows = images * self.rows_an_image
            self.lanes[worker, images] = Lane(self.step, images=images, rows=rows, num_tokens=self.z_dim)
        return self.lanes[worker, images]

    def starts(self, condition: torch.Tensor | None, *, batch: int) -> list[np.ndarray]:
        """Vectors of position 0 [batch, width], and with guidance those of "nothing"."""
        table = self.tables[STARTS]
        nothing = table[-1:].expand(batch, -1)
        if condition is None:
            told = nothing
        elif condition.is_floating_point():
            told = condition.cpu().float() @ self.tables[PROMPTS]
        else:
            told = table[condition.cpu()]
        return [told.numpy(), nothing.numpy()][: self.rows_an_image]
