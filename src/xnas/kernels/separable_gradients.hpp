// Gradients of one round of a separable convolution, for dz = alpha g + beta z + gamma (see separable.hpp).
#pragma once
#include "separable.hpp"

template <typename T, int BYTES, int VECTORS>
struct SeparableGradients : Separable<T, BYTES, VECTORS> {
    using Base = Separable<T, BYTES, VECTORS>;
    using V = typename Base::V;
    using Vec = typename Base::Vec;
    using B = typename Base::B;
    using P = Plane<T, BYTES>;
    using Gradient = typename B::Gradient;
    using Base::Base, Base::shape, Base::num_vectors, Base::taps;

    // What one thread works in: all of it but the planes stays in its first caches.
    struct Work {
        Vec *plane, *by_plane, *hidden, *by_out, *by_hidden, *line, *sum, *product;

        Work(Vec* room, const Layout& s)
        {
            plane = room;
            by_plane = plane + s.plane;
            hidden = by_plane + s.plane;
            by_out = hidden + tile(s);
            by_hidden = by_out + tile(s);
            line = by_hidden + tile(s);
            sum = line + long(s.width) * s.vectors;
            product = sum + s.vectors;
            std::memset(plane, 0, sizeof(Vec) * 2 * s.plane);
        }

        static long tile(const Layout& s) { return long(s.tile) * s.out_width * s.vectors; }
        static long size(const Layout& s) { return 2 * s.plane + 3 * tile(s) + long(s.width + 2) * s.vectors; }
    };

    // by_taps += what a row of gradients says about the depthwise kernel.
    INLINE void depthwise_weights(Vec* by_taps, const Vec* from, const Vec* by_out) const
    {
        for (int v = 0; v < num_vectors(); v++)
            for (int ky = 0; ky < shape.kernel_y; ky++) {
                const Vec* at = from + long(ky) * shape.dilation * shape.plane_width * num_vectors() + v;
                Vec* to = by_taps + ky * shape.kernel_x * num_vectors() + v;
                if (shape.stride == 1) taps_rows<1>(to, at, by_out + v);
                else taps_rows<0>(to, at, by_out + v);
            }
    }

    template <int STRIDE>
    INLINE void taps_rows(Vec* to, const Vec* from, const Vec* by_out) const
    {
        int kx = 0;
        for (; kx + 5 <= shape.kernel_x; kx += 5) taps_row<5, STRIDE>(to, from, by_out, kx);
        for (; kx + 3 <= shape.kernel_x; kx += 3) taps_row<3, STRIDE>(to, from, by_out, kx);
        for (; kx < shape.kernel_x; kx++) taps_row<1, STRIDE>(to, from, by_out, kx);
    }

    template <int N, int STRIDE>
    INLINE void taps_row(Vec* by_taps, const Vec* from, const Vec* by_out, int kx) const
    {
        const int vectors = num_vectors();
        const long apart = long(shape.dilation) * vectors, step = long(STRIDE ? STRIDE : shape.stride) * vectors;
        from += kx * apart;
        Vec even[N] = {}, odd[N] = {};  // two sums each: one would wait for itself
        int x = 0;
        for (; x + 2 <= shape.out_width; x += 2) {
            const Vec first = by_out[x * vectors], second = by_out[(x + 1) * vectors];
            for (int k = 0; k < N; k++) {
                even[k] += from[x * step + k * apart] * first;
                odd[k] += from[(x + 1) * step + k * apart] * second;
            }
        }
        if (x < shape.out_width)
            for (int k = 0; k < N; k++) even[k] += from[x * step + k * apart] * by_out[x * vectors];
        for (int k = 0; k < N; k++) by_taps[(kx + k) * vectors] += even[k] + odd[k];
    }

    // The gradients of a row of outputs, on to the inputs that its taps read.
    INLINE void scatter(Vec* to, const Vec* by_hidden) const
    {
        const int vectors = num_vectors();
        for (int ky = 0; ky < shape.kernel_y; ky++)
            for (int kx = 0; kx < shape.kernel_x; kx++) {
                Vec* at = to + (long(ky) * shape.plane_width + kx) * shape.dilation * vectors;
                const Vec* tap = taps + (ky * shape.kernel_x + kx) * vectors;
                for (int x = 0; x < shape.out_width; x++)
                    for (int v = 0; v < vectors; v++)
                        at[long(x) * shape.stride * vectors + v] += by_hidden[x * vectors + v] * tap[v];
            }
    }

    // by_in gets the gradient by what the ReLU was given, added or written; in_dz, where the round begins with a norm,
    // its alpha, beta, gamma: then the gradient by `in` is alpha by_in + beta in + gamma. No weights' gradients without
    // a place for them.
    void backward(const T* in, const T* g, const T* z, const double* dz, const double* in_norm, T* by_in, bool adds,
                  double* in_dz, T* by_depthwise, T* by_pointwise) const
    {
        const Layout& s = shape;
        const Chunks chunks(s.samples, 32);
        const long by_size = long(s.taps) * s.vectors + s.matrix;
        Vec* by_chunk = by_depthwise ? scratch<Vec>(Use::chunks, by_size * chunks.number) : nullptr;
        double* sums = in_dz ? scratch<double>(Use::sums, 2L * s.samples * s.channels) : nullptr;
        const Gradient gradient = B::gradient(g, z, dz, s.channels);
        const Rooms<Vec> rooms(Work::size(s), s.threads);
#pragma omp parallel num_threads(s.threads)
        {
            const Work work(rooms.mine(), s);
#pragma omp for schedule(static)
            for (int chunk = 0; chunk < chunks.number; chunk++) {
                Vec* by_taps = by_chunk ? by_chunk + by_size * chunk : nullptr;
                if (by_taps) std::memset(by_taps, 0, sizeof(Vec) * by_size);
                for (int b = chunks.start(chunk); b < chunks.start(chunk + 1); b++)
                    sample(work, in + b * s.image, gradient.from(b * s.out_image), by_in + b * s.image, adds,
                           sums ? sums + 2L * b * s.channels : nullptr, by_taps);
            }
        }
        if (in_dz) norm_gradient(sums, in_norm, in_dz);
        if (by_chunk) add_chunks(by_chunk, chunks.number, by_depthwise, by_pointwise);
    }

private:
    // sums: of the gradient by what the ReLU was given, and of it times the image, where they are wanted; a row each.
    INLINE void sample(const Work& work, const T* image, const Gradient& dz, T* by_image, bool adds, double* sums,
                       Vec* by_taps) const
    {
        const Layout& s = shape;
        if (s.stride > 1) std::memset(work.by_plane, 0, sizeof(Vec) * s.plane);
        std::memset(work.sum, 0, sizeof(Vec) * 2 * num_vectors());
        P::stage(work.plane, image, s, this->normed ? this->scale : nullptr, this->shift);
        for (int top = 0; top < s.out_height; top += s.tile)
            tile_of_outputs(work, top, dz.from(long(top) * s.out_width * s.channels), by_taps);
        for (int y = 0; y < s.height; y++) row_of_inputs(work, image, by_image, y, adds, sums != nullptr);
        if (!sums) return;
        for (int c = 0; c < s.channels; c++) {
            sums[c] = B::numbers(work.sum)[c];
            sums[s.channels + c] = B::numbers(work.product)[c];
        }
    }

    INLINE void tile_of_outputs(const Work& work, int top, const Gradient& dz, Vec* by_taps) const
    {
        const Layout& s = shape;
        const int vectors = num_vectors(), C = s.channels;
        const int rows = std::min(s.tile, s.out_height - top), count = rows * s.out_width;
        B::combine(work.by_out, dz, C, count);
        B::multiply(work.by_hidden, vectors, work.by_out, vectors, C, this->by_outputs, count);
        for (int y = 0; y < rows; y++) {
            const long row = long(y) * s.out_width * vectors;
            const long in_row = long(top + y) * s.stride * s.plane_width * vectors;
            if (by_taps) {
                this->depthwise_row(work.hidden + row, work.plane + in_row, taps, s.plane_width, s.stride, s.out_width);
                depthwise_weights(by_taps, work.plane + in_row, work.by_hidden + row);
            }
            if (s.stride == 1)
                std::memcpy(P::inside(work.by_plane, s, top + y), work.by_hidden + row,
                            sizeof(Vec) * s.out_width * vectors);
            else
                scatter(work.by_plane + in_row, work.by_hidden + row);
        }
        if (!by_taps) return;
        Vec* by_matrix = by_taps + long(s.taps) * vectors;
        B::multiply_weights(by_matrix, work.hidden, vectors, C, work.by_out, vectors, count);
    }

    INLINE void row_of_inputs(const Work& work, const T* in, T* by_in, int y, bool adds, bool summed) const
    {
        const Layout& s = shape;
        const int vectors = num_vectors(), C = s.channels;
        const Vec *active = P::inside(work.plane, s, y), *by_active = work.line;
        if (s.stride == 1)
            this->depthwise_row(work.line, work.by_plane + long(y) * s.plane_width * vectors, this->flipped,
                                s.plane_width, 1, s.width);
        else
            by_active = P::inside(work.by_plane, s, y);
        if (!summed) return P::leave(by_in + long(y) * s.width * C, active, by_active, s, adds);
        B::each_vector(C, [&](int v, int lanes) INLINE_LAMBDA {
            Vec sum = {}, product = {};
            for (int x = 0; x < s.width; x++) {
                const long at = (long(y) * s.width + x) * C + v * V::lanes;
                const Vec value = active[x * vectors + v] > 0 ? by_active[x * vectors + v] : Vec{};
                sum += value;
                product += value * V::load(in + at, lanes);
                V::store(by_in + at, value, lanes);
            }
            work.sum[v] += sum;
            work.product[v] += product;
        });
    }

    // alpha, beta, gamma of the norm before the round and the gradients by its gain and offset, from the samples' sums
    // of the gradient, and of it times `in`.
    void norm_gradient(const double* sums, const double* in_norm, double* in_dz) const
    {
        const int C = shape.channels;
        const double pixels = double(shape.samples) * shape.height * shape.width;
        for (int c = 0; c < C; c++) {
            double total = 0, product = 0;
            for (int b = 0; b < shape.samples; b++) {
                total += sums[2L * b * C + c];
                product += sums[(2L * b + 1) * C + c];
            }
            const double mean = in_norm[c], rstd = in_norm[C + c], scale = rstd * in_norm[2 * C + c];
            const double by_gain = rstd * (product - mean * total), slope = scale * rstd * by_gain / pixels;
            in_dz[c] = scale;
            in_dz[C + c] = -slope;
            in_dz[2 * C + c] = slope * mean - scale * total / pixels;
            in_dz[3 * C + c] = by_gain;
            in_dz[4 * C + c] = total;
        }
    }

    void add_chunks(Vec* by_chunk, int chunks, T* by_depthwise, T* by_pointwise) const
    {
        const Layout& s = shape;
        const int C = s.channels;
        const long by_size = long(s.taps) * s.vectors + s.matrix;
        const T* total = B::total(by_chunk, by_size, chunks);
        for (int c = 0; c < C; c++)
            for (int k = 0; k < s.taps; k++) by_depthwise[c * s.taps + k] = total[long(k) * s.padded + c];
        for (int o = 0; o < C; o++)
            for (int i = 0; i < C; i++)
                by_pointwise[long(o) * C + i] = total[(long(s.taps) + i) * s.padded + o];
    }
};
