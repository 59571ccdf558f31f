"""Services at the socket: BPF programs, their maps, and the loader. Stands on nothing of ours."""
