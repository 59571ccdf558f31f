"""All HTTP that the agent serves, in one thread with one asyncio loop.

    server        Web: the thread, and what the agent's loop sees of it
    sites         which listeners are open         listener       their sockets
    acceptor      connections come in
    room          how many may be connected        conversation   one request and its answer
    pages         what is answered where           answer         one answer
    checks        who has which health check port  health         is the proxy well?
    moment        times as Go prints them          descriptors    room for so many files

Bounds: a request's head is at most 8 KiB, bodies are not read, a connection lives 10 s and has one
request, 128 connections a site and 512 in all, 1,000 health check ports.
"""
