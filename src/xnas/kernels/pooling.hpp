// Poolings over 3 x 3 pixels, by the mean of those inside the image or by their largest, and their gradients.
#pragma once
#include "plane.hpp"

template <typename T, int BYTES>
struct Pooling {
    using B = Blocks<T, BYTES>;
    using V = typename B::V;
    using Vec = typename B::Vec;

    Layout s;
    bool largest;

    Pooling(const Shape& shape, bool largest) : s(shape, V::lanes), largest(largest) {}

    // The rows, or columns, of the image that an output reads.
    static INLINE int first_of(int out, int stride, int pad) { return std::max(out * stride - pad, 0); }
    static INLINE int end_of(int out, int stride, int pad, int kernel, int size)
    {
        return std::min(out * stride - pad + kernel, size);
    }

    // f(input pixel, whether it is the first) for all that one output reads.
    template <typename F>
    INLINE int each_input(int y, int x, F f) const
    {
        const int top = first_of(y, s.stride, s.pad_y), bottom = end_of(y, s.stride, s.pad_y, s.kernel_y, s.height);
        const int left = first_of(x, s.stride, s.pad_x), right = end_of(x, s.stride, s.pad_x, s.kernel_x, s.width);
        if (bottom - top == 3 && right - left == 3) {  // nearly all: with constants the loops unroll
            const long corner = long(top) * s.width + left;
            for (int row = 0; row < 3; row++)
                for (int column = 0; column < 3; column++) f(corner + long(row) * s.width + column, 3 * row + column);
            return 9;
        }
        int number = 0;
        for (int row = top; row < bottom; row++)
            for (int column = left; column < right; column++) f(long(row) * s.width + column, number++);
        return number;
    }

    void forward(const T* in, double eps, T* out, double* out_norm) const
    {
        double* each = scratch<double>(Use::sums, 2L * s.samples * s.channels);
        const long pixels = long(s.out_height) * s.out_width, size = long(s.out_width) * s.vectors;
        const Rooms<Vec> rooms(size + Moments<T, BYTES>::size(s.channels), s.threads);
#pragma omp parallel num_threads(s.threads)
        {
            Vec* row = rooms.mine();
            Moments<T, BYTES> moments(row + size, s.channels);
#pragma omp for schedule(static)
            for (int b = 0; b < s.samples; b++) {
                const T* image = in + b * s.image;
                moments.begin();
                for (int y = 0; y < s.out_height; y++) {
                    B::each_vector(s.channels, [&](int v, int count) INLINE_LAMBDA {
                        for (int x = 0; x < s.out_width; x++) row[x * s.vectors + v] = pooled(image, y, x, v, count);
                    });
                    moments.store(out + b * s.out_image + long(y) * s.out_width * s.channels, row, s.out_width);
                }
                moments.end(each + 2L * b * s.channels, pixels);
            }
        }
        join_moments(s.samples, pixels, s.channels, each, eps, out_norm);
    }

    void backward(const T* in, const T* by_out, T* by_in) const
    {
#pragma omp parallel for num_threads(s.threads) schedule(static)
        for (int b = 0; b < s.samples; b++) {
            const T *image = in + b * s.image, *gradients = by_out + b * s.out_image;
            T* by_image = by_in + b * s.image;
            std::memset(by_image, 0, sizeof(T) * s.image);
            for (int y = 0; y < s.out_height; y++)
                B::each_vector(s.channels, [&](int v, int count) INLINE_LAMBDA {
                    for (int x = 0; x < s.out_width; x++) {
                        const T* at = gradients + (long(y) * s.out_width + x) * s.channels + v * V::lanes;
                        spread(image, by_image, V::load(at, count), y, x, v, count);
                    }
                });
        }
    }

private:
    INLINE Vec pooled(const T* image, int y, int x, int v, int count) const
    {
        const T* from = image + v * V::lanes;
        Vec value = {};
        if (!largest) {
            const int number = each_input(y, x, [&](long pixel, int) INLINE_LAMBDA {
                value += V::load(from + pixel * s.channels, count);
            });
            return value / T(number);
        }
        each_input(y, x, [&](long pixel, int number) INLINE_LAMBDA {
            const Vec next = V::load(from + pixel * s.channels, count);
            value = number == 0 || takes(next, value) ? next : value;
        });
        return value;
    }

    // The gradient of one output to the pixels that it was made of: all, or the first of the largest.
    INLINE void spread(const T* image, T* by_image, Vec gradient, int y, int x, int v, int count) const
    {
        const T* from = image + v * V::lanes;
        T* to = by_image + v * V::lanes;
        if (!largest) {
            const int number = each_input(y, x, [](long, int) INLINE_LAMBDA {});
            gradient /= T(number);
            each_input(y, x, [&](long pixel, int) INLINE_LAMBDA {
                V::store(to + pixel * s.channels, V::load(to + pixel * s.channels, count) + gradient, count);
            });
            return;
        }
        Vec value = {}, chosen = {};
        each_input(y, x, [&](long pixel, int number) INLINE_LAMBDA {
            const Vec next = V::load(from + pixel * s.channels, count);
            const auto better = takes(next, value);
            value = number == 0 || better ? next : value;
            chosen = number == 0 ? Vec{} : better ? Vec{} + T(number) : chosen;
        });
        each_input(y, x, [&](long pixel, int number) INLINE_LAMBDA {
            const Vec part = chosen == T(number) ? gradient : Vec{};
            V::store(to + pixel * s.channels, V::load(to + pixel * s.channels, count) + part, count);
        });
    }

    // Larger, or not a number.
    static INLINE auto takes(Vec next, Vec value) { return (next > value) | (next != next); }
};
