#include "runtime/kernels/cpu/row_codec.inl"
#include "runtime/kernels/cpu/rows.inl"
