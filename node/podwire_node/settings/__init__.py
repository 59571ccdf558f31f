"""The agent's settings.

agent_config  what each is called, what it may be     values    a value, checked
config        flags, environment, file: who said so   options   the same as command line options
listing       for `podwire config`
"""
