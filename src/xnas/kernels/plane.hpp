// A sample as convolutions read it: padded to whole vectors of channels, with a border of zeros around the image.
//
// Images in memory are channels-last and dense. A thread takes whole samples, and keeps one plane for all of them.
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

template <typename T, int BYTES>
struct Plane {
    using B = Blocks<T, BYTES>;
    using V = typename B::V;
    using Vec = typename B::Vec;

    // The first pixel inside the border, in row y of the image.
    static INLINE Vec* inside(Vec* plane, const Layout& s, int y)
    {
        return plane + (long(y + s.pad_y) * s.plane_width + s.pad_x) * s.vectors;
    }

    // relu(in), or relu(scale in + shift), into the middle of a plane. What is not a number stays so.
    static INLINE void stage(Vec* plane, const T* image, const Layout& s, const Vec* scale, const Vec* shift)
    {
        for (int y = 0; y < s.height; y++) {
            Vec* row = inside(plane, s, y);
            const T* from = image + long(y) * s.width * s.channels;
            B::each_vector(s.channels, [&](int v, int count) INLINE_LAMBDA {
                for (int x = 0; x < s.width; x++) {
                    Vec value = V::load(from + long(x) * s.channels + v * V::lanes, count);
                    if (scale) value = value * scale[v] + shift[v];
                    row[x * s.vectors + v] = value < 0 ? Vec{} : value;
                }
            });
        }
    }

    // A row of gradients by the inputs of a ReLU, from those by its outputs: written, or added to what is there.
    static INLINE void leave(T* to, const Vec* active, const Vec* by_active, const Layout& s, bool adds)
    {
        B::each_vector(s.channels, [&](int v, int count) INLINE_LAMBDA {
            for (int x = 0; x < s.width; x++) {
                T* at = to + long(x) * s.channels + v * V::lanes;
                Vec value = active[x * s.vectors + v] > 0 ? by_active[x * s.vectors + v] : Vec{};
                if (adds) value += V::load(at, count);
                V::store(at, value, count);
            }
        });
    }
};
