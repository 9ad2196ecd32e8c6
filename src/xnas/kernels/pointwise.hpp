// ReLU and a pointwise convolution from any to any number of channels, and its gradients: how a cell takes its inputs.
#pragma once
#include "blocks.hpp"

struct Sizes {
    int samples, pixels, in_channels, out_channels, threads;  // pixels of a sample
};

template <typename T, int BYTES>
struct Pointwise {
    using B = Blocks<T, BYTES>;
    using V = typename B::V;
    using Vec = typename B::Vec;
    static constexpr int TILE = 64, CHUNKS = 32;

    Sizes s;
    int in_vectors, out_vectors;
    Vec *by_inputs, *by_outputs;  // the weights, rows by what comes in, and by what goes out
    long by_inputs_size;

    Pointwise(const Sizes& sizes, const T* weights) : s(sizes)
    {
        in_vectors = B::vectors_of(s.in_channels);
        out_vectors = B::vectors_of(s.out_channels);
        by_inputs_size = long(s.in_channels) * out_vectors;
        const long size = by_inputs_size + long(s.out_channels) * in_vectors;
        by_inputs = static_cast<Vec*>(scratch(0, sizeof(Vec) * size));
        by_outputs = by_inputs + by_inputs_size;
        std::memset(by_inputs, 0, sizeof(Vec) * size);
        for (int o = 0; o < s.out_channels; o++)
            for (int i = 0; i < s.in_channels; i++) {
                const T weight = weights[long(o) * s.in_channels + i];
                B::numbers(by_inputs + long(i) * out_vectors)[o] = weight;
                B::numbers(by_outputs + long(o) * in_vectors)[i] = weight;
            }
    }

    INLINE void stage(Vec* to, const T* from, int pixels) const
    {
        B::each_vector(s.in_channels, [&](int v, int count) INLINE_LAMBDA {
            for (int p = 0; p < pixels; p++) {
                const Vec value = V::load(from + long(p) * s.in_channels + v * V::lanes, count);
                to[p * in_vectors + v] = value < 0 ? Vec{} : value;
            }
        });
    }

    // z = relu(in) @ weights, and the norm of z.
    void forward(const T* in, double eps, T* out, double* out_norm) const
    {
        double* each = static_cast<double*>(scratch(3, sizeof(double) * 2 * s.samples * s.out_channels));
#pragma omp parallel num_threads(s.threads)
        {
            const long size = TILE * (in_vectors + out_vectors) + Moments<T, BYTES>::size(s.out_channels);
            Vec* active = static_cast<Vec*>(scratch(1, sizeof(Vec) * size));
            Vec* result = active + TILE * in_vectors;
            Moments<T, BYTES> moments(result + TILE * out_vectors, s.out_channels);
#pragma omp for schedule(static)
            for (int b = 0; b < s.samples; b++) {
                moments.begin();
                for (int start = 0; start < s.pixels; start += TILE) {
                    const int count = std::min(TILE, s.pixels - start);
                    const long pixel = long(b) * s.pixels + start;
                    stage(active, in + pixel * s.in_channels, count);
                    B::multiply(result, out_vectors, active, in_vectors, s.in_channels, by_inputs, count);
                    moments.store(out + pixel * s.out_channels, result, count);
                }
                moments.end(each + 2L * b * s.out_channels, s.pixels);
            }
        }
        join_moments(s.samples, s.pixels, s.out_channels, each, eps, out_norm);
    }

    // Gradients for dz = alpha g + beta z + gamma; each only where there is a place for it.
    void backward(const T* in, const T* g, const T* z, const double* dz, T* by_in, T* by_weights) const
    {
        const int chunks = std::min(s.samples, CHUNKS);
        Vec* by_chunk = by_weights ? static_cast<Vec*>(scratch(2, sizeof(Vec) * by_inputs_size * chunks)) : nullptr;
        Vec* coefficients = static_cast<Vec*>(scratch(3, sizeof(Vec) * 3 * out_vectors));
        B::pad(coefficients, dz, 3, s.out_channels);
#pragma omp parallel num_threads(s.threads)
        {
            Vec* active = static_cast<Vec*>(scratch(1, sizeof(Vec) * TILE * (2 * in_vectors + out_vectors)));
            Vec *by_active = active + TILE * in_vectors, *by_out = by_active + TILE * in_vectors;
#pragma omp for schedule(static)
            for (int chunk = 0; chunk < chunks; chunk++) {
                Vec* by_matrix = by_weights ? by_chunk + by_inputs_size * chunk : nullptr;
                if (by_matrix) std::memset(by_matrix, 0, sizeof(Vec) * by_inputs_size);
                const long first = long(chunk) * s.samples / chunks, last = long(chunk + 1) * s.samples / chunks;
                for (long pixel = first * s.pixels; pixel < last * s.pixels; pixel += TILE) {
                    const int count = int(std::min(long(TILE), last * s.pixels - pixel));
                    stage(active, in + pixel * s.in_channels, count);
                    B::combine(by_out, g + pixel * s.out_channels, z + pixel * s.out_channels, coefficients,
                               s.out_channels, count);
                    if (by_matrix)
                        B::multiply_weights(by_matrix, active, in_vectors, s.in_channels, by_out, out_vectors, count);
                    if (!by_in) continue;
                    B::multiply(by_active, in_vectors, by_out, out_vectors, s.out_channels, by_outputs, count);
                    B::each_vector(s.in_channels, [&](int v, int lanes) INLINE_LAMBDA {
                        for (int p = 0; p < count; p++)
                            V::store(by_in + (pixel + p) * s.in_channels + v * V::lanes,
                                     active[p * in_vectors + v] > 0 ? by_active[p * in_vectors + v] : Vec{}, lanes);
                    });
                }
            }
        }
        if (!by_weights) return;
        for (int o = 0; o < s.out_channels; o++)
            for (int i = 0; i < s.in_channels; i++) {
                double sum = 0;
                for (int chunk = 0; chunk < chunks; chunk++)
                    sum += B::numbers(by_chunk + by_inputs_size * chunk + long(i) * out_vectors)[o];
                by_weights[long(o) * s.in_channels + i] = T(sum);
            }
    }
};
