"""Truth tables of policies: which pod reaches which. The tracer and the kernel run the same cases.

three_by_three   the model of Kubernetes' own tests, as objects: nodes, pods, Services
upstream         its 48 cases of packets, each with its table
upstream_api     its 2 cases of what the API takes
world            the same nine pods as labels, and what changes them
simulator        who should reach whom, from the labels alone
cyclonus_cases   230 cases, after the categories of cyclonus' generator
"""
