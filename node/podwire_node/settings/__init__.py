"""The agent's settings.

agent_config  all of them, as a value             setting       one row: its names, its reader
rows          what each may be, and is for        proxy_rows    those of Services
values        readers: a value, checked           combinations  what does not go together
config        flags, environment, file: who said so
listing       for `podwire config`                options       the same as command line options
"""
