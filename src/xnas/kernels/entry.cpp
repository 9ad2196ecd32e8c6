// The kernels for one type of number, as functions that any language can call. REAL says which type.
#include "dense.hpp"
#include "mixture.hpp"
#include "pooling.hpp"
#include "separable_gradients.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

// Calls f. The answer is 0, or 1 where the system has no memory for it: no exception may come to another language.
template <typename F>
static int attempt(F f)
{
    try {
        f();
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

// The same with f(bytes, vectors): the widest vector that a number of channels fills; with more than one, the last may
// stay part empty.
template <typename F>
static int attempt(int channels, F f)
{
    const std::size_t bytes = channels * sizeof(REAL);
    const auto with = [&](auto width, auto vectors) { return attempt([&] { f(width, vectors); }); };
    if (bytes <= 16) return with(Constant<16>(), Constant<1>());
    if (bytes <= 32 && WIDEST >= 32) return with(Constant<std::min(WIDEST, 32)>(), Constant<1>());
    if constexpr (sizeof(REAL) == 4) {  // the type that networks are trained in
        if (bytes <= WIDEST) return with(Constant<WIDEST>(), Constant<1>());
    }
    return with(Constant<WIDEST>(), Constant<0>());
}

EXPORT int separable_forward(const Shape* shape, const REAL* in, const double* in_norm, const REAL* depthwise,
                             const REAL* pointwise, double eps, REAL* out, double* out_norm)
{
    return attempt(shape->channels, [&](auto bytes, auto vectors) {
        Separable<REAL, bytes, vectors>(*shape, in_norm, depthwise, pointwise).forward(in, eps, out, out_norm);
    });
}

EXPORT int separable_backward(const Shape* shape, const REAL* in, const double* in_norm, const REAL* depthwise,
                              const REAL* pointwise, const REAL* g, const REAL* z, const double* dz, REAL* by_in,
                              int adds, double* in_dz, REAL* by_depthwise, REAL* by_pointwise)
{
    return attempt(shape->channels, [&](auto bytes, auto vectors) {
        SeparableGradients<REAL, bytes, vectors>(*shape, in_norm, depthwise, pointwise)
            .backward(in, g, z, dz, in_norm, by_in, adds, in_dz, by_depthwise, by_pointwise);
    });
}

EXPORT int dense_forward(const Shape* shape, int out_channels, const REAL* in, const REAL* weights, double eps,
                         REAL* out, double* out_norm)
{
    return attempt([&] { Dense<REAL, WIDEST>(*shape, out_channels, weights).forward(in, eps, out, out_norm); });
}

EXPORT int dense_backward(const Shape* shape, int out_channels, const REAL* in, const REAL* weights, const REAL* g,
                          const REAL* z, const double* dz, REAL* by_in, int adds, REAL* by_weights)
{
    return attempt([&] {
        Dense<REAL, WIDEST>(*shape, out_channels, weights).backward(in, g, z, dz, by_in, adds, by_weights);
    });
}

EXPORT int pool_forward(const Shape* shape, int largest, const REAL* in, double eps, REAL* out, double* out_norm)
{
    return attempt([&] { Pooling<REAL, WIDEST>(*shape, largest).forward(in, eps, out, out_norm); });
}

EXPORT int pool_backward(const Shape* shape, int largest, const REAL* in, const REAL* by_out, REAL* by_in)
{
    return attempt([&] { Pooling<REAL, WIDEST>(*shape, largest).backward(in, by_out, by_in); });
}

EXPORT int mix(long pixels, int channels, int num, const REAL* const* inputs, const double* coefficients,
               const double* constant, REAL* out, int adds, int threads)
{
    return attempt([&] {
        Mixture<REAL, WIDEST>::mix(pixels, channels, num, inputs, coefficients, constant, out, adds, threads);
    });
}

EXPORT int products(int samples, long pixels, int channels, int num, const REAL* g, const REAL* const* inputs,
                    double* sums, double* products, int threads)
{
    return attempt([&] {
        Mixture<REAL, WIDEST>::products(samples, pixels, channels, num, g, inputs, sums, products, threads);
    });
}

EXPORT int moments(int samples, long pixels, int channels, const REAL* values, double eps, double* norm, int threads)
{
    return attempt([&] { moments_of<REAL, WIDEST>(samples, pixels, channels, values, eps, norm, threads); });
}
