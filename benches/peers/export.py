"""Writes the encoder for the other stacks: a sentence-transformers folder in float32 and three ONNX files.

The weights are those of model.gguf, dequantised, so that every stack computes the same model. The folder is checked
against reference.json before anything is measured. Run by `benches/peers/run`, in its virtual environment.
"""
import hashlib
import json
import shutil
import sys

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from common import EXPORTED, HERE, MODEL, WORK, Problem, say

sys.path.insert(0, str(MODEL / "build"))
import ggufload  # noqa: E402

ONNX = WORK / "onnx"
STAMP = WORK / "export.stamp"
COPIED = ("config_sentence_transformers.json", "modules.json", "sentence_bert_config.json", "special_tokens_map.json",
          "tokenizer.json", "1_Pooling", "2_Normalize")
COSINE = 0.9999


def stamp():
    """What the export depends on: weights, settings, this program and the versions."""
    digest = hashlib.sha256()
    for path in (MODEL / "model.gguf", MODEL / "config.json", MODEL / "tokenizer.json", HERE / "export.py",
                 HERE / "requirements.txt"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def write_folder():
    """The sentence-transformers folder, float32."""
    shutil.rmtree(EXPORTED, ignore_errors=True)
    EXPORTED.mkdir(parents=True)
    for name in COPIED:
        copy = shutil.copytree if (MODEL / name).is_dir() else shutil.copy
        copy(MODEL / name, EXPORTED / name)
    # The plain class takes tokenizer.json as it is; a named one would build a tokenizer of its own.
    for name in ("config.json", "tokenizer_config.json"):
        values = json.loads((MODEL / name).read_text())
        values["tokenizer_class"] = "PreTrainedTokenizerFast"
        (EXPORTED / name).write_text(json.dumps(values, indent=2))
    tensors = {name: np.ascontiguousarray(value) for name, value in ggufload.load(MODEL / "model.gguf").items()}
    save_file(tensors, EXPORTED / "model.safetensors", metadata={"format": "pt"})


def check_folder():
    """Stops unless token ids and vectors are those of reference.json. Gives the lowest cosine."""
    items = json.loads((MODEL / "reference.json").read_text())["items"]
    items = [item for item in items if item["count"] < 512]
    model = SentenceTransformer(str(EXPORTED), device="cpu")
    lowest = 1.0
    for item in items:
        ids = model.tokenizer(item["input"])["input_ids"]
        # The file holds the first ids only, and the count.
        if len(ids) != item["count"] or ids[:len(item["ids"])] != item["ids"]:
            raise Problem(f"The exported tokenizer reads {item['name']!r} otherwise than reference.json says; "
                          "compare the versions in requirements.txt.")
        # The input has its prefix already.
        vector = model.encode(item["input"], prompt="", normalize_embeddings=True)
        wanted = np.array(item["vector"])
        lowest = min(lowest, float(vector @ wanted / np.linalg.norm(vector) / np.linalg.norm(wanted)))
    if lowest < COSINE:
        raise Problem(f"The exported model is not the same model: lowest cosine to reference.json {lowest:.6f}, "
                      f"wanted {COSINE}. Compare config.json and the tensor names in ggufload.py.")
    return lowest


class Hidden(torch.nn.Module):
    """The encoder with three plain inputs and the hidden states as its only output."""

    def __init__(self):
        super().__init__()
        self.model = AutoModel.from_pretrained(EXPORTED, attn_implementation="eager", add_pooling_layer=False).eval()

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]


def trace(path):
    """Exports by tracing, the route whose graph the optimiser of onnxruntime knows how to fuse."""
    ids = torch.randint(5, 1000, (2, 12))
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch", 1: "length"} for name in (*inputs, "hidden")}
    torch.onnx.export(Hidden(), (ids, torch.ones_like(ids), torch.zeros_like(ids)), str(path), input_names=inputs,
                      output_names=["hidden"], dynamic_axes=axes, opset_version=17, dynamo=False)


def write_onnx():
    """float32 fused, int8 per tensor, int8 per channel. Gives a description of the way taken."""
    shutil.rmtree(ONNX, ignore_errors=True)
    ONNX.mkdir(parents=True)
    plain, fused = ONNX / "plain.onnx", ONNX / "f32.onnx"
    trace(plain)
    model = optimizer.optimize_model(str(plain), model_type="bert", num_heads=12, hidden_size=384, opt_level=1)
    model.save_model_to_file(str(fused))
    plain.unlink()
    counts = {name: n for name, n in model.get_fused_operator_statistics().items() if n}
    if not counts.get("Attention"):
        raise Problem("The optimiser of onnxruntime fused no attention, so its figures would be too low; "
                      "use the versions in requirements.txt.")
    for name, per_channel in (("int8", False), ("int8-channel", True)):
        quantize_dynamic(str(fused), str(ONNX / f"{name}.onnx"), weight_type=QuantType.QInt8, per_channel=per_channel,
                         extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    return "traced by torch.onnx.export, fused " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))


def main():
    now = stamp()
    if STAMP.exists() and json.loads(STAMP.read_text())["stamp"] == now:
        return
    WORK.mkdir(parents=True, exist_ok=True)
    STAMP.unlink(missing_ok=True)
    say("Exporting the encoder …")
    write_folder()
    lowest = check_folder()
    route = write_onnx()
    STAMP.write_text(json.dumps({"stamp": now, "lowest_cosine": lowest, "onnx": route}, indent=2))
    say(f"Exported; lowest cosine to reference.json {lowest:.6f}; ONNX: {route}.")


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(str(problem))
