"""The same service out of Python parts: `stack.py prepare TICKETS` once, then `stack.py serve`. Run by service.py.

FastAPI on one uvicorn process; sentence-transformers for the vector, scikit-learn for the category, hnswlib and bm25s
for similar tickets, fused by a convex sum. It does less than triage: one field, no cleaning of the text, no
calibration, no articles, no duplicates.
"""
import os
import socket
import sys

import bm25s
import hnswlib
import joblib
import numpy as np

from common import DEMO, EXPORTED, MAX_TOKENS, PREFIX, WORK, read_jsonl, text_of, write_jsonl

STORE = WORK / "stack"
CANDIDATES = 50
SIMILAR = 5
DENSE_WEIGHT = 0.5
THREADS = len(os.sched_getaffinity(0))


def prepare(path):
    """Embeds and indexes the tickets and fits the head; the f32 ONNX file gives the same vectors in less time."""
    from encoder_worker import Onnx
    from sklearn.linear_model import LogisticRegression
    STORE.mkdir(parents=True, exist_ok=True)
    encoder = Onnx(THREADS, "f32.onnx")
    tickets = read_jsonl(path)
    texts = [text_of(ticket) for ticket in tickets]
    index = hnswlib.Index(space="cosine", dim=384)
    index.init_index(max_elements=len(texts), M=16, ef_construction=200, random_seed=1)
    index.add_items(encoder.prepare([PREFIX + text for text in texts], MAX_TOKENS)(), num_threads=THREADS)
    index.save_index(str(STORE / "vectors.hnsw"))
    words = bm25s.BM25()
    words.index(bm25s.tokenize(texts, stopwords=None, show_progress=False), show_progress=False)
    words.save(STORE / "words")
    write_jsonl(STORE / "tickets.jsonl", tickets)

    demo = [ticket for ticket in read_jsonl(DEMO / "it/tickets.jsonl") if "category" in ticket["labels"]]
    vectors = encoder.prepare([PREFIX + text_of(ticket) for ticket in demo], MAX_TOKENS)()
    head = LogisticRegression(C=100, max_iter=1000).fit(vectors, [ticket["labels"]["category"] for ticket in demo])
    joblib.dump(head, STORE / "head.joblib")


class Stack:
    """Everything that one call needs, in memory."""

    def __init__(self):
        import torch
        from sentence_transformers import SentenceTransformer
        torch.set_num_threads(THREADS)
        self.encoder = SentenceTransformer(str(EXPORTED), device="cpu")
        self.encoder.max_seq_length = MAX_TOKENS
        self.head = joblib.load(STORE / "head.joblib")
        self.tickets = read_jsonl(STORE / "tickets.jsonl")
        self.index = hnswlib.Index(space="cosine", dim=384)
        self.index.load_index(str(STORE / "vectors.hnsw"), max_elements=len(self.tickets))
        self.index.set_ef(2 * CANDIDATES)
        self.words = bm25s.BM25.load(STORE / "words")
        self.nearest = min(CANDIDATES, len(self.tickets))

    def similar(self, vector, text):
        """Positions and scores of the best tickets: cosine and BM25 (scaled to its best), half and half."""
        labels, distances = self.index.knn_query(vector, k=self.nearest, num_threads=1)
        scores = {int(i): DENSE_WEIGHT * (1 - float(d)) for i, d in zip(labels[0], distances[0])}
        tokens = bm25s.tokenize([text], stopwords=None, show_progress=False)
        found, points = self.words.retrieve(tokens, k=self.nearest, show_progress=False)
        best = max(float(points[0][0]), 1e-9)
        for i, point in zip(found[0], points[0]):
            scores[int(i)] = scores.get(int(i), 0.0) + (1 - DENSE_WEIGHT) * float(point) / best
        return sorted(scores.items(), key=lambda item: -item[1])[:SIMILAR]

    def triage(self, subject, body):
        """Category with its probability and similar tickets."""
        text = subject + "\n" + body
        vector = self.encoder.encode([text], prompt=PREFIX, normalize_embeddings=True, show_progress_bar=False)
        chances = self.head.predict_proba(vector)[0]
        top = int(np.argmax(chances))
        similar = [{"id": self.tickets[i]["id"], "subject": self.tickets[i]["subject"], "score": score,
                    "resolution": self.tickets[i]["resolution"]} for i, score in self.similar(vector, text)]
        return {"category": str(self.head.classes_[top]), "probability": float(chances[top]), "similar": similar}


def serve():
    """Answers on a free loopback port, which the first line of standard output names."""
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Ticket(BaseModel):
        subject: str
        body: str

    app = FastAPI()
    stack = Stack()

    # A plain function runs in FastAPI's pool of threads, which was no slower than `async def` and fairer to clients.
    @app.post("/triage")
    def triage(ticket: Ticket):
        return stack.triage(ticket.subject, ticket.body)

    @app.get("/readyz")
    async def ready():
        return {}

    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare(sys.argv[2])
    else:
        serve()
