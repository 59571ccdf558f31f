"""What every part of podwire stands on.

    objects      Kubernetes objects, only the fields we read     selectors, family
    feed/        where objects come from, as changes             snapshot
    claims       who wants which key, and who wins it            delta
    nft/         tables, chains, sets and elements as values; transactions; the fake

Nothing here knows what a Service is for or why a policy denies: that is the work of
podwire_proxy and podwire_policy, which stand on this package and never on each other.
"""
