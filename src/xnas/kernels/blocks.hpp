// The loops that all convolutions share: products of pixels with matrices, and the moments of what comes out.
//
// Pixels lie in scratch memory, each padded to whole vectors of channels. Sums stay in registers over a block of
// pixels, and every pixel has a pointer of its own, so that the inner loops hold nothing but loads and multiply-adds.
#pragma once
#include <cmath>

#include "vectors.hpp"

// f(first pixel, N) for blocks of N pixels.
template <typename F>
INLINE void each_block(int pixels, F f)
{
    int x = 0;
    for (; x + 8 <= pixels; x += 8) f(x, Constant<8>());
    for (; x + 2 <= pixels; x += 2) f(x, Constant<2>());
    for (; x < pixels; x++) f(x, Constant<1>());
}

// Chunks of samples. Their number does not depend on the number of threads, and sums over them are added in their
// order: the same bits with any number of threads.
struct Chunks {
    int samples, number;

    Chunks(int samples, int most) : samples(samples), number(std::min(samples, most)) {}

    int start(int chunk) const { return int(long(chunk) * samples / number); }
};

template <typename T, int BYTES>
struct Blocks {
    using V = Vector<T, BYTES>;
    using Vec = typename V::type;

    static INLINE T* numbers(Vec* vectors) { return reinterpret_cast<T*>(vectors); }
    static INLINE const T* numbers(const Vec* vectors) { return reinterpret_cast<const T*>(vectors); }
    static int vectors_of(int channels) { return (channels + V::lanes - 1) / V::lanes; }

    // f(v, count) for every vector of channels; full ones by a constant, so that their loops have no branches.
    template <typename F>
    static INLINE void each_vector(int channels, F f)
    {
        const int whole = channels / V::lanes;
        for (int v = 0; v < whole; v++) f(v, V::lanes);
        if (whole * V::lanes < channels) f(whole, channels - whole * V::lanes);
    }

    // out = in @ matrix: a matrix has a row of `out_vectors` for each of the channels that come in.
    static INLINE void multiply(Vec* out, int out_vectors, const Vec* in, int in_vectors, int in_channels,
                                const Vec* matrix, int pixels)
    {
        const long here = 0;
        multiply_taps(out, out_vectors, in, in_vectors, in_channels, matrix, &here, 1, pixels);
    }

    // out = sum over taps of in[at tap] @ matrix of the tap; `step` vectors lie between pixels, `offsets` say where
    // taps read.
    static INLINE void multiply_taps(Vec* out, int out_vectors, const Vec* in, long step, int in_channels,
                                     const Vec* matrices, const long* offsets, int taps, int pixels)
    {
        each_block(pixels, [&](int x, auto block) INLINE_LAMBDA {
            constexpr int N = decltype(block)::value;
            for (int v = 0; v < out_vectors; v++) {
                Vec sum[N] = {};
                const Vec* row = matrices + v;
                for (int t = 0; t < taps; t++) {
                    const T* pixel[N];
                    for (int p = 0; p < N; p++) pixel[p] = numbers(in + (x + p) * step + offsets[t]);
#pragma GCC unroll 4
                    for (int i = 0; i < in_channels; i++, row += out_vectors)
                        for (int p = 0; p < N; p++) sum[p] += pixel[p][i] * *row;
                }
                for (int p = 0; p < N; p++) out[(x + p) * out_vectors + v] = sum[p];
            }
        });
    }

    // by_matrix += in^T @ by_out; `step` vectors lie between the pixels that come in.
    static INLINE void multiply_weights(Vec* by_matrix, const Vec* in, long step, int in_channels, const Vec* by_out,
                                        int out_vectors, int pixels)
    {
        for (int v = 0; v < out_vectors; v++) {
            int i = 0;
            for (; i + 8 <= in_channels; i += 8)
                rows<8>(by_matrix + long(i) * out_vectors + v, numbers(in) + i, step, by_out + v, out_vectors, pixels);
            for (; i < in_channels; i++)
                rows<1>(by_matrix + long(i) * out_vectors + v, numbers(in) + i, step, by_out + v, out_vectors, pixels);
        }
    }

    // alpha g + beta z + gamma, with a number of each for every channel.
    struct Gradient {
        const T *g, *z;
        const Vec* coefficients;

        Gradient from(long at) const { return {g + at, z + at, coefficients}; }
    };

    static Gradient gradient(const T* g, const T* z, const double* coefficients, int channels)
    {
        const int padded = vectors_of(channels) * V::lanes;
        T* to = scratch<T>(Use::coefficients, 3L * padded);
        for (int r = 0; r < 3; r++)
            for (int c = 0; c < padded; c++)
                to[r * padded + c] = c < channels ? T(coefficients[r * channels + c]) : T(0);
        return {g, z, reinterpret_cast<const Vec*>(to)};
    }

    // A gradient for pixels in memory, padded.
    static INLINE void combine(Vec* out, const Gradient& dz, int channels, int pixels)
    {
        const int vectors = vectors_of(channels);
        each_vector(channels, [&](int v, int count) INLINE_LAMBDA {
            const Vec alpha = dz.coefficients[v], beta = dz.coefficients[vectors + v];
            const Vec gamma = dz.coefficients[2 * vectors + v];
            for (int p = 0; p < pixels; p++) {
                const long at = long(p) * channels + v * V::lanes;
                out[p * vectors + v] = alpha * V::load(dz.g + at, count) + beta * V::load(dz.z + at, count) + gamma;
            }
        });
    }

    // The sum over chunks, which lie `size` vectors apart, in place of the first.
    static const T* total(Vec* by_chunk, long size, int chunks)
    {
        for (int chunk = 1; chunk < chunks; chunk++)
            for (long v = 0; v < size; v++) by_chunk[v] += by_chunk[size * chunk + v];
        return numbers(by_chunk);
    }

private:
    template <int N>
    static INLINE void rows(Vec* to, const T* in, long step, const Vec* by_out, int out_vectors, int pixels)
    {
        Vec sum[N];
        for (int k = 0; k < N; k++) sum[k] = to[k * out_vectors];
        for (int p = 0; p < pixels; p++) {
            const Vec gradient = by_out[p * out_vectors];
            const T* pixel = in + p * step * V::lanes;
            for (int k = 0; k < N; k++) sum[k] += pixel[k] * gradient;
        }
        for (int k = 0; k < N; k++) to[k * out_vectors] = sum[k];
    }
};

// Mean and sum of squared deviations of a sample's channels, while its pixels are stored.
template <typename T, int BYTES>
struct Moments {
    using B = Blocks<T, BYTES>;
    using V = typename B::V;
    using Vec = typename B::Vec;

    Vec *first, *sum, *square;
    int channels, vectors;
    bool begun = false;

    static long size(int channels) { return 3L * B::vectors_of(channels); }  // vectors of room that it needs

    Moments(Vec* room, int channels) : channels(channels), vectors(B::vectors_of(channels))
    {
        first = room;
        sum = first + vectors;
        square = sum + vectors;
    }

    void begin()
    {
        begun = false;
        std::memset(sum, 0, sizeof(Vec) * 2 * vectors);
    }

    INLINE void store(T* to, const Vec* pixels, int count)
    {
        // About the first pixel: the squares of deviations from nearly the mean lose nothing.
        if (!begun) std::memcpy(first, pixels, sizeof(Vec) * vectors);
        begun = true;
        B::each_vector(channels, [&](int v, int lanes) INLINE_LAMBDA {
            Vec total = sum[v], squares = square[v];
            for (int p = 0; p < count; p++) {
                const Vec value = pixels[p * vectors + v], off = value - first[v];
                total += off;
                squares += off * off;
                V::store(to + long(p) * channels + v * V::lanes, value, lanes);
            }
            sum[v] = total;
            square[v] = squares;
        });
    }

    // The means, then the sums of squared deviations.
    void end(double* to, long pixels) const
    {
        for (int c = 0; c < channels; c++) {
            const double total = B::numbers(sum)[c];
            to[c] = B::numbers(first)[c] + total / pixels;
            to[channels + c] = B::numbers(square)[c] - total * total / pixels;
        }
    }
};

// The norm of every channel, from the moments of all samples (Chan, Golub, LeVeque 1983): rows of means, reciprocal
// standard deviations, gains and offsets; the latter are 1 and 0 here.
inline void join_moments(int samples, long pixels, int channels, const double* each, double eps, double* norm)
{
    for (int c = 0; c < channels; c++) {
        double mean = 0, squares = 0;
        for (int b = 0; b < samples; b++) mean += each[2L * b * channels + c];
        mean /= samples;
        for (int b = 0; b < samples; b++) {
            const double off = each[2L * b * channels + c] - mean;
            squares += each[(2L * b + 1) * channels + c] + pixels * off * off;
        }
        norm[c] = mean;
        norm[channels + c] = 1 / std::sqrt(std::max(squares, 0.0) / (double(samples) * pixels) + eps);
        norm[2 * channels + c] = 1;
        norm[3 * channels + c] = 0;
    }
}

// The norm of a whole tensor.
template <typename T, int BYTES>
void moments_of(int samples, long pixels, int channels, const T* values, double eps, double* norm, int threads)
{
    using V = Vector<T, BYTES>;
    using Vec = typename V::type;
    double* each = scratch<double>(Use::sums, 2L * samples * channels);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int b = 0; b < samples; b++) {
        const T* from = values + b * pixels * channels;
        double* to = each + 2L * b * channels;
        Blocks<T, BYTES>::each_vector(channels, [&](int v, int count) {
            const Vec first = V::load(from + v * V::lanes, count);
            Vec sum = {}, square = {};
            for (long p = 0; p < pixels; p++) {
                const Vec off = V::load(from + p * channels + v * V::lanes, count) - first;
                sum += off;
                square += off * off;
            }
            for (int i = 0; i < count; i++) {
                const int c = v * V::lanes + i;
                to[c] = first[i] + double(sum[i]) / pixels;
                to[channels + c] = square[i] - double(sum[i]) * sum[i] / pixels;
            }
        });
    }
    join_moments(samples, pixels, channels, each, eps, norm);
}
