"""Turns what was measured into a Markdown table and a plot."""
from html import escape

SHOWN = ("triage", "python", "torch", "transformers", "sentence-transformers", "onnxruntime", "scikit-learn", "hnswlib",
         "bm25s", "fastapi", "uvicorn")
BEGIN, END = "<!-- peers -->", "<!-- /peers -->"


def number(value, digits=0):
    """A figure with thousands separators, or a dash."""
    return "–" if value is None else f"{value:,.{digits}f}"


def table(head, rows):
    """A Markdown table; every column but the first is aligned right."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def rounds_line(part):
    """How often, and how quiet the machine was."""
    busy = part["cores_busy_with_other_work"]
    return f"medians of {part['rounds']} round{'s' * (part['rounds'] > 1)}, {busy:.1f} cores busy with other work"


def setting_line(setting):
    """Where and with what a part was measured."""
    has = ", ".join(setting["has"]) or "none of the extensions asked for"
    versions = ", ".join(f"{name} {setting['versions'][name]}" for name in SHOWN)
    return f"{setting['date']}, {setting['processor']} ({setting['cores']} cores; {has}). {versions}."


def variant_name(row):
    """The variant, and the kernel where it names one."""
    return row["variant"] + (f" ({row['kernel']})" if row["kernel"] else "")


def encoder_table(part):
    """One line per variant for one number of threads. Ratios are of tokens per second."""
    lengths = sorted({length for row in part["variants"] for length in row["latency_ms"]}, key=int)
    bases = list(part["variants"][0]["tokens_per_second_ratio_to"])
    head = ["variant", "tokens/s", "tokens per CPU-s", *(f"× {base}" for base in bases),
            *(f"ms, {length} tokens" for length in lengths), "cosine, mean", "cosine, lowest"]
    rows = []
    for row in sorted(part["variants"], key=lambda row: -row["tokens_per_cpu_second"]):
        cosine = row["cosine_to_torch_f32"] or {}
        rows.append([variant_name(row), number(row["tokens_per_second"]), number(row["tokens_per_cpu_second"]),
                     *(number(row["tokens_per_second_ratio_to"][base], 2) for base in bases),
                     *(number(row["latency_ms"].get(length), 1) for length in lengths),
                     number(cosine.get("mean"), 5), number(cosine.get("lowest"), 5)])
    threads = "1 thread, 1 core" if part["threads"] == 1 else f"{part['threads']} threads, {part['threads']} cores"
    return (f"Encoder, {threads}: {part['texts']} texts, {part['tokens']:,} tokens, {rounds_line(part)}; "
            f"“onnxruntime int8” is the fastest of its kind, {part['fastest_onnxruntime_int8']}.\n\n"
            + table(head, rows))


def service_table(part):
    """One line per server."""
    columns = [("requests/s, 1 client", "requests_per_second_1", 1), ("p50 ms", "p50_ms_1", 1),
               ("p99 ms", "p99_ms_1", 1), ("requests/s, 8 clients", "requests_per_second_8", 1),
               ("p50 ms", "p50_ms_8", 1), ("p99 ms", "p99_ms_8", 1), ("resident MiB", "rss_mib", 0),
               ("peak MiB", "peak_mib", 0), ("s until ready", "ready_seconds", 2)]
    rows = [[row["server"], *(number(row[key], digits) for _, key, digits in columns)] for row in part["servers"]]
    return (f"Whole call, server on one core: {part['tickets']:,} resolved tickets, {part['requests']} requests a "
            f"round for each number of clients, {rounds_line(part)}.\n\n"
            + table(["server", *(name for name, _, _ in columns)], rows))


def markdown(results):
    """Everything that was measured, part by part."""
    blocks = []
    if "encoder" in results:
        blocks += [encoder_table(part) for part in results["encoder"]["threads"]]
        blocks.append(setting_line(results["encoder"]["setting"]))
    if "service" in results:
        blocks += [service_table(results["service"]), setting_line(results["service"]["setting"])]
    return "\n\n".join(blocks)


def put_into(path, text):
    """Replaces what stands between the markers of a file, where the file has them."""
    if not path.exists():
        return
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def plot(part):
    """Bars of tokens per CPU-second as SVG."""
    rows = sorted(part["variants"], key=lambda row: -row["tokens_per_cpu_second"])
    most = rows[0]["tokens_per_cpu_second"]
    left, wide, step = 260, 400, 28
    height = 48 + step * len(rows)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + wide + 90}" height="{height}" '
           'font-family="sans-serif" font-size="13">',
           '<rect width="100%" height="100%" fill="#fff"/>',
           f'<text x="12" y="24" font-weight="bold">Tokens per CPU-second, {part["threads"]} '
           f'thread{"s" * (part["threads"] > 1)}</text>']
    for i, row in enumerate(rows):
        y, value = 40 + step * i, row["tokens_per_cpu_second"]
        colour = "#1b6ca8" if row["variant"].startswith("triage") else "#9aa5b1"
        length = wide * value / most
        out += [f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(row["variant"])}</text>',
                f'<rect x="{left}" y="{y}" width="{length:.1f}" height="20" fill="{colour}"/>',
                f'<text x="{left + length + 6:.1f}" y="{y + 15}">{value:,.0f}</text>']
    return "\n".join([*out, "</svg>", ""])
