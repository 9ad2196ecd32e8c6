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
#include <cmath>

#include "mixture.hpp"

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
    using V = Vector<T, BYTES>;
    using Vec = typename V::type;
    static constexpr int CHUNKS = 32;

    Layout shape;
    Vec *taps, *flipped;             // of the depthwise kernel, as it is and turned by 180 degrees
    Vec *by_inputs, *by_outputs;     // the pointwise weights, rows by what comes in, and by what goes out
    T *scale, *shift;                // of the norm before the round
    bool normed;

    Separable(const Shape& given, const double* in_norm, const T* depthwise, const T* pointwise)
        : shape(given, V::lanes), normed(in_norm != nullptr)
    {
        const int C = shape.channels, padded = shape.padded;
        const long vectors = 2L * shape.taps * num_vectors() + 2 * shape.matrix + 2 * num_vectors();
        taps = static_cast<Vec*>(scratch(0, sizeof(Vec) * vectors));
        flipped = taps + long(shape.taps) * num_vectors();
        by_inputs = flipped + long(shape.taps) * num_vectors();
        by_outputs = by_inputs + shape.matrix;
        scale = numbers(by_outputs + shape.matrix);
        shift = scale + padded;
        std::memset(taps, 0, sizeof(Vec) * vectors);
        for (int c = 0; c < C; c++) {
            for (int k = 0; k < shape.taps; k++) {
                numbers(taps)[k * padded + c] = depthwise[c * shape.taps + k];
                numbers(flipped)[(shape.taps - 1 - k) * padded + c] = depthwise[c * shape.taps + k];
            }
            for (int i = 0; i < C; i++) {
                numbers(by_inputs)[long(i) * padded + c] = pointwise[long(c) * C + i];
                numbers(by_outputs)[long(c) * padded + i] = pointwise[long(c) * C + i];
            }
            if (!normed) continue;
            scale[c] = T(in_norm[C + c]);
            shift[c] = T(-in_norm[c] * in_norm[C + c]);
        }
    }

    INLINE int num_vectors() const { return VECTORS ? VECTORS : shape.vectors; }

    static INLINE T* numbers(Vec* vectors) { return reinterpret_cast<T*>(vectors); }
    static INLINE const T* numbers(const Vec* vectors) { return reinterpret_cast<const T*>(vectors); }

    // The channels in vector v: all lanes but in the last.
    INLINE int count(int v) const { return std::min(V::lanes, shape.channels - v * V::lanes); }

    // f(v, count) for every vector of channels; full ones by a constant, so that their loops have no branches.
    template <typename F>
    INLINE void each_vector(F f) const
    {
        const int whole = shape.channels / V::lanes;
        for (int v = 0; v < whole; v++) f(v, V::lanes);
        if (whole < shape.vectors) f(whole, count(whole));
    }

    // The first pixel inside a plane's border, in row y of the image.
    INLINE Vec* inside(Vec* plane, int y) const
    {
        return plane + (long(y + shape.pad_y) * shape.plane_width + shape.pad_x) * num_vectors();
    }

    // relu(norm(in)) into the middle of a plane. What is not a number stays so.
    INLINE void stage(Vec* plane, const T* image) const
    {
        const int C = shape.channels;
        for (int y = 0; y < shape.height; y++) {
            Vec* row = inside(plane, y);
            const T* from = image + long(y) * shape.width * C;
            each_vector([&](int v, int count) INLINE_LAMBDA {
                const Vec a = reinterpret_cast<const Vec*>(scale)[v], b = reinterpret_cast<const Vec*>(shift)[v];
                for (int x = 0; x < shape.width; x++) {
                    Vec value = V::load(from + long(x) * C + v * V::lanes, count);
                    if (normed) value = value * a + b;
                    row[x * num_vectors() + v] = value < 0 ? Vec{} : value;
                }
            });
        }
    }

    // f(pixels, N) for blocks of N pixels, N a constant whose sums fit the registers.
    template <typename F>
    static INLINE void each_block(int pixels, F f)
    {
        int x = 0;
        for (; x + 8 <= pixels; x += 8) f(x, std::integral_constant<int, 8>());
        for (; x + 2 <= pixels; x += 2) f(x, std::integral_constant<int, 2>());
        for (; x < pixels; x++) f(x, std::integral_constant<int, 1>());
    }

    // A row of depthwise outputs; `from` is what the first tap of the first pixel reads, `wide` its plane's width.
    INLINE void depthwise_row(Vec* out, const Vec* from, const Vec* kernel, int wide, int stride, int width) const
    {
        // Constants where they matter: addresses then need no arithmetic of their own.
        if (stride > 1) depthwise_taps<0, 0>(out, from, kernel, wide, stride, width);
        else if (shape.kernel_x == 3) depthwise_taps<3, 1>(out, from, kernel, wide, 1, width);
        else if (shape.kernel_x == 5) depthwise_taps<5, 1>(out, from, kernel, wide, 1, width);
        else depthwise_taps<0, 1>(out, from, kernel, wide, 1, width);
    }

    template <int KERNEL_X, int STRIDE>
    INLINE void depthwise_taps(Vec* out, const Vec* from, const Vec* kernel, int wide, int stride, int width) const
    {
        const int vectors = num_vectors(), step = (STRIDE ? STRIDE : stride) * vectors;
        const int kernel_x = KERNEL_X ? KERNEL_X : shape.kernel_x, apart = shape.dilation * vectors;
        each_block(width, [&](int x, auto block) INLINE_LAMBDA {
            constexpr int N = decltype(block)::value;
            for (int v = 0; v < vectors; v++) {
                Vec sum[N] = {};
                const Vec *row = from + long(x) * step + v, *tap = kernel + v;
                for (int ky = 0; ky < shape.kernel_y; ky++, row += long(wide) * apart) {
                    const Vec* at = row;
#pragma GCC unroll 5
                    for (int kx = 0; kx < kernel_x; kx++, at += apart, tap += vectors)
                        for (int p = 0; p < N; p++) sum[p] += at[p * step] * *tap;
                }
                for (int p = 0; p < N; p++) out[(x + p) * vectors + v] = sum[p];
            }
        });
    }

    // out = in @ weights, for the pixels of a tile.
    INLINE void pointwise(Vec* out, const Vec* in, const Vec* weights, int pixels) const
    {
        const int vectors = num_vectors(), padded = vectors * V::lanes;
        each_block(pixels, [&](int x, auto block) INLINE_LAMBDA {
            constexpr int N = decltype(block)::value;
            const T* from = numbers(in + x * vectors);
            for (int v = 0; v < vectors; v++) {
                Vec sum[N] = {};
                const Vec* weight = weights + v;
#pragma GCC unroll 4
                for (int i = 0; i < shape.channels; i++, weight += vectors)
                    for (int p = 0; p < N; p++) sum[p] += from[p * padded + i] * *weight;
                for (int p = 0; p < N; p++) out[(x + p) * vectors + v] = sum[p];
            }
        });
    }

    // z = pointwise(depthwise(relu(norm(in)))), and the moments of z.
    void forward(const T* in, double eps, T* out, double* out_norm) const
    {
        const Layout& s = shape;
        const int vectors = num_vectors(), C = s.channels;
        const long pixels = long(s.out_height) * s.out_width;
        double* each = static_cast<double*>(scratch(3, sizeof(double) * 2 * s.samples * C));
#pragma omp parallel num_threads(s.threads)
        {
        const long tile = long(s.tile) * s.out_width * vectors;
        Vec* plane = static_cast<Vec*>(scratch(1, sizeof(Vec) * (s.plane + 2 * tile + 3 * vectors)));
        Vec *hidden = plane + s.plane, *result = hidden + tile;
        Vec *first = result + tile, *sum = first + vectors, *square = sum + vectors;
        std::memset(plane, 0, sizeof(Vec) * s.plane);
#pragma omp for schedule(static)
        for (int b = 0; b < s.samples; b++) {
            std::memset(sum, 0, sizeof(Vec) * 2 * vectors);
            stage(plane, in + b * s.image);
            for (int top = 0; top < s.out_height; top += s.tile) {
                const int rows = std::min(s.tile, s.out_height - top), count = rows * s.out_width;
                for (int y = 0; y < rows; y++)
                    depthwise_row(hidden + long(y) * s.out_width * vectors,
                                  plane + long(top + y) * s.stride * s.plane_width * vectors, taps, s.plane_width,
                                  s.stride, s.out_width);
                pointwise(result, hidden, by_inputs, count);
                // About the first pixel: the squares of deviations from nearly the mean lose nothing.
                if (top == 0) std::memcpy(first, result, sizeof(Vec) * vectors);
                T* to = out + b * s.out_image + long(top) * s.out_width * C;
                each_vector([&](int v, int lanes) INLINE_LAMBDA {
                    Vec total = sum[v], squares = square[v];
                    for (int p = 0; p < count; p++) {
                        const Vec value = result[p * vectors + v], off = value - first[v];
                        total += off;
                        squares += off * off;
                        V::store(to + long(p) * C + v * V::lanes, value, lanes);
                    }
                    sum[v] = total;
                    square[v] = squares;
                });
            }
            for (int c = 0; c < C; c++) {
                const double total = numbers(sum)[c];
                each[2L * b * C + c] = numbers(first)[c] + total / pixels;
                each[(2L * b + 1) * C + c] = numbers(square)[c] - total * total / pixels;
            }
        }
        }
        Mixture<T, BYTES>::join_moments(s.samples, pixels, C, each, eps, out_norm);
    }
};
