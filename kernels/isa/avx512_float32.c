#ifdef __x86_64__
#include "float32.h"
#include "avx512.h"
#include "all.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int no_such_level_here; /* a unit must not be empty */
#endif
