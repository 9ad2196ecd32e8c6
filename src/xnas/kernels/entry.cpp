// The kernels for one type of number, as functions that any language can call. REAL says which type.
#include "separable_gradients.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

// The widest vector that a number of channels fills; with more than one it may stay part empty.
template <typename F>
static void with_width(int channels, F f)
{
    constexpr int least = 16;
    if (WIDEST >= 64 && channels * sizeof(REAL) > 32) return f(std::integral_constant<int, WIDEST>());
    if (WIDEST >= 32 && channels * sizeof(REAL) > 16) return f(std::integral_constant<int, std::min(WIDEST, 32)>());
    f(std::integral_constant<int, least>());
}

EXPORT void separable_forward(const Shape* shape, const REAL* in, const double* in_norm, const REAL* depthwise,
                              const REAL* pointwise, double eps, REAL* out, double* out_norm)
{
    with_width(shape->channels, [&](auto bytes) {
        Separable<REAL, decltype(bytes)::value>(*shape, in_norm, depthwise, pointwise).forward(in, eps, out, out_norm);
    });
}

EXPORT void separable_backward(const Shape* shape, const REAL* in, const double* in_norm, const REAL* depthwise,
                               const REAL* pointwise, const REAL* g, const REAL* z, const double* dz, REAL* by_in,
                               int adds, double* in_dz, REAL* by_depthwise, REAL* by_pointwise)
{
    const int C = shape->channels;
    with_width(C, [&](auto bytes) {
        SeparableGradients<REAL, decltype(bytes)::value>(*shape, in_norm, depthwise, pointwise)
            .backward(in, {g, z, dz, dz + C, dz + 2 * C}, in_norm, by_in, adds, in_dz, by_depthwise, by_pointwise);
    });
}

EXPORT void mix(long pixels, int channels, int num, const REAL* const* inputs, const double* coefficients,
                const double* constant, REAL* out, int adds, int threads)
{
    Mixture<REAL, WIDEST>::mix(pixels, channels, num, inputs, coefficients, constant, out, adds, threads);
}

EXPORT void products(int samples, long pixels, int channels, int num, const REAL* g, const REAL* const* inputs,
                     double* sums, double* products, int threads)
{
    Mixture<REAL, WIDEST>::products(samples, pixels, channels, num, g, inputs, sums, products, threads);
}

EXPORT void moments(int samples, long pixels, int channels, const REAL* values, double eps, double* norm, int threads)
{
    Mixture<REAL, WIDEST>::moments(samples, pixels, channels, values, eps, norm, threads);
}
