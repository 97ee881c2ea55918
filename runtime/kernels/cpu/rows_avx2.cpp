#include "runtime/kernels/cpu/rows.inl"
