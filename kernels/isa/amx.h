/* The level of avx512.h on CPUs with a matrix unit for bfloat16 (AMX): other kernels of operations that multiply it. */
#define ISA amx
#define VECTOR_BYTES 64
#define MATRIX_UNIT 1
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,avx512bf16,amx-tile,amx-bf16"))), apply_to = function)
#else
#pragma GCC target("arch=x86-64-v4,avx512bf16,amx-tile,amx-bf16,prefer-vector-width=512")
#endif
