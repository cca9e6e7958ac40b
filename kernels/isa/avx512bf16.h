/* The level of avx512.h on CPUs that multiply pairs of bfloat16: kernels of operations whose declaration `needs` it. */
#define ISA avx512
#define VECTOR_BYTES 64
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,avx512bf16"))), apply_to = function)
#else
#pragma GCC target("arch=x86-64-v4,avx512bf16,prefer-vector-width=512")
#endif
