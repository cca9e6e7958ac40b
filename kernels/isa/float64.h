#define DTYPE float64
#define REAL double
#define INT int64_t
#define UINT uint64_t
