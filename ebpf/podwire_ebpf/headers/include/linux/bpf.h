/* Nothing: BCC has included its own copy, /virtual/include/bcc/bpf.h, when this is asked for. */
