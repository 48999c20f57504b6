"""Instructions of one processor are named where it is the one that is compiled for, and nowhere else."""

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[2] / "csrc"
# What only one kind of processor has, and the conditions of the preprocessor that say that it is that one.
OWNED = {
    r"\b_mm\w*|\b__m(128|256|512)\w*|immintrin\.h|x86intrin\.h|_CMP_\w+": ("__SSE2__", "PYCRYO_ISA_avx"),
    r"\bv\w+q_(f|s|u)\d+\b|arm_neon\.h|arm_sve\.h": ("__aarch64__",),
    r"__builtin_(cpu_|ia32)\w*|\bavx(2|512)::": ("PYCRYO_X86",),
    r"\b__asm__|\basm\b": (),
}
MAY_HAVE_INTRINSICS = {"kernels/compare.cpp"}
SOURCES = sorted(path for path in CSRC.rglob("*") if path.suffix in (".cpp", ".hpp"))


def guarded_lines(text):
    """Each line that is code, with the conditions under which it is compiled."""
    stack = []
    for line in text.splitlines():
        line = line.partition("//")[0]
        if found := re.match(r"\s*#\s*(if|ifdef|ifndef|elif|else|endif)\b(.*)", line):
            word, condition = found.groups()
            if word in ("elif", "else", "endif"):
                stack.pop()
            if word != "endif":
                stack.append("" if word in ("else", "ifndef") else condition)
        else:
            yield line, " ".join(stack)
    assert not stack


def strays(text):
    """Lines with words of a processor that is not asked for."""
    return [
        line.strip()
        for line, conditions in guarded_lines(text)
        for words, owners in OWNED.items()
        if re.search(words, line) and not any(owner in conditions for owner in owners)
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CSRC)))
def test_no_instruction_outside_its_variant(path):
    text = path.read_text(encoding="utf-8")
    assert not strays(text)
    intrinsics = [line for line, _ in guarded_lines(text) if re.search("|".join(list(OWNED)[:2]), line)]
    assert not intrinsics or str(path.relative_to(CSRC)) in MAY_HAVE_INTRINSICS


@pytest.mark.parametrize(
    "text, n",
    [
        ("#include <immintrin.h>", 1),
        ("#if defined(__SSE2__)\n#include <immintrin.h>\n#endif", 0),
        ("#if defined(__aarch64__)\nx = _mm_add_ps(a, b);\n#elif defined(__SSE2__)\nx = _mm_add_ps(a, b);\n#endif", 1),
        ("#if defined(PYCRYO_ISA_avx2)\n#else\nx = _mm256_setzero_ps();\n#endif", 1),
        ("#ifdef PYCRYO_X86\n__builtin_cpu_init();\n#endif\n__builtin_cpu_init();", 1),
        ("vaddvq_u32(x); // _mm_add_ps", 1),
    ],
)
def test_strays_are_found(text, n):
    assert len(strays(text)) == n
