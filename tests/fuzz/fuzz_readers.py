"""Feed a reader with damaged files, led by the coverage of pycryo's Python code (atheris on libFuzzer).

    PYTHONPATH=. python fuzz/fuzz_readers.py star --runs 100000

Seeds are the small files of tests/hostile_files.py; half of the changes are its own, half are libFuzzer's. Stops at the
first error that is not pycryo's own, at a file that takes 120 s, or when the process holds 3 GB more than at the start.
"""

import argparse
import logging
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["pycryo"]):
    import hostile_files
_MOST_BYTES = 1 << 13  # larger ones are in the unit tests; libFuzzer keeps many
_PROGRESS = 10_000  # files between lines about them
_MEMORY = 3 << 30


class Fuzz:
    """Calls of one reader, counted."""

    def __init__(self, name: str, folder: Path, runs: int) -> None:
        self.name, self.reader, self.runs = name, hostile_files.READERS[name], runs
        self.path = folder / self.reader.name
        self.seeds = self.reader.seeds(folder)
        self.counts: Counter[str] = Counter()
        self.began = time.process_time()

    def call(self, data: bytes) -> None:
        """Write a file and read it."""
        self.path.write_bytes(data)
        before = hostile_files.REFUSED.total()
        with hostile_files.only_own_errors():
            self.reader.read(self.path)
        self.counts["read" if hostile_files.REFUSED.total() == before else "refused"] += 1
        if (total := self.counts.total()) % _PROGRESS == 0 or total == self.runs:
            seconds = time.process_time() - self.began
            print(
                f"{self.name}: {total} files, {self.counts['read']} read, {self.counts['refused']} refused in a part "
                f"at least, {seconds:.0f} s of processor, {total / seconds:.0f} files/s",
                flush=True,
            )

    def change(self, data: bytes, most: int, seed: int) -> bytes:
        """The next file from an earlier one."""
        random = Random(seed)
        if random.random() < 0.5:
            return atheris.Mutate(data, most)
        base = random.choice(self.seeds) if random.random() < 0.2 or not data else data
        return self.reader.spoil(base, random)[:most]


def main() -> None:
    """Fuzz one reader."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reader", choices=hostile_files.READERS)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as work:
        folder, corpus = Path(work) / "files", Path(work) / "corpus"
        folder.mkdir()
        corpus.mkdir()
        fuzz = Fuzz(args.reader, folder, args.runs)
        for number, seed in enumerate(fuzz.seeds):
            (corpus / str(number)).write_bytes(seed)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + _MEMORY, resource.RLIM_INFINITY))
        options = [f"-runs={args.runs}", f"-seed={args.seed}", f"-max_len={_MOST_BYTES}", "-timeout=120"]
        options += ["-rss_limit_mb=4096", "-verbosity=0", f"-artifact_prefix={Path.cwd()}/{args.reader}-"]
        atheris.Setup([sys.argv[0], *options, str(corpus)], fuzz.call, custom_mutator=fuzz.change)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
