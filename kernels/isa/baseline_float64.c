#include "float64.h"
#include "baseline.h"
#include "all.h"
