"""One Python stack, kept alive: `encoder_worker.py VARIANT THREADS JOB`. Run by encoder.py.

JOB is a JSON file with `texts` (prefix included), `lengths` in tokens, `calls` and `vectors` (a file to write). The
answer to `round` and to `latency` on standard input is one JSON line on standard output; end of input ends it.
"""
import json
import sys
import time

import numpy as np
from tokenizers import Tokenizer

from common import BATCH, EXPORTED, MAX_TOKENS, WORK

VARIANTS = {
    "sentence-transformers f32": None,
    "torch f32": "float32",
    "torch bf16": "bfloat16",
    "onnxruntime f32": "f32.onnx",
    "onnxruntime int8 per tensor": "int8.onnx",
    "onnxruntime int8 per channel": "int8-channel.onnx",
}


def token_ids(texts, limit):
    """Ids of every text, cut to `limit` tokens with the closing mark kept."""
    tokenizer = Tokenizer.from_file(str(EXPORTED / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    return [encoding.ids for encoding in tokenizer.encode_batch(texts)]


def batches(ids):
    """Batches of texts of about one length: positions, padded ids and mask."""
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    for start in range(0, len(order), BATCH):
        rows = order[start:start + BATCH]
        padded = np.ones((len(rows), len(ids[rows[0]])), np.int64)
        mask = np.zeros_like(padded)
        for row, i in enumerate(rows):
            padded[row, :len(ids[i])] = ids[i]
            mask[row, :len(ids[i])] = 1
        yield rows, padded, mask


class SentenceTransformers:
    """`encode`, tokens and all, as its users call it."""

    def __init__(self, threads):
        import torch
        from sentence_transformers import SentenceTransformer
        torch.set_num_threads(threads)
        self.model = SentenceTransformer(str(EXPORTED), device="cpu")

    def encode(self, texts, limit):
        self.model.max_seq_length = limit
        return self.model.encode(texts, prompt="", batch_size=BATCH, normalize_embeddings=True,
                                 show_progress_bar=False)

    def prepare(self, texts, limit):
        """A call that embeds the texts, and nothing else to do in it."""
        return lambda: self.encode(texts, limit)


class Forward:
    """A forward pass over ids that are there already; no tokeniser in the time taken."""

    def prepare(self, texts, limit):
        """A call that embeds the texts, whose ids and batches are made beforehand."""
        ready = list(batches(token_ids(texts, limit)))

        def call():
            out = np.empty((len(texts), 384), np.float32)
            for rows, ids, mask in ready:
                out[rows] = self.forward(ids, mask)
            return out
        return call


class Torch(Forward):
    """BertModel of transformers with its default attention."""

    def __init__(self, threads, kind):
        import torch
        from transformers import AutoModel
        torch.set_num_threads(threads)
        self.torch = torch
        self.model = AutoModel.from_pretrained(EXPORTED, add_pooling_layer=False, dtype=getattr(torch, kind)).eval()

    def forward(self, ids, mask):
        torch = self.torch
        with torch.inference_mode():
            kept = torch.from_numpy(mask)
            hidden = self.model(input_ids=torch.from_numpy(ids), attention_mask=kept)[0].float()
            weights = kept.unsqueeze(-1).float()
            mean = (hidden * weights).sum(1) / weights.sum(1)
            return torch.nn.functional.normalize(mean, dim=1).numpy()


class Onnx(Forward):
    """A session of onnxruntime with every optimisation on and its default spinning."""

    def __init__(self, threads, file):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(str(WORK / "onnx" / file), options,
                                                    providers=["CPUExecutionProvider"])

    def forward(self, ids, mask):
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self.session.run(None, feeds)[0]
        weights = mask[..., None].astype(np.float32)
        mean = (hidden * weights).sum(1) / weights.sum(1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def load(variant, threads):
    """The stack that a variant names."""
    what = VARIANTS[variant]
    if what is None:
        return SentenceTransformers(threads)
    return Onnx(threads, what) if what.endswith(".onnx") else Torch(threads, what)


def timed(call):
    """Wall seconds and CPU seconds (user and system, every thread) of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def latency(stack, text, lengths, calls):
    """Milliseconds of one text cut to each length, median of the calls."""
    medians = {}
    for length in lengths:
        call = stack.prepare([text], length)
        call()
        medians[str(length)] = 1000 * float(np.median([timed(call)[0] for _ in range(calls)]))
    return medians


def main():
    variant, threads, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    texts = job["texts"]
    tokens = sum(map(len, token_ids(texts, MAX_TOKENS)))
    stack = load(variant, threads)
    call = stack.prepare(texts, MAX_TOKENS)
    np.asarray(call(), "<f4").tofile(job["vectors"][variant])
    print(json.dumps({"tokens": tokens}), flush=True)
    for line in sys.stdin:
        if line.strip() == "round":
            wall, cpu = timed(call)
            answer = {"tokens_per_second": tokens / wall, "tokens_per_cpu_second": tokens / cpu}
        else:
            answer = latency(stack, " ".join(texts), job["lengths"], job["calls"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
