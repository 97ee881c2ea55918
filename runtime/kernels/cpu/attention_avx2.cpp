#include "runtime/kernels/cpu/attention.inl"
