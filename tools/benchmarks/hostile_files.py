#!/usr/bin/env python
"""What the worst documents that sdpn reads cost: seconds and memory of YAML and JSON at their limits.

The limits of sdpn/io/yaml_text.py and sdpn/io/json_text.py were chosen by this table: a file of settings must
not take longer than a few seconds, a document no more memory than a training run.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

from sdpn.cli.table import format_table
from sdpn.errors import InputError
from sdpn.io.json_text import parse_json
from sdpn.io.yaml_text import parse_yaml

_YAML = 1 << 18
_JSON = 32 << 20
_DOCUMENTS = {
    "yaml: one text": lambda: "a: " + "b" * (_YAML - 3),
    "yaml: lists in a row": lambda: "a: [" + "[]," * (_YAML // 3 - 3) + "]",
    "yaml: numbers": lambda: "a: [" + "1," * (_YAML // 2 - 4) + "]",
    "yaml: keys": lambda: "".join(f"k{at}: {at}\n" for at in range(18_000)),
    "yaml: depth": lambda: "[" * _YAML,
    "json: brackets": lambda: '{"a": [' + "[]," * (_JSON // 3 - 5) + "[]]}",
    "json: numbers": lambda: '{"a": [' + "1.5," * (_JSON // 4 - 5) + "1]}",
    "json: keys": lambda: "{" + ",".join(f'"{at}": {at}' for at in range(1_500_000)) + "}",
    "json: depth": lambda: "[" * _JSON,
}


def _measure(name: str) -> None:
    text = _DOCUMENTS[name]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    try:
        if name.startswith("yaml"):
            parse_yaml(text, path=None)
        else:
            parse_json(text, "document", path=None)
        outcome = "read"
    except InputError as error:
        outcome = error.message[:60]
    seconds = time.process_time() - started
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print("\t".join([name, f"{len(text):,}", f"{seconds:.2f}", f"{used / 1024:.0f}", outcome]))


def main() -> None:
    """Measure every document in a process of its own."""
    if len(sys.argv) > 1:
        _measure(sys.argv[1])
        return
    rows = [
        subprocess.run([sys.executable, __file__, name], text=True, capture_output=True, check=True)
        .stdout.rstrip("\n")
        .split("\t")
        for name in _DOCUMENTS
    ]
    print(format_table(["document", "characters", "CPU s", "MiB", "outcome"], rows))


if __name__ == "__main__":
    main()
