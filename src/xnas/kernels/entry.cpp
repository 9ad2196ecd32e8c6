// The kernels for one type of number, as functions that any language can call. REAL says which type.
#include "dense.hpp"
#include "mixture.hpp"
#include "pooling.hpp"
#include "separable_gradients.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

// f(bytes, vectors): the widest vector that a number of channels fills; with more than one, the last may stay part empty.
template <typename F>
static void with_width(int channels, F f)
{
    const std::size_t bytes = channels * sizeof(REAL);
    if (bytes <= 16) return f(Constant<16>(), Constant<1>());
    if (bytes <= 32 && WIDEST >= 32) return f(Constant<std::min(WIDEST, 32)>(), Constant<1>());
    if constexpr (sizeof(REAL) == 4) {  // the type that networks are trained in
        if (bytes <= WIDEST) return f(Constant<WIDEST>(), Constant<1>());
    }
    f(Constant<WIDEST>(), Constant<0>());
}

EXPORT void separable_forward(const Shape* shape, const REAL* in, const double* in_norm, const REAL* depthwise,
                              const REAL* pointwise, double eps, REAL* out, double* out_norm)
{
    with_width(shape->channels, [&](auto bytes, auto vectors) {
        Separable<REAL, decltype(bytes)::value, decltype(vectors)::value>(*shape, in_norm, depthwise, pointwise).forward(in, eps, out, out_norm);
    });
}

EXPORT void separable_backward(const Shape* shape, const REAL* in, const double* in_norm, const REAL* depthwise,
                               const REAL* pointwise, const REAL* g, const REAL* z, const double* dz, REAL* by_in,
                               int adds, double* in_dz, REAL* by_depthwise, REAL* by_pointwise)
{
    with_width(shape->channels, [&](auto bytes, auto vectors) {
        SeparableGradients<REAL, decltype(bytes)::value, decltype(vectors)::value>(*shape, in_norm, depthwise, pointwise)
            .backward(in, {g, z, dz}, in_norm, by_in, adds, in_dz, by_depthwise, by_pointwise);
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

EXPORT void pool_forward(const Shape* shape, int largest, const REAL* in, double eps, REAL* out, double* out_norm)
{
    Pooling<REAL, WIDEST>(*shape, largest).forward(in, eps, out, out_norm);
}

EXPORT void pool_backward(const Shape* shape, int largest, const REAL* in, const REAL* by_out, REAL* by_in)
{
    Pooling<REAL, WIDEST>(*shape, largest).backward(in, by_out, by_in);
}

EXPORT void dense_forward(const Shape* shape, int out_channels, const REAL* in, const REAL* weights, double eps,
                          REAL* out, double* out_norm)
{
    Dense<REAL, WIDEST>(*shape, out_channels, weights).forward(in, eps, out, out_norm);
}

EXPORT void dense_backward(const Shape* shape, int out_channels, const REAL* in, const REAL* weights, const REAL* g,
                           const REAL* z, const double* dz, REAL* by_in, int adds, REAL* by_weights)
{
    Dense<REAL, WIDEST>(*shape, out_channels, weights).backward(in, g, z, dz, by_in, adds, by_weights);
}

EXPORT void moments(int samples, long pixels, int channels, const REAL* values, double eps, double* norm, int threads)
{
    moments_of<REAL, WIDEST>(samples, pixels, channels, values, eps, norm, threads);
}
