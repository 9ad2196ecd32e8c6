// One round of a separable convolution: ReLU, depthwise, pointwise, in one sweep over the images; and its gradients.
//
// A thread copies a sample into a plane and works through tiles of rows that stay in its first cache: between the
// depthwise and the pointwise convolution nothing goes to memory, and the gradients compute that part again.
//
// A round may begin with a norm: then in' = relu(gain (in - mean) / deviation + offset), which is never stored. The
// gradient by its output comes as dz = alpha g + beta z + gamma, one alpha, beta, gamma for each channel: the backward
// pass of a norm after it, of which g is the gradient by what the norm gave. So no gradient by an unnormalised output
// is stored.
#pragma once
#include "plane.hpp"

// VECTORS: of the channels, where the code is made for that number; 0: for any.
template <typename T, int BYTES, int VECTORS>
struct Separable {
    using B = Blocks<T, BYTES>;
    using V = typename B::V;
    using Vec = typename B::Vec;

    Layout shape;
    Vec *taps, *flipped;          // of the depthwise kernel, as it is and turned by 180 degrees
    Vec *by_inputs, *by_outputs;  // the pointwise weights, rows by what comes in, and by what goes out
    Vec *scale, *shift;           // of the norm before the round
    bool normed;

    Separable(const Shape& given, const double* in_norm, const T* depthwise, const T* pointwise)
        : shape(given, V::lanes), normed(in_norm != nullptr)
    {
        const int C = shape.channels, padded = shape.padded;
        const long num_taps = long(shape.taps) * shape.vectors;
        const long size = 2 * num_taps + 2 * shape.matrix + 2 * shape.vectors;
        taps = scratch<Vec>(Use::weights, size);
        flipped = taps + num_taps;
        by_inputs = flipped + num_taps;
        by_outputs = by_inputs + shape.matrix;
        scale = by_outputs + shape.matrix;
        shift = scale + shape.vectors;
        std::memset(taps, 0, sizeof(Vec) * size);
        for (int c = 0; c < C; c++) {
            for (int k = 0; k < shape.taps; k++) {
                B::numbers(taps)[k * padded + c] = depthwise[c * shape.taps + k];
                B::numbers(flipped)[(shape.taps - 1 - k) * padded + c] = depthwise[c * shape.taps + k];
            }
            for (int i = 0; i < C; i++) {
                B::numbers(by_inputs)[long(i) * padded + c] = pointwise[long(c) * C + i];
                B::numbers(by_outputs)[long(c) * padded + i] = pointwise[long(c) * C + i];
            }
            if (!normed) continue;
            const double mean = in_norm[c], slope = in_norm[C + c] * in_norm[2 * C + c];
            B::numbers(scale)[c] = T(slope);
            B::numbers(shift)[c] = T(in_norm[3 * C + c] - mean * slope);
        }
    }

    INLINE int num_vectors() const { return VECTORS ? VECTORS : shape.vectors; }

    // A row of depthwise outputs; `from` is what the first tap of the first pixel reads, `wide` its plane's width.
    INLINE void depthwise_row(Vec* out, const Vec* from, const Vec* kernel, int wide, int stride, int width) const
    {
        if (shape.kernel_x == 3) depthwise_taps<3>(out, from, kernel, wide, stride, width);
        else if (shape.kernel_x == 5) depthwise_taps<5>(out, from, kernel, wide, stride, width);
        else depthwise_taps<0>(out, from, kernel, wide, stride, width);
    }

    template <int KERNEL_X>
    INLINE void depthwise_taps(Vec* out, const Vec* from, const Vec* kernel, int wide, int stride, int width) const
    {
        const int vectors = num_vectors(), kernel_x = KERNEL_X ? KERNEL_X : shape.kernel_x;
        const long apart = long(shape.dilation) * vectors;
        each_block(width, [&](int x, auto block) INLINE_LAMBDA {
            constexpr int N = decltype(block)::value;
            for (int v = 0; v < vectors; v++) {
                Vec sum[N] = {};
                const Vec *pixel[N], *tap = kernel + v;
                for (int p = 0; p < N; p++) pixel[p] = from + long(x + p) * stride * vectors + v;
                for (long ky = 0, row = 0; ky < shape.kernel_y; ky++, row += wide * apart) {
                    long at = row;
#pragma GCC unroll 5
                    for (int kx = 0; kx < kernel_x; kx++, at += apart, tap += vectors)
                        for (int p = 0; p < N; p++) sum[p] += pixel[p][at] * *tap;
                }
                for (int p = 0; p < N; p++) out[(x + p) * vectors + v] = sum[p];
            }
        });
    }

    // z = pointwise(depthwise(relu(norm(in)))), and the norm of z.
    void forward(const T* in, double eps, T* out, double* out_norm) const
    {
        const Layout& s = shape;
        const int vectors = num_vectors(), C = s.channels;
        const long pixels = long(s.out_height) * s.out_width;
        const long tile = long(s.tile) * s.out_width * vectors;
        const Rooms<Vec> rooms(s.plane + 2 * tile + Moments<T, BYTES>::size(C), s.threads);
        double* each = scratch<double>(Use::sums, 2L * s.samples * C);
#pragma omp parallel num_threads(s.threads)
        {
            Vec *plane = rooms.mine(), *hidden = plane + s.plane, *result = hidden + tile;
            Moments<T, BYTES> moments(result + tile, C);
            std::memset(plane, 0, sizeof(Vec) * s.plane);
#pragma omp for schedule(static)
            for (int b = 0; b < s.samples; b++) {
                Plane<T, BYTES>::stage(plane, in + b * s.image, s, normed ? scale : nullptr, shift);
                moments.begin();
                for (int top = 0; top < s.out_height; top += s.tile) {
                    const int rows = std::min(s.tile, s.out_height - top), count = rows * s.out_width;
                    for (int y = 0; y < rows; y++)
                        depthwise_row(hidden + long(y) * s.out_width * vectors,
                                      plane + long(top + y) * s.stride * s.plane_width * vectors, taps,
                                      s.plane_width, s.stride, s.out_width);
                    B::multiply(result, vectors, hidden, vectors, C, by_inputs, count);
                    moments.store(out + b * s.out_image + long(top) * s.out_width * C, result, count);
                }
                moments.end(each + 2L * b * C, pixels);
            }
        }
        join_moments(s.samples, pixels, C, each, eps, out_norm);
    }
};
