// One round of a separable convolution: ReLU, depthwise, pointwise, in one sweep over the images; and its gradients.
//
// Images are channels-last and dense. A thread takes whole samples. It copies one into a plane: padded to whole vectors
// of channels, with a border of zeros. Then it works through tiles of rows that stay in its first cache: between the
// depthwise and the pointwise convolution nothing goes to memory, and the gradients compute that part again.
//
// A round may begin with a norm: then in' = relu((in - mean) / deviation), which is never stored. The gradient by its
// output comes as dz = alpha g + beta z + gamma, one alpha, beta, gamma for each channel: the backward pass of a norm
// after it, of which g is the gradient by what the norm gave. So no gradient by an unnormalised output is stored.
//
// Samples fall into chunks whose number does not depend on the number of threads, and sums over chunks are added in
// their order: the same bits with any number of threads.
#pragma once
#include "blocks.hpp"

struct Shape {
    int samples, channels, height, width, kernel_y, kernel_x, stride, dilation, threads;
};

// What follows from a shape, in vectors of `lanes` channels.
struct Layout : Shape {
    int vectors, padded, pad_y, pad_x, out_height, out_width, plane_height, plane_width, taps, tile;
    long image, out_image, plane, matrix;

    Layout(const Shape& shape, int lanes) : Shape(shape)
    {
        vectors = (channels + lanes - 1) / lanes;
        padded = vectors * lanes;
        pad_y = dilation * (kernel_y - 1) / 2;
        pad_x = dilation * (kernel_x - 1) / 2;
        out_height = (height - 1) / stride + 1;
        out_width = (width - 1) / stride + 1;
        plane_height = height + 2 * pad_y;
        plane_width = width + 2 * pad_x;
        taps = kernel_y * kernel_x;
        tile = std::min((32 + out_width - 1) / out_width, out_height);  // rows; at least 32 pixels fill the loops
        image = long(height) * width * channels;
        out_image = long(out_height) * out_width * channels;
        plane = long(plane_height) * plane_width * vectors;
        matrix = long(padded) * vectors;
    }
};

// VECTORS: of the channels, where the code is made for that number; 0: for any.
template <typename T, int BYTES, int VECTORS>
struct Separable {
    using B = Blocks<T, BYTES>;
    using V = typename B::V;
    using Vec = typename B::Vec;
    static constexpr int CHUNKS = 32;

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
        taps = static_cast<Vec*>(scratch(0, sizeof(Vec) * size));
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
            B::numbers(scale)[c] = T(in_norm[C + c]);
            B::numbers(shift)[c] = T(-in_norm[c] * in_norm[C + c]);
        }
    }

    INLINE int num_vectors() const { return VECTORS ? VECTORS : shape.vectors; }

    // The first pixel inside a plane's border, in row y of the image.
    INLINE Vec* inside(Vec* plane, int y) const
    {
        return plane + (long(y + shape.pad_y) * shape.plane_width + shape.pad_x) * num_vectors();
    }

    // relu(norm(in)) into the middle of a plane. What is not a number stays so.
    INLINE void stage(Vec* plane, const T* image) const
    {
        const int C = shape.channels, vectors = num_vectors();
        for (int y = 0; y < shape.height; y++) {
            Vec* row = inside(plane, y);
            const T* from = image + long(y) * shape.width * C;
            B::each_vector(C, [&](int v, int count) INLINE_LAMBDA {
                for (int x = 0; x < shape.width; x++) {
                    Vec value = V::load(from + long(x) * C + v * V::lanes, count);
                    if (normed) value = value * scale[v] + shift[v];
                    row[x * vectors + v] = value < 0 ? Vec{} : value;
                }
            });
        }
    }

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
        double* each = static_cast<double*>(scratch(3, sizeof(double) * 2 * s.samples * C));
#pragma omp parallel num_threads(s.threads)
        {
            const long tile = long(s.tile) * s.out_width * vectors;
            const long size = s.plane + 2 * tile + Moments<T, BYTES>::size(C);
            Vec* plane = static_cast<Vec*>(scratch(1, sizeof(Vec) * size));
            Vec *hidden = plane + s.plane, *result = hidden + tile;
            Moments<T, BYTES> moments(result + tile, C);
            std::memset(plane, 0, sizeof(Vec) * s.plane);
#pragma omp for schedule(static)
            for (int b = 0; b < s.samples; b++) {
                stage(plane, in + b * s.image);
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
