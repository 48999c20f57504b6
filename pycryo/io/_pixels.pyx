# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: embedsignature=True, embedsignature.format=c
"""Pixels of files that are not float32 of this machine, read and converted piece by piece; statistics of an image."""

import os

import numpy as np

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <fcntl.h>
    #include <unistd.h>

    #include <algorithm>
    #include <cerrno>
    #include <cstddef>
    #include <cstdint>
    #include <cstring>
    #include <limits>
    #if defined(__x86_64__) && defined(__GNUC__)
    #define PYCRYO_X86
    #include <immintrin.h>
    #endif

    namespace {

    using Bits = std::uint32_t __attribute__((vector_size(16)));
    constexpr std::size_t kLanes = 4;

    Bits turned(Bits x) {
      x = ((x & 0x00ff00ffu) << 8) | ((x >> 8) & 0x00ff00ffu);
      return (x << 16) | (x >> 16);
    }

    std::uint16_t half_at(const std::uint8_t* source, bool turn) {
      const std::uint16_t low = source[turn ? 1 : 0], high = source[turn ? 0 : 1];
      return static_cast<std::uint16_t>(low | (high << 8));
    }

    // Subnormal halves are normal floats: what their digits add to the least normal one.
    float widened(std::uint32_t half) {
      const std::uint32_t least = 0x38800000u, digits = (half & 0x7fffu) << 13, exponent = digits & 0x0f800000u;
      std::uint32_t bits = digits + least;
      float value, one;
      std::memcpy(&value, &bits, sizeof value);
      std::memcpy(&one, &least, sizeof one);
      value -= one;
      std::uint32_t small;
      std::memcpy(&small, &value, sizeof small);
      const std::uint32_t large = digits + (exponent == 0x0f800000u ? 0x70000000u : 0x38000000u);
      bits = ((half & 0x8000u) << 16) | (exponent == 0 ? small : large);
      std::memcpy(&value, &bits, sizeof value);
      return value;
    }

    #ifdef PYCRYO_X86
    // As many as there are eight at a time; how many.
    __attribute__((target("avx,f16c"))) std::size_t read_eights(const std::uint8_t* source, std::size_t n, bool turn,
                                                                 float* out) {
      std::size_t i = 0;
      for (; i + 8 <= n; i += 8) {
        __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + 2 * i));
        if (turn) half = _mm_or_si128(_mm_slli_epi16(half, 8), _mm_srli_epi16(half, 8));
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(half));
      }
      return i;
    }
    #endif

    void read_halves(const std::uint8_t* source, std::size_t n, bool turn, float* out) {
      std::size_t i = 0;
    #ifdef PYCRYO_X86
      __builtin_cpu_init();
      // Every processor with AVX2 has F16C, for which Clang has no question.
      if (__builtin_cpu_supports("avx2")) i = read_eights(source, n, turn, out);
    #endif
      for (; i < n; ++i) out[i] = widened(half_at(source + 2 * i, turn));
    }

    #ifdef PYCRYO_X86
    __attribute__((target("avx2"))) std::size_t turn_eights(const std::uint8_t* source, std::size_t n, float* out) {
      const __m256i order = _mm256_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 3, 2, 1, 0, 7, 6, 5,
                                             4, 11, 10, 9, 8, 15, 14, 13, 12);
      std::size_t i = 0;
      for (; i + 8 <= n; i += 8) {
        const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + 4 * i));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_shuffle_epi8(bits, order));
      }
      return i;
    }
    #endif

    void turn_floats(const std::uint8_t* source, std::size_t n, float* out) {
      std::size_t i = 0;
    #ifdef PYCRYO_X86
      __builtin_cpu_init();
      if (__builtin_cpu_supports("avx2")) i = turn_eights(source, n, out);
    #endif
      for (; i < n; i += kLanes) {
        const std::size_t count = n - i < kLanes ? n - i : kLanes;
        Bits bits = {};
        std::memcpy(&bits, source + 4 * i, 4 * count);
        bits = turned(bits);
        std::memcpy(out + i, &bits, 4 * count);
      }
    }

    // Numbers of `size` bytes from `offset` on; how many there were, or -errno. A piece stays in the second cache of a
    // core. What keeps its size is read to where it stays and turned there: the kernel writes whole lines, so that none
    // is fetched first.
    long long read_numbers(int descriptor, long long offset, int size, bool turn, long long n, float* out) {
      constexpr long long kPiece = 1 << 15;
      alignas(64) std::uint8_t halves[2 * kPiece];
      long long done = 0;
      while (done < n) {
        const long long wanted = std::min(kPiece, n - done) * size;
        std::uint8_t* const piece = size == 2 ? halves : reinterpret_cast<std::uint8_t*>(out + done);
        long long have = 0;
        while (have < wanted) {
          const long long count = pread(descriptor, piece + have, wanted - have, offset + done * size + have);
          if (count < 0 && errno == EINTR) continue;
          if (count < 0) return -errno;
          if (count == 0) break;
          have += count;
        }
        if (size == 2) read_halves(piece, have / 2, turn, out + done);
        else turn_floats(piece, have / 4, out + done);
        done += have / size;
        if (have < wanted) break;
      }
      return done;
    }

    using Floats = float __attribute__((vector_size(16)));
    using Doubles = double __attribute__((vector_size(16)));

    Floats four_at(const float* pixels) {
      Floats value;
      std::memcpy(&value, pixels, sizeof value);
      return value;
    }

    bool begin_writing(int descriptor, long long offset, long long n) {
    #ifdef SYNC_FILE_RANGE_WRITE
      return sync_file_range(descriptor, offset, n, SYNC_FILE_RANGE_WRITE) == 0;
    #else
      static_cast<void>(descriptor), static_cast<void>(offset), static_cast<void>(n);
      return false;
    #endif
    }

    // Minimum, maximum, sum and sum of squares of n numbers, eight at a time: the sums have an order of their own.
    void sum_up(const float* pixels, std::size_t n, double* out) {
      const float infinity = std::numeric_limits<float>::infinity();
      Floats low[2] = {Floats{} + infinity, Floats{} + infinity}, high[2] = {-low[0], -low[1]};
      Doubles sum[4] = {}, squares[4] = {};
      std::size_t i = 0;
      for (; i + 8 <= n; i += 8)
        for (int part = 0; part < 2; ++part) {
          const Floats value = four_at(pixels + i + 4 * part);
          low[part] = value < low[part] ? value : low[part];
          high[part] = value > high[part] ? value : high[part];
          const Doubles first = {value[0], value[1]}, second = {value[2], value[3]};
          sum[2 * part] += first;
          sum[2 * part + 1] += second;
          squares[2 * part] += first * first;
          squares[2 * part + 1] += second * second;
        }
      double least = infinity, most = -infinity, total = 0, square = 0;
      for (int lane = 0; lane < 8; ++lane) {
        least = std::min<double>(least, low[lane / 4][lane % 4]);
        most = std::max<double>(most, high[lane / 4][lane % 4]);
        total += sum[lane / 2][lane % 2];
        square += squares[lane / 2][lane % 2];
      }
      for (; i < n; ++i) {
        const double value = pixels[i];
        least = std::min(least, value);
        most = std::max(most, value);
        total += value;
        square += value * value;
      }
      out[0] = least;
      out[1] = most;
      out[2] = total;
      out[3] = square;
    }

    }  // namespace
    """
    long long read_numbers(int descriptor, long long offset, int size, bint turn, long long n, float* out) noexcept nogil
    void sum_up(const float* pixels, size_t n, double* out) noexcept nogil
    bint begin_writing(int descriptor, long long offset, long long n) noexcept nogil


def send_to_disc(int descriptor, int64_t offset, int64_t n):
    """Let the system begin to write n bytes of a file from byte `offset` on to the disc, and do not wait.

    1, or 0 where it cannot be told: errors of the disc are for fsync to tell.
    """
    cdef bint was_told
    with nogil:
        was_told = begin_writing(descriptor, offset, n)
    return int(was_told)


def sums_of(const float[::1] pixels):
    """(4,) minimum, maximum, sum and sum of squares of finite numbers; NaN are no minimum and no maximum."""
    cdef size_t n = pixels.shape[0]
    out = np.empty(4)
    cdef double[::1] view = out
    with nogil:
        sum_up(&pixels[0] if n else NULL, n, &view[0])
    return out


def read_float16(int descriptor, int64_t offset, int is_turned, float[::1] out):
    """Read float16 numbers of a file from byte `offset` on as float32 into `out`; how many there were.

    `is_turned`: the bytes of each are in the other order than this machine's. OSError if the file cannot be read.
    """
    return _read(descriptor, offset, 2, is_turned, out)


def read_turned_float32(int descriptor, int64_t offset, float[::1] out):
    """As `read_float16`, of float32 numbers whose bytes are in the other order than this machine's."""
    return _read(descriptor, offset, 4, 1, out)


cdef long long _read(int descriptor, long long offset, int size, int is_turned, float[::1] out) except -1:
    cdef long long n = out.shape[0], found = 0
    if n:
        with nogil:
            found = read_numbers(descriptor, offset, size, is_turned != 0, n, &out[0])
    if found < 0:
        raise OSError(-found, os.strerror(-found))
    return found
