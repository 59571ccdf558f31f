/*
 * BCC includes this before all else, as it stands in a kernel's own tree: what such a tree was
 * configured with, and the kernel's short names of types, which BCC's helpers.h uses.
 */
#define CONFIG_BPF_SYSCALL 1 /* or helpers.h refuses; the kernel that runs is asked by bpf(2) */

#include <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
typedef __SIZE_TYPE__ size_t;
typedef __UINTPTR_TYPE__ uintptr_t;
