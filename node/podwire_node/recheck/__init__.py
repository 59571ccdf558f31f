"""Established connections judged anew when policies change (`--existing-connections recheck`).

    sync in the kernel ─► Rechecking ──what changed──► Rechecker (a thread)
                                                          │
         mirror    objects, and whose each address is  ◄──┤ at most one run a second
         flows     may this connection go on?             │
                                                          ▼
    connection tracking:  no ─► CUT_BIT in its mark       yes, and it has the bit ─► the bit goes
                                  │
    forward, input:  ct mark & CUT_BIT != 0 ─► cut: logged, dropped

A node speaks for its own pods alone, as its rules do. Nothing is taken out of connection tracking:
a connection that is allowed again goes on where it stopped, if its ends have not given up.
"""
