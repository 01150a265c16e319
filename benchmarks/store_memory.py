"""What an entry costs in memory: started by `benchmarks.bench_store` in a process of its own.

    python -m benchmarks.store_memory ours|dict|loro COUNT

Prints the growth of the resident size in bytes for each entry.
"""

import gc
import importlib
import os
import sys
from pathlib import Path

from benchmarks.store_load import ORIGINS, PART, Dict, Load, dict_apply, dict_blob, our_map


def resident() -> int:
    """The resident size of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Fill one store and print."""
    kind, entries = sys.argv[1], int(sys.argv[2])
    load = Load(entries)
    # Once through all code and all temporary arrays, so that only entries count below.
    ours = our_map(2 * PART)
    ours.columns.apply(load.delta(load.rows(load.new_keys(PART))), wall_ms=1 << 47)
    held: Dict = {}
    seen = [0] * len(ORIGINS)
    del ours
    gc.collect()
    before = resident()
    ours = our_map(entries if kind == "ours" else 0)
    foreign = importlib.import_module("loro").EphemeralStore(1 << 40) if kind == "loro" else None
    for start in range(0, entries, PART):
        rows = load.rows(load.new_keys(min(PART, entries - start)))
        if foreign is not None:
            for word, stamp in zip(rows.keys[:, 1].tolist(), rows.stamps.tolist(), strict=True):
                foreign.set(f"{word:016x}", {"status": 1, "stamp": stamp})
        elif kind == "ours":
            ours.columns.apply(load.delta(rows), wall_ms=1 << 47)
        else:
            dict_apply(held, seen, dict_blob(rows))
        del rows
    gc.collect()
    sys.stdout.write(f"{(resident() - before) / entries}\n")


if __name__ == "__main__":
    main()
