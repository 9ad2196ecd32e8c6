// Vectors of a processor's width, memory that threads keep, and the images of one channels-last tensor.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif
#include <new>
#include <type_traits>

#ifdef _OPENMP
#include <omp.h>
#else
inline int omp_get_thread_num() { return 0; }
#endif

#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

// The largest vector of this processor, in bytes.
#if defined(__AVX512F__)
constexpr int WIDEST = 64;
#elif defined(__AVX__)
constexpr int WIDEST = 32;
#else
constexpr int WIDEST = 16;
#endif

constexpr std::size_t PAGE = 4096;

template <int N>
using Constant = std::integral_constant<int, N>;

template <typename T, int BYTES>
struct Vector {
    typedef T type __attribute__((vector_size(BYTES)));
    typedef T loose __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));  // anywhere in memory
    static constexpr int lanes = BYTES / sizeof(T);

    // The first `count` numbers, zeros after them.
    static INLINE type load(const T* from, int count)
    {
        if (count == lanes) return *reinterpret_cast<const loose*>(from);
#if defined(__AVX512F__)
        const unsigned mask = (1u << count) - 1;
        if constexpr (BYTES == 64 && sizeof(T) == 4) return (type)_mm512_maskz_loadu_ps(__mmask16(mask), from);
        if constexpr (BYTES == 64 && sizeof(T) == 8) return (type)_mm512_maskz_loadu_pd(__mmask8(mask), from);
#endif
        type value = {};
        std::memcpy(&value, from, sizeof(T) * count);
        return value;
    }

    static INLINE void store(T* to, type value, int count)
    {
        if (count == lanes) {
            *reinterpret_cast<loose*>(to) = value;
            return;
        }
#if defined(__AVX512F__)
        const unsigned mask = (1u << count) - 1;
        if constexpr (BYTES == 64 && sizeof(T) == 4) return _mm512_mask_storeu_ps(to, __mmask16(mask), (__m512)value);
        if constexpr (BYTES == 64 && sizeof(T) == 8) return _mm512_mask_storeu_pd(to, __mmask8(mask), (__m512d)value);
#endif
        std::memcpy(to, &value, sizeof(T) * count);
    }
};

// What memory is kept for; each use has its own.
enum class Use { weights, coefficients, sums, chunks, rooms };

// Memory that a thread keeps from call to call: fresh pages from the system cost as much as the work done in them. To
// be asked for outside of parallel regions, since no exception may leave one.
inline void* kept(Use use, std::size_t bytes)
{
    struct Held {
        void* memory = nullptr;
        std::size_t bytes = 0;
        ~Held() { std::free(memory); }
    };
    static thread_local Held all[int(Use::rooms) + 1];
    Held& held = all[int(use)];
    if (held.bytes < bytes) {
        std::free(held.memory);
        held.bytes = 0;
        held.memory = std::aligned_alloc(PAGE, (bytes + PAGE - 1) / PAGE * PAGE);
        if (!held.memory) throw std::bad_alloc();
        held.bytes = bytes;
    }
    return held.memory;
}

template <typename T>
T* scratch(Use use, std::size_t number)
{
    return static_cast<T*>(kept(use, number * sizeof(T)));
}

// Room for each of the threads that work at once, in whole pages.
template <typename T>
struct Rooms {
    long size;
    T* first;

    Rooms(long needed, int threads)
        : size((needed * sizeof(T) + PAGE - 1) / PAGE * (PAGE / sizeof(T))),
          first(scratch<T>(Use::rooms, size * threads)) {}

    T* mine() const { return first + size * omp_get_thread_num(); }
};
