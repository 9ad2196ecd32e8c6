// ReLU and a convolution in which every channel reads all, from any to any number of channels; and its gradients.
//
// dz = alpha g + beta z + gamma is the backward pass of a norm after it (see separable.hpp).
#pragma once
#include <vector>

#include "plane.hpp"

template <typename T, int BYTES>
struct Dense {
    using B = Blocks<T, BYTES>;
    using P = Plane<T, BYTES>;
    using V = typename B::V;
    using Vec = typename B::Vec;
    using Gradient = typename B::Gradient;

    Layout s;
    int out_channels, out_vectors, out_wide;  // out_wide: of a plane of gradients by outputs
    long out_image, weights_size;
    Vec *by_inputs, *by_outputs;             // a matrix for each tap, rows by what comes in; by what goes out, flipped
    std::vector<long> offsets, by_offsets;   // of the taps, in planes of inputs and of gradients

    Dense(const Shape& shape, int out_channels, const T* weights) : s(shape, V::lanes), out_channels(out_channels)
    {
        out_vectors = B::vectors_of(out_channels);
        out_wide = s.out_width + 2 * s.pad_x;
        out_image = long(s.out_height) * s.out_width * out_channels;
        const long in_tap = long(s.channels) * out_vectors, out_tap = long(out_channels) * s.vectors;
        weights_size = s.taps * in_tap;
        const long size = weights_size + s.taps * out_tap;
        by_inputs = scratch<Vec>(Use::weights, size);
        by_outputs = by_inputs + weights_size;
        std::memset(by_inputs, 0, sizeof(Vec) * size);
        for (int k = 0; k < s.taps; k++) {
            const int turned = s.stride == 1 ? s.taps - 1 - k : k;  // gathered with stride 1, else scattered
            offsets.push_back((long(k / s.kernel_x) * s.plane_width + k % s.kernel_x) * s.vectors);
            by_offsets.push_back((long(k / s.kernel_x) * out_wide + k % s.kernel_x) * out_vectors);
            for (int o = 0; o < out_channels; o++)
                for (int i = 0; i < s.channels; i++) {
                    const T weight = weights[(long(o) * s.channels + i) * s.taps + k];
                    B::numbers(by_inputs + k * in_tap + long(i) * out_vectors)[o] = weight;
                    B::numbers(by_outputs + turned * out_tap + long(o) * s.vectors)[i] = weight;
                }
        }
    }

    // z = conv(relu(in)), and the norm of z.
    void forward(const T* in, double eps, T* out, double* out_norm) const
    {
        const long row = long(s.out_width) * out_vectors;
        const Rooms<Vec> rooms(s.plane + row + Moments<T, BYTES>::size(out_channels), s.threads);
        double* each = scratch<double>(Use::sums, 2L * s.samples * out_channels);
#pragma omp parallel num_threads(s.threads)
        {
            Vec *plane = rooms.mine(), *result = plane + s.plane;
            Moments<T, BYTES> moments(result + row, out_channels);
            std::memset(plane, 0, sizeof(Vec) * s.plane);
#pragma omp for schedule(static)
            for (int b = 0; b < s.samples; b++) {
                P::stage(plane, in + b * s.image, s, nullptr, nullptr);
                moments.begin();
                for (int y = 0; y < s.out_height; y++) {
                    B::multiply_taps(result, out_vectors, plane + long(y) * s.stride * s.plane_width * s.vectors,
                                     long(s.stride) * s.vectors, s.channels, by_inputs, offsets.data(), s.taps,
                                     s.out_width);
                    moments.store(out + b * out_image + long(y) * s.out_width * out_channels, result, s.out_width);
                }
                moments.end(each + 2L * b * out_channels, long(s.out_height) * s.out_width);
            }
        }
        join_moments(s.samples, long(s.out_height) * s.out_width, out_channels, each, eps, out_norm);
    }

    // What one thread works in. With stride 1 the gradient by the inputs is gathered from the plane by_out, else
    // scattered into the plane by_in.
    struct Work {
        Vec *plane, *by_out, *by_in, *row;

        Work(Vec* room, const Dense& d) : plane(room), by_out(plane + d.s.plane)
        {
            by_in = by_out + d.out_plane();
            row = by_in + d.in_plane();
            std::memset(plane, 0, sizeof(Vec) * size(d));
        }

        static long size(const Dense& d)
        {
            return d.s.plane + d.out_plane() + d.in_plane() + long(d.s.width) * d.s.vectors;
        }
    };

    // Gradients, each only where there is a place for it; that by the inputs is added or written.
    void backward(const T* in, const T* g, const T* z, const double* dz, T* by_in, bool adds, T* by_weights) const
    {
        const Chunks chunks(s.samples, 16);
        Vec* by_chunk = by_weights ? scratch<Vec>(Use::chunks, weights_size * chunks.number) : nullptr;
        const Gradient gradient = B::gradient(g, z, dz, out_channels);
        const Rooms<Vec> rooms(Work::size(*this), s.threads);
#pragma omp parallel num_threads(s.threads)
        {
            const Work work(rooms.mine(), *this);
#pragma omp for schedule(static)
            for (int chunk = 0; chunk < chunks.number; chunk++) {
                Vec* by_matrices = by_chunk ? by_chunk + weights_size * chunk : nullptr;
                if (by_matrices) std::memset(by_matrices, 0, sizeof(Vec) * weights_size);
                for (int b = chunks.start(chunk); b < chunks.start(chunk + 1); b++)
                    sample(work, in + b * s.image, gradient.from(b * out_image), by_in ? by_in + b * s.image : nullptr,
                           adds, by_matrices);
            }
        }
        if (by_weights) add_chunks(by_chunk, chunks.number, by_weights);
    }

private:
    bool gathers() const { return s.stride == 1; }
    long out_plane() const { return long(s.out_height + 2 * s.pad_y) * out_wide * out_vectors; }
    long in_plane() const { return gathers() ? 0 : s.plane; }

    INLINE void sample(const Work& work, const T* image, const Gradient& dz, T* by_image, bool adds,
                       Vec* by_matrices) const
    {
        P::stage(work.plane, image, s, nullptr, nullptr);
        std::memset(work.by_in, 0, sizeof(Vec) * in_plane());
        for (int y = 0; y < s.out_height; y++) {
            Vec* by_row = work.by_out + (long(y + s.pad_y) * out_wide + s.pad_x) * out_vectors;
            B::combine(by_row, dz.from(long(y) * s.out_width * out_channels), out_channels, s.out_width);
            const long from = long(y) * s.stride * s.plane_width * s.vectors;
            if (by_matrices) row_of_weights(by_matrices, work.plane + from, by_row);
            if (by_image && !gathers()) scatter(work.by_in + from, by_row, work.row);
        }
        if (!by_image) return;
        for (int y = 0; y < s.height; y++) {
            const Vec* by_active = work.row;
            if (gathers())
                B::multiply_taps(work.row, s.vectors, work.by_out + long(y) * out_wide * out_vectors, out_vectors,
                                 out_channels, by_outputs, by_offsets.data(), s.taps, s.width);
            else
                by_active = P::inside(work.by_in, s, y);
            P::leave(by_image + long(y) * s.width * s.channels, P::inside(work.plane, s, y), by_active, s, adds);
        }
    }

    INLINE void row_of_weights(Vec* by_matrices, const Vec* from, const Vec* by_row) const
    {
        for (int k = 0; k < s.taps; k++)
            B::multiply_weights(by_matrices + k * long(s.channels) * out_vectors, from + offsets[k],
                                long(s.stride) * s.vectors, s.channels, by_row, out_vectors, s.out_width);
    }

    INLINE void scatter(Vec* to, const Vec* by_row, Vec* row) const
    {
        for (int k = 0; k < s.taps; k++) {
            B::multiply(row, s.vectors, by_row, out_vectors, out_channels,
                        by_outputs + k * long(out_channels) * s.vectors, s.out_width);
            for (int x = 0; x < s.out_width; x++)
                for (int v = 0; v < s.vectors; v++)
                    to[offsets[k] + long(x) * s.stride * s.vectors + v] += row[x * s.vectors + v];
        }
    }

    void add_chunks(Vec* by_chunk, int chunks, T* by_weights) const
    {
        const T* total = B::total(by_chunk, weights_size, chunks);
        for (int k = 0; k < s.taps; k++)
            for (int o = 0; o < out_channels; o++)
                for (int i = 0; i < s.channels; i++) {
                    const long row = (long(k) * s.channels + i) * out_vectors;
                    by_weights[(long(o) * s.channels + i) * s.taps + k] = total[row * V::lanes + o];
                }
    }
};
