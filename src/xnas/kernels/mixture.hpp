// Sums over experts' outputs: the mixture, and what its gradients need.
//
// A tensor of `pixels` x `channels` is read as a row of numbers in which coefficients repeat every `channels`. A period
// is the shortest run of whole vectors after which they do, so that every number of channels fills the vectors.
#pragma once
#include <numeric>

#include "vectors.hpp"

template <typename T, int BYTES>
struct Mixture {
    using V = Vector<T, BYTES>;
    using Vec = typename V::type;
    static constexpr long BLOCK = 16384 / sizeof(T);  // numbers that stay in the first cache while experts go by

    static long period_of(int channels) { return std::lcm(channels, V::lanes); }

    static INLINE void tile(T* to, const double* values, int channels, long period)
    {
        for (long i = 0; i < period; i++) to[i] = T(values[i % channels]);
    }

    // out = constant + sum_k coefficients[k] * inputs[k], or that added to out.
    static void mix(long pixels, int channels, int num, const T* const* inputs, const double* coefficients,
                    const double* constant, T* out, bool adds, int threads)
    {
        const long period = period_of(channels), total = pixels * channels;
        const long block = std::max(BLOCK / period, 1L) * period, blocks = (total + block - 1) / block;
        T* tiled = scratch<T>(Use::coefficients, period * (num + 1));
        for (int k = 0; k < num; k++) tile(tiled + k * period, coefficients + long(k) * channels, channels, period);
        tile(tiled + num * period, constant, channels, period);
#pragma omp parallel for num_threads(threads) schedule(static)
        for (long b = 0; b < blocks; b++) {
            const long from = b * block, size = std::min(block, total - from);
            T* to = out + from;
            const T* last = tiled + num * period;
            for (long start = 0; start == 0 || start < num; start += 4) {  // the first inputs come with the constant
                const auto add = [&](auto some) INLINE_LAMBDA {
                    several<some>(to, inputs + start, from, size, tiled + start * period, last, period,
                                  start > 0 || adds, start == 0);
                };
                switch (std::min(4L, num - start)) {
                    case 4: add(Constant<4>()); break;
                    case 3: add(Constant<3>()); break;
                    case 2: add(Constant<2>()); break;
                    case 1: add(Constant<1>()); break;
                    default: add(Constant<0>());
                }
            }
        }
    }

    // sums[b, c] = sum over a sample's pixels of g, products[k, b, c] = that of g * inputs[k].
    static void products(int samples, long pixels, int channels, int num, const T* g, const T* const* inputs,
                         double* sums, double* products, int threads)
    {
        const long period = period_of(channels), total = pixels * channels;
        const long block = std::max(BLOCK / period, 1L) * period;
        const Rooms<T> rooms(period, threads);
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int b = 0; b < samples; b++) {
            T* row = rooms.mine();
            for (int k = -1; k < num; k++) {
                double* to = k < 0 ? sums + long(b) * channels : products + (long(k) * samples + b) * channels;
                std::fill(to, to + channels, 0.0);
            }
            for (long from = 0; from < total; from += block) {
                const long size = std::min(block, total - from), at = b * total + from;
                for (int k = -1; k < num; k++) {
                    double* to = k < 0 ? sums + long(b) * channels : products + (long(k) * samples + b) * channels;
                    if (k < 0) add_up<false>(row, g + at, g + at, size, period);
                    else add_up<true>(row, g + at, inputs[k] + at, size, period);
                    for (long i = 0; i < period; i++) to[i % channels] += row[i];
                }
            }
        }
    }

private:
    template <int NUM>
    static INLINE void several(T* to, const T* const* inputs, long from, long size, const T* coefficients,
                               const T* constant, long period, bool keeps, bool first)
    {
        long start = 0;
        for (; start + period <= size; start += period)
            for (long i = 0; i < period; i += V::lanes) {
                Vec sum = first ? *reinterpret_cast<const Vec*>(constant + i) : Vec{};
                if (keeps) sum += V::load(to + start + i, V::lanes);
                for (int k = 0; k < NUM; k++)
                    sum += *reinterpret_cast<const Vec*>(coefficients + k * period + i) *
                           V::load(inputs[k] + from + start + i, V::lanes);
                V::store(to + start + i, sum, V::lanes);
            }
        for (long i = 0; start + i < size; i++) {
            T sum = first ? constant[i] : T(0);
            if (keeps) sum += to[start + i];
            for (int k = 0; k < NUM; k++) sum += coefficients[k * period + i] * inputs[k][from + start + i];
            to[start + i] = sum;
        }
    }

    // row[i] = the sum of a, or of a * b, over the numbers i, i + period, ... of a block.
    template <bool MULTIPLIED>
    static INLINE void add_up(T* row, const T* a, const T* b, long size, long period)
    {
        const long whole = size / period;
        for (long i = 0; i < period; i += V::lanes) {
            Vec sum[4] = {};
            long p = 0;
            for (; p + 4 <= whole; p += 4)
                for (int u = 0; u < 4; u++) sum[u] += term<MULTIPLIED>(a, b, (p + u) * period + i);
            for (; p < whole; p++) sum[0] += term<MULTIPLIED>(a, b, p * period + i);
            *reinterpret_cast<Vec*>(row + i) = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        }
        for (long i = 0; whole * period + i < size; i++) {
            const long at = whole * period + i;
            row[i] += MULTIPLIED ? a[at] * b[at] : a[at];
        }
    }

    template <bool MULTIPLIED>
    static INLINE Vec term(const T* a, const T* b, long at)
    {
        const Vec value = V::load(a + at, V::lanes);
        return MULTIPLIED ? value * V::load(b + at, V::lanes) : value;
    }
};
