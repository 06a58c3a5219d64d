"""``PYTHONPATH=tests python -m parity [SECTION ...]``: the comparison without pytest, with every disagreement."""

from __future__ import annotations

import sys
from dataclasses import asdict

from parity import compare, context, datasets, reference, sections
from parity.report import line


def main(wanted: list[str]) -> None:
    checked = numbers = 0
    for name in datasets():
        stored, data = reference(name), context(name)
        for section in [s for s in sections(stored) if not wanted or s in wanted]:
            result = compare(data, stored, section)
            checked, numbers = checked + result.checked, numbers + result.numbers
            for problem in [*result.disagreements, *result.missing][:40]:
                print("   ", problem)
            worst = max((d for d, _ in result.largest.values()), default=0.0)
            print(f"{line(asdict(result))}   largest difference {worst:.1e}")
    print(f"checked {checked} of {numbers} numbers that the study uses")


if __name__ == "__main__":
    main(sys.argv[1:])
