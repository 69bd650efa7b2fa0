"""Tables of medians and of ratios to the limit."""

import statistics

# Row, whether more is better, and the bound of the ratio to the limit for ws and wss.
RATIO_TARGETS = [
    ("1 stream, Gbit/s", True, 0.85, 0.45),
    ("8 streams, Gbit/s", True, 0.85, 0.45),
    ("CPU s/GB, 1 stream", False, 1.2, 2.5),
    ("CPU s/GB, 8 streams", False, 1.2, 2.5),
    ("requests/s", True, 0.9, 0.7),
    ("new connections/s", True, 1.2, 1.0),
    ("echo p99 under bulk, µs", False, 1.5, 2.0),
]
# Row and the bound of the value itself for ws and wss.
VALUE_TARGETS = [
    ("RSS idle, gateway, MB", 8, 8),
    ("RSS idle, agent, MB", 6, 9),
    ("idle session, gateway, KB", 4, 4),
    ("idle session, agent1, KB", 4, 4),
    ("idle session, agent2, KB", 4, 4),
]
# What wss costs above the limit, as a ratio to the ciphering that no TLS can do without: two
# connections, each encrypted once and decrypted once.
CIPHER_ROW = "AES-128-GCM s/GB"
CIPHER_PASSES = 4
CIPHER_BOUND = 1.45
# Row and the bound of the ratio of 0.1 to ws.
DIALECT_TARGETS = [
    ("1 stream, Gbit/s", 0.5),
    ("8 streams, Gbit/s", 0.5),
]
CULVERTS = ("ws", "wss")
# Across a wide-area line: the bound of the ratio to one direct connection. That of throughput is
# for a line that loses nothing.
LEAST_SHARE = 0.95
MOST_LATENCY = 1.2


def medians(samples):
    """samples: contender -> row -> list of numbers."""
    return {name: {row: statistics.median(values) for row, values in rows.items()}
            for name, rows in samples.items()}


def format_number(value):
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def format_table(head, lines):
    table = [head] + lines
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    text = []
    for number, line in enumerate(table):
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        text.append("  ".join(cells).rstrip())
        if number == 0:
            text.append("  ".join("-" * width for width in widths))
    return "\n".join(text)


def table_of_medians(middle):
    names = list(middle)
    rows = list(dict.fromkeys(row for name in names for row in middle[name]))
    lines = [[row] + [format_number(middle[name].get(row)) for name in names] for row in rows]
    return format_table(["median of the rounds"] + names, lines)


def _judge(value, bound, more_is_better):
    met = value >= bound if more_is_better else value <= bound
    sign = "≥" if more_is_better else "≤"
    return met, [format_number(value), f"{sign} {bound:g}", "pass" if met else "MISS"]


def _cipher_targets(middle, present):
    """The lines for what wss costs above the limit, and of each whether it is met."""
    limit, secure = middle.get("limit", {}), middle.get("wss", {})
    cipher = secure.get(CIPHER_ROW)
    for row in ("CPU s/GB, 1 stream", "CPU s/GB, 8 streams"):
        if cipher and row in limit and row in secure:
            extra = (secure[row] - limit[row]) / (CIPHER_PASSES * cipher)
            is_met, cells = _judge(extra, CIPHER_BOUND, False)
            empty = ["–", "", ""]
            yield is_met, [f"{row} − limit, ÷ {CIPHER_PASSES} AES"] + [
                cell for name in present for cell in (cells if name == "wss" else empty)]


def table_of_targets(middle):
    """The table's text, how many targets were met and how many missed."""
    present = [name for name in CULVERTS if name in middle]
    met = missed = 0
    lines = []
    for kind, targets in (("ratio", RATIO_TARGETS), ("value", VALUE_TARGETS)):
        for target in targets:
            row = target[0]
            bounds = dict(zip(CULVERTS, target[-2:]))
            line = [f"{row}, ÷ limit" if kind == "ratio" else row]
            for name in present:
                value = middle[name].get(row)
                if kind == "ratio":
                    limit = middle.get("limit", {}).get(row)
                    value = value / limit if value is not None and limit else None
                if value is None:
                    line += ["–", "", ""]
                    continue
                is_met, cells = _judge(value, bounds[name], kind == "ratio" and target[1])
                met, missed = met + is_met, missed + (not is_met)
                line += cells
            lines.append(line)
    for is_met, line in _cipher_targets(middle, present):
        met, missed = met + is_met, missed + (not is_met)
        lines.append(line)
    head = ["target"] + [cell for name in present for cell in (name, "wanted", "")]
    return format_table(head, lines), met, missed


def table_of_dialects(middle):
    """As table_of_targets, for Hubble 0.1 beside culvert's own protocol."""
    met = missed = 0
    lines = []
    for row, bound in DIALECT_TARGETS:
        native, hubble = middle["ws"].get(row), middle["0.1"].get(row)
        if native and hubble is not None:
            is_met, cells = _judge(hubble / native, bound, True)
            met, missed = met + is_met, missed + (not is_met)
            lines.append([f"{row}, ÷ ws"] + cells)
    return format_table(["target", "0.1", "wanted", ""], lines), met, missed


def table_of_ratios(middle):
    """Every contender's rows as ratios to the limit."""
    limit = middle.get("limit", {})
    rows = [target[0] for target in RATIO_TARGETS if limit.get(target[0])]
    lines = [[row] + [format_number(values[row] / limit[row] if row in values else None)
                      for values in middle.values()] for row in rows]
    return format_table(["ratio to the limit"] + list(middle), lines)


def table_of_wide_area(middle, loss):
    """All ways over one line: the table's text, how many targets were met and how many missed."""
    direct = middle["direct"]
    names = [name for name in middle if name != "direct"]
    rows = sorted({row for values in middle.values() for row in values}, key=lambda row: (
        "down" in row, row.startswith("echo"), row.endswith("p99, ms"), row))
    met = missed = 0
    lines = []
    for row in rows:
        # One direct connection is what eight streams are held against too.
        base = direct.get(row.replace("8 streams", "1 stream"))
        is_rate = row.endswith("Mbit/s")
        line = [row, format_number(direct.get(row))]
        for name in names:
            value = middle[name].get(row)
            if value is None or not base:
                line += [format_number(value), "–", "", ""]
                continue
            is_met, cells = _judge(value / base, LEAST_SHARE if is_rate else MOST_LATENCY, is_rate)
            if is_rate and loss > 0:
                cells[1:] = ["", ""]
            else:
                met, missed = met + is_met, missed + (not is_met)
            line += [format_number(value), *cells]
        lines.append(line)
    head = ["", "direct"] + [cell for name in names for cell in (name, "÷ direct", "wanted", "")]
    return format_table(head, lines), met, missed
